"""Measures: how influence is counted at one point. Functions of `Evidence`, pointwise, `[point, *unit]`.

A new measure is a function in any file: `lambda e: e.gradient.clamp(min=0)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from .axes import Axis
from .errors import QuestionError
from .rules import BackwardRule
from .shapes import key_of, spell, spell_noun


@dataclass(frozen=True)
class Evidence:
    """What one pass saw at one cut, unit by unit: each property is `[point, *unit]`.

    `slope` is ∂of/∂neuron and `value` the neuron's activation, `[point, *neuron]`; `rate` gives the
    activation's speed along the path, d value / dα (None off a path: the measure says so); `grouped` names
    the dimensions that are summed to make units out of neurons, after products and before any average; `axis`, where
    heads lie side by side, takes them apart before.

    >>> pixels = Evidence(slope=torch.ones(1, 2, 3), value=torch.full((1, 2, 3), 5.0), rate=None, grouped=(2,))
    >>> pixels.gradient_times_activation
    tensor([[15., 15.]])
    """

    slope: Tensor
    value: Tensor
    rate: Callable[[], Tensor] | None
    grouped: tuple[int, ...] = ()
    axis: Axis | None = None

    def units(self, neurons: Tensor) -> Tensor:
        """Neurons summed into units, `[point, *neuron] → [point, *unit]`."""
        apart = self.axis.apart(neurons) if self.axis is not None else neurons
        return apart.sum(self.grouped) if self.grouped else apart

    @cached_property
    def velocity(self) -> Tensor:
        """d value / dα along the path, `[point, *neuron]`: a secant, or exact under `rule="gauss"`."""
        if self.rate is None:
            raise QuestionError(
                "This measure needs a path, and the distribution has none. "
                "Use over=Line(baseline, x), or the measure gradient or gradient_times_activation."
            )
        return self.rate()

    @property
    def gradient(self) -> Tensor:
        """Σ over the unit's neurons of ∂of/∂neuron."""
        return self.units(self.slope)

    @property
    def activation(self) -> Tensor:
        """Σ over the unit's neurons of the activation."""
        return self.units(self.value)

    @property
    def gradient_times_activation(self) -> Tensor:
        """Σ over the unit's neurons of activation · ∂of/∂neuron."""
        return self.units(self.slope * self.value)

    @property
    def contribution(self) -> Tensor:
        """Σ over the unit's neurons of ∂of/∂neuron · d neuron / dα."""
        return self.units(self.slope * self.velocity)


def gradient(e: Evidence) -> Tensor:
    """∂of/∂at: influence, where averaged over a distribution. Source: Leino et al. 2018, Eq 1 and 2.

    >>> gradient(Evidence(slope=torch.tensor([[2.0]]), value=torch.tensor([[5.0]]), rate=None))
    tensor([[2.]])
    """
    return e.gradient


def contribution(e: Evidence) -> Tensor:
    """∂of/∂at · d at/dα: integrated gradients at the input, conductance inside, over a `Line`.

    Source: Sundararajan et al. 2017, as Dhamdhere et al. 2018, Eq 1 and 3. Errors: `QuestionError` off a path.

    >>> three = torch.tensor([[3.0]])
    >>> contribution(Evidence(slope=torch.tensor([[2.0]]), value=torch.tensor([[5.0]]), rate=lambda: three))
    tensor([[6.]])
    """
    return e.contribution


def activation(e: Evidence) -> Tensor:
    """The activation itself, the control that influence is compared with (Dhamdhere et al. 2018, section 4).

    >>> activation(Evidence(slope=torch.tensor([[2.0]]), value=torch.tensor([[5.0]]), rate=None))
    tensor([[5.]])
    """
    return e.activation


def gradient_times_activation(e: Evidence) -> Tensor:
    """at · ∂of/∂at (Dhamdhere et al. 2018, section 4; printed there with a stray α).

    >>> gradient_times_activation(Evidence(slope=torch.tensor([[2.0]]), value=torch.tensor([[5.0]]), rate=None))
    tensor([[10.]])
    """
    return e.gradient_times_activation


def magnitude(e: Evidence) -> Tensor:
    """|∂of/∂at|, the size of a unit's influence at each point, before it is averaged.

    >>> magnitude(Evidence(slope=torch.tensor([[-2.0]]), value=torch.tensor([[5.0]]), rate=None))
    tensor([[2.]])
    """
    return e.gradient.abs()


def square(e: Evidence) -> Tensor:
    """(∂of/∂at)², as in the squared form of SmoothGrad (Hooker et al. 2019).

    >>> square(Evidence(slope=torch.tensor([[-2.0]]), value=torch.tensor([[5.0]]), rate=None))
    tensor([[4.]])
    """
    return e.gradient**2


@dataclass(frozen=True, repr=False, eq=False)
class Monotone:
    """Σ_{y≠x} (y − x) · a(‖y − x‖) · s(x, y) as the word of a question: how `mim` counts, which is no gradient.

    `x [instance, *shape]` are the explained inputs, `kernel` is a, by name or a function of distances; with `soft`, s
    is a difference of probabilities. Which label s looks at is the question's `of`, the y are its `over`.

    >>> Monotone(None, kernel="1/d")
    Monotone(None, kernel='1/d')
    """

    x: Any
    kernel: Any = "1/d2"
    soft: bool = False

    def __repr__(self) -> str:
        return spell_noun(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Monotone) and key_of(self) == key_of(other)

    def __hash__(self) -> int:
        return hash(key_of(self))


@dataclass(frozen=True, repr=False)
class Ruled:
    """A measure whose slopes are taken by a backward rule, in the place of the gradient: `Ruled(gradient, Guided())`.

    Nothing adds up to a change of the quantity any more: there is no gap, and paths are refused. Nor is the answer to a
    sum of quantities the sum of the answers: what a DeconvNet drops of `Class(3) - Class(5)` depends on both. Measures
    of several rules, or of one and of none, take a sweep for each. Errors: `QuestionError` for what is no measure or no
    rule. Source: the rule's own.

    >>> net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval(), torch.ones(1, 3)
    >>> influence(net, "INPUT", Class(1), Point(x), Ruled(gradient, Guided())).question.text["measure"]
    'Ruled(gradient, Guided())'
    """

    measure: Callable[[Evidence], Tensor]
    rule: BackwardRule

    def __post_init__(self) -> None:
        if not isinstance(self.rule, BackwardRule):
            raise QuestionError(
                f"Ruled(..., {self.rule!r}) has no backward rule. Type one: Ruled(gradient, Guided()), or Deconvnet()."
            )
        if isinstance(self.measure, Ruled | type) or not callable(self.measure):
            raise QuestionError(f"Ruled({self.measure!r}, ...) has no measure. Type one: Ruled(gradient, Guided()).")

    def __call__(self, e: Evidence) -> Tensor:
        return self.measure(e)

    def __repr__(self) -> str:
        return f"Ruled({spell_measure(self.measure)}, {self.rule!r})"


def spell_measure(measure: Any) -> str:
    """The text form of a measure: ours bare, a user's as `package.module:name`.

    >>> spell_measure(gradient), spell_measure(Ruled(magnitude, Deconvnet()))
    ('gradient', 'Ruled(magnitude, Deconvnet())')
    """
    ours = getattr(measure, "__module__", "") == __name__ and not isinstance(measure, Ruled)
    return str(getattr(measure, "__name__", repr(measure))) if ours else spell(measure)


def rule_of(measure: Callable[..., Any]) -> BackwardRule | None:
    """The rule by which a measure's slopes are taken, None for the gradient.

    >>> rule_of(Ruled(gradient, Guided())), rule_of(gradient)
    (Guided(), None)
    """
    return measure.rule if isinstance(measure, Ruled) else None


def by_rule(measures: Iterable[Callable[..., Any]]) -> dict[BackwardRule | None, list[Callable[..., Any]]]:
    """The measures in groups of one rule: what one sweep can answer, which goes backward in one way.

    >>> {rule: len(group) for rule, group in by_rule([gradient, Ruled(gradient, Guided()), magnitude]).items()}
    {None: 2, Guided(): 1}
    """
    groups: dict[BackwardRule | None, list[Callable[..., Any]]] = {}
    for measure in measures:
        groups.setdefault(rule_of(measure), []).append(measure)
    return groups
