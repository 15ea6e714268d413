"""A naive pass over data, right but slow, and mistakes that are easily made with one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Rows:
    instances: list[Any]
    values: Tensor
    stderr: Tensor
    count: Tensor


class Pass:
    """The mean gradient of the label's score by class, one sample after another."""

    def __call__(self, net: nn.Module, at: str, batches: Any, by: str = "label") -> Rows:
        kept: dict[Any, list[Tensor]] = {}
        for x, label in batches:
            for name, slope in self.batch(net, at, x, label, by):
                kept.setdefault(name, []).append(slope)
        names = self.order(kept)
        values = torch.stack([self.mean(torch.stack(kept[name])) for name in names])
        errors = torch.stack([self.error(torch.stack(kept[name])) for name in names])
        return Rows(names, values, errors, torch.tensor([self.count(kept[name]) for name in names]))

    def batch(self, net: nn.Module, at: str, x: Tensor, label: Tensor, by: str) -> list[tuple[Any, Tensor]]:
        found = []
        for one, c in zip(x, label.tolist(), strict=True):
            cut = 0 if at == "INPUT" else int(at) + 1
            y = (net[:cut](one[None]) if cut else one[None]).detach().requires_grad_()
            score = (net[cut:] if cut else net)(y)[0, self.score(c)]
            found.append((c if by == "label" else by, torch.autograd.grad(score, y)[0][0]))
        return found

    def score(self, label: int) -> int:
        return label

    def order(self, kept: dict[Any, list[Tensor]]) -> list[Any]:
        return sorted(kept)

    def mean(self, rows: Tensor) -> Tensor:
        return rows.mean(0)

    def error(self, rows: Tensor) -> Tensor:
        return rows.std(0) / len(rows) ** 0.5 if len(rows) > 1 else rows[0] * torch.nan

    def count(self, rows: list[Tensor]) -> int:
        return len(rows)


class MeanOfBatchMeans(Pass):
    """Each batch counts the same, a batch of one sample as much as a batch of ten."""

    def batch(self, net, at, x, label, by):
        rows = super().batch(net, at, x, label, by)
        names = dict.fromkeys(name for name, _ in rows)
        return [(name, torch.stack([slope for own, slope in rows if own == name]).mean(0)) for name in names]


class FirstClassForAll(Pass):
    """The score of class 0 for every sample, whatever its label."""

    def score(self, label):
        return 0


class OrderOfAppearance(Pass):
    """Rows in the order in which their classes come, which another order of the data changes."""

    def order(self, kept):
        return list(kept)[::-1]


class SpreadOfSamples(Pass):
    """The spread of the samples for the error of their mean."""

    def error(self, rows):
        return rows.std(0)


class SumForMean(Pass):
    """Larger classes have larger influence."""

    def mean(self, rows):
        return rows.sum(0) / 10
