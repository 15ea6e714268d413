"""The page of saturation: score and gradients of each net as curves, as a table, in words and as a film."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from influent.saturate import WITHIN, Saturation

from .curves import Chart, Curve
from .page import rendered

COLUMNS = ("score", "settled from", "place", "gradient largest at", "at α = 1, % of the largest")
LEGEND = (
    f"A score is settled where it stays within {WITHIN:.0%} of its range of where it ends (dotted line). The gradient "
    "is the mean over a place's units of |∂ score / ∂ unit|, divided by its largest on the way. Where a score is "
    "settled its gradients are small, whatever made it rise: that is why contributions are taken along the way, and "
    "not at the photo alone."
)
FILM_LEGEND = (
    "White pixels matter most. One scale: white is the largest of the whole way, so that the film is dark where the "
    "score is flat. Own scale: white is the largest of that frame, and says where, not how much."
)


@dataclass(frozen=True)
class NetCurves:
    """What one net says on the way to the photo: the likeliest class at its end, and the curves of each named score."""

    name: str
    predicted: tuple[str, float] | None
    curves: Mapping[str, Saturation]

    @property
    def title(self) -> str:
        """`googlenet: espresso 95.1%`."""
        return f"{self.name}: {self.predicted[0]} {self.predicted[1]:.1%}" if self.predicted else self.name

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The table: for each score and place, where the gradient is largest, and what is left of it at the photo."""
        return [
            (name, _at(c.settled), cut, _at(c.largest_at[cut]), _percent(float(c.remaining[cut][0])))
            for name, c in self.curves.items()
            for cut in c.gradient
        ]

    @property
    def sentences(self) -> list[str]:
        """Each score in plain words."""
        return [
            f"{name}: {float(c.score[0, 0]):.3g} at α = 0, {float(c.score[0, -1]):.3g} at α = 1. {c.sentence()}"
            for name, c in self.curves.items()
        ]

    @property
    def charts(self) -> list[Chart]:
        """For each score, its own curve and those of its gradients."""
        return [chart for name, c in self.curves.items() for chart in _charts(name, c)]


def _charts(name: str, c: Saturation) -> tuple[Chart, Chart]:
    alpha = [round(a, 6) for a in c.alpha.tolist()]
    largest = {cut: float(size[0].max()) for cut, size in c.gradient.items()}
    sizes = [Curve(cut, [v / largest[cut] for v in c.gradient[cut][0].tolist()]) for cut, m in largest.items() if m]
    axis = "α, from the baseline to the photo"
    return (
        Chart(name, axis, alpha, [Curve(name, c.score[0].tolist())], settled=float(c.settled[0])),
        Chart("its mean |gradient|, % of the largest", axis, alpha, sizes, percent=True),
    )


def _at(alpha: Tensor) -> str:
    return f"α = {float(alpha[0]):.2f}"


def _percent(share: float) -> str:
    return "no gradient" if math.isnan(share) else f"{share:.1%}"


def saturation_page(
    title: str, intro: str, made: Sequence[NetCurves], films: Sequence[bytes], facts: Mapping[str, str], seconds: float,
) -> str:  # fmt: skip
    """The HTML: a section for each net with its film, a GIF's bytes; `facts` are the small print."""
    data = [f"data:image/gif;base64,{base64.b64encode(film).decode()}" for film in films]
    return rendered(
        "saturation.html", title=title, sections=list(zip(made, data, strict=True)), columns=COLUMNS, legend=LEGEND,
        film_legend=FILM_LEGEND, intro=intro, facts=facts, seconds=seconds,
    )  # fmt: skip
