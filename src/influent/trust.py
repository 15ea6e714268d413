"""Does a prediction have the reasons of its class? Rank agreement of each sample with the class that the net says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .confusion import Seen
from .fidelity import auroc, rank_agreement
from .rates import area_interval

LEAST = 5
"""Right answers of a class below which it has no order of units to follow."""


@dataclass(frozen=True)
class Doubt:
    """One sample: its name, its class, what is said with which probability, and its rank agreement with that class."""

    name: str
    label: int
    said: int
    probability: float
    agreement: float


@dataclass(frozen=True)
class Trust:
    """How far rank agreement tells wrong answers from right ones, and the samples that it makes suspicious.

    - `area`: P(a right answer agrees more with its class than a wrong one), AUROC, with its 95 % interval;
      `by_probability`: the same for the probability of what is said; over `right` right answers and `wrong` wrong ones;
    - `least`: right answers that agree least with the order of their class's units: right for other reasons?
    - `most`: wrong answers that agree most with the class that is said: is their label right?

    Source: Leino et al. 2018, Fig 3, as a number.
    """

    area: float
    low: float
    high: float
    by_probability: float
    right: int
    wrong: int
    least: tuple[Doubt, ...]
    most: tuple[Doubt, ...]


def trust(seen: Seen, keep: int = 8) -> Trust | None:
    """Rank agreement of every sample's influences with the mean of its class's right answers, its own left out.

    None where it is not known: no class has right answers enough, or all influences have one order (behind the layer
    the net is linear).

    >>> from influent.confusion import see
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).eval()
    >>> x = torch.randn(40, 2)
    >>> made = trust(see(net, "0/channel", Dataset([(x, net(x).argmax(1))])))
    >>> made.wrong, len(made.least)
    (0, 8)
    """
    found = agreements(seen)
    known = ~found.isnan()
    right = seen.label == seen.said
    if not bool(known.any()) or float(found[known].max() - found[known].min()) < 1e-6:
        return None
    hits, misses = int((known & right).sum()), int((known & ~right).sum())
    area = by_probability = math.nan
    if hits and misses:
        area = auroc(found[known], right[known])
        by_probability = auroc(seen.probability[known].double(), right[known])
    low, high = area_interval(area, hits, misses)
    least = _doubts(seen, found, (known & right).nonzero().flatten(), found, keep)
    most = _doubts(seen, found, (known & ~right).nonzero().flatten(), -found, keep)
    return Trust(area, low, high, by_probability, hits, misses, least, most)


def agreements(seen: Seen) -> Tensor:
    """Spearman's ρ of each sample's influences with those of the class that is said, `[sample]`; NaN where unknown."""
    found = torch.full((len(seen.label),), torch.nan, dtype=torch.float64)
    for index in seen.said.unique().tolist():
        rows = (seen.said == index).nonzero().flatten()
        right = seen.label[rows] == index
        count = int(right.sum())
        if count < LEAST:
            continue
        slopes = seen.slopes[rows].double()
        total = slopes[right].sum(0)
        order = total / count
        found[rows[~right]] = rank_agreement(slopes[~right], order) if bool((~right).any()) else torch.empty(0).double()
        for k in right.nonzero().flatten().tolist():
            found[rows[k]] = rank_agreement(slopes[k : k + 1], (total - slopes[k]) / (count - 1))[0]
    return found


def _doubts(seen: Seen, found: Tensor, rows: Tensor, key: Tensor, keep: int) -> tuple[Doubt, ...]:
    best: Sequence[int] = rows[key[rows].argsort(stable=True)[:keep]].tolist()
    return tuple(
        Doubt(seen.names[k], int(seen.label[k]), int(seen.said[k]), float(seen.probability[k]), float(found[k]))
        for k in best
    )
