"""The timed jobs: each is compared with a base, beside the base timed a second time (A/A)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from captum.attr import InternalInfluence, LayerConductance
from torch import Tensor

import influent as inf

from .timing import Ratio, clock_for, interleaved
from .workload import EARLIEST, MIDDLE, NINE, Samples, counted, floor, photos

CLASS = 967  # espresso; times do not depend on it
CHUNK = 16
NAMES = ("floor", "nine-point", "nine-gradient", "nine-contribution", "captum-conductance", "captum-internal")


@dataclass(frozen=True)
class Size:
    """How much work: photos for `Point`, points on a path, points beside Captum, rounds of the clock."""

    photos: int
    points: int
    points_beside_captum: int
    rounds: int


FULL = Size(photos=64, points=16, points_beside_captum=32, rounds=9)
QUICK = Size(photos=16, points=8, points_beside_captum=8, rounds=3)


@dataclass(frozen=True)
class Comparison:
    """A job beside the base that it is divided by, and the bar that job / base must keep, where there is one."""

    name: str
    what: str
    job: Callable[[], object]
    base: Callable[[], object]
    bar: float | None
    at_least: bool = False
    """Whether the ratio should be above the bar, as where the job is another's and the base is ours."""
    most: int = 9
    """Rounds of the clock, at most: fewer where a round takes long."""


@dataclass(frozen=True)
class Outcome:
    """What came out of one comparison."""

    comparison: Comparison
    ratio: Ratio
    control: Ratio
    job: Samples
    base: Samples

    @property
    def counted(self) -> float:
        """Samples of the job / samples of the base, backward as dear as forward: the ratio where only passes cost."""
        return (self.job.forward + self.job.backward) / (self.base.forward + self.base.backward)

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the bar; None where there is none."""
        bar = self.comparison.bar
        if bar is None:
            return None
        return self.ratio.median >= bar if self.comparison.at_least else self.ratio.median <= bar


def comparisons(net: inf.Net, size: Size) -> list[Comparison]:
    """All of them, in the order of the table."""
    many, one = photos(net, size.photos), photos(net, 1)
    return [_point_against_floor(net, many), *_nine_against_one(net, many, one, size), *_against_captum(net, one, size)]


def _point(net: inf.Net, at: str | list[str], x: Tensor) -> Callable[[], object]:
    return lambda: inf.influence(net, at=at, of=inf.Class(CLASS), over=inf.Point(x), chunk=CHUNK)


def _path(
    net: inf.Net, at: str | list[str], x: Tensor, n: int, rule: str, measure: object, chunk: int = CHUNK
) -> Callable[[], object]:
    over = inf.Line("black", x, n=n, rule=rule)
    return lambda: inf.influence(net, at=at, of=inf.Class(CLASS), over=over, measure=measure, chunk=chunk)


def _point_against_floor(net: inf.Net, x: Tensor) -> Comparison:
    return Comparison(
        "floor",
        f"internal influence at {MIDDLE}, Point, {len(x)} photos / the floor",
        _point(net, MIDDLE, x),
        lambda: floor(net.module, MIDDLE, x, CLASS, CHUNK),
        bar=1.10,
    )


def _nine_against_one(net: inf.Net, many: Tensor, one: Tensor, size: Size) -> list[Comparison]:
    n, few = size.points, many[: size.points]
    return [
        Comparison(
            "nine-point",
            f"nine cuts / the earliest: internal influence, Point, {len(few)} photos",
            _point(net, list(NINE), few),
            _point(net, EARLIEST, few),
            bar=1.15,
        ),
        Comparison(
            "nine-gradient",
            f"nine cuts / the earliest: internal influence, Line uniform n={n}, gradient",
            _path(net, list(NINE), one, n, "uniform", inf.gradient),
            _path(net, EARLIEST, one, n, "uniform", inf.gradient),
            bar=1.15,
        ),
        Comparison(
            "nine-contribution",
            f"nine cuts / the earliest: conductance, Line graded n={n}, contribution",
            _path(net, list(NINE), one, n, "graded", inf.contribution),
            _path(net, EARLIEST, one, n, "graded", inf.contribution),
            bar=1.15,
        ),
    ]


def _against_captum(net: inf.Net, x: Tensor, size: Size) -> list[Comparison]:
    black, layers, n = (
        net.baseline_for("black", x),
        [net.module.get_submodule(cut) for cut in NINE],
        size.points_beside_captum,
    )

    def conductance() -> list[Tensor]:
        methods = [LayerConductance(net.module, layer) for layer in layers]
        # Captum adds a point of its own to n_steps.
        return [m.attribute(x, black, target=CLASS, n_steps=n - 1).detach() for m in methods]

    def internal() -> list[Tensor]:
        methods = [InternalInfluence(net.module, layer) for layer in layers]
        return [m.attribute(x, black, target=CLASS, n_steps=n).detach() for m in methods]

    return [
        Comparison(
            "captum-conductance",
            f"nine calls of Captum's LayerConductance / one sweep, {n} points, contribution",
            conductance,
            _path(net, list(NINE), x, n, "uniform", inf.contribution, chunk=n),
            bar=5.0,
            at_least=True,
        ),
        Comparison(
            "captum-internal",
            f"nine calls of Captum's InternalInfluence / one sweep, {n} points, gradient",
            internal,
            _path(net, list(NINE), x, n, "uniform", inf.gradient, chunk=n),
            bar=5.0,
            at_least=True,
        ),
    ]


def measure(net: inf.Net, comparison: Comparison, rounds: int, threads: int) -> Outcome:
    """Count the samples of job and base, then time them and the base once more."""
    job, base = _count(net, comparison.job), _count(net, comparison.base)
    torch.set_num_threads(threads)
    jobs = {"job": comparison.job, "base": comparison.base, "base again": comparison.base}
    times = interleaved(jobs, min(rounds, comparison.most), clock_for(threads))
    return Outcome(
        comparison, Ratio.of(times["job"], times["base"]), Ratio.of(times["base again"], times["base"]), job, base
    )


def _count(net: inf.Net, job: Callable[[], object]) -> Samples:
    with counted(net.module) as seen:
        result = job()
    for a in result.values() if isinstance(result, dict) else [result]:
        if isinstance(a, inf.Attribution) and (a.cost.forward, a.cost.backward) != (seen.forward, seen.backward):
            raise RuntimeError(f"The result says {a.cost}, but {seen} went through the net.")
    return seen
