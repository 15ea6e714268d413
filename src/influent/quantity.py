"""What a quantity of interest is: outputs at a cut → one number a point, in a vector space.

A new quantity is a frozen dataclass with a `cut` and a `value`, in any file. Ours stand in `quantities.py`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .cut import OUTPUT, Cut, as_cut
from .errors import QuestionError
from .nets import Net
from .shapes import key_of, spell, spell_noun
from .text import DECODER_IDS, DECODER_MASK, IDS, MASK


@dataclass(frozen=True)
class Subject:
    """What a quantity may look at of the explained inputs, beside the outputs there.

    `label [subject]` are their own classes, where known; `given` what the net is called with beside the points, its
    tensors `[subject, ...]` (of texts: `input_ids`, `attention_mask`).

    >>> Subject(given={"attention_mask": torch.tensor([[1, 1, 0]])}).mask(3)
    tensor([[ True,  True, False]])
    """

    label: Tensor | None = None
    given: Any = None

    def ids(self) -> Tensor | None:
        """The tokens that outputs `[subject, position, token]` stand beside: those written, or else those read."""
        given = self.given if isinstance(self.given, Mapping) else {}
        found = given.get(DECODER_IDS, given.get(IDS))
        return found if isinstance(found, Tensor) else None

    def mask(self, positions: int) -> Tensor | None:
        """Which of the outputs' positions are no padding, `[subject, position]`; None where that is not known."""
        given = self.given if isinstance(self.given, Mapping) else {}
        found = given.get(DECODER_MASK) if DECODER_IDS in given else given.get(MASK)
        return found != 0 if isinstance(found, Tensor) and found.shape[1:] == (positions,) else None


class Quantity(ABC):
    """A behaviour of the net: outputs `[point, *y]` at `cut` → `[point]`.

    What depends on the explained input (its predicted class) is chosen once, at the *subject*, by `choose`,
    and handed to `value` for every point; it is never taken again along a path.
    Source: quantity of interest, Leino et al. 2018, section 2.1.

    >>> Class(817) - 0.5 * Class(511)
    Class(817) - 0.5 * Class(511)
    """

    cut: Cut | str = OUTPUT

    def __post_init__(self) -> None:
        object.__setattr__(self, "cut", as_cut(self.cut))

    @property
    def place(self) -> Cut:
        """The cut whose output the quantity reads."""
        return as_cut(self.cut)

    @property
    def terms(self) -> tuple[tuple[float, Quantity], ...]:
        """The quantity as a weighted sum of quantities that each live at one cut."""
        return ((1.0, self),)

    @property
    def places(self) -> tuple[Cut, ...]:
        """All cuts that must be read to value the quantity."""
        return (self.place,)

    def bind(self, net: Net) -> Quantity:
        """This quantity with names resolved: classes by the net's labels, channels by its axes."""
        return self

    def choose(self, y: Tensor, subject: Subject) -> Tensor | None:
        """What is fixed at the subjects, `[subject, *y] → [subject]` indices; None where nothing is."""
        return None

    @abstractmethod
    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        """The quantity at each point: `[point, *y]`, `chosen [point]` → `[point]`."""

    def describe(self, net: Net) -> str:
        """The quantity in words, with class names where the net has labels."""
        return repr(self)

    def __add__(self, other: Any) -> Quantity:
        return Combination((*self.terms, *_term(other).terms))

    def __sub__(self, other: Any) -> Quantity:
        return self + -1.0 * _term(other)

    def __rsub__(self, other: Any) -> Quantity:
        return _term(other) - self

    def __radd__(self, other: Any) -> Quantity:
        return _term(other) + self

    def __neg__(self) -> Quantity:
        return -1.0 * self

    def __mul__(self, factor: float) -> Quantity:
        if not isinstance(factor, int | float) or not math.isfinite(factor):
            raise QuestionError(f"A quantity is multiplied by a number, not by {factor!r}: 0.5 * Class(3).")
        scaled = tuple((factor * weight, term) for weight, term in self.terms)
        return scaled[0][1] if len(scaled) == 1 and scaled[0][0] == 1 else Combination(scaled)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Quantity:
        raise QuestionError(f"A quantity is scaled by a factor: {f'{1 / divisor:g}' if divisor else 0.5} * {self!r}.")

    def __repr__(self) -> str:
        return spell_noun(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and key_of(self) == key_of(other)

    def __hash__(self) -> int:
        return hash(key_of(self))


def _term(other: Any) -> Quantity:
    """What may stand in a sum of quantities: a quantity, or a function of the outputs."""
    if isinstance(other, Quantity) or (callable(other) and not isinstance(other, type)):
        return as_quantity(other)
    raise QuestionError(f"{other!r} is no quantity. Add quantities to quantities: Class(3) - Class(5).")


@dataclass(frozen=True, repr=False, eq=False)
class Combination(Quantity):
    """Σ weight · quantity: what `+`, `-` and `*` make; its parts may live at different cuts."""

    parts: tuple[tuple[float, Quantity], ...]

    def __post_init__(self) -> None:
        if not isinstance(self.parts, tuple) or not all(isinstance(p, tuple) and len(p) == 2 for p in self.parts):
            raise QuestionError("A Combination is written as a sum: Class(3) - 0.5 * Class(5).")

    @property
    def terms(self) -> tuple[tuple[float, Quantity], ...]:
        return self.parts

    @property
    def places(self) -> tuple[Cut, ...]:
        return tuple(dict.fromkeys(cut for _, term in self.parts for cut in term.places))

    def bind(self, net: Net) -> Quantity:
        return Combination(tuple((weight, term.bind(net)) for weight, term in self.parts))

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        raise QuestionError("A combination has no one cut: its terms are evaluated one by one.")

    def describe(self, net: Net) -> str:
        return _spell_sum([(weight, term.describe(net)) for weight, term in self.parts])

    def __repr__(self) -> str:
        return _spell_sum([(weight, repr(term)) for weight, term in self.parts])


def _spell_sum(terms: list[tuple[float, str]]) -> str:
    """`Class(3) - 0.5 * Class(5)`."""
    signed = [("- " if w < 0 else "+ ") + (name if abs(w) == 1 else f"{abs(w)!r} * {name}") for w, name in terms]
    text = " ".join(signed)
    return text.removeprefix("+ ") if text.startswith("+ ") else "-" + text.removeprefix("- ")


@dataclass(frozen=True, repr=False, eq=False)
class Function(Quantity):
    """Any function of the outputs, `[point, *y] → [point]`: what a bare callable becomes.

    >>> Function(torch.Tensor.norm)
    Function(torch._tensor:Tensor.norm)
    """

    function: Callable[[Tensor], Tensor]
    cut: Cut | str = OUTPUT

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        return self.function(y)

    def describe(self, net: Net) -> str:
        return spell(self.function)


def as_quantity(of: Any) -> Quantity:
    """A quantity from one, or from a function of the outputs."""
    if isinstance(of, Quantity):
        return of
    if callable(of):
        return Function(of)
    raise QuestionError(
        f"{of!r} is no quantity. Type inf.Class({of!r}), inf.Predicted(), a unit inf.Unit(52, 'layer'), or a function "
        "of the outputs."
    )
