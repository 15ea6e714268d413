"""MIM as a naive sum over pairs, and mistakes that are easily made with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Pairs:
    """One pair after another; nets are sequential."""

    looks_at_inputs = True

    def __call__(
        self, net: nn.Module, at: str, x: Tensor, data: Any, kernel: str = "1/d2", chunk: int = 64
    ) -> tuple[Tensor, Tensor]:
        h = x if at == "INPUT" else self.run(net[: int(at) + 1], x)
        total, length = torch.zeros_like(h), torch.zeros(len(x), dtype=torch.float64)
        count, far = 0, torch.zeros(len(x), dtype=torch.float64)
        for batch, label in data:
            y = batch if at == "INPUT" else self.run(net[: int(at) + 1], batch)
            of_x, of_y = self.labels(self.run(net, x), self.run(net, batch), label)
            for k in range(len(x)):
                other = ~(batch == x[k]).all(1) if self.looks_at_inputs else torch.ones(len(batch)).bool()
                pull, size = self.batch(h[k], y[other], of_x[k], of_y[other], kernel)
                total[k] += pull
                length[k] += size
                far[k] = torch.maximum(far[k], (y - h[k]).norm(dim=1).max())
            count += len(batch)
        return self.done(total, count), self.coherence(self.done(total, count), length, far)

    def run(self, net: nn.Module, x: Tensor) -> Tensor:
        with torch.no_grad():
            return net(x)

    def batch(self, x: Tensor, y: Tensor, label: Tensor, labels: Tensor, kernel: str) -> tuple[Tensor, Tensor]:
        total, length = torch.zeros_like(x), torch.zeros((), dtype=torch.float64)
        for one, other in zip(y, labels, strict=True):
            d2 = self.square(x, one)
            if self.skip(d2):
                continue
            w = {"1/d2": 1 / d2, "1/d": d2**-0.5, "exp": torch.exp(-d2.sqrt())}[kernel] * self.sign(label, other)
            total += w * self.step(x, one)
            length += w.abs() * d2.sqrt()
        return total, length

    def labels(self, of_x: Tensor, of_y: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        return of_x.argmax(1), of_y.argmax(1)

    def square(self, x: Tensor, y: Tensor) -> Tensor:
        return ((y - x) ** 2).sum()

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        return y - x

    def skip(self, d2: Tensor) -> bool:
        return float(d2) == 0

    def sign(self, a: Tensor, b: Tensor) -> float:
        return 1.0 if a == b else -1.0

    def done(self, total: Tensor, count: int) -> Tensor:
        return total

    def coherence(self, phi: Tensor, length: Tensor, far: Tensor) -> Tensor:
        return phi.norm(dim=1) / length


# --- the mistakes ---------------------------------------------------------------------------------------------------


class NothingSkipped(Pairs):
    """x itself counted: 0 / 0."""

    looks_at_inputs = False

    def skip(self, d2: Tensor) -> bool:
        return False


class ExpandedSquares(Pairs):
    """‖y‖² + ‖x‖² − 2 x·y for every pair: near duplicates have any distance, also below 0."""

    def square(self, x: Tensor, y: Tensor) -> Tensor:
        return (y @ y + x @ x - 2 * (x @ y)).clamp(min=0)


class ExpandedFarAway(ExpandedSquares):
    """The same: far from the origin all pairs are near duplicates."""


class LabelsOfTheData(Pairs):
    """The label that comes with the data, in the place of the net's own."""

    def labels(self, of_x: Tensor, of_y: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        return of_x.argmax(1), label


class LabelOfXFromTheData(Pairs):
    """The label of x taken from the first rows of the data."""

    def labels(self, of_x: Tensor, of_y: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        return of_y.argmax(1)[:1].expand(len(of_x)), of_y.argmax(1)


class Normalised(Pairs):
    """A mean in the place of the sum."""

    def done(self, total: Tensor, count: int) -> Tensor:
        return total / count


class SignOfAClass(Pairs):
    """+1 for class 1, whatever x is: right for two classes in one order."""

    def sign(self, a: Tensor, b: Tensor) -> float:
        return 1.0 if b == 1 else -1.0


class PointsForSteps(Pairs):
    """Σ w y without − x Σ w."""

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        return y


class CityBlock(Pairs):
    """Σ |y − x| for the distance."""

    def square(self, x: Tensor, y: Tensor) -> Tensor:
        return (y - x).abs().sum() ** 2


class AuthorsNorm(Pairs):
    """‖φ‖ / max ‖y − x‖ for the coherence."""

    def coherence(self, phi: Tensor, length: Tensor, far: Tensor) -> Tensor:
        return phi.norm(dim=1) / far


class SingleLabel(Pairs):
    """A point that comes alone loses its label to a squeeze: it takes that of x."""

    def labels(self, of_x: Tensor, of_y: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        return of_x.argmax(1), of_y.argmax(1) if len(of_y) > 1 else of_x.argmax(1)[:1]


class SkippedByDistance(Pairs):
    """Points at a distance of exactly 0 skipped, where x in another batch is 1e-16 away and weighs 1e32."""

    looks_at_inputs = False
