"""Readouts and rates: against other ways to compute the same."""

import math
import random

import numpy as np
import pytest
import torch

import influent as inf
from influent.fidelity import auroc
from influent.rates import area_interval, mann_whitney, mcnemar, wilson
from influent.readout import FOLDS, RIDGE, area_gain, read_out


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_readout_is_ridge_regression_on_what_it_did_not_see():
    units = torch.randn(40, 7, generator=dice(), dtype=torch.float64)
    positive = torch.arange(40) % 4 == 0
    scores = read_out(units, positive)
    # Which fold a sample is in, found out by which fit gives its score; the penalty as rows of the least squares.
    fold = torch.full((40,), -1)
    generator = dice(0)
    for rows in (positive.nonzero().flatten(), (~positive).nonzero().flatten()):
        fold[rows[torch.randperm(len(rows), generator=generator)]] = torch.arange(len(rows)) % FOLDS
    for k in range(FOLDS):
        fit, new = units[fold != k].numpy(), units[fold == k].numpy()
        mean, std = fit.mean(0), fit.std(0, ddof=1)
        target = np.where(positive[fold != k].numpy(), 1.0, -1.0)
        rows = np.vstack([(fit - mean) / std, math.sqrt(RIDGE * len(fit)) * np.eye(7)])
        right = np.concatenate([target - target.mean(), np.zeros(7)])
        weight = np.linalg.lstsq(rows, right, rcond=None)[0]
        expected = (new - mean) / std @ weight + target.mean()
        assert np.allclose(scores[fold == k].numpy(), expected, atol=1e-12)


def test_more_units_than_samples_and_units_that_never_vary_are_read_out():
    units = torch.cat([torch.randn(20, 300, generator=dice()), torch.ones(20, 5)], 1)
    positive = torch.arange(20) % 2 == 0
    units[positive, :40] += 2
    assert auroc(read_out(units, positive), positive) > 0.95


def test_what_is_not_there_is_read_out_by_chance():
    areas = []
    for seed in range(60):
        units, positive = torch.randn(60, 30, generator=dice(seed)), torch.arange(60) % 2 == 0
        areas.append(auroc(read_out(units, positive), positive))
    mean = sum(areas) / len(areas)
    error = torch.tensor(areas).std().item() / math.sqrt(len(areas))
    assert abs(mean - 0.5) < 3 * error


def test_a_gain_is_the_difference_of_two_areas_and_its_interval_holds():
    """DeLong's interval covers the true gain in 95 of 100 draws, but for chance."""
    covered = 0
    for seed in range(200):
        generator = dice(seed)
        positive = torch.arange(120) % 3 == 0
        truth = torch.randn(120, generator=generator)
        first = truth + positive * 0.8
        second = truth + positive * 1.6 + 0.5 * torch.randn(120, generator=generator)
        gain, low, high = area_gain(first, second, positive)
        assert gain == pytest.approx(auroc(second, positive) - auroc(first, positive), abs=1e-12)
        # P(N(d, 2 v) > 0), with v the variance of each.
        expected = 0.5 * (math.erf(1.6 / math.sqrt(2.5) / 2**0.5) - math.erf(0.8 / math.sqrt(2) / 2**0.5))
        covered += low < expected < high
    assert covered / 200 > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 200)


def test_equal_scores_gain_nothing():
    score, positive = torch.randn(30, generator=dice()), torch.arange(30) % 2 == 0
    assert area_gain(score, score, positive) == (0.0, 0.0, 0.0)


def test_pairs_are_tested_as_coins():
    def chance(gained, lost):
        both = gained + lost
        return sum(math.comb(both, k) for k in range(gained, both + 1)) / 2**both

    for gained in range(6):
        for lost in range(6):
            assert mcnemar(gained, lost) == chance(gained, lost)
    assert mcnemar(0, 0) == 1


def test_an_area_by_chance_is_as_often_as_its_test_says():
    shuffled, positive = random.Random(0), [True] * 12 + [False] * 15
    areas = []
    for _ in range(2000):
        shuffled.shuffle(positive)
        areas.append(auroc(torch.arange(27.0), torch.tensor(positive)))
    for area in (0.6, 0.7, 0.75):
        share = sum(a >= area for a in areas) / len(areas)
        assert mann_whitney(area, 12, 15) == pytest.approx(share, abs=3 * math.sqrt(share * (1 - share) / 2000) + 0.01)
    assert mann_whitney(math.nan, 5, 5) == 1 == mann_whitney(1.0, 0, 5) and area_interval(math.nan, 5, 5) == (0, 1)
    # Without any pair out of order there is still the rarer kind's count.
    assert area_interval(1.0, 20, 1) == wilson(1, 1) and area_interval(0.0, 3, 9) == wilson(0, 3)


@pytest.mark.parametrize(("ask", "lesson"), [
    (lambda: read_out(torch.zeros(4), torch.ones(4) > 0), "units are float32 [4], positive bool [4]: give"),
    (lambda: read_out(torch.zeros(12, 2), torch.arange(12) < 4), "[4, 8] samples of the two kinds: a readout takes 5"),
    (lambda: area_gain(torch.zeros(4), torch.zeros(4), torch.arange(4) < 1), "1 positive and 3 negative samples: an"),
])  # fmt: skip
def test_what_cannot_be_read_out_is_a_lesson(ask, lesson):
    with pytest.raises(inf.QuestionError) as error:
        ask()
    assert str(error.value).startswith(lesson)
