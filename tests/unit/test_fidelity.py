"""Agreement over units and over instances: against numpy, by hand, and by counting pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import influent as inf
from influent.ablation import ablate
from influent.errors import QuestionError
from influent.fidelity import Agreement, agreement, auroc, rank_agreement
from tests import worlds
from tests.worlds import noise, ones

X, START = noise(3, 4, seed=1), noise(1, 4, seed=2)


# Two attributions


def test_agreement_is_that_of_numpy():
    net = worlds.smooth_mlp()
    a = ablate(net, "1", inf.Class(0), X)
    for measure in (inf.gradient, inf.contribution, inf.activation, inf.gradient_times_activation):
        b = inf.influence(net, "1", inf.Class(0), inf.Line(START, X, 10, "uniform"), measure)
        got = agreement(a, b)
        for i in range(len(X)):
            u, v = a.values[i].numpy(), b.values[i].numpy()
            assert abs(float(got.pearson[i]) - np.corrcoef(u, v)[0, 1]) < 1e-12
            ranks = [w.argsort().argsort() for w in (u, v)]  # no ties here
            assert abs(float(got.spearman[i]) - np.corrcoef(*ranks)[0, 1]) < 1e-12


def with_values(*values):
    a = ablate(worlds.cube(), "h", inf.Class(0), ones(1, 1))
    return inf.Attribution(torch.tensor([values]), a.question, (0,))


def test_ties_share_their_rank():
    """Ranks (1½, 1½, 3, 4) against (1, 2, 3, 4): covariance 4.5 over √(4.5 · 5)."""
    got = agreement(with_values(5.0, 5.0, 9.0, 11.0), with_values(1.0, 2.0, 3.0, 4.0))
    assert abs(float(got.spearman) - 4.5 / (4.5 * 5) ** 0.5) < 1e-12
    down = agreement(with_values(1.0, 2.0, 4.0), with_values(-1.0, -8.0, -9.0))
    assert abs(float(down.spearman) + 1) < 1e-12


def test_where_nothing_varies_there_is_no_correlation():
    got = agreement(with_values(5.0, 5.0), with_values(1.0, 2.0))
    assert isinstance(got, Agreement)
    assert bool(got.pearson.isnan()) and bool(got.spearman.isnan())


# Instances beside their class


def test_rank_agreement_is_the_correlation_of_ranks():
    """ρ = 1 − 6 Σ d² / (n (n² − 1)) without ties: here d = (1, −1, 0, 0), so 1 − 12 / 60."""
    order = torch.tensor([4.0, 3.0, -1.0, -2.0])
    rows = torch.stack([order.flip(0), torch.tensor([30.0, 40.0, 2.0, 1.0]), order**3])
    assert rank_agreement(rows, order).tolist() == pytest.approx([-1.0, 0.8, 1.0], abs=1e-12)


def test_rank_agreement_takes_attributions_and_units_of_any_shape():
    rows = noise(5, 2, 3, seed=3)
    many, one = with_values(0.0), with_values(0.0)
    many, one = (inf.Attribution(v, a.question, tuple(range(len(v)))) for v, a in ((rows, many), (rows[:1], one)))
    got = rank_agreement(many, one)
    assert torch.equal(got, rank_agreement(rows.flatten(1), rows[0].flatten()))
    assert got.shape == (5,) and float(got[0]) == pytest.approx(1.0, abs=1e-12)


def test_rank_agreement_is_unknown_where_nothing_varies_or_a_value_is():
    rows = torch.tensor([[1.0, 1.0], [math.nan, 1.0], [1.0, 2.0]])
    assert rank_agreement(rows, torch.tensor([1.0, 2.0])).isnan().tolist() == [True, True, False]
    assert rank_agreement(rows, torch.tensor([1.0, math.nan])).isnan().all()
    assert rank_agreement(rows[:0], torch.tensor([1.0, 2.0])).shape == (0,)


# Two kinds of instance


def test_auroc_counts_pairs():
    score = noise(30, seed=4).mul(3).round()  # with ties
    positive = noise(30, seed=5) > 0.3
    pairs = [(p > n) + 0.5 * (p == n) for p in score[positive].tolist() for n in score[~positive].tolist()]
    assert auroc(score, positive) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


@pytest.mark.parametrize(
    ("score", "area"), [([3.0, 2.0, 1.0, 0.0], 1.0), ([0.0, 1.0, 2.0, 3.0], 0.0), ([1.0, 1.0, 1.0, 1.0], 0.5),
                        ([math.inf, 0.0, 1.0, -math.inf], 0.75)],
)  # fmt: skip
def test_auroc_by_hand(score, area):
    assert auroc(torch.tensor(score), torch.tensor([True, True, False, False])) == area


def test_auroc_of_an_unknown_score_is_unknown():
    assert math.isnan(auroc(torch.tensor([1.0, math.nan]), torch.tensor([True, False])))


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (
            lambda: agreement(*(ablate(worlds.smooth_mlp(), at, inf.Class(0), X) for at in ("0", "4"))),
            r"^These attributions are \[3, 8\] and \[3, 3\]: agreement compares the same rows and units\. Ask both at",
        ),
        (
            lambda: rank_agreement(ones(2, 3), ones(2, 3)),
            (
                r"^The instances are float64 \[2, 3\], the class float64 \[2, 3\]: rank_agreement takes \[instance, "
                r"\*unit\] and \[\*unit\], of the same cut\. Of several classes choose one: a\[817\]\.$"
            ),
        ),
        (lambda: rank_agreement(ones(3), ones(3)), r"^The instances are float64 \[3\], the class float64 \[3\]"),
        (
            lambda: auroc(ones(3), ones(3)),
            r"^score is float64 \[3\], positive float64 \[3\]: give a number and a bool for each\.$",
        ),
        (
            lambda: auroc(ones(3), ones(3) > 0),
            r"^There are 3 positive and 0 negative scores: an AUROC compares the two, so give some of each\.$",
        ),
    ],
)  # fmt: skip
def test_lessons(ask, says):
    with pytest.raises(QuestionError, match=says):
        ask()
