"""The map of heads: one signed number for each layer and head, red for and blue against."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from influent.errors import QuestionError

from .heatmap import HIGH, TOP, WIDE, Shade, box_of, ladder_of
from .page import rendered
from .palette import ink, signed_hex
from .text import ends, painted

SMALL, MANY = 18, 24
"""Side of a cell without a number; heads in a layer from which cells have none."""


@dataclass(frozen=True)
class HeadMap:
    """`values [layer][head]`, colours symmetric around 0; what is not known (NaN) is left empty.

    `chosen` are the places (layer, head) of outlined cells. Numbers are in the same unit, the largest with two
    significant digits; in maps of many heads a pointer reads them.
    Errors: `QuestionError` where the layers have not equally many heads, and for chosen cells outside.

    >>> made = HeadMap("Conductance", [[0.5, -2.0], [0.0, 1.0]], chosen={(0, 1)})
    >>> [(cell.text, cell.ink, cell.chosen) for cell in made.cells][:2]
    [('+0.5', '#000000', False), ('-2.0', '#ffffff', True)]
    """

    title: str
    values: Sequence[Sequence[float]]
    chosen: Collection[tuple[int, int]] = ()
    row_axis: str = "layer"
    column_axis: str = "head"

    def __post_init__(self) -> None:
        widths = sorted({len(row) for row in self.values})
        if len(widths) != 1 or widths == [0]:
            raise QuestionError(
                f"There are {len(self.values)} layers, of {', '.join(map(str, widths)) or 'no'} heads: a map takes one "
                "value for each layer and head, values [layer][head], float('nan') where there is none."
            )
        if outside := [c for c in self.chosen if c[0] not in self.rows or c[1] not in self.columns]:
            raise QuestionError(
                f"chosen={outside[0]!r}: there are {len(self.rows)} layers and {len(self.columns)} heads, from 0."
            )

    @property
    def rows(self) -> range:
        """The layers."""
        return range(len(self.values))

    @property
    def columns(self) -> range:
        """The heads."""
        return range(len(self.values[0]))

    @cached_property
    def most(self) -> float:
        """The largest |value|, where the colours saturate; 1 where all are 0."""
        return max((abs(v) for row in self.values for v in row if math.isfinite(v)), default=0.0) or 1.0

    @cached_property
    def box(self) -> dict[str, float]:
        """The edges of the cells, and the size of the picture."""
        cell = (WIDE, HIGH) if self._numbered else (SMALL, SMALL)
        # A letter of the heading is about eight units wide.
        return box_of(len(self.rows), len(self.columns), cell, least=max(300, 70 + 8 * len(self._heading)))

    @property
    def _numbered(self) -> bool:
        return len(self.columns) < MANY

    @property
    def _power(self) -> int:
        """The power of ten of the unit, 0 where numbers are short without one."""
        power = max(math.floor(math.log10(self.most)), -300)
        return 0 if -1 <= power <= 2 else power

    @property
    def _heading(self) -> str:
        return self.title + (f", in 1e{self._power}" if self._power and self._numbered else "")

    def _number(self, value: float) -> str:
        if not math.isfinite(value):
            return "–"
        scaled, most = value / 10.0**self._power, self.most / 10.0**self._power
        text = f"{scaled:+.{max(0, 1 - math.floor(math.log10(most)))}f}"
        return text if float(text) else "0"

    @property
    def cells(self) -> list[Shade]:
        """All cells, row by row."""
        shown = [[v if math.isfinite(v) else 0.0 for v in row] for row in self.values]
        colours = [signed_hex(row, self.most) for row in shown]
        return [self._cell(i, j, colours[i][j]) for i in self.rows for j in self.columns]

    def _cell(self, i: int, j: int, colour: str) -> Shade:
        known, box = math.isfinite(self.values[i][j]), self.box
        return Shade(
            place=(i, j),
            corner=(box["left"] + box["wide"] * j, box["top"] + box["high"] * i),
            text=self._number(self.values[i][j]) if self._numbered else "",
            colour=colour if known else "none",
            ink=ink(colour) if known else "currentColor",
            chosen=(i, j) in self.chosen,
            title=self._told(i, j),
        )

    def _told(self, i: int, j: int) -> str:
        value = self.values[i][j]
        said = f"{value:+.3g}" if math.isfinite(value) else "not known"
        return f"{self.row_axis} {i}, {self.column_axis} {j}: {said}"

    @property
    def ladder(self) -> list[tuple[float, float, str]]:
        """Top, height and colour of each step of the colour bar, the largest value first."""
        return ladder_of(self.box, lambda part: signed_hex([2 * part - 1], 1.0)[0])

    @property
    def marks(self) -> list[tuple[float, str, bool]]:
        """Heights and texts beside the bar: its ends, and 0."""
        bottom = self.box["bar"]
        ends = (TOP, f"{self.most:+.3g}", False), (bottom, f"{-self.most:+.3g}", False)
        return [ends[0], ((TOP + bottom) / 2, "0", False), ends[1]]

    @property
    def sentence(self) -> str:
        """What stands out, for those who do not see the picture."""
        told = [f"{self.title}, by {self.row_axis} (rows) and {self.column_axis} (columns)."]
        places = [(i, j) for i in self.rows for j in self.columns if math.isfinite(self.values[i][j])]
        ordered = sorted(places, key=lambda place: self.values[place[0]][place[1]])
        top = [p for p in reversed(ordered[-3:]) if self.values[p[0]][p[1]] > 0]
        low = [p for p in ordered[:3] if self.values[p[0]][p[1]] < 0]
        for word, found in (("Most for", top), ("Most against", low)):
            told += [f"{word}: {'; '.join(self._told(*place) for place in found)}."] if found else []
        if self.chosen:
            some = "; ".join(f"{self.row_axis} {i}, {self.column_axis} {j}" for i, j in sorted(self.chosen)[:5])
            more = len(self.chosen) - 5
            told.append(f"Outlined: {some}{f' and {more} more' if more > 0 else ''}.")
        return " ".join(told)

    def svg(self) -> str:
        """The map as SVG: a file, and what `html` puts on a page."""
        box = self.box
        # Not so small on a phone that nothing can be read: there it scrolls.
        style = f"width: 100%; max-width: {box['width']}px; min-width: {0.7 * box['width']:.0f}px"
        return rendered("heatmap.html", map=self, box=box, heading=self._heading, style=style)

    def html(self) -> str:
        """The map as a fragment of a page, which scrolls where it is too wide."""
        return rendered("scrolled.html", name=self.title, body=self.svg())

    def _repr_html_(self) -> str:
        return self.html()

    def ansi(self) -> str:
        """The map for terminals with 24-bit colours: a line for each layer, the chosen marked by a star."""
        wide = 3 if self._numbered else 2
        first = max(len(self.row_axis), len(str(len(self.rows) - 1)))
        heads = "".join(f"{j if wide == 3 or not j % 5 else '':>{wide}}" for j in self.columns)
        lines = [self.title, f"{'':{first}}  {self.column_axis}", f"{self.row_axis:{first}} {heads}"]
        cells = iter(self.cells)
        for i in self.rows:
            row = [next(cells) for _ in self.columns]
            marks = [("*" if cell.chosen else "" if cell.colour != "none" else "–").rjust(wide) for cell in row]
            painting = (
                mark if cell.colour == "none" else painted(mark, cell.colour)
                for mark, cell in zip(marks, row, strict=True)
            )  # fmt: skip
            lines.append(f"{i:>{first}} {''.join(painting)}")
        return "\n".join([*lines, ends(self.most)])
