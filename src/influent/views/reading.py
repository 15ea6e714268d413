"""Sentences one below the other, on one scale of colours: what each unit reads in a text, or what many texts say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from influent.atomic import write_whole
from influent.attribution import Attribution
from influent.errors import QuestionError
from influent.quantity import Quantity
from influent.text import Text

from .page import rendered
from .palette import signed_hex
from .sentence import Sentence
from .text import aligned, ends, harmless

LONG = 100
"""Characters of a sentence from which in a terminal it stands below its name, not beside it."""


@dataclass(frozen=True)
class Row:
    """One sentence with its name, "channel 31", and a note, "-1.23, 12 % of all"."""

    name: str
    note: str
    sentence: Sentence


@dataclass(frozen=True, repr=False)
class Reading:
    """`rows` of sentences under a caption; red speaks for, blue against, and a colour means the same in each of them.

    Shows itself in a notebook; `print` gives it as plain text, `ansi()` in a terminal's colours, `save` writes a page.

    >>> from influent.text import Piece
    >>> bad = Sentence("not good", (Piece("not", 0, 3, -1.2), Piece("good", 4, 8, 0.5)))
    >>> print(Reading("What the units read", [Row("channel 3", "-0.7", bad)]))
    What the units read
    channel 3  -0.7  not(-1.2) good(+0.5)
    """

    caption: str
    rows: Sequence[Row]

    @cached_property
    def most(self) -> float:
        """The largest |value| of all, where the colours saturate; 1 where all are 0."""
        return max((row.sentence.largest for row in self.rows), default=0.0) or 1.0

    @property
    def coloured(self) -> bool:
        """Whether there is any text to colour: of units whose words are not known, names and notes alone are shown."""
        return any(row.sentence.text for row in self.rows)

    @property
    def scale(self) -> list[str]:
        """The colours of the legend, from the least value to the largest."""
        return signed_hex([k / 4 for k in range(-4, 5)], 1.0)

    def html(self) -> str:
        """A fragment of a page. Everything in it is escaped; long texts wrap."""
        return rendered("sentences.html", reading=self)

    def _repr_html_(self) -> str:
        return self.html()

    def ansi(self) -> str:
        """The rows for terminals with 24-bit colours."""
        scale = [ends(self.most)] if self.coloured else []
        return "\n".join([*self._lines([row.sentence.ansi(self.most) for row in self.rows]), *scale])

    def __str__(self) -> str:
        return "\n".join(self._lines([row.sentence.plain() for row in self.rows]))

    def _lines(self, sentences: list[str]) -> list[str]:
        """The caption, then each sentence beside its name and note, or below them where one of all is long."""
        heads = aligned([(harmless(row.name), harmless(row.note)) for row in self.rows]) if self.rows else []
        if any(len(row.sentence.text) > LONG or "\n" in row.sentence.text for row in self.rows):
            told = [line for head, said in zip(heads, sentences, strict=True) for line in (head, said, "")][:-1]
        else:
            wide = max(map(len, heads), default=0)
            told = [f"{head:<{wide}}  {said}".rstrip() for head, said in zip(heads, sentences, strict=True)]
        return [harmless(self.caption), *told]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a self-contained `.html`. Errors: `QuestionError` for other endings, `StoreError`."""
        place = Path(path)
        if place.suffix != ".html":
            raise QuestionError(
                f"{place.name!r}: sentences are saved as .html, not {place.suffix or 'without an ending'}."
            )
        page = rendered("alone.html", title=self.caption, body=self.html())
        return write_whole(place, page.encode("utf-8", "replace"))

    def __repr__(self) -> str:
        texts = f"{len(self.rows)} sentence{'s' * (len(self.rows) != 1)}"
        return f"Reading({self.caption!r}, {texts}): print(...), .ansi() or .save('name.html')"


def reading_of(a: Attribution, on: Text) -> Reading:
    """An attribution of one quantity as a reading: a row for each text of `on`, the tokens of a word summed.

    Its values are `[instance, token]`, or have other axes as well, which are summed. Errors: `QuestionError` for units
    without tokens, and for other texts than the explained ones.
    """
    of = a.question.of
    if not isinstance(of, Quantity):
        raise QuestionError("show draws one quantity, and this question has several. Ask for one: of=inf.Class(0).")
    if a.axes is None or "token" not in a.axes:
        place = a.question.at.place.text
        known = f"have the axes {', '.join(a.axes)}" if a.axes else "have axes that are not known"
        way = (
            f'Ask by token, where there are tokens: at="{place}/token".'
            if a.axes
            else f'Say what they count: inf.Net(module, axes={{"{place}": ("token", "channel")}}).'
        )
        raise QuestionError(f"show draws the words of a text, and these units {known}. {way}")
    values = a.by("token").values.detach().cpu().double()
    count, tokens = on.ids.shape
    # A row taken out of several is its text's by number; else there are as many texts as rows, in their order.
    numbers = range(count) if len(values) == count else a.instances
    named = all(isinstance(name, int) for name in a.instances)
    if not named or values.shape[1] != tokens or any(k not in range(count) for k in numbers):
        raise QuestionError(
            f"These values are of {len(values)} × {values.shape[1]} tokens (texts × tokens), and on= has {count} × "
            f"{tokens}. Give the texts that were explained, as net.read gave them."
        )
    rows = []
    for row, k in zip(values, numbers, strict=True):
        every = torch.zeros(count, tokens, dtype=row.dtype)
        every[k] = row
        sentence = Sentence(on.texts[k], on.pieces(every, k))
        rows.append(Row(f"text {k}", f"{sum(p.value for p in sentence.pieces):+.4g} in all", sentence))
    said = repr(of) if a.net is None else of.describe(a.net)
    return Reading(f"{a.question.at.text} for {said}", rows)
