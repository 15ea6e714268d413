"""Points that have been run, and weighted means over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from .cut import Cut
from .shapes import per_point

Key = tuple[Cut, int]


@dataclass(frozen=True)
class Rows:
    """Points that have been run: one row each, on the net's device where large.

    `values [row, of]` the quantities, `seen[cut] [row, *neuron]`, `slopes[cut, of] [row, *neuron]`; on a path
    `along[cut, of] [row]` is dF/dα = Σ slope · speed where the path's own cut is watched, and `speed` is known there.
    `flows[cut, of]` and `held[cut]` are slopes and activations of the units that a quantity's flow is followed through.
    """

    subject: Tensor
    instance: Tensor
    weight: Tensor
    values: Tensor
    seen: dict[Cut, Tensor]
    slopes: dict[Key, Tensor]
    along: dict[Key, Tensor]
    alpha: Tensor
    speed: Tensor | None = None
    flows: dict[Key, Tensor] = field(default_factory=dict)
    held: dict[Cut, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.subject)

    def __getitem__(self, index: Tensor | slice) -> Rows:
        return _join([self], lambda parts: take(parts[0], index))

    def copy(self) -> Rows:
        """The same rows in memory of their own."""
        return _join([self], lambda parts: parts[0].clone())

    @staticmethod
    def cat(parts: Sequence[Rows]) -> Rows:
        """All rows, in order."""
        return parts[0] if len(parts) == 1 else _join(parts, torch.cat)


def take(x: Tensor, index: Tensor | slice) -> Tensor:
    """Rows of a tensor, by an index that lives on the CPU; a slice copies nothing."""
    return x[index if isinstance(index, slice) else index.to(x.device)]


def _join(parts: Sequence[Rows], how: Callable[[list[Tensor]], Tensor]) -> Rows:
    joined: dict[str, Any] = {}
    for f in fields(Rows):
        first = getattr(parts[0], f.name)
        if isinstance(first, dict):
            joined[f.name] = {key: how([getattr(p, f.name)[key] for p in parts]) for key in first}
        elif first is not None:
            joined[f.name] = how([getattr(p, f.name) for p in parts])
    return Rows(**joined)


@dataclass
class Tally:
    """A weighted mean over points, streaming: `total [instance, *unit]`, and squares where draws are samples.

    Sums are kept in float64, where the device has it; means come out in the `dtype` of what was added.
    """

    total: Tensor
    weight: Tensor
    squares: Tensor | None
    count: Tensor
    dtype: torch.dtype

    @staticmethod
    def empty(instances: int, units: Tensor, sampled: bool) -> Tally:
        """Zeros for results of the shape of `units [point, *unit]`."""
        total = torch.zeros(instances, *units.shape[1:], dtype=exact_type(units), device=units.device)
        weight, count = torch.zeros(instances, dtype=torch.float64), torch.zeros(instances, dtype=torch.long)
        dtype = torch.promote_types(units.dtype, torch.float32)
        return Tally(total, weight, torch.zeros_like(total) if sampled else None, count, dtype)

    def add(self, units: Tensor, weight: Tensor, instance: Tensor) -> None:
        """Count `units [point, *unit]` with `weight [point]` in rows `instance [point]`."""
        exact, rows = units.to(self.total), instance.to(units.device)
        weighted = exact * per_point(weight.to(self.total), units)
        self.total.index_add_(0, rows, weighted)
        self.weight.index_add_(0, instance, weight)
        self.count.index_add_(0, instance, torch.ones_like(instance))
        if self.squares is not None:
            self.squares.index_add_(0, rows, weighted * exact)

    def mean(self) -> Tensor:
        """`[instance, *unit]`."""
        return self.exact_mean().to(self.dtype)

    def exact_mean(self) -> Tensor:
        """The same, in the type that sums are kept in."""
        return self.total / per_point(self.weight.to(self.total), self.total)

    def variance_of_mean(self) -> Tensor | None:
        """The squared standard error of the mean, `[instance, *unit]`; None where draws are no samples."""
        if self.squares is None:
            return None
        n = per_point(self.count.to(self.total), self.total)
        spread = self.squares / per_point(self.weight.to(self.total), self.total) - self.exact_mean() ** 2
        return (spread.clamp(min=0) / (n - 1)).where(n > 1, torch.nan)


def exact_type(x: Tensor) -> torch.dtype:
    """The type in which sums over many points are kept: float64, where the device has it."""
    return torch.float32 if x.device.type == "mps" else torch.float64
