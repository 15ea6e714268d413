"""The heat map of a sweep: one number for each pair of two settings, written into cells that it colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from influent.errors import QuestionError

from .page import rendered
from .palette import ink, sequential_colour

WIDE, HIGH, LEFT, TOP, RIGHT, BOTTOM, STEPS = 44, 26, 58, 40, 126, 44, 32
"""Width and height of a cell, the space around all of them, growing with the page; steps of the colour bar."""


@dataclass(frozen=True)
class Shade:
    """One cell: its row and column, corner, text, colour, the colour of its text, and whether it was chosen."""

    place: tuple[int, int]
    corner: tuple[float, float]
    text: str
    colour: str
    ink: str
    chosen: bool
    title: str


def box_of(rows: int, columns: int, cell: tuple[float, float], least: float = 300) -> dict[str, float]:
    """The edges of the cells of a map, each `cell` wide and high, and the size of the picture, `least` wide.

    >>> box_of(2, 10, cell=(44, 26))["width"]
    624
    """
    right, bottom = LEFT + cell[0] * columns, TOP + cell[1] * rows
    # The colour bar and its marks need a hundred units.
    return {
        "left": LEFT, "top": TOP, "right": right, "bottom": bottom, "bar": max(bottom, TOP + 100),
        "width": max(right + RIGHT, least), "height": max(bottom + BOTTOM, TOP + 100 + 12),
        "wide": cell[0], "high": cell[1],
    }  # fmt: skip


def ladder_of(box: dict[str, float], colour: Callable[[float], str]) -> list[tuple[float, float, str]]:
    """Top, height and colour of each step of a colour bar, from the colour of 1 down to that of 0."""
    height = (box["bar"] - TOP) / STEPS
    return [(TOP + height * k, height, colour(1 - (k + 0.5) / STEPS)) for k in range(STEPS)]


@dataclass(frozen=True)
class HeatMap:
    """`values [row][column]` between 0 and 1, in %, for the settings `rows` and `columns` (α and β units kept).

    `chosen` is the place of the outlined cell; `original` the value without any setting, marked on the colour bar. The
    bar spans the values and the original; what is not known (NaN) is left empty.
    Errors: `QuestionError` where there is not one value for each pair, and for a chosen cell outside.
    Source: Leino et al. 2018, Fig 5.

    >>> made = HeatMap("Recall", [[0.2, 0.7], [0.5, 1.0]], rows=(1, 8), columns=(0, 4), chosen=(1, 0), original=0.4)
    >>> [(cell.text, cell.ink, cell.chosen) for cell in made.cells][:3]
    [('20', '#ffffff', False), ('70', '#000000', False), ('50', '#ffffff', True)]
    """

    title: str
    values: Sequence[Sequence[float]]
    rows: Sequence[object]
    columns: Sequence[object]
    chosen: tuple[int, int] | None = None
    original: float | None = None
    row_axis: str = "α"
    column_axis: str = "β"

    def __post_init__(self) -> None:
        widths = {len(row) for row in self.values}
        if len(self.values) != len(self.rows) or widths != {len(self.columns)} or not self.columns:
            raise QuestionError(
                f"There are {len(self.rows)} × {len(self.columns)} settings, and values of {len(self.values)} rows of "
                f"{', '.join(map(str, sorted(widths))) or 'none'}: a heat map takes one for each pair."
            )
        if self.chosen is not None and not (
            self.chosen[0] in range(len(self.rows)) and self.chosen[1] in range(len(self.columns))
        ):
            raise QuestionError(
                f"chosen={self.chosen!r}: there are {len(self.rows)} rows and {len(self.columns)} columns, from 0."
            )

    @property
    def span(self) -> tuple[float, float]:
        """The ends of the colour bar: 5 % on either side where all is the same."""
        known = [v for row in self.values for v in row if math.isfinite(v)]
        known += [] if self.original is None else [self.original]
        low, high = min(known, default=0.0), max(known, default=1.0)
        return (low, high) if low < high else (max(low - 0.05, 0.0), min(high + 0.05, 1.0))

    @property
    def box(self) -> dict[str, float]:
        """The edges of the cells, and the size of the picture."""
        return box_of(
            len(self.rows), len(self.columns), (WIDE, HIGH), least=max(300, 80 + 8 * len(f"{self.title}, in %"))
        )

    @property
    def cells(self) -> list[Shade]:
        """All cells, row by row."""
        return [self._cell(i, j) for i in range(len(self.rows)) for j in range(len(self.columns))]

    def _cell(self, i: int, j: int) -> Shade:
        value = self.values[i][j]
        known = math.isfinite(value)
        colour = sequential_colour(self._part(value)) if known else "none"
        return Shade(
            place=(i, j),
            corner=(LEFT + WIDE * j, TOP + HIGH * i),
            text=f"{100 * value:.0f}" if known else "–",
            colour=colour,
            ink=ink(colour) if known else "currentColor",
            chosen=self.chosen == (i, j),
            title=f"{self.row_axis} {self.rows[i]}, {self.column_axis} {self.columns[j]}: "
            + (f"{value:.1%}" if known else "not known"),
        )

    def _part(self, value: float) -> float:
        low, high = self.span
        return (value - low) / (high - low)

    @property
    def ladder(self) -> list[tuple[float, float, str]]:
        """Top, height and colour of each step of the colour bar, the highest value first."""
        return ladder_of(self.box, sequential_colour)

    @property
    def marks(self) -> list[tuple[float, str, bool]]:
        """Heights and texts beside the bar: its ends, and the original, before which an end that is near gives way."""
        low, high = self.span
        ends = [(self._height(v), f"{v:.0%}", False) for v in (high, low)]
        if self.original is None:
            return ends
        here = self._height(self.original)
        return [*(end for end in ends if abs(end[0] - here) >= 14), (here, f"original {self.original:.0%}", True)]

    def _height(self, value: float) -> float:
        return self.box["bar"] - self._part(value) * (self.box["bar"] - TOP)

    @property
    def sentence(self) -> str:
        """What stands out, for those who do not see the picture."""
        told = [f"{self.title}, in %, by {self.row_axis} (rows) and {self.column_axis} (columns)."]
        if self.chosen is not None:
            cell = self._cell(*self.chosen)
            told.append(f"Chosen: {cell.title}.")
        if self.original is not None:
            told.append(f"Original: {self.original:.1%}.")
        return " ".join(told)

    def svg(self) -> str:
        """The heat map as SVG: a fragment of a page, and a file."""
        return rendered("heatmap.html", map=self, box=self.box, heading=f"{self.title}, in %", style="")

    def _repr_html_(self) -> str:
        return self.svg()
