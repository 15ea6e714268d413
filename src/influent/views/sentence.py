"""A text with coloured pieces: on a page, in a notebook, and in a terminal with colours or without."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from influent.errors import QuestionError
from influent.text import Piece

from .page import rendered
from .palette import ink, signed_hex
from .text import harmless, painted

_ZWJ = "\u200d"


@dataclass(frozen=True)
class Part:
    """A stretch of what is shown: a piece with its value, or what stands between pieces, whose value is None."""

    text: str
    value: float | None
    special: bool
    colour: str

    @property
    def ink(self) -> str:
        """The colour of the text, black or white."""
        return ink(self.colour)


@dataclass(frozen=True)
class Sentence:
    """A text and its pieces, in the order of the text: red speaks for, blue against, white is 0.

    Pieces that would cut an emoji or a letter from its accent are shown as one, with the sum of their values. What is
    not among the pieces is shown without a colour. Colours saturate at ± `most`, else at the largest |value|.
    Errors: `QuestionError` for pieces outside of the text or out of order, and for values that are not finite.

    >>> made = Sentence("not good", (Piece("not", 0, 3, -1.2), Piece("good", 4, 8, 0.5)))
    >>> made.plain()
    'not(-1.2) good(+0.5)'
    """

    text: str
    pieces: tuple[Piece, ...]

    def __post_init__(self) -> None:
        end = 0
        for piece in self.pieces:
            if not math.isfinite(piece.value):
                raise QuestionError(f"The value of {piece.text!r} is {piece.value}: it has no colour.")
            if piece.start == piece.end:
                continue
            if not 0 <= piece.start < piece.end <= len(self.text):
                raise QuestionError(
                    f"The piece {piece.text!r} is said to be at {piece.start}:{piece.end}, and the text has "
                    f"{len(self.text)} characters. Give the text that the pieces are of."
                )
            if piece.start < end:
                raise QuestionError(
                    f"The piece {piece.text!r} begins at {piece.start}, where the piece before it has not ended. Give "
                    "pieces in the order of the text, none upon another: text.pieces(values) does."
                )
            end = piece.end

    @property
    def largest(self) -> float:
        """The largest |value| of what is shown; 0 without pieces."""
        return max((abs(piece.value) for piece in self.shown), default=0.0)

    def html(self, most: float | None = None) -> str:
        """A fragment of a page: light in dark mode, too, so that a colour means the same; a pointer reads the value."""
        return rendered("sentence.html", parts=self._parts(most), ground=signed_hex([0.0], 1.0)[0])

    def _repr_html_(self) -> str:
        return self.html()

    def ansi(self, most: float | None = None) -> str:
        """The text for terminals with 24-bit colours: nothing is added but their codes, and special tokens."""
        return "".join(gap + painted(harmless(part.text), part.colour) for gap, part in _spaced(self._parts(most)))

    def plain(self) -> str:
        """The text with a signed value behind each piece."""
        values = (
            (gap, p.text, "" if p.value is None else f"({p.value:+.2g})") for gap, p in _spaced(self._parts(None))
        )
        return "".join(gap + harmless(text) + value for gap, text, value in values)

    def _parts(self, most: float | None) -> list[Part]:
        if most is not None and not 0 < most < math.inf:
            raise QuestionError(f"most={most!r}: the value at which colours saturate is above 0.")
        pieces = self.shown
        *colours, ground = signed_hex([*(p.value for p in pieces), 0.0], most or self.largest or 1.0)
        parts, end = [], 0
        for piece, colour in zip(pieces, colours, strict=True):
            special = piece.start == piece.end
            if not special and piece.start > end:
                parts.append(Part(self.text[end : piece.start], None, False, ground))
            parts.append(Part(piece.text, piece.value, special, colour))
            end = end if special else piece.end
        return [*parts, Part(self.text[end:], None, False, ground)] if end < len(self.text) else parts

    @cached_property
    def shown(self) -> list[Piece]:
        """The pieces without white space around them, none of which ends inside of what is read as one sign."""
        found: list[Piece] = []
        for piece in self.pieces:
            if piece.start == piece.end:
                found.append(piece)
                continue
            start, end = _trimmed(self.text, piece.start, piece.end)
            while _joined(self.text, start):
                start -= 1
            while _joined(self.text, end):
                end += 1
            value = piece.value
            last = next((k for k in reversed(range(len(found))) if found[k].start < found[k].end), None)
            if last is not None and found[last].end > start:
                start, value = found[last].start, value + found.pop(last).value
            found.append(Piece(self.text[start:end], start, end, value))
        return found


def _spaced(parts: list[Part]) -> Iterator[tuple[str, Part]]:
    """Each part with the space before it that keeps a special token apart from its neighbours."""
    last: Part | None = None
    for part in parts:
        near = last is not None and not last.text[-1:].isspace() and not part.text[:1].isspace()
        yield " " if near and (part.special or (last is not None and last.special)) else "", part
        last = part


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A piece's place without white space around it; a piece of nothing else stays."""
    inner = text[start:end].strip()
    if not inner:
        return start, end
    start += text[start:end].index(inner)
    return start, start + len(inner)


def _joined(text: str, place: int) -> bool:
    """Whether the characters on both sides of a place are read as one sign: accents, emoji, flags, Korean letters.

    Source: Unicode Standard Annex 29, rules GB6 to GB13, with categories in the place of its tables.
    """
    if not 0 < place < len(text):
        return False
    before, here = text[place - 1], text[place]
    if before in "\r\n":
        return False
    if unicodedata.category(here)[0] == "M" or here in "\u200c\u200d" or "\U0001f3fb" <= here <= "\U0001f3ff":
        return True
    if "\U000e0020" <= here <= "\U000e007f":
        return True
    if before == _ZWJ:
        return unicodedata.category(here) == "So"
    if "\u1160" <= here <= "\u11ff":
        return "\u1100" <= before <= "\u11ff" or "\uac00" <= before <= "\ud7a3"
    if _is_flag(here) and _is_flag(before):
        # Flags are pairs of such letters, counted from the first of a run.
        run = len(text[:place]) - len(text[:place].rstrip("".join(map(chr, range(0x1F1E6, 0x1F200)))))
        return run % 2 == 1
    return False


def _is_flag(sign: str) -> bool:
    return "\U0001f1e6" <= sign <= "\U0001f1ff"
