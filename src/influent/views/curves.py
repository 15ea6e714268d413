"""A chart: curves over one axis, as inline SVG that follows the page's colours and stands alone as well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .page import rendered
from .palette import LINES

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 270, 46, 12, 30, 42
"""The chart without its legend, and the margins around the curves, in units that grow with the page."""


@dataclass(frozen=True)
class Curve:
    """One curve: its name in the legend, and its values; NaN leaves it out."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """Curves over `positions`, which ascend; `settled` is a position to point out.

    >>> chart = Chart("Score", "α", (0.0, 0.5, 1.0), (Curve("p", (0.0, 0.9, 1.0)),))
    >>> "<svg" in chart.svg(), chart.paths[0][1]
    (True, '46.0,228.0 227.0,49.8 408.0,30.0')
    """

    title: str
    axis: str
    positions: Sequence[float]
    curves: Sequence[Curve]
    percent: bool = False
    settled: float | None = None

    @property
    def ticks(self) -> list[float]:
        """Round numbers that span all values, 0 among them."""
        values = [0.0, *(v for curve in self.curves for v in curve.values if not math.isnan(v))]
        low, high = min(values), max(values) if any(values) else 1.0
        rough = (high - low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * (1 - 1e-6))
        return [step * k for k in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]

    @property
    def rows(self) -> list[tuple[float, str]]:
        """The height of each tick, and what stands beside it."""
        return [(self._y(v), f"{v:.0%}" if self.percent else f"{v:g}") for v in self.ticks]

    @property
    def columns(self) -> list[tuple[float, str]]:
        """Where the quarters of the axis lie, and what stands below them."""
        low, high = self.positions[0], self.positions[-1]
        return [(self._x(a), f"{a:g}") for a in (low + (high - low) * k / 4 for k in range(5))]

    @property
    def marked(self) -> float | None:
        """Where the settled position lies."""
        return None if self.settled is None else self._x(self.settled)

    @property
    def paths(self) -> list[tuple[str, str, str, str]]:
        """Name, points, colour and dashes of each curve that has values."""
        found = []
        for k, curve in enumerate(self.curves):
            colour, dashes = LINES[k % len(LINES)]
            pairs = [p for p in zip(self.positions, curve.values, strict=True) if not math.isnan(p[1])]
            points = " ".join(f"{self._x(a):.1f},{self._y(v):.1f}" for a, v in pairs)
            found.append((curve.name, points, colour, dashes))
        return found

    @property
    def legend(self) -> list[tuple[str, float, str, str]]:
        """Name, height, colour and dashes of each curve, where there are several."""
        if len(self.paths) < 2:
            return []
        return [(name, HEIGHT + 4.0 + 18 * k, colour, dashes) for k, (name, _, colour, dashes) in enumerate(self.paths)]

    def _x(self, position: float) -> float:
        low, high = self.positions[0], self.positions[-1]
        return LEFT + (position - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def svg(self) -> str:
        """The chart as SVG: a fragment of a page, and a file."""
        box = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP}
        return rendered("chart.html", chart=self, box=box | {"bottom": HEIGHT - BOTTOM})
