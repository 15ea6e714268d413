"""Our quantities of interest: which behaviour of the net is explained."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .axes import Channels, channels_at, declared_axes
from .cut import INPUT, OUTPUT, Cut, as_cut
from .errors import InfluentWarning, QuestionError
from .nets import Net
from .quantity import Quantity, Subject
from .shapes import spell_noun, spell_shape


def _classes(y: Tensor, what: str) -> Tensor:
    """Outputs that are `[point, class]`, or a lesson."""
    if y.dim() == 2 and y.shape[1] > 0:
        return y
    hint = "Give a function of the outputs instead: of=lambda y: y[:, ...], one number a point."
    if y.dim() == 3:
        hint = "Name the token and its position: Logit(42, position=-1), Logit(' Paris')."
    raise QuestionError(f"{what} needs outputs [point, class], and its cut gives {spell_shape(y)}. {hint}")


def _column(y: Tensor, index: int | str, what: str) -> Tensor:
    """Column `index` of `[point, class]`."""
    if isinstance(index, str):
        raise QuestionError(f"{what} names a class, but was not bound to a net: use it inside inf.influence.")
    if not -y.shape[1] <= index < y.shape[1]:
        raise QuestionError(f"{what} is out of range: the net has {y.shape[1]} outputs, 0 to {y.shape[1] - 1}.")
    return y[:, index]


def _gather(y: Tensor, chosen: Tensor | None) -> Tensor:
    """Each point's own column of `[point, class]`."""
    if chosen is None:
        raise QuestionError("This quantity is fixed at the explained input: use it inside inf.influence.")
    return y.gather(1, chosen[:, None])[:, 0]


@dataclass(frozen=True, repr=False, eq=False)
class Class(Quantity):
    """f_i, the net's output for one class (a logit, where the net gives logits), by index or name.

    `[point, class] → [point]`. Errors: `QuestionError` for unknown, ambiguous and out-of-range classes, and
    for outputs of another shape. Source: Leino et al. 2018, section 3.1.

    >>> Class(1).value(torch.tensor([[1.0, 5.0], [2.0, 6.0]]), None)
    tensor([5., 6.])
    """

    index: int | str
    cut: Cut | str = OUTPUT

    def bind(self, net: Net) -> Quantity:
        return replace(self, index=net.class_index(self.index))

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        return _column(_classes(y, repr(self)), self.index, repr(self))

    def describe(self, net: Net) -> str:
        return net.label(net.class_index(self.index))


@dataclass(frozen=True, repr=False, eq=False)
class Probability(Quantity):
    """p_i = softmax(f)_i, the probability of one class, by index or name.

    `[point, class]` logits → `[point]`. Errors as `Class`; an `InfluentWarning` where the outputs are
    probabilities already. Source: Leino et al. 2018, section 3.1 (f|_L of a softmax output).

    >>> Probability(0).value(torch.zeros(1, 4), None)
    tensor([0.2500])
    """

    index: int | str
    cut: Cut | str = OUTPUT

    def bind(self, net: Net) -> Quantity:
        return replace(self, index=net.class_index(self.index))

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        return _column(_softmax(y, repr(self)), self.index, repr(self))

    def describe(self, net: Net) -> str:
        return f"probability of {net.label(net.class_index(self.index))}"


@dataclass(frozen=True, repr=False, eq=False)
class Rest(Quantity):
    """Σ_{j≠i} p_j, the probability of all classes but one: "class i" is said iff p_i exceeds it.

    `[point, class]` logits → `[point]`. Errors as `Probability`.
    Source: one against the rest, Leino et al. 2018, section 3.3.1.

    >>> Rest(0).value(torch.zeros(1, 4), None)
    tensor([0.7500])
    """

    index: int | str
    cut: Cut | str = OUTPUT

    def bind(self, net: Net) -> Quantity:
        return replace(self, index=net.class_index(self.index))

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        p = _softmax(y, repr(self))
        return p.sum(1) - _column(p, self.index, repr(self))

    def describe(self, net: Net) -> str:
        return f"probability of all but {net.label(net.class_index(self.index))}"


def _softmax(y: Tensor, what: str) -> Tensor:
    logits = _classes(y, what)
    with torch.no_grad():
        sums = logits.sum(1)
        if logits.shape[1] > 1 and bool((logits >= 0).all() and ((sums - 1).abs() < 1e-5).all()):
            warnings.warn(
                f"{what} takes a softmax of outputs that are probabilities already. Use Class(...) for this net.",
                InfluentWarning,
                stacklevel=2,
            )
    return torch.softmax(logits, dim=1)


@dataclass(frozen=True, repr=False, eq=False)
class Predicted(Quantity):
    """f_c, the output for the class that the net gives the explained input.

    c is fixed at the subject (the path's end, the ball's centre), never taken again along a path.
    `[point, class] → [point]`. Source: Leino et al. 2018, section 3.1.

    >>> Predicted().choose(torch.tensor([[1.0, 3.0, 2.0]]), Subject())
    tensor([1])
    """

    cut: Cut | str = OUTPUT

    def choose(self, y: Tensor, subject: Subject) -> Tensor | None:
        return _classes(y, repr(self)).argmax(1)

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        return _gather(y, chosen)

    def describe(self, net: Net) -> str:
        return "the predicted class"


@dataclass(frozen=True, repr=False, eq=False)
class RunnerUp(Quantity):
    """f_d, the output for the second most likely class of the explained input, fixed at the subject.

    `[point, class] → [point]`. Source: comparative explanation, Leino et al. 2018, section 3.2.

    >>> RunnerUp().choose(torch.tensor([[1.0, 3.0, 2.0]]), Subject())
    tensor([2])
    """

    cut: Cut | str = OUTPUT

    def choose(self, y: Tensor, subject: Subject) -> Tensor | None:
        if _classes(y, repr(self)).shape[1] < 2:
            raise QuestionError("RunnerUp() needs a net with two classes or more; this one has one output.")
        return y.topk(2, dim=1).indices[:, 1]

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        return _gather(y, chosen)

    def describe(self, net: Net) -> str:
        return "the runner-up"


@dataclass(frozen=True, repr=False, eq=False)
class Label(Quantity):
    """f_l, the output for the explained input's own label: `Point(x, label=[3, 7])`.

    `[point, class] → [point]`. Errors: `QuestionError` where the distribution carries no labels.
    Source: "the correct label L of this instance", Leino et al. 2018, section 3.1.

    >>> Label().choose(torch.tensor([[1.0, 3.0, 2.0]]), Subject(torch.tensor([0])))
    tensor([0])
    """

    cut: Cut | str = OUTPUT

    def choose(self, y: Tensor, subject: Subject) -> Tensor | None:
        label = subject.label
        if label is None:
            raise QuestionError("Label() needs the inputs' labels. Give them: Point(x, label=[3]).")
        _classes(y, repr(self))
        if bool((label < 0).any() or (label >= y.shape[1]).any()):
            raise QuestionError(f"A label is out of range: the net has {y.shape[1]} outputs, 0 to {y.shape[1] - 1}.")
        return label

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        return _gather(y, chosen)

    def describe(self, net: Net) -> str:
        return "the true class"


@dataclass(frozen=True, repr=False, eq=False)
class Unit(Quantity):
    """A unit inside the net: a channel, summed over its positions, or one neuron.

    `Unit(52, "inception_3a")` is channel 52 (the sum over positions; `reduce="max"`: its largest position,
    fixed at the subject); `Unit((52, 7, 7), cut)` one neuron, indexed as the activation is, the point left out.
    `[point, *neuron] → [point]`. Errors: `QuestionError` for indices out of range and for activations whose
    channel axis is not known. Source: Leino et al. 2018, section 3.1 (the influence of pixels on a unit).

    >>> Unit(1, "conv", axis=1).value(torch.ones(1, 2, 3, 3), None)
    tensor([9.])
    """

    index: int | tuple[int, ...]
    cut: Cut | str
    reduce: str = "sum"
    axis: int | None = None
    channels: Channels | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.index, list):
            object.__setattr__(self, "index", tuple(self.index))
        whole = self.index if isinstance(self.index, tuple) else (self.index,)
        if not all(isinstance(i, int) and not isinstance(i, bool) for i in whole):
            raise QuestionError(
                f"{self!r}: a unit is a channel, Unit(52, 'layer'), or a neuron, Unit((52, 7, 7), 'layer')."
            )
        if self.reduce not in ("sum", "max"):
            raise QuestionError(f"Unit(reduce={self.reduce!r}) is not known: 'sum' over positions, or 'max'.")

    def bind(self, net: Net) -> Quantity:
        if self.axis is not None or isinstance(self.index, tuple):
            return self
        names = declared_axes(self.place, net.axes) or ()
        if "channel" in names or self.place == INPUT:
            return replace(self, axis=names.index("channel") + 1 if "channel" in names else 1)
        # Without a declaration the axis depends on the activation's shape, too.
        return replace(self, channels=channels_at(net.module, self.place))

    def choose(self, y: Tensor, subject: Subject) -> Tensor | None:
        return self._channel(y).reshape(len(y), -1).argmax(1) if self.reduce == "max" else None

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        unit = self._channel(y).reshape(len(y), -1)
        return unit.sum(1) if self.reduce == "sum" else _gather(unit, chosen)

    def _channel(self, y: Tensor) -> Tensor:
        if isinstance(self.index, tuple):
            if len(self.index) != y.dim() - 1 or any(
                not -n <= i < n for i, n in zip(self.index, y.shape[1:], strict=True)
            ):
                raise self._out_of_range(y)
            for i in self.index:
                y = y.select(1, i)
            return y
        axis = self.channels.dim(y.shape) if self.channels is not None else self.axis
        axis = 1 if axis is None and y.dim() == 2 else axis
        if axis is None:
            raise QuestionError(
                f"{self!r}: which axis of {spell_shape(y)} counts channels is not known. Say it, "
                f'inf.Net(module, axes={{"{self.place.text}": ("token", "channel")}}), or give a whole index, '
                f"Unit({(self.index,) + (0,) * (y.dim() - 2)}, ...)."
            )
        if not -y.dim() <= axis < y.dim():
            raise QuestionError(f"{self!r}: axis={axis} is none of {spell_shape(y)}, the point's axis being 0.")
        if not -y.shape[axis] <= self.index < y.shape[axis]:
            raise self._out_of_range(y)
        return y.select(axis, self.index)

    def _out_of_range(self, y: Tensor) -> QuestionError:
        return QuestionError(f"{self!r} is out of range: {self.place.text} gives units of shape {list(y.shape[1:])}.")

    def describe(self, net: Net) -> str:
        return f"unit {self.index} of {self.place.text}"


@dataclass(frozen=True)
class Classes:
    """Several classes as one quantity with an axis: values are `[instance, class, *unit]`.

    Source: Leino et al. 2018, Fig 3, class by class, out of one sweep.

    >>> Classes(["cat", 3]).quantities
    (Class('cat'), Class(3))
    """

    indices: tuple[int | str, ...]
    cut: Cut | str = OUTPUT

    def __post_init__(self) -> None:
        if isinstance(self.indices, str | int) or not tuple(self.indices):
            raise QuestionError(f"Classes takes a list of classes: Classes([{self.indices or 3!r}, ...]).")
        object.__setattr__(self, "indices", tuple(self.indices))
        object.__setattr__(self, "cut", as_cut(self.cut))

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """One `Class` for each."""
        return tuple(Class(i, self.cut) for i in self.indices)

    def __sub__(self, other: Any) -> Quantity:
        raise QuestionError(
            "Classes are several quantities, and have no sum. Ask for a list: of=[Class(1) - Class(0), ...]."
        )

    __add__ = __mul__ = __rmul__ = __sub__

    def __repr__(self) -> str:
        return spell_noun(self)
