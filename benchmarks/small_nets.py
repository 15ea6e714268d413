"""Small nets, where a path can be followed to the last digit: the error of single units at equal passes, over seeds.

A pass is a sample that goes forward or backward; one that goes forward with its velocity counts twice. Captum gets at
least as many passes as ours took.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from captum.attr import LayerConductance
from torch import Tensor, nn

import influent as inf

from .unit_error import relative, steps_at

SEEDS, SEEDS_QUICK = 9, 3
LAYER = "3"  # after the second activation
SHAPE = (1, 3, 16, 16)
Activation = Callable[[], nn.Module]
OF = 3


@dataclass(frozen=True)
class Kind:
    """A kind of net, the rule that is asked about it, its numbers of points, and the one that the bar is for."""

    name: str
    make: Callable[[int], nn.Module]
    rule: str
    points: tuple[int, ...]
    bar_at: int
    bar: float
    reference: int


@dataclass(frozen=True)
class Errors:
    """One net's error per unit at one number of points, beside Captum's at as many passes."""

    ours: float
    theirs: float
    passes: int
    steps: int

    @property
    def times(self) -> float:
        """How many times as large Captum's is."""
        return self.theirs / self.ours


def convolutions(activation: Activation, seed: int) -> nn.Module:
    """Three convolutions with He's weights and a linear layer, float64, `[point, 3, 16, 16] → [point, 10]`."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 8, 3, padding=1), activation(), nn.Conv2d(8, 16, 3, stride=2, padding=1), activation()]
    layers += [nn.Conv2d(16, 16, 3, padding=1), activation(), nn.Flatten(), nn.Linear(16 * 8 * 8, 10)]
    return _finished(nn.Sequential(*layers))


def dense(activation: Activation, seed: int) -> nn.Module:
    """Three hidden layers of 64 units with He's weights, float64, `[point, 3, 16, 16] → [point, 10]`."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), 64)), activation()]
    layers += [nn.Linear(64, 64), activation(), nn.Linear(64, 64), activation(), nn.Linear(64, 10)]
    return _finished(nn.Sequential(*layers))


def _finished(net: nn.Module) -> nn.Module:
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return net.double().eval().requires_grad_(False)


KINDS = (
    Kind("ReLU convolutions", partial(convolutions, nn.ReLU), "adaptive", (17, 33, 65), 65, 2.0, 1025),
    Kind("ReLU dense", partial(dense, nn.ReLU), "adaptive", (17, 33, 65), 65, 2.0, 1025),
    Kind("GELU convolutions", partial(convolutions, nn.GELU), "gauss", (5, 10, 20), 10, 100.0, 100),
    Kind("GELU dense", partial(dense, nn.GELU), "gauss", (5, 10, 20), 10, 100.0, 100),
)


def input_of(seed: int) -> Tensor:
    """Noise `[1, 3, 16, 16]`."""
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1000 + seed), dtype=torch.float64)


def passes(a: inf.Attribution, rule: str, points: int) -> int:
    """Samples forward and backward; the velocities of "gauss" ran forward twice as dear."""
    return a.cost.forward + a.cost.backward + (points if rule == "gauss" else 0)


def beside_captum(net: nn.Module, x: Tensor, rule: str, points: int, reference: Tensor) -> Errors:
    """Ours with so many points, and Captum's with as many passes."""
    start = torch.zeros_like(x)
    ours = inf.influence(net, LAYER, inf.Class(OF), inf.Line(start, x, n=points, rule=rule), inf.contribution)
    cost = passes(ours, rule, points)
    steps = steps_at(cost + 1, layers=1)  # rounded up
    found = LayerConductance(net, net.get_submodule(LAYER)).attribute(x, start, target=OF, n_steps=steps)
    return Errors(relative(ours.values, reference), relative(found, reference), cost, steps)


def run(quick: bool) -> dict[str, Any]:
    """The part of the suite: prints as it goes."""
    seeds, report = range(SEEDS_QUICK if quick else SEEDS), {}
    print(f"\nsmall: error per unit beside Captum's at equal passes, medians over {len(seeds)} nets")
    for kind in KINDS:
        found: dict[int, list[Errors]] = {n: [] for n in kind.points}
        for seed in seeds:
            net, x = kind.make(seed), input_of(seed)
            fine = inf.Line(0 * x, x, n=kind.reference, rule=kind.rule)
            reference = inf.influence(net, LAYER, inf.Class(OF), fine, inf.contribution).values
            for n in kind.points:
                found[n].append(beside_captum(net, x, kind.rule, n, reference))
        report[kind.name] = {n: _line(kind, n, errors) for n, errors in found.items()}
    return report


def _line(kind: Kind, points: int, errors: list[Errors]) -> dict[str, Any]:
    times = statistics.median(e.times for e in errors)
    met = times >= kind.bar
    verdict = f"bar >= {kind.bar:g}: {'met' if met else 'MISSED'}" if points == kind.bar_at else ""
    print(
        f"{kind.name:<18} {kind.rule:<9} {points:>3} points, {errors[0].passes:>3} passes: "
        f"{statistics.median(e.ours for e in errors):.2e}; Captum {errors[0].steps:>3} steps: "
        f"{statistics.median(e.theirs for e in errors):.2e}; ratio {times:.3g} "
        f"[{min(e.times for e in errors):.3g}-{max(e.times for e in errors):.3g}] {verdict}",
        flush=True,
    )
    return {"median ratio": times, "net by net": [asdict(e) for e in errors], **({"met": met} if verdict else {})}
