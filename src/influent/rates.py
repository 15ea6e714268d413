"""How sure a share is: intervals of a rate and of the difference of two, and tests against chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from .errors import QuestionError


def wilson(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a rate of which `hits` of `count` were seen: (low, high); (0, 1) where there is no sample.

    Errors: `QuestionError` for more hits than samples, and for levels outside (0, 1). Source: Wilson 1927.

    >>> tuple(round(end, 3) for end in wilson(0, 20))
    (0.0, 0.161)
    """
    _check(hits, count)
    if not 0 < level < 1:
        raise QuestionError(f"level={level!r}: give a probability between 0 and 1, level=0.95.")
    if not count:
        return 0.0, 1.0
    z, p = NormalDist().inv_cdf((1 + level) / 2), hits / count
    centre = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    # At 0 and at 1 the ends are exact, and rounding would miss them.
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == count else centre + half)


def difference(hits: int, count: int, others: int, out_of: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of hits / count − others / out_of, two rates of different samples: (low, high).

    (−1, 1) where one of the two has no sample. Errors as `wilson`. Source: Newcombe 1998, method 10.

    >>> tuple(round(end, 2) for end in difference(10, 10, 0, 10))
    (0.61, 1.0)
    """
    first, second = wilson(hits, count, level), wilson(others, out_of, level)
    if not count or not out_of:
        return -1.0, 1.0
    p, q = hits / count, others / out_of
    low = p - q - math.hypot(p - first[0], second[1] - q)
    return low, p - q + math.hypot(first[1] - p, q - second[0])


def fisher(hits: int, count: int, others: int, out_of: int) -> float:
    """P(as many hits or more among the `count`), were all hits dealt by lot among count + out_of samples.

    The exact one-sided permutation test that hits / count is not above others / out_of: of rates that are one, a share
    p at most has a value of p or less. Errors as `wilson`. Source: Fisher 1935.

    >>> fisher(3, 3, 0, 3)
    0.05
    """
    _check(hits, count)
    _check(others, out_of)
    all_hits = hits + others
    ways = sum(math.comb(count, k) * math.comb(out_of, all_hits - k) for k in range(hits, min(count, all_hits) + 1))
    return ways / math.comb(count + out_of, all_hits)


def by_lot(value: float, draws: Sequence[float]) -> float:
    """(1 + draws that reach `value`) / (1 + draws): the share of lots that do as well, never 0.

    Source: Davison & Hinkley 1997, section 4.2.

    >>> by_lot(0.9, [0.1, 0.9, 0.3])
    0.5
    """
    return (1 + sum(draw >= value for draw in draws)) / (1 + len(draws))


def mann_whitney(area: float, count: int, others: int) -> float:
    """P(such an AUROC or a higher one by chance) of `count` scores against `others`, by the normal distribution.

    1 where the AUROC is NaN. Source: Mann & Whitney 1947.

    >>> round(mann_whitney(0.75, 20, 20), 4)
    0.0034
    """
    if math.isnan(area) or not count or not others:
        return 1.0
    # By erfc, which knows the smallest p too.
    return 0.5 * math.erfc((area - 0.5) / math.sqrt((count + others + 1) / (6 * count * others)))


def area_interval(area: float, count: int, others: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of an AUROC of `count` scores against `others`, by the normal distribution: (low, high).

    (0, 1) where the AUROC is NaN; at 0 and 1 that of a rate of the rarer kind.
    Source: Hanley & McNeil 1982, equation 2.

    >>> tuple(round(end, 2) for end in area_interval(0.75, 20, 20))
    (0.6, 0.9)
    """
    if math.isnan(area) or not count or not others:
        return 0.0, 1.0
    fewer = min(count, others)
    if area in (0.0, 1.0):  # where the formula knows no spread
        return wilson(round(area * fewer), fewer, level)
    first, second = area / (2 - area) - area * area, 2 * area * area / (1 + area) - area * area
    variance = (area * (1 - area) + (count - 1) * first + (others - 1) * second) / (count * others)
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(variance)
    return max(0.0, area - half), min(1.0, area + half)


def mcnemar(gained: int, lost: int) -> float:
    """P(as many gained or more, were each of gained + lost as likely to be lost): the exact one-sided test of pairs.

    Source: McNemar 1947; exact as the sign test.

    >>> mcnemar(5, 0)
    0.03125
    """
    both = gained + lost
    return float(sum(math.comb(both, k) for k in range(gained, both + 1)) / 2**both)


def _check(hits: int, count: int) -> None:
    if not 0 <= hits <= count:
        raise QuestionError(f"{hits} of {count} samples: a rate takes between 0 and as many hits as there are samples.")
