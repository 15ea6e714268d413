"""What small rounds cost: the adaptive rule beside the uniform one at as many points, over several photos and one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

import influent as inf

from .jobs import CHUNK, CLASS, Comparison, Size
from .workload import MIDDLE, photos

ROUNDS = Size(photos=8, points=65, points_beside_captum=0, rounds=3)
ROUNDS_QUICK = Size(photos=2, points=17, points_beside_captum=0, rounds=1)


def comparisons(net: inf.Net, size: Size) -> list[Comparison]:
    """One photo, and all of them in one call."""
    return [_beside_uniform(net, photos(net, count), size.points) for count in (1, size.photos)]


def _beside_uniform(net: inf.Net, x: Tensor, n: int) -> Comparison:
    what = f"adaptive / uniform, {n} points, contribution at {MIDDLE}, chunk={CHUNK}"
    return Comparison(
        f"{len(x)} photo(s)", f"{what}, {len(x)} photo(s) in one call", _path(net, x, n, "adaptive"),
        _path(net, x, n, "uniform"), bar=1.20 if len(x) == 1 else 1.05,
    )  # fmt: skip


def _path(net: inf.Net, x: Tensor, n: int, rule: str) -> Callable[[], Any]:
    over = inf.Line("black", x, n=n, rule=rule)
    return lambda: inf.influence(net, MIDDLE, inf.Class(CLASS), over, inf.contribution, chunk=CHUNK)
