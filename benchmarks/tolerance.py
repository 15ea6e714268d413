"""How many passes a gap below one per cent takes: `Line(tol=0.01)` beside fixed grids, photo by photo.

A fixed rule must be fine enough for the worst photo, and then pays for that with every photo. Its grids double; a
photo goes on to the next one only while its gap is too large, so that the number of points which serves all photos is
at least the largest of theirs: where it is wrong, it is wrong in the fixed rule's favour.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

import influent as inf

from .workload import predicted, real_photos

TOL = 0.01
LADDER = (33, 65, 129, 257, 513, 1025, 2049)
CUTS = ("INPUT", "inception_3a/channel", "inception_4c/channel", "inception_5b/channel")
# The gap is a sum over all units: inside, by channel, it is the same, and takes less adding up.
PHOTOS, PHOTOS_QUICK = 50, 1


@dataclass(frozen=True)
class Reached:
    """A photo, the points its path was given, and the largest gap over all cuts, as a share of |F(x) − F(x′)|."""

    photo: str
    points: int
    gap: float

    @property
    def met(self) -> bool:
        """Whether the gap is small enough."""
        return self.gap < TOL


def climb(ladder: Sequence[int], reach: Callable[[int], Reached]) -> list[Reached]:
    """Finer and finer grids until one is fine enough, or the ladder ends."""
    steps: list[Reached] = []
    for n in ladder:
        steps.append(reach(n))
        if steps[-1].met:
            break
    return steps


def needed(found: Sequence[Reached]) -> int | None:
    """The points that serve every photo; None where some photo was not served."""
    return max(r.points for r in found) if all(r.met for r in found) else None


def refuted(n: int, photos: Sequence[str], reach: Callable[[str, int], Reached]) -> Reached | None:
    """The first photo for which n points are too few, or None: one is enough to refute a rule for all."""
    return next((r for r in (reach(photo, n) for photo in photos) if not r.met), None)


def verdict(adaptive: Sequence[Reached], fixed: int | None) -> bool:
    """Whether every adaptive gap is small, with fewer points in the median than the fixed rule gives each photo."""
    fewer = fixed is None or statistics.median(r.points for r in adaptive) < fixed
    return all(r.met for r in adaptive) and fewer


def run(quick: bool) -> dict[str, Any]:
    """The part of the suite: prints as it goes."""
    net = inf.zoo.load("googlenet")
    photos = dict(real_photos(net, PHOTOS_QUICK if quick else PHOTOS))
    ladder = LADDER[:2] if quick else LADDER
    print(f"\ntolerance: googlenet, logit of the predicted class, {len(photos)} photos, every gap below {TOL:.0%}")
    print(f"{'photo':<22} {'tol':<14} graded, points and largest gap over {', '.join(CUTS)}")
    adaptive, climbs = [], []
    for name, x in photos.items():
        adaptive.append(_reach(net, name, x, inf.Line("black", x, n=ladder[-1], tol=TOL)))
        climbs.append(climb(ladder, lambda n, name=name: _fixed(net, name, photos[name], "graded", n)))
        steps = ", ".join(f"{r.points}: {r.gap:.2%}" for r in climbs[-1])
        print(f"{name:<22} {adaptive[-1].points:>4}: {adaptive[-1].gap:<8.2%} {steps}", flush=True)
    graded = needed([steps[-1] for steps in climbs])
    hardest = sorted(climbs, key=lambda steps: (-steps[-1].points, -steps[0].gap))
    order = [steps[0].photo for steps in hardest]
    uniform = _uniform(net, photos, order, [n for n in ladder if n <= (graded or ladder[-1])])
    return _report(adaptive, climbs, graded, uniform, ladder[-1])


def _uniform(net: inf.Net, photos: dict[str, Tensor], order: Sequence[str], ladder: Sequence[int]) -> list[Reached]:
    """For each grid up to the one that serves in the graded rule, a photo that the uniform rule does not serve."""
    witnesses: list[Reached] = []
    for n in ladder:
        first = [r.photo for r in witnesses[-1:]]
        again = [*first, *(name for name in order if name not in first)]
        found = refuted(n, again, lambda name, n: _fixed(net, name, photos[name], "uniform", n))
        if found is None:
            print(f"uniform {n}: enough for every photo", flush=True)
            break
        print(f"uniform {n}: too few for {found.photo}, gap {found.gap:.2%}", flush=True)
        witnesses.append(found)
    return witnesses


def _report(
    adaptive: list[Reached], climbs: list[list[Reached]], graded: int | None, uniform: list[Reached], last: int
) -> dict[str, Any]:
    ladder = [n for n in LADDER if n <= last]
    refuted_to = uniform[-1].points if uniform else 0
    serving = [n for n in ladder if n > refuted_to and n <= (graded or last)]
    fixed = min([n for n in (graded, *serving[:1]) if n is not None], default=None)
    points = [r.points for r in adaptive]
    met = verdict(adaptive, fixed)
    own = [steps[-1].points for steps in climbs]
    print(
        f"tol={TOL}: median {statistics.median(points):.0f} points, {min(points)} to {max(points)}, mean "
        f"{statistics.mean(points):.0f}; largest gap {max(r.gap for r in adaptive):.2%}\n"
        f"graded: {graded or f'more than {last}'} for every photo; each photo's own least grid, median "
        f"{statistics.median(own):.0f}\nuniform: more than {refuted_to} points\n"
        f"bar: every gap below {TOL:.0%}, and fewer points in the median than {fixed or f'the more than {last}'} "
        f"of the best fixed rule: {'met' if met else 'MISSED'}",
        flush=True,
    )
    return {
        "photos": len(adaptive), "cuts": CUTS, "tol": {r.photo: f"{r.points} points: {r.gap:.3%}" for r in adaptive},
        "graded": {steps[0].photo: {r.points: f"{r.gap:.3%}" for r in steps} for steps in climbs},
        "graded serves all": graded,
        "uniform refuted": [asdict(r) for r in uniform], "median points": statistics.median(points), "met": met,
    }  # fmt: skip


def _fixed(net: inf.Net, name: str, x: Tensor, rule: str, n: int) -> Reached:
    return _reach(net, name, x, inf.Line("black", x, n=n, rule=rule))


def _reach(net: inf.Net, name: str, x: Tensor, over: inf.Line) -> Reached:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", inf.InfluentWarning)  # where n came first, the gap says so
        found = inf.influence(net, list(CUTS), inf.Class(predicted(net, x)), over, inf.contribution)
    answers = list(found.values())
    return Reached(name, answers[0].cost.backward, max(float(a.gap.relative) for a in answers))
