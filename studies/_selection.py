"""Units that tell labels apart: splits, the choice of units by score, and a linear classifier on the chosen.

Used by the feature-selection studies (Dhamdhere et al. 2018, sections 5.2 and 6.2); no study by itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Accuracies = dict[str, list[list[float]]]
"""By method: percent for each split and each k."""


def shuffled(items: Sequence[Any], seed: int) -> list[Any]:
    """The items in an order drawn by lot."""
    return [items[int(k)] for k in torch.randperm(len(items), generator=torch.Generator().manual_seed(seed))]


def closest(indices: Sequence[int], count: int) -> list[int]:
    """The `count` neighbours in sorted order whose first and last lie closest together (the first of several)."""
    ordered = sorted(indices)
    return min((ordered[i : i + count] for i in range(len(ordered) - count + 1)), key=lambda run: run[-1] - run[0])


def split(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows for training and rows for testing, drawn by lot within each label."""
    dice, train, test = torch.Generator().manual_seed(seed), [], []
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=dice)]
        some = round(share * len(rows))
        train.append(rows[:some])
        test.append(rows[some:])
    return torch.cat(train), torch.cat(test)


def ranked(scores: Tensor, labels: Tensor) -> Tensor:
    """Units by the largest, over labels, of a label's mean score: `[photo, unit]`, `[photo]` → `[unit]`, best first."""
    means = torch.stack([scores[labels == label].mean(0) for label in labels.unique()])
    return means.amax(0).sort(descending=True, stable=True).indices


def fitted(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weights `[feature, label]` and intercepts that minimise Σ cross-entropy + ½ ‖W‖²."""
    count = int(labels.max()) + 1
    weight = torch.zeros(features.shape[1], count, dtype=features.dtype, requires_grad=True)
    bias = torch.zeros(count, dtype=features.dtype, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_grad=1e-6, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        value = torch.nn.functional.cross_entropy(features @ weight + bias, labels, reduction="sum")
        value = value + 0.5 * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    return weight.detach(), bias.detach()


def accuracy(features: Tensor, labels: Tensor, train: Tensor, test: Tensor) -> float:
    """Percent of the test rows that a classifier fitted on the training rows names rightly."""
    features = features.double()
    mean, std = features[train].mean(0), features[train].std(0, correction=0)
    features = (features - mean) / torch.where(std > 0, std, 1.0)
    weight, bias = fitted(features[train], labels[train])
    said = (features[test] @ weight + bias).argmax(1)
    return 100 * float((said == labels[test]).double().mean())


def mean_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean over splits and its standard error as if splits were independent: sd / √splits."""
    return statistics.mean(values), statistics.stdev(values) / len(values) ** 0.5


def corrected_error(values: Sequence[float], test_share: float) -> float:
    """The standard error over splits that share photos: sd · √(1/splits + test/train).

    Source: Nadeau and Bengio 2003, "Inference for the generalization error", the corrected resampled t-test.
    """
    return statistics.stdev(values) * (1 / len(values) + test_share / (1 - test_share)) ** 0.5


def averaged(results: Sequence[Accuracies]) -> Accuracies:
    """The mean over label sets, split by split."""
    return {name: torch.tensor([r[name] for r in results]).mean(0).tolist() for name in results[0]}


def differences(result: Accuracies, ours: str, test_share: float) -> dict[str, list[dict[str, Any]]]:
    """One method minus each other on the same splits: by method, for each k.

    A difference is `claimed` where it is beyond twice the corrected error.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for method in (m for m in result if m != ours):
        apart = torch.tensor(result[ours], dtype=torch.float64) - torch.tensor(result[method], dtype=torch.float64)
        found[method] = []
        for values in apart.T.tolist():
            (mean, error), wide = mean_error(values), corrected_error(values, test_share)
            found[method].append({"mean": mean, "stderr": error, "corrected": wide, "claimed": abs(mean) > 2 * wide})
    return found
