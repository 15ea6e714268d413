"""The speed of an activation along a path: secants beside forward mode, what each costs and how far units are off.

The cost of a rule is that of conductance at one layer, per point, in units of the plain gradient there on as many
uniform points; the error per unit is that of `unit_error`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

import influent as inf
from influent.errors import InputError

from .small_nets import KINDS, LAYER, OF, input_of, passes
from .timing import Ratio, clock_for, interleaved
from .unit_error import relative
from .workload import predicted, real_photos

RULES = ("uniform", "graded", "adaptive", "gauss")
POINTS, TIMED = (17, 33), 17


@dataclass(frozen=True)
class Question:
    """A net, a layer of it, an input, its quantity, where its path begins, and the path that tells the truth."""

    net: inf.Net | nn.Module
    layer: str
    x: Tensor
    of: int
    baseline: Any
    fine: inf.Line

    def asked(self, n: int, rule: str, measure: object = inf.contribution) -> inf.Attribution:
        """The answer from n points of a rule."""
        return inf.influence(
            self.net, self.layer, inf.Class(self.of), inf.Line(self.baseline, self.x, n, rule), measure
        )

    def truth(self) -> Tensor:
        """The answer from the fine path."""
        return inf.influence(self.net, self.layer, inf.Class(self.of), self.fine, inf.contribution).values


def cases(quick: bool) -> dict[str, Callable[[], list[Question]]]:
    """The nets by name: two with real photos, and the small ones of each kind."""
    count, fine = (1, 65) if quick else (2, 400)

    def photographed(name: str, layer: str) -> list[Question]:
        net = inf.zoo.load(name)
        return [
            Question(net, layer, x, predicted(net, x), "black", inf.Line("black", x, n=fine))
            for _, x in real_photos(net, count)
        ]

    def small(kind: Any) -> list[Question]:
        made = [(kind.make(seed), input_of(seed)) for seed in range(1 if quick else 5)]
        return [
            Question(net, LAYER, x, OF, 0 * x, inf.Line(0 * x, x, n=kind.reference, rule=kind.rule)) for net, x in made
        ]

    found: dict[str, Callable[[], list[Question]]] = {
        "efficientnet-lite0": lambda: photographed("efficientnet-lite0", "_blocks.7"),
    }
    if not quick:
        found["googlenet"] = lambda: photographed("googlenet", "inception_4c")
    return found | {kind.name: (lambda kind=kind: small(kind)) for kind in KINDS}


def run(quick: bool) -> dict[str, Any]:
    """The part of the suite: prints as it goes."""
    points, rounds = (POINTS[:1], 1) if quick else (POINTS, 5)
    print(
        f"\nvelocity: error per unit at {', '.join(map(str, points))} points, and cost per point / that of a gradient, "
        f"counted in samples (a dual one forward as two) and in CPU time with {TIMED} points\n"
        f"{'net':<20} {'rule':<9} {'  '.join(f'{n:>8}' for n in points)}   counted  timed"
    )
    report: dict[str, Any] = {}
    for name, make in cases(quick).items():
        try:
            questions = make()
        except InputError as error:
            print(f"{name}: skipped. {error}")
            continue
        report[name] = _compare(name, questions, points, rounds)
    return report


def _compare(name: str, questions: Sequence[Question], points: Sequence[int], rounds: int) -> dict[str, Any]:
    """One net: all rules, the errors as medians over its inputs."""
    truths, first = [q.truth() for q in questions], questions[0]
    jobs: dict[str, Callable[[], object]] = {r: (lambda r=r: first.asked(TIMED, r)) for r in RULES}
    jobs |= {again: (lambda: first.asked(TIMED, "uniform", inf.gradient)) for again in ("gradient", "gradient again")}
    times = interleaved(jobs, rounds, clock_for(1))
    one = passes(first.asked(TIMED, "uniform", inf.gradient), "uniform", TIMED)
    found: dict[str, Any] = {"gradient timed twice": str(Ratio.of(times["gradient again"], times["gradient"]))}
    for rule in RULES:
        errors = {
            n: statistics.median(relative(q.asked(n, rule).values, t) for q, t in zip(questions, truths, strict=True))
            for n in points
        }
        counted = passes(first.asked(TIMED, rule), rule, TIMED) / one
        timed = Ratio.of(times[rule], times["gradient"])
        print(
            f"{name:<20} {rule:<9} {'  '.join(f'{e:>8.2e}' for e in errors.values())}   {counted:<7.2f}  {timed}",
            flush=True,
        )
        found[rule] = {"error": errors, "counted": counted, "timed": str(timed)}
    return found
