"""What values and standard errors say of rankings: closed forms, made-up truths, and mistakes that they tell apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import influent as inf
from influent import stability
from influent.errors import QuestionError
from influent.stability import Until, _two_sided, expected_overlap, rank_intervals, significant
from tests.worlds import ones

NAN = math.nan


def summed(samples):
    """Mean and standard error over samples `[sample, unit]`."""
    return samples.mean(0), samples.std(0) / len(samples) ** 0.5


# Expected overlap, in closed form


def test_what_stands_apart_is_found_again_and_what_is_nothing_is_not():
    apart = torch.arange(100.0)
    assert expected_overlap(apart, torch.full((100,), 1e-3), 10) == 1.0
    assert expected_overlap(apart, torch.zeros(100), 10) == 1.0
    assert expected_overlap(apart.reshape(10, 10), torch.full((10, 10), 1e-3), 10) == 1.0
    assert expected_overlap(apart, torch.ones(100), 100, "+") > 0.98  # all units, but for those about 0
    assert expected_overlap(apart, torch.full((100,), 1e9), 200) == 1.0


def test_of_two_units_the_first_is_the_same_with_the_probability_of_the_model():
    """τ₁ − τ₂ ~ N(B (z₁ − z₂), 2B), A = 2.25 − 1, B = A / (A + 1); a copy says "first" with p = Φ((τ₁ − τ₂) / √2)."""
    shrunk = 1.25 / 2.25
    x, w = np.polynomial.hermite_e.hermegauss(80)
    gap = 3 * shrunk + (2 * shrunk) ** 0.5 * x
    p = torch.special.ndtr(torch.tensor(gap) / 2**0.5).numpy()
    same = float((w * (p**2 + (1 - p) ** 2)).sum() / w.sum())
    draws = 40_000
    found = expected_overlap(torch.tensor([103.0, 100.0]), torch.ones(2), 1, "+", draws)
    assert abs(found - same) < 4 * 0.5 / draws**0.5


def test_the_signs_are_ranked_by_themselves():
    values, error = torch.tensor([-9.0, -8.0, 0.0, 0.0, 5.0]), torch.tensor([1e-3, 1e-3, 0.0, 0.0, 1e-3])
    assert [expected_overlap(values, error, 2, sign) for sign in (None, "+", "-")] == [1.0] * 3
    loose = torch.tensor([5.0, 5.0, 5.0, 1e-3, 1e-3])
    assert expected_overlap(values, loose, 1, "+") < 1.0 == expected_overlap(-values.abs(), error, 1, "-")


def test_nothing_is_claimed_of_what_is_not_known():
    assert math.isnan(expected_overlap(ones(4), ones(4) * NAN, 2))
    assert math.isnan(expected_overlap(ones(4), torch.tensor([1.0, 1.0, 1.0, math.inf]), 2))
    assert math.isnan(expected_overlap(torch.tensor([1.0, NAN]), ones(2).float(), 1))
    assert math.isnan(expected_overlap(ones(4) * 0, ones(4) * 0, 2))  # all dead: there is no top
    assert math.isnan(expected_overlap(-ones(4), ones(4) * 0, 2, "+"))
    assert math.isnan(expected_overlap(ones(0), ones(0), 2))


def test_it_depends_on_the_seed_and_on_no_scale():
    values, error = torch.randn(50), torch.rand(50)
    found = expected_overlap(values, error, 10, seed=3)
    assert found == expected_overlap(values, error, 10, seed=3) != expected_overlap(values, error, 10, seed=4)
    tiny = 2.0**-300  # squares of squares of which are 0 in float64
    assert found == expected_overlap(values.double() * tiny, error.double() * tiny, 10, seed=3)


def test_units_that_hardly_vary_do_not_drown_the_others():
    """Half of the units known to 1e-9, half noise: their z would be the whole variance, and noise would be believed."""
    values = torch.cat([torch.full((256,), 1e-3), torch.randn(256)]).double()
    error = torch.cat([torch.full((256,), 1e-12), torch.ones(256)]).double()
    assert expected_overlap(values, error, 20) < 0.2


def test_a_hundred_thousand_units_fit(monkeypatch):
    sizes = []
    draw = stability._Noise.__call__
    monkeypatch.setattr(stability._Noise, "__call__", lambda self: sizes.append(math.prod(self.shape)) or draw(self))
    assert 0 < expected_overlap(torch.randn(100_000), torch.rand(100_000), 20, draws=12) < 1
    assert max(sizes) <= stability._ROOM


# Expected overlap, against a truth


def sparse(g):
    """One unit in twenty matters, with heavy tails."""
    truth = torch.randn(2, 400, generator=g).double()
    return (torch.rand(400, generator=g) < 0.05) * truth[0] / truth[1].abs().clamp(min=0.2)


WORLDS = {
    "nothing": (lambda g: torch.zeros(400).double(), 0.0, 0.0, (10, 20, 50)),
    "bell": (lambda g: 0.2 * torch.randn(400, generator=g).double(), 0.0, 0.0, (10, 20, 50)),
    "sparse": (sparse, 0.0, 0.0, (10, 20)),  # of the units that matter
    "noise in common": (lambda g: 0.3 * torch.randn(400, generator=g).double(), 0.5, 0.0, (10, 20, 50)),
    "size in common": (lambda g: torch.randn(400, generator=g).double(), 0.0, 1.0, (10, 20, 50)),
}
"""Truths `[unit]`, the noise's share that three patterns make, the spread of each sample's size; and k."""


def samples(truth, patterns, common, spread, n, g):
    noise = (1 - common) ** 0.5 * torch.randn(n, len(truth), generator=g).double()
    noise += (common / 3) ** 0.5 * torch.randn(n, 3, generator=g).double() @ patterns
    return (1 + spread * torch.randn(n, 1, generator=g).double()) * truth + noise


def measured(values, other, k):
    top = [set(v.abs().topk(k).indices.tolist()) for v in (values, other)]
    return len(top[0] & top[1]) / k


def law_two_samples_overlap_as_one_predicts(predict, repeats=40, n=40):
    """The mean error of the prediction is at most 0.1, as is claimed, and three standard errors of that mean."""
    for name, (truths, common, spread, tops) in WORLDS.items():
        g, errors = torch.Generator().manual_seed(6), []
        for seed in range(repeats):
            truth, patterns = truths(g), torch.randn(3, 400, generator=g).double()
            (m, s), (other, _) = (summed(samples(truth, patterns, common, spread, n, g)) for _ in range(2))
            errors.append([predict(m, s, k, draws=50, seed=seed) - measured(m, other, k) for k in tops])
        mean, error = summed(torch.tensor(errors))
        assert (mean.abs() <= 0.1 + 3 * error).all(), f"{name}: {mean.tolist()} ± {error.tolist()}"


def test_two_samples_overlap_as_one_predicts():
    law_two_samples_overlap_as_one_predicts(expected_overlap)


def plug_in(m, s, k, draws, seed):
    """A mistake: the observed means taken for the truth."""
    g = torch.Generator().manual_seed(seed)
    copies = [m + s * torch.randn(draws, len(m), generator=g).double() for _ in range(2)]
    return sum(measured(a, b, k) for a, b in zip(*copies, strict=True)) / draws


def test_the_law_kills_the_observed_means_taken_for_the_truth():
    with pytest.raises(AssertionError, match=r"^nothing: "):
        law_two_samples_overlap_as_one_predicts(plug_in)


def test_the_law_kills_a_size_in_common_taken_for_noise_of_each_unit(monkeypatch):
    monkeypatch.setattr(stability, "_shared", lambda mean, error: mean.new_zeros(()))
    with pytest.raises(AssertionError, match=r"^size in common: "):
        law_two_samples_overlap_as_one_predicts(expected_overlap)


def test_beyond_the_units_that_matter_the_prediction_is_too_high():
    """What the documentation admits: of 50 units, 20 matter, and what the others share is chance."""
    g = torch.Generator().manual_seed(5)
    truth = sparse(g)
    (m, s), (other, _) = (summed(samples(truth, ones(3, 400), 0.0, 0.0, 200, g)) for _ in range(2))
    assert 0 < expected_overlap(m, s, 50) - measured(m, other, 50) < 0.2


def test_equal_units_are_predicted_too_high_but_never_settled():
    """What the documentation admits: chance is 20 / 400."""
    g = torch.Generator().manual_seed(7)
    for n in (40, 200):
        m, s = summed(torch.randn(400, generator=g).sign().double() + torch.randn(n, 400, generator=g).double())
        assert 0.1 < expected_overlap(m, s, 20) < 0.45


def test_what_is_shared_is_the_slope_and_no_more_than_the_steadiest_unit_allows():
    mean = torch.tensor([1.0, 2.0, 3.0]).double()
    assert float(stability._shared(mean, (0.5 + 0.01 * mean**2).sqrt())) == pytest.approx(0.01)
    assert float(stability._shared(mean, (0.04 * mean**2 - 0.03).sqrt())) == pytest.approx(0.01)  # of the first unit
    assert float(stability._shared(mean, 1 / mean)) == 0.0
    assert float(stability._shared(mean[:0], mean[:0])) == float(stability._shared(ones(3), ones(3))) == 0.0


# Intervals of ranks


def test_ranks_by_hand():
    values, error = torch.tensor([[5.0, -9.0], [0.0, 0.0]]), torch.tensor([[1e-3, 1e-3], [0.0, 0.0]])
    wanted = {None: ([[2, 1], [3, 3]], [[2, 1], [4, 4]]), "+": ([[1, 4], [2, 2]], [[1, 4], [3, 3]]),
              "-": ([[4, 1], [2, 2]], [[4, 1], [3, 3]])}  # fmt: skip
    for sign, (low, high) in wanted.items():
        found = rank_intervals(values, error, sign=sign)
        assert (found[0].tolist(), found[1].tolist()) == (low, high)


def test_where_nothing_is_known_any_rank_is_possible():
    for error in (ones(3) * NAN, ones(3) * math.inf):
        assert [side.tolist() for side in rank_intervals(ones(3), error)] == [[1, 1, 1], [3, 3, 3]]
    assert rank_intervals(ones(0), ones(0))[0].shape == (0,)


def test_intervals_hold_the_true_rank_as_often_as_they_say():
    """The 6th and the 195th of 200 draws: of 201 equally likely places, at most 12 lie outside."""
    g, held = torch.Generator().manual_seed(8), []
    for seed in range(24):
        truth, error = torch.randn(300, generator=g), torch.full((300,), 0.3)
        low, high = rank_intervals(truth + error * torch.randn(300, generator=g), error, sign="+", seed=seed)
        rank = truth.argsort(descending=True).argsort() + 1
        held.append(((low <= rank) & (rank <= high)).double().mean())
    mean, error = summed(torch.stack(held)[:, None])
    assert 1 - 12 / 201 - 3 * float(error) < float(mean) < 0.98


def test_a_higher_level_is_a_wider_interval():
    values, error = torch.randn(50), torch.full((50,), 0.5)
    (low, high), (lower, higher) = (rank_intervals(values, error, level) for level in (0.5, 0.99))
    assert (lower <= low).all() and (low <= high).all() and (high <= higher).all() and (high - low).sum() > 0


# Significant units


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062047362), (2, 4.30265272975), (5, 2.57058183564), (10, 2.22813885199),
                              (29, 2.04522964213), (100, 1.98397151852)],
)  # fmt: skip
def test_the_tail_is_that_of_the_tables(freedom, quantile):
    assert float(_two_sided(torch.tensor([quantile]), freedom)) == pytest.approx(0.05, rel=1e-6)
    assert float(_two_sided(torch.tensor([quantile], dtype=torch.float64), freedom)) == pytest.approx(0.05, rel=1e-10)


def test_the_tail_in_closed_form():
    """ν = 1: 1 − 2/π · arctan t; ν = 2: 1 − t / √(2 + t²), written without a difference; ν → ∞: the normal tail."""
    t = torch.tensor([0.0, 1e-9, 0.1, 1.0, 1.73, 1.74, 3.0, 30.0, 1e4], dtype=torch.float64)
    assert torch.allclose(_two_sided(t, 1), 2 / math.pi * torch.atan2(torch.ones_like(t), t), rtol=1e-8, atol=0)
    root = (2 + t**2).sqrt()
    assert torch.allclose(_two_sided(t, 2), 2 / (root * (root + t)), rtol=1e-10, atol=0)
    normal = torch.special.erfc(t[:7] / 2**0.5)
    assert torch.allclose(_two_sided(t[:7], 10**9), normal, rtol=1e-4, atol=0)
    assert float(_two_sided(torch.tensor([math.inf]), 5)) == 0.0


def with_p(*wanted):
    """Values of standard error 1 with these p-values at three samples, ν = 2: t = √2 q / √(1 − q²), q = 1 − p."""
    q = 1 - torch.tensor(wanted).double()
    return 2**0.5 * q / (1 - q**2).sqrt()


def test_discoveries_step_up():
    """0.019 ≤ 2 · 0.05 / 5 takes 0.011 with it, which alone would not do."""
    values = with_p(0.9, 0.011, 0.019, 0.041, 0.9)
    assert significant(values, ones(5), 3).tolist() == [False, True, True, False, False]
    assert significant(-values, ones(5), torch.tensor([3])).tolist() == [False, True, True, False, False]
    assert not significant(values, ones(5), 3, rate=0.01).any()
    assert significant(values.reshape(5, 1), ones(5, 1), 3, rate=0.95).all()


def test_false_discoveries_are_as_rare_as_asked():
    """With three of four units at 0, the rate is 0.05 · ¾ for independent units."""
    g, false, found = torch.Generator().manual_seed(9), [], []
    truth = torch.zeros(400)
    truth[:100] = 0.7
    for _ in range(60):
        m, s = summed(truth + torch.randn(30, 400, generator=g))
        hit = significant(m, s, 30)
        false.append(hit[100:].sum() / hit.sum().clamp(min=1))
        found.append(hit[:100].double().mean())
    mean, error = summed(torch.stack(false)[:, None])
    assert abs(float(mean) - 0.0375) < 3 * float(error)
    assert float(torch.stack(found).mean()) > 0.7


def test_what_is_not_known_is_not_significant_and_what_never_varies_is():
    values, error = torch.tensor([1.0, 0.0, 2.0, NAN]), torch.tensor([0.0, 0.0, NAN, 1.0])
    assert significant(values, error, 20).tolist() == [True, False, False, False]
    assert not significant(ones(3), ones(3) * 0, 1).any()
    assert significant(ones(0), ones(0), 5).shape == (0,)


# The rule


def test_the_rule_is_met_by_the_row_that_is_least_settled():
    values = torch.stack([torch.arange(50.0), torch.randn(50)])
    error, count = torch.stack([torch.full((50,), 1e-3), torch.ones(50)]), torch.tensor([40, 30])
    until = Until(top=5)
    assert until.met(values[:1], error[:1], count[:1]) == (True, 1.0)
    met, worst = until.met(values, error, count)
    assert (met, worst) == (False, expected_overlap(values[1], error[1], 5))
    assert Until(5, overlap=worst / 2).met(values, error, count) == (True, worst)


def test_the_rule_claims_nothing_of_few_samples_or_unknown_errors():
    values, error = torch.arange(50.0)[None], torch.full((1, 50), 1e-3)
    for count, spread in ((29, error), (30, error * NAN)):
        met, worst = Until(top=5).met(values, spread, torch.tensor([count]))
        assert not met and math.isnan(worst)
    met, worst = Until(top=5).met(values[:0], error[:0], torch.tensor([], dtype=torch.long))
    assert not met and math.isnan(worst)


@pytest.mark.parametrize("until", [Until(), Until(10, 0.8), Until(sign="-", atleast=5)])
def test_the_rule_reads_back(until):
    assert inf.parse(repr(until)) == until
    assert hash(inf.parse(repr(until))) == hash(until)


# Lessons


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: expected_overlap(ones(3), ones(4), 2),
         ("values are float64 [3], their standard errors float64 [4]: "
          "give one for each.")),
        (lambda: expected_overlap(ones(3), -ones(3), 2), "A standard error is -1: none is below 0."),
        (lambda: expected_overlap(ones(3), ones(3), 0), "top 0: give the number of units, 1 or more: 20."),
        (lambda: expected_overlap(ones(3), ones(3), 2.0), "top 2.0: give the number of units, 1 or more: 20."),
        (lambda: expected_overlap(ones(3), ones(3), 2, "x"), "sign='x' is not known: '+', '-', or None for both."),
        (lambda: expected_overlap(ones(3), ones(3), 2, draws=0),
         ("draws=0: give the number of draws, 1 or more: "
          "draws=200.")),
        (lambda: rank_intervals(ones(3), ones(3), level=95),
         ("level=95: give a probability between 0 and 1, "
          "level=0.95.")),
        (lambda: significant(ones(3), ones(3), 9, rate=5),
         ("rate=5: give the share of false discoveries, between 0 "
          "and 1: rate=0.05.")),
        (lambda: significant(ones(2, 3), ones(2, 3), torch.tensor([3, 4])),
         ("There are 2 counts: significant tests one "
          "row, a.values[0] and a.count[0].")),
        (lambda: Until(top=True), "top True: give the number of units, 1 or more: 20."),
        (lambda: Until(overlap=1.0),
         ("overlap=1.0: give the share of units in common, above 0 and below 1, which no "
          "finite sample is sure of: overlap=0.9.")),
        (lambda: Until(overlap=90),
         ("overlap=90: give the share of units in common, above 0 and below 1, which no "
          "finite sample is sure of: overlap=0.9.")),
        (lambda: Until(atleast=1),
         ("atleast=1: give the number of samples below which nothing is believed, 2 or more "
          "(one sample has no standard error): atleast=30.")),
        (lambda: Until().met(ones(2, 3), ones(2, 3), ones(3)),
         ("count is float64 [3] for 2 rows: give one number for "
          "each.")),
        (lambda: Until().met(ones(2, 3), ones(2, 4), ones(2)),
         ("values are float64 [2, 3], their standard errors "
          "float64 [2, 4]: give one for each.")),
    ],
)  # fmt: skip
def test_lessons(ask, says):
    with pytest.raises(QuestionError) as caught:
        ask()
    assert str(caught.value) == says
