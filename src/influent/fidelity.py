"""How far two answers agree: correlations over units, and how well a number tells two kinds of instance apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .attribution import Attribution
from .errors import QuestionError
from .shapes import spell_shape


@dataclass(frozen=True, eq=False)
class Agreement:
    """Correlation of two attributions over their units: `pearson [instance]` of values, `spearman [instance]` of ranks.

    NaN where all units of one have the same value.

    >>> Agreement(torch.tensor([0.5]), torch.tensor([1.0])).spearman
    tensor([1.])
    """

    pearson: Tensor
    spearman: Tensor


def agreement(a: Attribution, b: Attribution) -> Agreement:
    """corr(a, b) over units, row by row: of values (Pearson), and of ranks, ties sharing theirs (Spearman).

    Both attributions have rows and units of one shape; values of any scale. Errors: `QuestionError` for other shapes.
    Source: Spearman 1904; the measures side by side, Dhamdhere et al. 2018, section 4.

    >>> net, x = nn.Linear(3, 2).eval(), torch.ones(1, 3)
    >>> agreement(ablate(net, "INPUT", Class(0), x), gradient_times_input(net, x, Class(0))).spearman.round(decimals=9)
    tensor([1.], dtype=torch.float64)
    """
    if a.values.shape != b.values.shape:
        raise QuestionError(
            f"These attributions are {list(a.values.shape)} and {list(b.values.shape)}: agreement compares the same "
            "rows and units. Ask both at the same cut."
        )
    first, second = _rows(a), _rows(b)
    return Agreement(_correlation(first, second), _correlation(_ranks(first), _ranks(second)))


def rank_agreement(instances: Attribution | Tensor, of_class: Attribution | Tensor) -> Tensor:
    """How well the influences of each instance follow the order of units over a class: Spearman's ρ, `[instance]`.

    `instances` has values `[instance, *unit]`, `of_class` `[*unit]` or one row of them, `[1, *unit]`. Values are
    signed: 1 is the same order from the most positive to the most negative unit, −1 the reverse; ties share their
    rank. NaN where all units of one side have the same value, and where a value is NaN.
    Errors: `QuestionError` for other shapes.
    Source: Leino et al. 2018, Fig 3, where the eye sees it; Spearman 1904.

    >>> rank_agreement(torch.tensor([[3.0, 2.0, -9.0], [-3.0, 0.0, 1.0]]), torch.tensor([5.0, 1.0, -1.0])).float()
    tensor([ 1., -1.])
    """
    rows, order = _values(instances), _values(of_class)
    if rows.dim() < 2 or order.shape not in (rows.shape[1:], (1, *rows.shape[1:])):
        raise QuestionError(
            f"The instances are {spell_shape(rows)}, the class {spell_shape(order)}: rank_agreement takes "
            "[instance, *unit] and [*unit], of the same cut. Of several classes choose one: a[817]."
        )
    first, second = _rows(rows), _rows(order.reshape(1, *rows.shape[1:]))
    known = ~(first.isnan().any(1) | second.isnan().any())
    return _correlation(_ranks(first), _ranks(second)).where(known, torch.nan)


def auroc(score: Tensor, positive: Tensor) -> float:
    """P(score of a positive > score of a negative) + ½ P(equal): 1 where `score [n]` tells them apart, ½ by chance.

    `positive [n]` is bool. The area under the ROC curve is Mann and Whitney's U by the number of pairs. NaN where a
    score is NaN. Errors: `QuestionError` for other shapes, and where there is none of one kind.
    Source: Mann & Whitney 1947; Hanley & McNeil 1982.

    >>> auroc(torch.tensor([0.9, 0.4, 0.4, 0.1]), torch.tensor([True, True, False, False]))
    0.875
    """
    if score.dim() != 1 or score.shape != positive.shape or positive.dtype != torch.bool:
        raise QuestionError(
            f"score is {spell_shape(score)}, positive {spell_shape(positive)}: give a number and a bool for each."
        )
    kind = positive.detach().cpu()
    hits, misses = int(kind.sum()), int((~kind).sum())
    if not hits or not misses:
        raise QuestionError(
            f"There are {hits} positive and {misses} negative scores: an AUROC compares the two, so give some of each."
        )
    values = score.detach().cpu().double()
    if values.isnan().any():
        return float("nan")
    over = float(_ranks(values[None])[0][kind].sum()) - hits * (hits + 1) / 2
    return over / (hits * misses)


def _values(x: Attribution | Tensor) -> Tensor:
    return x if isinstance(x, Tensor) else x.values


def _rows(x: Attribution | Tensor) -> Tensor:
    """Values as float64 `[instance, unit]`, on the CPU."""
    return _values(x).detach().cpu().double().flatten(1)


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1, row by row, `[row, unit]`; equal values share the mean of theirs."""
    found = []
    for row in values:
        _, place, count = row.unique(return_inverse=True, return_counts=True)
        found.append((count.cumsum(0) - (count - 1) / 2).double()[place])
    return torch.stack(found) if found else values


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Row by row; NaN where one side does not vary."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    size = a.norm(dim=1) * b.norm(dim=1)
    return ((a * b).sum(1) / size).where(size > 0, torch.nan)
