"""Sets of units as behaviours: the flow of another behaviour through them, and their own activity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .axes import Axis, Channels, channels_at, declared_axes, unit_axis
from .cut import INPUT, Cut
from .errors import QuestionError
from .nets import Net
from .quantities import Predicted
from .quantity import Quantity, as_quantity
from .shapes import Stored, spell_shape

_PREDICTED = Predicted()


@dataclass(frozen=True, repr=False, eq=False)
class Through(Quantity):
    """Σ_{j ∈ units} ∂of/∂y_j · y_j with the slopes held fixed: its gradient is what drives the flow through the units.

    `units` is a channel, `52`, several, `[52, 76]` (or `(52, 76)`), single neurons, `[(52, 7, 7)]`, a mask `[*neuron]`
    of zeros and ones, or None for all; at a cut `"attention.o_proj:in/head"` they are heads. Integrated gradients of it
    are the conductance of the set on the input, at the price of one vector–Jacobian product a point, whatever the size
    of the set. It has no value of its own: what flows depends on the path; in the place of F(x) − F(x′), its gap is
    measured against the set's total conductance along it, and the residual bounds what that total may itself be off by.
    Errors: `QuestionError` for units that are not there, and for a behaviour that does not depend on the place.
    Source: Dhamdhere et al. 2018, Eq 2 and 3, summed over the set.

    >>> Through([52, 76], "inception_3a", Class(817))
    Through((52, 76), cut='inception_3a', of=Class(817))
    """

    units: Any
    cut: Cut | str
    of: Quantity = _PREDICTED
    axis: int | None = None
    channels: Channels | None = field(default=None, repr=False)
    heads: Callable[..., Axis | None] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "of", as_quantity(self.of))
        _check_units(self)
        if isinstance(self.of, Through) or any(isinstance(term, Through) for _, term in self.of.terms):
            raise QuestionError(
                "Through takes a behaviour, not another flow. Name the units at one place: Through(units, cut, of)."
            )

    @property
    def places(self) -> tuple[Cut, ...]:
        return (self.place, *self.of.places)

    def bind(self, net: Net) -> Quantity:
        return replace(self, of=self.of.bind(net), **_bound(self, net))

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        """Needs the slopes of `of`, which the sweep hands to `flow`."""
        raise QuestionError("The flow through units has no value at a point without the slopes there.")

    def flow(self, slope: Tensor) -> Tensor:
        """The slopes ∂of/∂y `[point, *neuron]` with all units but these set to zero."""
        return slope if self.units is None else slope * _mask(self, slope)

    def describe(self, net: Net) -> str:
        return f"{self.of.describe(net)} through {_some(self)}"


@dataclass(frozen=True, repr=False, eq=False)
class Energy(Quantity):
    """½ Σ_{j ∈ units} y_j²: its slopes at the units are their own activations y_j, and zero at all others.

    So what goes backward from it starts with the raw activations of the units, as a DeconvNet does, not with ones.
    `units` as for `Through`, None for all; one set serves all inputs. `[point, *neuron] → [point]`, in the square of
    the activations' units. Errors: `QuestionError` for units that are not there.
    Source: "backpropagate their raw values", Ho, "Layered Explanations", step 3.

    >>> Energy([(1,)], "OUTPUT").value(torch.tensor([[3.0, 4.0]]), None)
    tensor([8.])
    """

    units: Any
    cut: Cut | str
    axis: int | None = None
    channels: Channels | None = field(default=None, repr=False)
    heads: Callable[..., Axis | None] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_units(self)

    def bind(self, net: Net) -> Quantity:
        return replace(self, **_bound(self, net))

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        squares = y.square() if self.units is None else y.square() * _mask(self, y)
        return squares.flatten(1).sum(1) / 2

    def describe(self, net: Net) -> str:
        return f"the activity of {_some(self)}"


_Units = Through | Energy


def _check_units(noun: _Units) -> None:
    """Units as a tuple, if they are several; refused where they are none."""
    if isinstance(noun.units, list | range):
        object.__setattr__(noun, "units", tuple(tuple(u) if isinstance(u, list) else u for u in noun.units))
    single = noun.units if isinstance(noun.units, tuple) else (noun.units,)
    if not isinstance(noun.units, Tensor | Stored | None) and not (single and all(map(_is_unit, single))):
        raise QuestionError(
            f"{type(noun).__name__}({noun.units!r}, ...): units are channels, 52 or [52, 76], neurons, [(52, 7, 7)], a "
            "mask, or None for all."
        )


def _bound(noun: _Units, net: Net) -> dict[str, Any]:
    """What must be known of a net to find the units: which axis counts them."""
    if noun.place.units == "head":
        return {"heads": partial(unit_axis, net.module, noun.place, declared=net.axes)}
    names = declared_axes(noun.place, net.axes) or ()
    axis = names.index("channel") + 1 if noun.axis is None and "channel" in names else noun.axis
    axis = 1 if axis is None and noun.place == INPUT else axis
    return {"axis": axis, "channels": channels_at(net.module, noun.place) if axis is None else None}


def _mask(noun: _Units, y: Tensor) -> Tensor:
    """Ones at the units, `[*neuron]`."""
    if isinstance(noun.units, Stored):
        raise QuestionError(f"{noun!r}: a stored question knows its mask by checksum alone. Give the mask again.")
    if isinstance(noun.units, Tensor):
        if noun.units.shape != y.shape[1:]:
            raise QuestionError(
                f"{noun!r}: the mask is {spell_shape(noun.units)}, and {noun.place.text} has neurons of shape "
                f"{list(y.shape[1:])}."
            )
        return noun.units.to(y)
    axis = _head_axis(noun, y)
    mask = torch.zeros_like(y[0]) if axis is None else axis.apart(torch.zeros_like(y[:1]))[0]
    for unit in noun.units if isinstance(noun.units, tuple) else (noun.units,):
        if isinstance(unit, tuple) and len(unit) != mask.dim():
            raise QuestionError(
                f"{noun!r}: the neuron {unit} has {len(unit)} numbers, and {noun.place.text} has neurons of shape "
                f"{list(y.shape[1:])}. A list of channels is [52, 76]."
            )
        try:
            dim = axis.dim - 1 if axis else None if isinstance(unit, tuple) else _axis(noun, y)
            (mask[unit] if dim is None else mask.select(dim, unit)).fill_(1)
        except IndexError:
            raise QuestionError(
                f"{noun!r}: unit {unit} is out of range: {noun.place.text} has neurons of shape {list(y.shape[1:])}."
            ) from None
    return mask.reshape(y.shape[1:])


def _head_axis(noun: _Units, y: Tensor) -> Axis | None:
    """The axis in which heads lie side by side, where the cut counts heads."""
    if noun.place.units != "head":
        return None
    axis = noun.heads(y.shape) if noun.heads else None
    if axis is None:
        raise QuestionError(
            f"{noun!r}: how many heads lie in {spell_shape(y)} is not known. Say it, "
            f'inf.Net(module, axes={{"{noun.place.place.text}": ("token", "head*12", "channel")}}).'
        )
    return axis


def _axis(noun: _Units, y: Tensor) -> int:
    """The dimension of one point's neurons that counts channels."""
    axis = noun.channels.dim(y.shape) if noun.channels is not None else noun.axis
    if axis is None:
        raise QuestionError(
            f"{noun!r}: which axis of {spell_shape(y)} counts channels is not known. Say it, "
            f'inf.Net(module, axes={{"{noun.place.text}": ("token", "channel")}}), or name single neurons.'
        )
    if not (1 <= axis < y.dim() or 1 - y.dim() <= axis < 0):
        raise QuestionError(f"{noun!r}: axis={axis} is none of {spell_shape(y)}, the point's axis being 0.")
    return axis % y.dim() - 1


def _some(noun: _Units) -> str:
    """The units in words."""
    units = noun.units if isinstance(noun.units, tuple) else () if isinstance(noun.units, Tensor) else (noun.units,)
    some = ", ".join(map(str, units[:6])) + (", …" if len(units) > 6 else "") if units else "masked units"
    return f"{'all units' if noun.units is None else some} of {noun.place.text}"


def _is_unit(unit: Any) -> bool:
    whole = unit if isinstance(unit, tuple) else (unit,)
    return bool(whole) and all(isinstance(i, int) and not isinstance(i, bool) for i in whole)
