"""A class that the net hardly finds, tried: do some units alone find it, and which others outweigh them?

Units are chosen on one half of the class's samples and of those of its rival, the class that is said in its place;
all that is told is told on the other half. Source: Leino et al. 2018, sections 3.3.1 and 3.4 ("drowning experts").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .ask import influence
from .confusion import Seen
from .counting import Counts, evaluate
from .cut import OUTPUT, Cut
from .dataset import Dataset
from .experts import Cell, Grid, essences, random_units, sweep
from .fidelity import auroc
from .limits import Limits
from .mask import Mask
from .measures import activation, gradient_times_activation
from .nets import Net
from .quantities import Class
from .rates import area_interval, by_lot, difference, fisher, mann_whitney
from .samples import Source, known_source
from .selection import selected

Progress = Callable[[int], None]
ALPHAS, BETAS = (1, 2, 5, 10, 20, 50, 100, 200), (0, 1, 5, 20, 100)
STEPS = (1, 2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True)
class Told:
    """A class told from others: of `count` samples of it `hits` are said to be it, of `others` others `alarms`.

    >>> told = Told(9, 10, 1, 10)
    >>> round(told.apart, 3), told.p < 0.01
    (0.8, True)
    """

    hits: int
    count: int
    alarms: int
    others: int

    @property
    def recall(self) -> float:
        """hits / count."""
        return self.hits / self.count

    @property
    def apart(self) -> float:
        """hits / count − alarms / others: 0 where it is said of both alike; NaN without others. Source: Youden 1950."""
        return self.recall - self.alarms / self.others if self.others else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Newcombe's 95 % interval of `apart`."""
        return difference(self.hits, self.count, self.alarms, self.others)

    @property
    def p(self) -> float:
        """Fisher's exact one-sided test that `apart` is above 0."""
        return fisher(self.hits, self.count, self.alarms, self.others)

    @classmethod
    def of(cls, counts: Counts, samples: int) -> Told:
        """From the counts of one mask over `samples` samples."""
        hits, count = int(counts.tp), int(counts.tp + counts.fn)
        return cls(hits, count, int(counts.fp), samples - count)


@dataclass(frozen=True)
class Silenced:
    """The units that outweigh an expert, on the half that did not choose them.

    - `units`: they pull most towards the class that is said instead, on samples that are lost to it;
    - `outweighed` of `lost` lost samples: there they pull more towards it than the expert's units away from it;
    - `activity`: their mean activation on the class's samples, as a share of that on the rival's;
    - `told`: what the net says with these units silenced; `lot`: the recall with as many others silenced by lot.
    """

    units: tuple[int, ...]
    outweighed: int
    lost: int
    activity: float
    told: Told
    lot: tuple[float, ...]

    @property
    def share_of_lot(self) -> float:
        """The share of lots that bring as much of the class back."""
        return by_lot(self.told.recall, self.lot)


@dataclass(frozen=True)
class Tried:
    """A class in doubt, tried on samples that chose nothing (but for its score, which chooses nothing).

    - `instead` is said most often in its place; `rival` is the class it is told from, or None: all others together;
    - `net`: what the net says; `relaxed`: what its best units alone say, whatever the precision, `units` of them;
    - `strict`: the best units at no less precision than the net's, where there are any;
    - `score`: AUROC of the whole net's f_index − f_instead, the class against what it is told from, over `scored`
      samples of both;
    - `lot`: `apart` of as many units by lot; `silenced`: what outweighs the units, where they find the class.
    """

    index: int
    instead: int
    rival: int | None
    net: Told
    relaxed: Told | None
    strict: Told | None
    units: tuple[int, ...]
    size: int
    score: float
    scored: tuple[int, int]
    lot: tuple[float, ...] = ()
    silenced: Silenced | None = None

    @property
    def score_p(self) -> float:
        """P(such an AUROC or a higher one by chance): Mann and Whitney's test, by the normal distribution."""
        return mann_whitney(self.score, *self.scored)

    @property
    def score_interval(self) -> tuple[float, float]:
        """The 95 % interval of the AUROC."""
        return area_interval(self.score, *self.scored)

    def ranks(self, limits: Limits) -> bool:
        """Whether the net's score tells the class from its rival, whatever the net says in the end."""
        return self.score_p <= limits.level and self.score >= limits.ranked

    def alone(self, limits: Limits) -> bool:
        """Whether the best units alone find the class."""
        return self.relaxed is not None and _finds(self.relaxed, limits)

    def finds(self, limits: Limits) -> bool:
        """Whether some units find the class: the best alone, or all but those that outweigh it, silenced."""
        return self.alone(limits) or (self.silenced is not None and _finds(self.silenced.told, limits))

    def misses(self, limits: Limits) -> bool:
        """Whether it is sure that none do: the whole interval of `apart` is below the limit, and so is the score's.

        Of a score that is not shown to be above chance at all, the interval is not asked for.
        """
        if self.finds(limits) or (self.score_p <= limits.level and self.score_interval[1] >= limits.ranked):
            return False
        return self.relaxed is None or self.relaxed.interval[1] < limits.missed

    def comes_back(self, limits: Limits) -> bool:
        """Whether more of the class is found when what outweighs it is silenced: Fisher's test of both recalls."""
        if self.silenced is None:
            return False
        told = self.silenced.told
        return fisher(told.hits, told.count, self.net.hits, self.net.count) <= limits.level

    @property
    def share_of_lot(self) -> float:
        """The share of lots of as many units that tell the class as well."""
        return 1.0 if self.relaxed is None else by_lot(self.relaxed.apart, self.lot)


@dataclass(frozen=True)
class _Half:
    """Rows of the class and of what it is told from."""

    own: Tensor
    others: Tensor

    @property
    def both(self) -> Tensor:
        return torch.cat([self.own, self.others])


@dataclass(frozen=True)
class Bench:
    """What trials share: a net, a cut, the source and what was seen of it, limits, and how it is run."""

    net: Net
    at: Cut
    source: Source
    seen: Seen
    limits: Limits
    chunk: int
    progress: Progress | None = None
    planned: Progress | None = None

    def data(self, rows: Tensor, by: str = "label") -> Dataset:
        """Some of the samples that were seen, in the order of the data."""
        if self.planned is not None:
            self.planned(len(rows))
        return Dataset(selected(known_source(self.source), self.seen.index[rows].tolist()), by=by)

    def some(self, index: int) -> Tensor:
        """Rows of a class and of all others, at most `most` of each."""
        label = self.seen.label
        kinds = ((label == index).nonzero().flatten(), (label != index).nonzero().flatten())
        return torch.cat([evenly(rows, self.limits.most) for rows in kinds])

    def pulls(self, towards: int, away: int, rows: Tensor) -> Tensor:
        """Gradient × activation of Class(towards) − Class(away), by unit, `[sample, unit]`, for rising `rows`.

        Source: the comparative quantity, Leino et al. 2018, section 3.2.
        """
        of, over = Class(towards) - Class(away), self.data(rows, "sample")
        found = influence(
            self.net, self.at, of, over, gradient_times_activation, chunk=self.chunk, progress=self.progress
        )
        return torch.as_tensor(found.values).cpu().double()

    def score(self, index: int, instead: int, own: Tensor, others: Tensor) -> float:
        """AUROC of f_index − f_instead, samples of the class against others; NaN where there are none of one."""
        if not len(own) or not len(others):
            return float("nan")
        rows = torch.cat([own, others]).sort().values
        found = influence(
            self.net, OUTPUT, Class(index), self.data(rows, "sample"), activation, chunk=self.chunk,
            progress=self.progress,
        )  # fmt: skip
        values = torch.as_tensor(found.values).cpu().double()
        return auroc(values[:, index] - values[:, instead], self.seen.label[rows] == index)

    def told(self, index: int, masks: Sequence[Mask], rows: Tensor) -> list[Told]:
        """How a class is told under each mask; a mask of nothing is given by all units."""
        done = evaluate(
            self.net, self.data(rows), masks, [Class(index)] * len(masks), chunk=self.chunk, progress=self.progress
        )
        return [Told.of(done.masked[k], len(rows)) for k in range(len(masks))]


def _finds(told: Told, limits: Limits) -> bool:
    """`apart` above 0 by its test, and of the size that is asked for."""
    return told.p <= limits.level and told.apart >= limits.apart


def instead_of(seen: Seen, index: int) -> int:
    """The class that is said most often of a class's lost samples; of equal ones the first."""
    said = seen.said[seen.lost(index)]
    return int(said.bincount().argmax()) if len(said) else index


def try_class(bench: Bench, index: int) -> Tried:
    """An expert for a class, sought on one half and tried on the other; where it finds the class, what outweighs it.

    The class needs two samples or more. Errors as `sweep`.
    """
    instead = instead_of(bench.seen, index)
    rival = instead if instead != index and len(bench.seen.where(instead)) >= bench.limits.least else None
    choose, report = _halves(bench, index, rival)
    grid = _swept(bench, index, choose)
    relaxed, strict = _best(grid, len(choose.others)), grid.best("recall")
    size, lots = grid.size, range(bench.limits.draws)
    masks = [Mask(bench.at, range(size))]
    masks += [cell.mask for cell in (relaxed, strict) if cell is not None]
    if relaxed is not None:
        masks += [Mask(bench.at, random_units(len(relaxed.units), size, seed)) for seed in lots]
    net, *rest = bench.told(index, masks, report.both)
    own, others = (torch.cat(rows) for rows in ((choose.own, report.own), (choose.others, report.others)))
    score, scored = bench.score(index, instead, own, others), (len(own), len(others))
    if relaxed is None:
        return Tried(index, instead, rival, net, None, None, (), size, score, scored)
    found, rest = rest[0], rest[1:]
    also, rest = (rest[0], rest[1:]) if strict is not None else (None, rest)
    lots_apart = tuple(one.apart for one in rest)
    tried = Tried(index, instead, rival, net, found, also, relaxed.units, size, score, scored, lots_apart)
    known = tried.alone(bench.limits) or tried.ranks(bench.limits)
    if not known or instead == index:
        return tried
    return replace(tried, silenced=_silenced(bench, tried, choose, report))


def _halves(bench: Bench, index: int, rival: int | None) -> tuple[_Half, _Half]:
    """Every other sample of the class and of those it is told from; evenly out of them, where there are many."""
    seen, most = bench.seen, bench.limits.most
    own = seen.where(index)
    others = (seen.label != index).nonzero().flatten() if rival is None else seen.where(rival)
    parts = [(evenly(own[k::2], most), evenly(others[k::2], most)) for k in (0, 1)]
    return _Half(*parts[0]), _Half(*parts[1])


def evenly(rows: Tensor, most: int) -> Tensor:
    """`most` of the rows, from all parts of them; all where there are no more."""
    return rows if len(rows) <= most else rows[torch.linspace(0, len(rows) - 1, most).round().long()]


def _swept(bench: Bench, index: int, choose: _Half) -> Grid:
    """The class and its rival under all α and β, on the half that chooses."""
    words: dict[str, Any] = {"chunk": bench.chunk, "progress": bench.progress}
    order = essences(bench.net, bench.at, bench.data(choose.own), [Class(index)], **words)[0][0]
    units = order.values[0].numel()
    alphas, betas = ([n for n in numbers if n <= units] for numbers in (ALPHAS, BETAS))
    grid: Grid = sweep(
        bench.net, bench.at, bench.data(choose.both), Class(index), alphas, betas, influence=order, **words
    )
    return grid


def _best(grid: Grid, others: int) -> Cell | None:
    """The cell that tells the class best from its rival; of equal ones, that of the fewest units; None without units.

    Not of most recall alone: a unit that always says the class has all of it, and knows nothing.
    """
    apart = grid.counts.recall - grid.counts.fp / max(1, others)
    cells = [
        (-float(apart[a, b]), len(units), a, b)
        for a, row in enumerate(grid.units)
        for b, units in enumerate(row)
        if units
    ]
    return grid.cell(*min(cells)[2:]) if cells else None


def _silenced(bench: Bench, tried: Tried, choose: _Half, report: _Half) -> Silenced | None:
    """The units that pull lost samples away from the class, as many as bring most of it back; None without any."""
    seen, index = bench.seen, tried.index
    lost, told_lost = (half.own[seen.said[half.own] != index] for half in (choose, report))
    if not len(lost) or not len(told_lost):
        return None
    pull = bench.pulls(tried.instead, index, lost).mean(0)
    order = pull.argsort(descending=True, stable=True)
    # Where the best units alone do not find it, what speaks for the class is whatever pulls towards it.
    own = tried.units if tried.alone(bench.limits) else tuple((pull < 0).nonzero().flatten().tolist())
    against = [u for u in order[pull[order] > 0].tolist() if u not in own]
    if not against:
        return None
    steps = [n for n in STEPS if n < len(against)] + [len(against)]
    masks = [Mask(bench.at, against[:n], keep=False) for n in steps]
    back = bench.told(index, masks, choose.both)
    best = max(range(len(steps)), key=lambda k: (back[k].apart, -steps[k]))
    units = tuple(against[: steps[best]])
    free = [u for u in range(tried.size) if u not in own]
    drawn = [[free[k] for k in random_units(len(units), len(free), seed)] for seed in range(bench.limits.draws)]
    masks = [Mask(bench.at, group, keep=False) for group in (list(units), *drawn)]
    told, *lots = bench.told(index, masks, report.both)
    pulls = bench.pulls(tried.instead, index, told_lost)
    outweighed = int((pulls[:, list(units)].sum(1) > -pulls[:, list(own)].sum(1)).sum())
    active = [float(seen.units[rows][:, list(units)].mean()) for rows in (report.own, report.others)]
    return Silenced(
        units, outweighed, len(told_lost), active[0] / active[1] if active[1] else float("nan"), told,
        tuple(one.recall for one in lots),
    )  # fmt: skip
