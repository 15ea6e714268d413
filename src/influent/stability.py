"""How sure a ranking is: what values and standard errors say of the order in which other samples would put the units.

The model, for the mean m_u of each unit over n samples and its standard error s_u:

    m_u = θ_u · (1 + σξ) + v_u · ε_u,    s_u² = σ² θ_u² + v_u²,    ξ, ε_u ~ N(0, 1) independent

ξ is what the units share: an image on which a softmax is not saturated has large gradients everywhere, which changes
the size of all units and the order of none. σ² is the slope of s² on m² over the units, at most what the steadiest
unit allows, min s²/m². The truth θ_u is not m_u: the largest of many noisy values are large in part by luck. By
empirical Bayes, θ_u / s_u ~ N(μ, A) with the mean and the variance (less the 1 of the noise) that the m_u / s_u are
seen to have, and so θ_u / s_u given m is N(μ + B (m_u / s_u − μ), B) with B = A / (A + 1).
Source: Efron & Morris 1973 (the shrinkage); what was measured against it: docs/why/016-stability.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import QuestionError
from .shapes import spell_noun, spell_shape

_ROOM = 2**20  # numbers drawn at once


def expected_overlap(
    values: Tensor, stderr: Tensor, k: int, sign: str | None = None, draws: int = 200, seed: int = 0
) -> float:
    """E |A ∩ B| / max(|A|, |B|), A and B the top k units of two new, independent samples of this size: 0 to 1.

    `values [*unit]` are means over a sample, `stderr [*unit]` their standard errors. Top as `Attribution.top`: by
    magnitude, or of one `sign`; a unit at exactly 0 is in no top. Chance alone gives k / units; a k of all units gives
    1. NaN, which means "not known", where a standard error is NaN (one sample), and where all is 0. Where all units
    have the same influence what is said is too high: 0.4 was seen where 0.1 is true.
    Errors: `QuestionError` for other shapes, k and signs. Source: the model above.

    >>> expected_overlap(torch.tensor([9.0, 5.0, 1.0, 1.0]), torch.full((4,), 0.1), k=2)
    1.0
    >>> expected_overlap(torch.randn(1000, generator=torch.Generator().manual_seed(0)), torch.ones(1000), k=10) < 0.1
    True
    """
    _check_top(k, sign)
    shares = [
        (a & b).sum(1) / torch.maximum(a.sum(1), b.sum(1)).double()
        for truth, spread, noise in _truths(values, stderr, draws, seed)
        for a, b in [[_top(truth + spread * noise(), k, sign) for _ in range(2)]]
    ]
    return float(torch.cat(shares).nanmean()) if shares else math.nan


def rank_intervals(
    values: Tensor, stderr: Tensor, level: float = 0.95, sign: str | None = None, draws: int = 200, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Where each unit's true rank lies with probability `level`: `low, high [*unit]`, 1 is first.

    Ranks by magnitude, or from the most positive (`sign="+"`) or the most negative (`"-"`). Units that tie have all
    the ranks that they share. Each unit by itself: that all ranks lie in their intervals at once is less likely. Where
    a standard error is not known, any rank is possible: 1 to the number of units. What the units share, σ, is not taken
    away here, so that intervals are too wide where it is large. Errors: as `expected_overlap`.
    Source: posterior ranks, Laird & Louis 1989.

    >>> rank_intervals(torch.tensor([9.0, -5.0, 1.0, 1.01]), torch.full((4,), 0.1))
    (tensor([1, 2, 3, 3]), tensor([1, 2, 4, 4]))
    """
    _check_top(1, sign)
    if not 0 < level < 1:
        raise QuestionError(f"level={level!r}: give a probability between 0 and 1, level=0.95.")
    below, above = [], []
    for truth, _, _ in _truths(values, stderr, draws, seed):
        key = _key(truth, sign)
        order = key.sort(1).values
        # Of n units in rising order, all but searchsorted(right) are greater, all but searchsorted(left) as great.
        below.append(key.shape[1] + 1 - torch.searchsorted(order, key, right=True, out_int32=True))
        above.append(key.shape[1] - torch.searchsorted(order, key, out_int32=True))
    if not below:
        return torch.ones_like(values, dtype=torch.long), torch.full_like(values, values.numel(), dtype=torch.long)
    cut = int(draws * (1 - level) / 2)
    low, high = torch.cat(below).sort(0).values[cut], torch.cat(above).sort(0).values[draws - 1 - cut]
    return low.long().reshape(values.shape), high.long().reshape(values.shape)


def significant(values: Tensor, stderr: Tensor, count: int | Tensor, rate: float = 0.05) -> Tensor:
    """The units whose influence is not 0, `bool [*unit]`, of which a share of `rate` at most is false, in the mean.

    Two-sided t-tests of m / s with `count` − 1 degrees of freedom; the units up to the last p_(i) ≤ rate · i / units.
    That assumes: independent samples; means that are nearly normal (tens of samples, where they are heavy-tailed); and
    units that are independent or positively dependent (for any dependence, give rate / Σ_{i ≤ units} 1/i). A unit that
    is not known (NaN) is not significant; one that never varies is, unless it is 0.
    Errors: `QuestionError` for other shapes and rates, and for several counts: one row at a time.
    Source: Benjamini & Hochberg 1995, equation 1.

    >>> significant(torch.tensor([3.0, -5.0, 0.5, 0.0]), torch.ones(4), count=30)
    tensor([ True,  True, False, False])
    """
    if not 0 < rate < 1:
        raise QuestionError(f"rate={rate!r}: give the share of false discoveries, between 0 and 1: rate=0.05.")
    if isinstance(count, Tensor) and count.numel() != 1:
        raise QuestionError(f"There are {count.numel()} counts: significant tests one row, a.values[0] and a.count[0].")
    mean, error = _flat(values, stderr)
    freedom = int(count) - 1
    p = _two_sided((mean / error).abs(), freedom) if freedom > 0 else torch.ones_like(mean)
    p = p.where((error > 0) | (mean != 0), 1.0).nan_to_num(nan=1.0)
    order = p.argsort()
    good = p[order] <= rate * torch.arange(1, len(p) + 1) / max(len(p), 1)
    found = torch.zeros(len(p), dtype=torch.bool)
    found[order[: int(good.nonzero().max()) + 1 if good.any() else 0]] = True
    return found.reshape(values.shape)


@dataclass(frozen=True, repr=False)
class Until:
    """Enough samples: two samples of this size would share `overlap` of their `top` units, in every row.

    By magnitude, or of one `sign`. Below `atleast` samples a row, standard errors are too rough to be believed.
    Errors: `QuestionError` for numbers that no sample can meet, or any does.

    >>> Until(top=10, overlap=0.8)
    Until(top=10, overlap=0.8)
    >>> Until(top=1).met(torch.tensor([[9.0, 5.0]]), torch.tensor([[0.1, 0.1]]), torch.tensor([50]))
    (True, 1.0)
    """

    top: int = 20
    overlap: float = 0.9
    sign: str | None = None
    atleast: int = 30

    def __post_init__(self) -> None:
        _check_top(self.top, self.sign)
        if not isinstance(self.overlap, int | float) or not 0 < self.overlap < 1:
            raise QuestionError(
                f"overlap={self.overlap!r}: give the share of units in common, above 0 and below 1, which no finite "
                "sample is sure of: overlap=0.9."
            )
        if not _whole(self.atleast) or self.atleast < 2:
            raise QuestionError(
                f"atleast={self.atleast!r}: give the number of samples below which nothing is believed, 2 or more "
                "(one sample has no standard error): atleast=30."
            )

    def __repr__(self) -> str:
        return spell_noun(self)

    def met(self, values: Tensor, stderr: Tensor, count: Tensor) -> tuple[bool, float]:
        """Whether every row is settled, and the expected overlap of the one that is least so.

        `values [instance, *unit]`, `stderr` the same, `count [instance]`. NaN, and so not met, where a row has fewer
        than `atleast` samples, or its overlap is not known. Errors: `QuestionError` for other shapes.
        """
        if count.shape != values.shape[:1]:
            raise QuestionError(f"count is {spell_shape(count)} for {len(values)} rows: give one number for each.")
        _flat(values, stderr)
        if not len(count) or int(count.min()) < self.atleast:
            return False, math.nan
        rows = [expected_overlap(m, s, self.top, self.sign) for m, s in zip(values, stderr, strict=True)]
        worst = math.nan if any(map(math.isnan, rows)) else min(rows)
        return worst >= self.overlap, worst


class _Noise:
    """Standard normal numbers of one shape, another time for another call."""

    def __init__(self, shape: tuple[int, int], generator: torch.Generator) -> None:
        self.shape, self.generator = shape, generator

    def __call__(self) -> Tensor:
        return torch.randn(self.shape, generator=self.generator, dtype=torch.float64)


def _truths(values: Tensor, stderr: Tensor, draws: int, seed: int) -> Iterator[tuple[Tensor, Tensor, _Noise]]:
    """θ and v `[draw, unit]` given the sample, some draws at a time, with a source of noise; none if not known."""
    if not _whole(draws) or draws < 1:
        raise QuestionError(f"draws={draws!r}: give the number of draws, 1 or more: draws=200.")
    mean, error = _flat(values, stderr)
    if not mean.numel() or not (mean.isfinite() & error.isfinite()).all():
        return
    size = max(float(mean.abs().max()), float(error.max())) or 1.0
    mean, error = mean / size, error / size  # squares of squares are taken below
    # A unit that varies by less than a millionth of itself is known, and would drown all others in the variance of z.
    moving = error > 1e-6 * mean.abs()
    z = (mean / error).where(moving, 0.0)
    centre = z[moving].mean() if moving.any() else z.new_zeros(())
    spread = ((z[moving] - centre).square().mean() - 1).clamp(min=0) if moving.any() else z.new_zeros(())
    shrunk = spread / (spread + 1)
    shared = _shared(mean[moving], error[moving])
    generator = torch.Generator().manual_seed(seed)
    at_once = max(1, _ROOM // len(mean))
    for rows in torch.arange(draws).split(at_once):
        noise = _Noise((len(rows), len(mean)), generator)
        effect = centre + shrunk * (z - centre) + shrunk.sqrt() * noise()
        own = error * (1 - shared * effect.square()).clamp(min=0).sqrt()
        yield (effect * error).where(moving, mean), own.where(moving, 0.0), noise


def _shared(mean: Tensor, error: Tensor) -> Tensor:
    """σ²: the slope of s² on m² over the units, no less than 0 and no more than the least s²/m²."""
    x, y = mean.square(), error.square()
    if not x.any():
        return x.new_zeros(())
    away = x - x.mean()
    slope = (away * (y - y.mean())).sum() / away.square().sum()
    return slope.nan_to_num(nan=0.0).clamp(min=0).minimum((y / x).min())


def _key(values: Tensor, sign: str | None) -> Tensor:
    """What units are ranked by, the greatest first."""
    return values.abs() if sign is None else values if sign == "+" else -values


def _top(values: Tensor, k: int, sign: str | None) -> Tensor:
    """Which units are in the top k of each draw, `[draw, unit]`."""
    best = _key(values, sign).topk(min(k, values.shape[1]), 1)
    return torch.zeros_like(values, dtype=torch.bool).scatter_(1, best.indices, best.values > 0)


def _two_sided(t: Tensor, freedom: int) -> Tensor:
    """P(|T| ≥ t) = I_x(ν/2, 1/2), x = ν / (ν + t²), for t ≥ 0 and ν degrees of freedom.

    By the continued fraction where t² > 3, and by the power series of the complement below, where p is no small number.
    Source: Abramowitz & Stegun 1964, 26.5.4, 26.5.8, 26.7.1.
    """
    nu = float(min(freedom, 10**6))  # above, the t distribution is the normal one to one part in a million
    a, b = nu / 2, 0.5
    square = t.double().square()
    x, y = nu / (nu + square), square / (nu + square)
    y = y.where(square.isfinite(), 1.0)
    logs = a * -torch.log1p(square / nu) + b * y.log()  # a log x, where x is near 0 and near 1
    front = torch.exp(logs + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b))
    # Σ_j Π_i (a + b + i) / (b + 1 + i) · y^j, for I_y(b, a).
    term = torch.ones_like(y)
    total = term.clone()
    for j in range(_TERMS):
        term = term * (a + b + j) / (b + 1 + j) * y
        total = total + term
    near = 1 - front / b * total
    # I_x(a, b) = front / a / (1 + d₁/(1 + d₂/(1 + …))), from the inside out.
    fraction = torch.ones_like(x)
    for m in range(_TERMS, 0, -1):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        fraction = 1 + even / (1 + odd / fraction)
    far = front / a / (1 - (a + b) * x / (a + 1) / fraction)
    return near.where(square <= 3, far).clamp(0, 1)


_TERMS = 200


def _flat(values: Tensor, stderr: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float64 `[unit]`, on the CPU."""
    if values.shape != stderr.shape:
        raise QuestionError(
            f"values are {spell_shape(values)}, their standard errors {spell_shape(stderr)}: give one for each."
        )
    mean, error = (side.detach().cpu().double().flatten() for side in (values, stderr))
    if bool((error < 0).any()):
        raise QuestionError(f"A standard error is {float(error.min()):.3g}: none is below 0.")
    return mean, error


def _check_top(k: int, sign: str | None) -> None:
    if not _whole(k) or k < 1:
        raise QuestionError(f"top {k!r}: give the number of units, 1 or more: 20.")
    if sign not in (None, "+", "-"):
        raise QuestionError(f"sign={sign!r} is not known: '+', '-', or None for both.")


def _whole(n: object) -> bool:
    return isinstance(n, int) and not isinstance(n, bool)
