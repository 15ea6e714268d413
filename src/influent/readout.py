"""How well a linear readout tells two kinds of sample apart, and whether one readout does so better than another."""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from torch import Tensor

from .errors import QuestionError
from .shapes import spell_shape

FOLDS, RIDGE = 5, 0.1


def read_out(units: Tensor, positive: Tensor, seed: int = 0) -> Tensor:
    """Scores `[sample]` of a linear classifier that never saw the sample: ridge regression of ±1 on `[sample, unit]`.

    Units are standardised on the four fifths that fit; five folds, drawn with `seed`, each with its share of
    `positive [sample]`. The penalty is a tenth of the samples that fit. Errors: `QuestionError` for fewer than five of
    a kind. Source: Hoerl & Kennard 1970; as a discriminant, Hastie, Tibshirani & Friedman 2009, section 4.2.

    >>> x = torch.tensor([[0.0], [1.0]]).repeat(10, 1) + torch.arange(20)[:, None] / 100
    >>> bool((read_out(x, torch.arange(20) % 2 == 1) > 0).eq(torch.arange(20) % 2 == 1).all())
    True
    """
    if units.dim() != 2 or positive.shape != units.shape[:1] or positive.dtype != torch.bool:
        raise QuestionError(
            f"units are {spell_shape(units)}, positive {spell_shape(positive)}: give [sample, unit], and bools."
        )
    kinds = [positive.nonzero().flatten(), (~positive).nonzero().flatten()]
    if min(map(len, kinds)) < FOLDS:
        raise QuestionError(f"{[len(k) for k in kinds]} samples of the two kinds: a readout takes {FOLDS} of each.")
    dice = torch.Generator().manual_seed(seed)
    fold = torch.empty(len(positive), dtype=torch.long)
    for rows in kinds:
        fold[rows[torch.randperm(len(rows), generator=dice)]] = torch.arange(len(rows)) % FOLDS
    scores = torch.empty(len(positive), dtype=torch.float64)
    for k in range(FOLDS):
        scores[fold == k] = _fitted(units[fold != k].double(), positive[fold != k], units[fold == k].double())
    return scores


def _fitted(units: Tensor, positive: Tensor, new: Tensor) -> Tensor:
    """Scores of `new` samples by a fit on others, above 0 for what is nearer to the positive ones."""
    mean, spread = units.mean(0), units.std(0)
    alive = spread > 0
    known, asked = ((x[:, alive] - mean[alive]) / spread[alive] for x in (units, new))
    target = 2 * positive.double() - 1
    middle = target.mean()
    # In the dual form, since there may be more units than samples.
    kernel = known @ known.T + RIDGE * len(known) * torch.eye(len(known), dtype=torch.float64)
    return asked @ (known.T @ torch.linalg.solve(kernel, target - middle)) + middle


def area_gain(first: Tensor, second: Tensor, positive: Tensor, level: float = 0.95) -> tuple[float, float, float]:
    """AUROC of `second` less that of `first`, two scores `[sample]` of the same samples: (gain, low, high).

    Errors: `QuestionError` for samples of one kind. Source: DeLong, DeLong & Clarke-Pearson 1988.

    >>> x = torch.arange(10.0)
    >>> area_gain(-x, x, x > 4)
    (1.0, 1.0, 1.0)
    """
    hits, misses = int(positive.sum()), int((~positive).sum())
    if min(hits, misses) < 2:
        raise QuestionError(f"{hits} positive and {misses} negative samples: an interval takes two of each.")
    # For each sample, the share of the other kind that it is in order with.
    own, other = [], []
    for score in (first.double(), second.double()):
        order = score[positive][:, None] - score[~positive]
        right = (order > 0).double() + (order == 0).double() / 2
        own.append(right.mean(1))
        other.append(right.mean(0))
    gain = float(own[1].mean() - own[0].mean())
    variance = float((own[1] - own[0]).var() / hits + (other[1] - other[0]).var() / misses)
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(variance)
    return gain, gain - half, gain + half
