"""Points on a path: each counted once its neighbours are known, with the residual of each segment.

Velocity is the secant through the neighbours, weight half the distance between them: Σ weight · slope · velocity is
then the trapezoid form ½(G_k + G_{k+1})·(y_{k+1} − y_k) of Shrikumar et al. 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from .cut import Cut
from .distribution import Heard
from .rows import Key, Rows, exact_type, take
from .shapes import per_point

NEAR = 1 / 32
"""How long a path's first segment may be to say something of the baseline itself."""
Count = Callable[[Rows, Callable[[Cut], Tensor]], None]


@dataclass
class Ribbon:
    """Static paths as they come, in descending α, one after another: a point waits for the next.

    `count` adds up rows with their velocities; `residual[cut, of] [instance]` collects |residual| of the segments,
    `boundary` the one of the segment at the baseline alone, and `change [instance, of]` the changes of the quantities
    `flowing`, which have no value but the sum of their segments. With `left`, a segment counts with its beginning.
    """

    count: Count
    residual: dict[Key, Tensor]
    change: Tensor
    flowing: tuple[int, ...]
    boundary: dict[Key, Tensor]
    left: bool = False
    tail: Rows | None = None
    counted: int = 0

    def push(self, rows: Rows) -> None:
        """More points."""
        rows = rows if self.tail is None else Rows.cat([self.tail, rows])
        n, closed = len(rows), bool(rows.alpha[-1] == 0.0)
        self.take(rows, self.counted, n if closed else n - 1)
        keep = n if closed else max(0, n - 2)
        # A copy: a slice would keep all that it was cut from while the next points run.
        self.tail, self.counted = (None, 0) if closed else (rows[keep:].copy(), n - 1 - keep)

    def take(self, rows: Rows, first: int, last: int) -> None:
        """Count rows `first` to `last`; the rows around them are their neighbours, where they are of the same path."""
        if last <= first:
            return
        joined = (rows.subject[1:] == rows.subject[:-1]).long()
        after, before = torch.arange(len(rows)), torch.arange(len(rows))
        after[:-1] += joined
        before[1:] -= joined
        after, before = after[first:last], before[first:last]
        if self.left:
            after = torch.arange(first, last)
        width, now = rows.alpha[after] - rows.alpha[before], rows[first:last]
        # A path's own end has no step behind it, and no weight.
        step = width.where(width != 0, 1.0)
        own = {cut for cut, _ in now.along}

        def rate(cut: Cut) -> Tensor:
            if now.speed is not None and cut in own:
                return now.speed
            y = rows.seen[cut]
            found = take(y, after)  # a copy, so that it can be changed
            found -= take(y, before)
            found /= per_point(step.to(y), y)
            return found

        self.count(replace(now, weight=now.weight * width.abs() * (1.0 if self.left else 0.5)), rate)
        stop = min(last, len(rows) - 1)
        if stop > first and (self.residual or self.flowing):
            self._add_segments(rows[first:stop], rows[first + 1 : stop + 1], joined[first:stop].bool())

    def _add_segments(self, one: Rows, next_to_it: Rows, joined: Tensor) -> None:
        """Residuals of the segments between rows and their neighbours, where `joined [segment]`: in the same path."""
        falls = bool((one.alpha > next_to_it.alpha)[joined].any())
        low, high = (next_to_it, one) if falls else (one, next_to_it)
        changes = [segment_change(low, high, q) for q in range(low.values.shape[1])]
        doubts = [segment_doubt(low, high, q) for q in range(low.values.shape[1])]
        begins = joined & (low.alpha == 0.0) & (high.alpha <= NEAR)
        for key, total in self.residual.items():
            off = (changes[key[1]] - segment_sum(low, high, key, self.left)).abs() + doubts[key[1]]
            total.index_add_(0, low.instance, off.where(joined, 0.0))
            self.boundary[key][low.instance[begins]] = off[begins]
        for q in self.flowing:
            self.change[:, q].index_add_(0, low.instance, changes[q].where(joined, 0.0))


def segment_change(low: Rows, high: Rows, of: int) -> Tensor:
    """ΔF of the segments between rows, `[segment]`; of a flow, Σ_units ½(G_low + G_high)·(y_high − y_low)."""
    change = high.values[:, of] - low.values[:, of]
    for (cut, q), slope in low.flows.items():
        if q == of:
            change = change + _trapezoid(slope, high.flows[cut, q], high.held[cut] - low.held[cut])
    return change


def segment_doubt(low: Rows, high: Rows, of: int) -> Tensor:
    """½ Σ_units |G_high − G_low|·|y_high − y_low| of the units that a flow goes through, and 0 where there is no flow.

    How far the flow's own trapezoid may be off: where slopes are monotone over the segment, no further. Below a linear
    layer the flow on the input repeats it, error for error, and says nothing of it. `[segment]`.
    """
    doubt = torch.zeros(len(low), dtype=torch.float64)
    for (cut, q), slope in low.flows.items():
        if q == of:
            doubt += _total(((high.flows[cut, q] - slope) * (high.held[cut] - low.held[cut])).abs()) / 2
    return doubt


def _trapezoid(low: Tensor, high: Tensor, step: Tensor) -> Tensor:
    return _total((low + high) * step) / 2


def _total(y: Tensor) -> Tensor:
    """Sums over everything but the row, `[row]` in float64 on the CPU."""
    return y.reshape(len(y), -1).sum(1, dtype=exact_type(y)).double().cpu()


def segment_sum(low: Rows, high: Rows, key: Key, left: bool = False) -> Tensor:
    """Σ_units ½(G_low + G_high)·(y_high − y_low) of the segments between rows, `[segment]`: what ΔF should be.

    With `left`, Σ_units G_low·(y_high − y_low).
    """
    other = low if left else high
    if key in low.along:
        return (low.along[key] + other.along[key]) / 2 * (high.alpha - low.alpha)
    return _trapezoid(low.slopes[key], other.slopes[key], high.seen[key[0]] - low.seen[key[0]])


class Path:
    """One adaptive path: its rows by position, and the residuals of each segment, computed once."""

    def __init__(self, full: dict[Key, bool]) -> None:
        self.rows: list[tuple[float, Rows]] = []
        self.errors: dict[tuple[float, float], list[float]] = {}
        self.changes: dict[tuple[float, float], list[float]] = {}
        self.full = full
        # A cut that not all paths cross says nothing of ΔF: it is heard only where there is no other.
        self.keys = [key for key, is_full in full.items() if is_full] or list(full)

    def add(self, row: Rows) -> None:
        """One more point."""
        self.rows.append((float(row.alpha), row))
        self.rows.sort(key=lambda pair: pair[0])

    def heard(self) -> Heard:
        """Positions, and each segment's residual: the largest over quantities and cuts, each in units of its own F."""
        pairs = list(pairwise(self.rows))
        for (a, low), (b, high) in pairs:
            if (a, b) not in self.errors:
                self.changes[a, b] = [float(segment_change(low, high, q)) for _, q in self.keys]
                pairs_of = zip(self.keys, self.changes[a, b], strict=True)
                self.errors[a, b] = [self._error(low, high, key, change) for key, change in pairs_of]
        signed = torch.tensor([self.errors[a, b] for (a, _), (b, _) in pairs], dtype=torch.float64)
        errors = signed.abs()
        changes = torch.tensor([self.changes[a, b] for (a, _), (b, _) in pairs], dtype=torch.float64)
        values = self.rows[0][1].values[:, [q for _, q in self.keys]]
        values = torch.cat([values, values + changes.cumsum(0)])
        spread = (values.amax(0) - values.amin(0)).clamp(min=torch.finfo(torch.float64).tiny)
        eps = max(torch.finfo(g.dtype).eps for g in self.rows[0][1].slopes.values())
        seen = errors.where(errors > 32 * eps * values.abs().amax(0), 0.0)
        # What the whole path is off by: signed residuals cancel. Distances, where no cut is full, are all positive.
        off = signed.sum(0).abs() / (values[-1] - values[0]).abs().clamp(min=torch.finfo(torch.float64).tiny)
        return Heard([a for a, _ in self.rows], (seen / spread).amax(1).tolist(), float(off.max()))

    def _error(self, low: Rows, high: Rows, key: Key, change: float) -> float:
        if self.full[key]:
            residual = change - float(segment_sum(low, high, key))
            flowing = any(q == key[1] for _, q in low.flows)
            return abs(residual) + float(segment_doubt(low, high, key[1])) if flowing else residual
        # The distance between the left and the right sum stands in for the residual.
        step = high.seen[key[0]] - low.seen[key[0]]
        return float(((high.slopes[key] - low.slopes[key]) * step).abs().sum()) / 2
