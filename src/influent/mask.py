"""Units at a cut: counting them, and silencing some of them."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .axes import Axis, axis_names, unit_axis
from .cut import Cut, as_cut
from .errors import QuestionError
from .nets import as_net
from .shapes import key_of, spell_noun, spell_shape

FILLS = ("zero", "mean", "resample")


def flat_index(unit: int | tuple[int, ...], shape: Sequence[int]) -> int:
    """A unit's position among all `[*unit]`, flattened: by its whole index, or by that position itself.

    Errors: `QuestionError` for units out of range.

    >>> flat_index((1, 2), (3, 4)), flat_index(-1, (3, 4))
    (6, 11)
    """
    whole = unit if isinstance(unit, tuple) else (unit,)
    sizes = list(shape) if isinstance(unit, tuple) else [torch.Size(shape).numel()]
    if len(whole) != len(sizes) or not all(-n <= i < n for i, n in zip(whole, sizes, strict=True)):
        raise QuestionError(f"Unit {unit} is out of range: the units have shape {list(shape)}.")
    flat = 0
    for i, n in zip(whole, sizes, strict=True):
        flat = flat * n + i % n
    return flat


def by_unit(y: Tensor, axis: Axis | None) -> Tensor:
    """A view `[point, unit, ...]` of activations `[point, *neuron]`: what is written there is written to `y`.

    >>> by_unit(torch.zeros(2, 3, 4), Axis(2)).shape, by_unit(torch.zeros(2, 3, 4), None).shape
    (torch.Size([2, 4, 3]), torch.Size([2, 12]))
    """
    return y.view(len(y), -1) if axis is None else axis.apart(y).movedim(axis.dim, 1)


@dataclass(frozen=True, repr=False, eq=False)
class Mask:
    """Units of a cut that are kept, all others being silenced; with `keep=False`, these are silenced.

    `units` count along the axis that the cut names, `Mask("inception_5b/channel", [3, 17])`; where it names none they
    are single neurons, by their flat position or by their whole index, `[(3, 7, 7)]`. Groups of units, as lists or as
    a dictionary `{"warm": [3, 17]}`, are taken together. A silenced unit is put to 0, to its mean over data
    (`fill="mean"`), or to its value at another input (`"resample"`, by a permutation of the inputs drawn with `seed`
    in which none stays at its place).
    Errors: `QuestionError` for no units, for units named twice, and for other fills.
    Source: M_h of the slice compression g(h(x) ⊙ M_h), Leino et al. 2018, section 3.3.1.

    >>> Mask("inception_5b/channel", {"warm": [3, 17], "cold": [40]}, keep=False)
    Mask('inception_5b/channel', (3, 17, 40), keep=False)
    """

    cut: Cut | str
    units: Any
    keep: bool = True
    fill: str = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "cut", as_cut(self.cut))
        object.__setattr__(self, "units", tuple(_flat(self.units, self.at)))
        if not self.units:
            raise QuestionError(
                f"A mask of {self.at.text} without units says nothing. Name some, Mask({self.at.text!r}, [3, 17]); to "
                "silence all, name all, with keep=False."
            )
        twice = next((u for k, u in enumerate(self.units) if u in self.units[:k]), None) if self._repeats() else None
        if twice is not None:
            raise QuestionError(f"This mask of {self.at.text} names unit {twice} twice. Name each once.")
        if not isinstance(self.keep, bool):
            raise QuestionError(f"keep={self.keep!r}: True keeps these units, False silences them.")
        if self.fill not in FILLS:
            raise QuestionError(f"fill={self.fill!r} is not known: {', '.join(map(repr, FILLS))}.")

    def _repeats(self) -> bool:
        return len(set(self.units)) < len(self.units)

    @property
    def at(self) -> Cut:
        """The cut, with the axis that counts its units."""
        return as_cut(self.cut)

    def kept(self, net: Any, h: Tensor) -> Tensor:
        """Which neurons are kept: true or false, `[*neuron]` with 1 for the axes that do not matter.

        `h [point, *neuron]` are activations at the cut. Errors: `QuestionError` for units out of range, and for an axis
        that the activations do not have.
        """
        axis = unit_axis(as_net(net).module, self.at, h.shape, as_net(net).axes)
        if self.at.units is not None and axis is None:
            names = axis_names(as_net(net).module, self.at, h.shape, as_net(net).axes)
            raise QuestionError(
                f"{self.at.text!r}: {spell_shape(h)} has no axis {self.at.units!r}. "
                + (f"Its axes: {', '.join(names)}." if names else "Its axes are not known: declare them, ")
                + ("" if names else f'inf.Net(module, axes={{"{self.at.place.text}": ("token", "channel")}}).')
            )
        shape = list(h.shape[1:]) if axis is None else [n if d == axis.dim else 1 for d, n in enumerate(h.shape)][1:]
        if axis is not None and axis.heads:
            shape[axis.dim - 1] = axis.heads
        size = torch.Size(shape).numel()
        try:
            flat = [flat_index(unit, shape if isinstance(unit, tuple) else (size,)) for unit in self.units]
        except QuestionError:
            worst = max(self.units, key=lambda u: u if isinstance(u, tuple) else (u,))
            raise QuestionError(
                f"This mask names unit {worst}, and {self.at.text} has "
                + (f"{size} units, counted from 0." if axis else f"neurons of shape {list(shape)}, counted from 0.")
            ) from None
        if len(set(flat)) < len(flat):
            raise QuestionError(f"This mask of {self.at.text} names a neuron twice, flat and by its whole index.")
        kept = torch.full((size,), not self.keep, device=h.device)
        kept[torch.tensor(flat, device=h.device)] = self.keep
        kept = kept.reshape(shape)
        # A head is as many channels side by side.
        heads = axis is not None and axis.heads
        return kept.repeat_interleave(h.shape[axis.dim] // heads, axis.dim - 1) if axis and heads else kept

    def filling(self, h: Tensor, mean: Tensor | None = None) -> Tensor:
        """What silenced neurons of `h [point, *neuron]` are put to: `[point, *neuron]`, or one row for all points."""
        if (mean is not None) != (self.fill == "mean"):
            raise QuestionError(
                f"fill={self.fill!r}: mean= is for fill='mean', and only for it: the mean activation [*neuron] over "
                f"data, inf.activations(net, {self.at.place.text!r}, x).mean(0)."
            )
        if mean is not None:
            if mean.shape != h.shape[1:]:
                raise QuestionError(
                    f"mean= is {spell_shape(mean)}, and {self.at.place.text} has neurons of shape {list(h.shape[1:])}."
                )
            return mean.to(h)[None]
        if self.fill == "zero":
            return h.new_zeros([1] * h.dim())
        if len(h) < 2:
            raise QuestionError("fill='resample' takes the values of another input, and there is one. Give several.")
        order = torch.randperm(len(h), generator=torch.Generator().manual_seed(self.seed))
        other = torch.empty_like(order)
        other[order] = order.roll(1)
        return h[other.to(h.device)]

    def apply(self, net: Any, h: Tensor, mean: Tensor | None = None) -> Tensor:
        """h ⊙ M + fill ⊙ (1 − M): activations `[point, *neuron]` with the other units silenced.

        `net` says which axis counts the units; `mean [*neuron]` goes with `fill="mean"`. Errors as `kept`, and
        `QuestionError` where fill and mean do not fit.

        >>> Mask("0/channel", [1]).apply(nn.Sequential(nn.Linear(2, 3)), torch.ones(1, 3))
        tensor([[0., 1., 0.]])
        """
        return torch.where(self.kept(net, h), h, self.filling(h, mean))

    def __repr__(self) -> str:
        return spell_noun(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and key_of(self) == key_of(other)

    def __hash__(self) -> int:
        return hash(key_of(self))


def _flat(units: Any, cut: Cut) -> Iterator[int | tuple[int, ...]]:
    """Units one by one, out of the groups that they may be given in."""
    if isinstance(units, Tensor):
        units = units.tolist()
    if isinstance(units, Mapping):
        units = list(units.values())
    if not isinstance(units, list | tuple | range):
        units = [units]
    for unit in units:
        if isinstance(unit, list | range | Tensor) or (isinstance(unit, tuple) and cut.units is not None):
            yield from _flat(unit, cut)
        else:
            yield tuple(_counted(i, cut) for i in unit) if isinstance(unit, tuple) else _counted(unit, cut)


def _counted(i: Any, cut: Cut) -> int:
    """A place among units, from 0."""
    try:
        found = operator.index(i)
    except TypeError:
        found = -1
    if found < 0 or isinstance(i, bool):
        raise QuestionError(
            f"{i!r} is no unit of {cut.text}. Units are numbers from 0, [3, 17], or groups of them; single neurons, "
            "where the cut names no axis, also [(3, 7, 7)]."
        )
    return found
