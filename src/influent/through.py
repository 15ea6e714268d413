"""The flow of a behaviour through a set of units: conductance of the set, seen anywhere before it."""

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
        if isinstance(self.units, list | range):
            object.__setattr__(self, "units", tuple(tuple(u) if isinstance(u, list) else u for u in self.units))
        if isinstance(self.of, Through) or any(isinstance(term, Through) for _, term in self.of.terms):
            raise QuestionError(
                "Through takes a behaviour, not another flow. Name the units at one place: Through(units, cut, of)."
            )
        single = self.units if isinstance(self.units, tuple) else (self.units,)
        if not isinstance(self.units, Tensor | Stored | None) and not (single and all(map(_is_unit, single))):
            raise QuestionError(
                f"Through({self.units!r}, ...): units are channels, 52 or [52, 76], neurons, [(52, 7, 7)], a mask, "
                "or None for all."
            )

    @property
    def places(self) -> tuple[Cut, ...]:
        return (self.place, *self.of.places)

    def bind(self, net: Net) -> Quantity:
        if self.place.units == "head":
            heads = partial(unit_axis, net.module, self.place, declared=net.axes)
            return replace(self, of=self.of.bind(net), heads=heads)
        names = declared_axes(self.place, net.axes) or ()
        axis = names.index("channel") + 1 if self.axis is None and "channel" in names else self.axis
        axis = 1 if axis is None and self.place == INPUT else axis
        known = channels_at(net.module, self.place) if axis is None else None
        return replace(self, of=self.of.bind(net), axis=axis, channels=known)

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        """Needs the slopes of `of`, which the sweep hands to `flow`."""
        raise QuestionError("The flow through units has no value at a point without the slopes there.")

    def flow(self, slope: Tensor) -> Tensor:
        """The slopes ∂of/∂y `[point, *neuron]` with all units but these set to zero."""
        return slope if self.units is None else slope * self._mask(slope)

    def _mask(self, y: Tensor) -> Tensor:
        """Ones at the units, `[*neuron]`."""
        if isinstance(self.units, Stored):
            raise QuestionError(f"{self!r}: a stored question knows its mask by checksum alone. Give the mask again.")
        if isinstance(self.units, Tensor):
            if self.units.shape != y.shape[1:]:
                raise QuestionError(
                    f"{self!r}: the mask is {spell_shape(self.units)}, and {self.place.text} has neurons of shape "
                    f"{list(y.shape[1:])}."
                )
            return self.units.to(y)
        axis = self._head_axis(y)
        mask = torch.zeros_like(y[0]) if axis is None else axis.apart(torch.zeros_like(y[:1]))[0]
        for unit in self.units if isinstance(self.units, tuple) else (self.units,):
            if isinstance(unit, tuple) and len(unit) != mask.dim():
                raise QuestionError(
                    f"{self!r}: the neuron {unit} has {len(unit)} numbers, and {self.place.text} has neurons of shape "
                    f"{list(y.shape[1:])}. A list of channels is [52, 76]."
                )
            try:
                dim = axis.dim - 1 if axis else None if isinstance(unit, tuple) else self._axis(y)
                (mask[unit] if dim is None else mask.select(dim, unit)).fill_(1)
            except IndexError:
                raise QuestionError(
                    f"{self!r}: unit {unit} is out of range: {self.place.text} has neurons of shape "
                    f"{list(y.shape[1:])}."
                ) from None
        return mask.reshape(y.shape[1:])

    def _head_axis(self, y: Tensor) -> Axis | None:
        """The axis in which heads lie side by side, where the cut counts heads."""
        if self.place.units != "head":
            return None
        axis = self.heads(y.shape) if self.heads else None
        if axis is None:
            raise QuestionError(
                f"{self!r}: how many heads lie in {spell_shape(y)} is not known. Say it, "
                f'inf.Net(module, axes={{"{self.place.place.text}": ("token", "head*12", "channel")}}).'
            )
        return axis

    def _axis(self, y: Tensor) -> int:
        """The dimension of one point's neurons that counts channels."""
        axis = self.channels.dim(y.shape) if self.channels is not None else self.axis
        if axis is None:
            raise QuestionError(
                f"{self!r}: which axis of {spell_shape(y)} counts channels is not known. Say it, "
                f'inf.Net(module, axes={{"{self.place.text}": ("token", "channel")}}), or name single neurons.'
            )
        if not (1 <= axis < y.dim() or 1 - y.dim() <= axis < 0):
            raise QuestionError(f"{self!r}: axis={axis} is none of {spell_shape(y)}, the point's axis being 0.")
        return axis % y.dim() - 1

    def describe(self, net: Net) -> str:
        units = self.units if isinstance(self.units, tuple) else () if isinstance(self.units, Tensor) else (self.units,)
        some = ", ".join(map(str, units[:6])) + (", …" if len(units) > 6 else "") if units else "masked units"
        return f"{self.of.describe(net)} through {'all units' if self.units is None else some} of {self.place.text}"


def _is_unit(unit: Any) -> bool:
    whole = unit if isinstance(unit, tuple) else (unit,)
    return bool(whole) and all(isinstance(i, int) and not isinstance(i, bool) for i in whole)
