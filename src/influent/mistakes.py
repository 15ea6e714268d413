"""Mistakes explained: which units say the wrong class and not the right one, and which mistakes have the same cause."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .confusion import Confusion
from .drowning import Bench
from .errors import QuestionError
from .shapes import spell_shape


@dataclass(frozen=True)
class Puller:
    """A unit behind mistakes: its mean pull towards the wrong class, in logits, and where else it is as active.

    Of the `others` that the net says to be the wrong class, and which are not in the group, `elsewhere` fire the unit
    as much as the group does on average.
    """

    unit: int
    pull: float
    elsewhere: int
    others: int


@dataclass(frozen=True)
class Group:
    """Mistakes of one cause: their names, nearest to the group's mean first, and the units that pull most.

    `cosine` is the mean cosine of two of them, by the pulls of units.
    """

    names: tuple[str, ...]
    cosine: float
    units: tuple[Puller, ...]


@dataclass(frozen=True)
class Mistakes:
    """The mistakes of a confusion: `groups`, the largest first, and how many are `alone`, like no other.

    `looked` of them were explained; two are alike by the cosine of their pulls by unit, and `chance` is the 95 %
    quantile of that cosine when the units of each are shuffled.
    """

    pair: Confusion
    looked: int
    units: tuple[Puller, ...]
    groups: tuple[Group, ...]
    alone: int
    chance: float


def explain_mistakes(bench: Bench, pair: Confusion, top: int = 3) -> Mistakes:
    """The comparative explanation of a confusion, Class(said) − Class(true), sample by sample, in groups.

    Pulls are gradient × activation at the cut, summed over positions. Source: Leino et al. 2018, section 3.2.
    """
    rows = bench.seen.where(pair.true, pair.said)[: bench.limits.most]
    pulls = bench.pulls(pair.said, pair.true, rows)
    found = grouped(pulls, bench.limits.alike)
    groups = []
    for group in found:
        if len(group) > 1:
            mean = pulls[group].mean(0)
            near = _cosines(torch.cat([mean[None], pulls[group]]))[0, 1:]
            names = tuple(bench.seen.names[int(rows[group[k]])] for k in near.argsort(descending=True, stable=True))
            groups.append(
                Group(names, _within(pulls[group]), _pullers(bench, pair.said, pulls[group], rows[group], top))
            )
    alone = sum(len(group) == 1 for group in found)
    return Mistakes(
        pair, len(rows), _pullers(bench, pair.said, pulls, rows, top), tuple(groups), alone, by_chance(pulls)
    )


def grouped(pulls: Tensor, alike: float) -> list[list[int]]:
    """Rows `[sample, unit]` in groups, the largest first, by average linkage of cosines down to `alike`.

    The two groups of largest mean cosine between their members are joined, as long as it is `alike` or more.
    Errors: `QuestionError` for other shapes. Source: Sokal & Michener 1958.

    >>> grouped(torch.tensor([[1.0, 0.1], [0.0, 1.0], [2.0, 0.0]]), alike=0.5)
    [[0, 2], [1]]
    """
    if pulls.dim() != 2:
        raise QuestionError(f"Pulls are {spell_shape(pulls)}: give a row for each mistake, [sample, unit].")
    total = _cosines(pulls)
    size = torch.ones(len(pulls), dtype=torch.float64)
    members = [[k] for k in range(len(pulls))]
    total.fill_diagonal_(-torch.inf)
    for _ in range(len(pulls) - 1):
        mean = total / (size[:, None] * size)
        first, second = divmod(int(mean.argmax()), len(pulls))
        if not float(mean[first, second]) >= alike:
            break
        first, second = sorted((first, second))
        members[first] += members[second]
        members[second] = []
        size[first] += size[second]
        total[first] += total[second]
        total[:, first] = total[first]
        total[first, first] = total[second, :] = total[:, second] = -torch.inf
    return sorted((sorted(group) for group in members if group), key=lambda group: (-len(group), group))


def by_chance(pulls: Tensor, seed: int = 0) -> float:
    """The 95 % quantile of the cosine of two rows whose units are shuffled, each row by itself; NaN for one row."""
    if len(pulls) < 2:
        return float("nan")
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.stack([row[torch.randperm(len(row), generator=generator)] for row in pulls])
    return float(_pairs(shuffled).quantile(0.95))


def _within(pulls: Tensor) -> float:
    """The mean cosine of two rows."""
    return float(_pairs(pulls).mean())


def _pairs(rows: Tensor) -> Tensor:
    """The cosine of every two rows."""
    first, second = torch.triu_indices(len(rows), len(rows), 1)
    return _cosines(rows)[first, second]


def _cosines(rows: Tensor) -> Tensor:
    unit = torch.nn.functional.normalize(rows.double(), dim=1)
    return unit @ unit.T


def _pullers(bench: Bench, said: int, pulls: Tensor, rows: Tensor, top: int) -> tuple[Puller, ...]:
    """The units of largest mean pull, those that pull towards the wrong class."""
    seen, mean = bench.seen, pulls.mean(0)
    others = torch.tensor([k for k in (seen.said == said).nonzero().flatten().tolist() if k not in set(rows.tolist())])
    best = mean.argsort(descending=True, stable=True)[:top]
    made = []
    for unit in best[mean[best] > 0].tolist():
        level = seen.units[rows, unit].mean()
        elsewhere = int((seen.units[others.long(), unit] >= level).sum())
        made.append(Puller(unit, float(mean[unit]), elsewhere, len(others)))
    return tuple(made)
