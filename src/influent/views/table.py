"""A table of results: one line for each class, with its head and its side named for those who hear it read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from influent.errors import QuestionError

from .page import rendered


class Keyed(NamedTuple):
    """A cell's text, and the number that its column is sorted by."""

    text: str
    key: float


@dataclass(frozen=True)
class Table:
    """`columns` and `rows` of text under a caption; the first column names its row, the others stand on the right.

    Rows stay in the order in which they are given; where the table is `sorted_by_reader`, a click on a column's button
    sorts them, by the number of a `Keyed` cell, or the text. `how` are the places on the page, by column, that say how
    its numbers are computed. A page with such tables includes `sort.js`.
    Errors: `QuestionError` for a row of another length. Source: for experts, Leino et al. 2018, Fig 4.

    >>> table = Table("Experts", ("class", "recall, original", "recall, expert"), [("Chainsaw", "14%", "71%")])
    >>> "<th scope=\\"row\\">Chainsaw</th>" in table.html()
    True
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Keyed]]
    how: Mapping[str, str] = field(default_factory=dict)
    sorted_by_reader: bool = False

    def __post_init__(self) -> None:
        for k, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise QuestionError(f"Row {k} has {len(row)} entries, and there are {len(self.columns)} columns.")

    def html(self) -> str:
        """The table as a fragment of a page, which scrolls where it is too wide. Everything in it is escaped."""
        return rendered("table.html", table=self)

    def _repr_html_(self) -> str:
        return self.html()
