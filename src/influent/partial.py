"""What is known of a data set after some of its samples: sums that merge, row by row, and the best examples."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .rows import exact_type
from .shapes import per_point

Place = tuple[int, int, int]
"""Which cut, which quantity, which measure of a question."""


@dataclass(frozen=True)
class Moments:
    """Weighted sums over the samples of one row: Σ w, Σ w², Σ w · u and Σ w · u², `[*unit]`, in float64.

    `best [k, *unit]` are the samples of largest |u|, by their index, with their values; -1 where there are too few.
    """

    count: int
    weight: float
    weight2: float
    total: Tensor
    squares: Tensor | None = None
    best: Tensor | None = None
    best_values: Tensor | None = None

    @classmethod
    def of(cls, units: Tensor, weight: Tensor, index: Tensor, spread: bool, keep: int) -> Moments:
        """Of `units [sample, *unit]` with `weight [sample]` and `index [sample]`.

        >>> Moments.of(torch.tensor([[1.0], [3.0]]), torch.ones(2), torch.arange(2), True, 1).best
        tensor([[1]])
        """
        exact = units.to(exact_type(units))
        weighted = exact * per_point(weight.to(exact), exact)
        squares = (weighted * exact).sum(0) if spread else None
        found = cls(len(units), float(weight.sum()), float((weight**2).sum()), weighted.sum(0), squares)
        if not keep:
            return found
        best, values = _best(units, per_point(index.to(units.device), units).expand(units.shape), keep)
        return replace(found, best=best, best_values=values)

    def merge(self, other: Moments) -> Moments:
        """Both, `self` being the earlier one."""
        merged = Moments(
            self.count + other.count, self.weight + other.weight, self.weight2 + other.weight2,
            self.total + other.total,
            None if self.squares is None or other.squares is None else self.squares + other.squares,
        )  # fmt: skip
        if self.best is None or other.best is None or self.best_values is None or other.best_values is None:
            return merged
        values, index = torch.cat([self.best_values, other.best_values]), torch.cat([self.best, other.best])
        best, values = _best(values, index, len(self.best))
        return replace(merged, best=best, best_values=values)

    @property
    def mean(self) -> Tensor:
        """`[*unit]`."""
        return self.total / self.weight

    @property
    def stderr(self) -> Tensor | None:
        """The standard error of the mean, `[*unit]`; NaN for a single sample.

        With weights, those of Σ w u / Σ w for samples of one spread: (Σ w)² / Σ w² takes the place of the count.
        """
        if self.squares is None:
            return None
        effective = self.weight**2 / self.weight2
        if self.count < 2:
            return torch.full_like(self.total, torch.nan)
        return ((self.squares / self.weight - self.mean**2).clamp(min=0) / (effective - 1)).sqrt()


def _best(values: Tensor, index: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The samples of largest magnitude for each unit; of equal ones the earlier; -1 and 0 where there are too few."""
    # What is -1 is no sample and comes last.
    size = values.abs().where(index >= 0, -1.0)
    order = size.argsort(dim=0, descending=True, stable=True)[:keep]
    best, best_values = index.gather(0, order), values.gather(0, order)
    missing = keep - len(best)
    if missing:
        best = torch.cat([best, best.new_full((missing, *best.shape[1:]), -1)])
        best_values = torch.cat([best_values, best_values.new_zeros((missing, *best.shape[1:]))])
    return best, best_values


@dataclass(frozen=True)
class Row:
    """One row of a result so far: the moments of every cut, quantity and measure, and Σ w · change and Σ w · residual.

    `change [of]`; `residual [cut, of]`.
    """

    moments: dict[Place, Moments]
    change: Tensor
    residual: Tensor

    def merge(self, other: Row) -> Row:
        """Both, `self` being the earlier one."""
        moments = {place: m.merge(other.moments[place]) for place, m in self.moments.items()}
        return Row(moments, self.change + other.change, self.residual + other.residual)

    @property
    def weight(self) -> float:
        """Σ w over its samples."""
        return next(iter(self.moments.values())).weight


@dataclass(frozen=True)
class Partial:
    """What some samples give: rows by name, samples that were left out with the reason, names of the best examples.

    `merge` of the partials of disjoint samples is the partial of all of them; in one fixed order it is the same to the
    last bit.
    """

    rows: dict[Hashable, Row] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    samples: int = 0

    def merge(self, other: Partial) -> Partial:
        """Both, `self` being the earlier one."""
        rows = dict(self.rows)
        for name, row in other.rows.items():
            rows[name] = rows[name].merge(row) if name in rows else row
        known = {**self.names, **other.names}
        kept = {int(i) for row in rows.values() for m in row.moments.values() if m.best is not None
                for i in m.best.unique() if i >= 0}  # fmt: skip
        names = {index: known[index] for index in sorted(kept)}
        return Partial(rows, {**self.left_out, **other.left_out}, names, self.samples + other.samples)


@dataclass(frozen=True)
class Node:
    """The partial of the blocks from `place << level` on, `1 << level` of them: a node of the tree of all blocks."""

    level: int
    place: int
    partial: Partial

    @property
    def start(self) -> int:
        """Its first block."""
        return self.place << self.level

    @property
    def stop(self) -> int:
        """The block behind its last."""
        return (self.place + 1) << self.level


@dataclass
class Fold:
    """Blocks added up as the nodes of one binary tree, so that the sum does not depend on who added which.

    Floating addition is not associative: (a + b) + (c + d) is not ((a + b) + c) + d. Here 2k and 2k + 1 are added
    first, then pairs of pairs, whatever ranges of blocks were added elsewhere; what is kept of a range are the largest
    whole subtrees in it, at most two of each size. Source: pairwise summation, Higham 1993.

    >>> fold = Fold()
    >>> for block in range(6):
    ...     fold.add(block, Partial(samples=1))
    >>> [(node.start, node.stop) for node in fold.nodes], fold.total.samples
    ([(0, 4), (4, 6)], 6)
    """

    nodes: list[Node] = field(default_factory=list)

    def add(self, block: int, partial: Partial) -> None:
        """One more block, the next."""
        self.extend([Node(0, block, partial)])

    def extend(self, nodes: Iterable[Node]) -> None:
        """The nodes of the blocks that come next, in their order."""
        for node in nodes:
            while self.nodes and _siblings(self.nodes[-1], node):
                left = self.nodes.pop()
                node = Node(node.level + 1, left.place // 2, left.partial.merge(node.partial))
            self.nodes.append(node)

    @property
    def total(self) -> Partial:
        """All of them: the nodes one after another, from the first block on."""
        found = Partial()
        for node in self.nodes:
            found = found.merge(node.partial)
        return found


def _siblings(left: Node, right: Node) -> bool:
    return left.level == right.level and left.place % 2 == 0 and right.place == left.place + 1
