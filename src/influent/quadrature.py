"""Where a path is evaluated: static grids, Gauss–Legendre nodes, and bisection of the worst segments.

Nothing here knows of nets: positions α in [0, 1], weights that sum to 1, residuals of segments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

RULES = ("adaptive", "graded", "uniform", "left", "gauss")


def grid(rule: str, n: int) -> Tensor:
    """The n positions of a static grid with both ends, ascending, `[n]` float64.

    "uniform" is k/(n−1), "graded" (k/(n−1))³: dense near the baseline, where real nets bend most.

    >>> grid("graded", 3)
    tensor([0.0000, 0.1250, 1.0000], dtype=torch.float64)
    """
    steps = torch.arange(n, dtype=torch.float64) / (n - 1)
    return steps**3 if rule == "graded" else steps


def gauss_nodes(n: int) -> tuple[Tensor, Tensor]:
    """n Gauss–Legendre nodes on [0, 1] and their weights, float64: exact to degree 2n − 1.

    >>> nodes, weights = gauss_nodes(2)
    >>> float((weights * nodes**3).sum())
    0.25
    """
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


@dataclass(frozen=True)
class Bisection:
    """Which segments of one path are halved next: those with the largest residuals.

    `first` positions to start from (uniform, ends included) and at most `round` new ones at a time. Residuals are
    compared to three digits; ties go to the widest segment, then to the leftmost, so that how points are batched
    cannot change the answer.
    """

    first: int = 9
    round: int = 8

    def start(self, n: int) -> list[float]:
        """The first positions, ascending."""
        count = min(n, self.first)
        return [k / (count - 1) for k in range(count)]

    def halve(self, alpha: list[float], residual: list[float], left: int) -> list[float]:
        """The middles of the segments to halve, best first: at most `left`, at most `round`.

        `alpha [point]` ascending, `residual [point − 1]` of the segments between them, all of size ≥ 0.

        >>> Bisection(round=1).halve([0.0, 0.5, 1.0], [0.1, 0.9], left=5)
        [0.75]
        """
        widths = [b - a for a, b in pairwise(alpha)]
        sizes = [_three_digits(r) for r in residual]
        # A segment of 1e-9 of the path cannot be resolved in float32: leave it.
        order = [k for k in sorted(range(len(sizes)), key=lambda k: (-sizes[k], -widths[k], k)) if widths[k] > 1e-9]
        return [(alpha[k] + alpha[k + 1]) / 2 for k in order[: min(left, self.round)]]


def _three_digits(x: float) -> float:
    if x == 0 or not math.isfinite(x):
        return x
    scale = 10.0 ** (2 - math.floor(math.log10(abs(x))))
    return round(x * scale) / scale
