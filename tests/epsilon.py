"""A backward rule as a user writes one, in one file: ε-LRP for nets of linear layers, convolutions and ReLUs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

import influent as inf


@dataclass(frozen=True, repr=False, eq=False)
class Epsilon(inf.BackwardRule):
    """R_in = x · Wᵀ (R_out / (z + ε · sign z)) at z = W x + b; a ReLU hands down what arrives. Bach et al. 2015, Eq 58.

    What arrives at a sum of two branches would be counted twice: such nets are refused.
    """

    epsilon: float
    others = frozenset({F.linear, F.conv2d})

    def relu(self, arriving: Tensor, activation: Tensor) -> Tensor:
        return arriving

    def other(self, step: inf.Step, arriving: Tensor) -> Tensor:
        z = step.y
        return step.x * step.pulled(arriving / (z + self.epsilon * torch.where(z < 0, -1.0, 1.0)))

    def passes(self, operation: str) -> bool:
        return operation == "MaxPool2DWithIndices"
