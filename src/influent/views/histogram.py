"""A histogram: how values are spread, group upon group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .page import rendered
from .palette import SIGNS

BINS, WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT, LINE = 31, 480, 170, 44, 12, 34, 40, 18


@dataclass(frozen=True)
class Histogram:
    """`groups` of values by name, stacked, under a title; `axis` says what the values are, in their unit.

    From the lowest to the highest percentile of all: what lies beyond is counted at the ends. What is not finite is
    left out.

    >>> Histogram("Influence", "influence", [("cats", [0.0, 1.0]), ("dogs", [1.0])]).counts[0][-1]
    1
    """

    title: str
    axis: str
    groups: Sequence[tuple[str, Sequence[float]]]

    @cached_property
    def ends(self) -> tuple[float, float]:
        """Where the first bar begins and the last one ends."""
        every = [v for _, values in self.groups for v in values if math.isfinite(v)]
        low, high = np.percentile(every, [1, 99]) if every else (0.0, 1.0)
        room = (high - low or abs(high) or 1.0) / (2 * BINS)
        return float(low - room), float(high + room)

    @cached_property
    def counts(self) -> list[list[int]]:
        """How many values of each group are in each bar."""
        low, high = self.ends
        inside = [[v for v in values if math.isfinite(v)] for _, values in self.groups]
        return [np.histogram(np.clip(v, low, high), BINS, (low, high))[0].tolist() for v in inside]

    @cached_property
    def most(self) -> int:
        """The height of the highest bar."""
        return max(1, *(sum(bar) for bar in zip(*self.counts, strict=True)))

    @property
    def bars(self) -> list[tuple[float, float, float, float, str]]:
        """Each bar's piece: left, top, width, height, and its group's colour."""
        wide, found = (WIDTH - LEFT - RIGHT) / BINS, []
        for b in range(BINS):
            below = 0
            for counts, colour in zip(self.counts, self.colours, strict=True):
                tall = counts[b] * HEIGHT / self.most
                found.append(
                    (LEFT + b * wide, TOP + HEIGHT - below * HEIGHT / self.most - tall, wide - 1, tall, colour)
                )
                below += counts[b]
        return [bar for bar in found if bar[3]]

    @property
    def colours(self) -> list[str]:
        """A colour for each group; a single one is grey, as is the last."""
        return [*SIGNS["safe"][: len(self.groups) - 1], "#8a8a8a"]

    @property
    def zero(self) -> float | None:
        """Where 0 is, if it is there."""
        low, high = self.ends
        return LEFT + (0 - low) / (high - low) * (WIDTH - LEFT - RIGHT) if low < 0 < high else None

    def svg(self) -> str:
        """The histogram as SVG, a fragment of a page."""
        box = {"width": WIDTH, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": TOP + HEIGHT, "foot": FOOT}
        return rendered("histogram.html", chart=self, box=box, line=LINE, ends=[f"{end:.3g}" for end in self.ends])

    def _repr_html_(self) -> str:
        return self.svg()
