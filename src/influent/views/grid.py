"""The influence grid: one instance's influences, each unit in the place that it has in the order over the class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from influent.attribution import Attribution
from influent.errors import QuestionError
from influent.fidelity import rank_agreement

from .page import rendered
from .palette import SIGNS

CELL, MARGIN, HEAD, FOOT = 16, 8, 46, 78
"""Side of a cell, and the space around, above and below them, in units that grow with the page."""


@dataclass(frozen=True)
class Box:
    """One unit: the corners of its cell and box, the box's side and colour, its signs, and what a pointer reads."""

    cell: tuple[float, float]
    corner: tuple[float, float]
    side: float
    colour: str
    positive: bool
    shaded: bool
    text: str


@dataclass(frozen=True)
class Grid:
    """One instance's `values [unit]` in the order of `of_class [unit]`, largest positive first, row by row.

    A box's area is the magnitude of its value (its side, the root of it), the largest fills its cell. Sign is shown by
    colour and shape: squares speak for, discs against; cells of units that over the class speak against are shaded.
    `colours` is "safe" (orange for, blue against) or "paper" (green, red). What is not finite has no box.
    Errors: `QuestionError` for other colours, and where there is not one value, class value and name a unit.
    Source: Leino et al. 2018, Fig 3.

    >>> grid = Grid("a cat", values=(2.0, -0.5, 0.0), of_class=(1.0, 3.0, -1.0), names=("fur", "tail", "wheel"))
    >>> [(box.text, box.side, box.positive) for box in grid.boxes]
    [('tail: -0.5', 8.0, False), ('fur: +2', 16.0, True), ('wheel: +0', 0.0, True)]
    """

    title: str
    values: Sequence[float]
    of_class: Sequence[float]
    names: Sequence[str]
    note: str = ""
    colours: str = "safe"

    def __post_init__(self) -> None:
        if self.colours not in SIGNS:
            raise QuestionError(f"colours={self.colours!r} are not known: {', '.join(map(repr, SIGNS))}.")
        if not len(self.values) == len(self.of_class) == len(self.names) > 0:
            raise QuestionError(
                f"There are {len(self.values)} values, {len(self.of_class)} of the class and {len(self.names)} names: "
                "a grid takes one of each for every unit."
            )

    @property
    def columns(self) -> int:
        """Cells in a row: the grid is as square as it can be."""
        return math.ceil(math.sqrt(len(self.values)))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture; never too narrow for its legend."""
        rows = math.ceil(len(self.values) / self.columns)
        return max(2 * MARGIN + CELL * self.columns, 340), HEAD + CELL * rows + FOOT

    @property
    def left(self) -> float:
        """Where the first column begins."""
        return (self.size[0] - CELL * self.columns) / 2

    @property
    def boxes(self) -> list[Box]:
        """All units, in the order of the class; of equals the first stays first."""
        most = max((abs(v) for v in self.values if math.isfinite(v)), default=0.0)
        return [self._box(place, unit, most) for place, unit in enumerate(self._order)]

    @property
    def _order(self) -> list[int]:
        return sorted(range(len(self.values)), key=lambda u: -self.of_class[u])

    def _box(self, place: int, unit: int, most: float) -> Box:
        row, column = divmod(place, self.columns)
        value = self.values[unit]
        side = CELL * math.sqrt(abs(value) / most) if math.isfinite(value) and most else 0.0
        x, y = self.left + CELL * column, float(HEAD + CELL * row)
        gap = (CELL - side) / 2
        return Box(
            cell=(x, y),
            corner=(x + gap, y + gap),
            side=side,
            colour=SIGNS[self.colours][int(value < 0)],
            positive=not value < 0,
            shaded=self.of_class[unit] < 0,
            text=f"{self.names[unit]}: {f'{value:+.3g}' if math.isfinite(value) else 'not known'}",
        )

    @property
    def lines(self) -> list[str]:
        """What the legend says below the two signs."""
        sizes = [abs(v) if math.isfinite(v) else -1.0 for v in self.values]
        largest = sizes.index(max(sizes))
        return [
            f"Area is size; the largest: {self.names[largest]}, {self.values[largest]:+.3g}.",
            "Shaded cells: units against, over the class.",
            *([self.note] if self.note else []),
        ]

    def svg(self) -> str:
        """The grid as SVG: a fragment of a page, and a file. A pointer over a cell reads the unit and its value."""
        return rendered(
            "grid.html", grid=self, cell=CELL, head=HEAD, foot=self.size[1] - FOOT, colours=SIGNS[self.colours]
        )

    def _repr_html_(self) -> str:
        return self.svg()


def grid(instance: Attribution, of_class: Attribution, title: str = "", colours: str = "safe") -> Grid:
    """The grid of one row of influences beside one row over its class, both at the same cut.

    Its note is Spearman's ρ of the two orders. Errors: `QuestionError` for several rows, and for other units.

    >>> net, x = nn.Linear(3, 2).eval(), torch.rand(2, 3)
    >>> a = influence(net, "INPUT", Class(1), Point(x), gradient_times_activation)
    >>> grid(a[0], of_class=a.mean(["cat", "cat"])).note[:30]
    'Follows the order of the class'
    """
    for one in (instance, of_class):
        if len(one.instances) != 1:
            raise QuestionError(f"A grid shows one row, and there are {len(one.instances)}: a[{one.instances[0]!r}].")
    rho = float(rank_agreement(instance, of_class))
    units = {r.index: r for r in instance.top(instance.values.numel())}
    order = sorted(units)
    return Grid(
        title or f"{instance.question.at.text}, instance {instance.instances[0]}",
        [units[index].value for index in order],
        of_class.values.detach().double().flatten().tolist(),
        [units[index].name or str(index) for index in order],
        f"Follows the order of the class: Spearman's ρ = {rho:+.2f}." if math.isfinite(rho) else "",
        colours,
    )
