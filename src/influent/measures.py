"""Measures: how influence is counted at one point. Functions of `Evidence`, pointwise, `[point, *unit]`.

A new measure is a function in any file: `lambda e: e.gradient.clamp(min=0)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from .axes import Axis
from .errors import QuestionError
from .shapes import key_of, spell_noun


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
