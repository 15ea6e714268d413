"""Colours: one diverging scale for signed values, readable without red–green vision."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from torch import Tensor

DIVERGING = "RdBu_r"
"""Blue is negative, white zero, red positive (ColorBrewer's RdBu: told apart by all common colour visions)."""

LINES = (("#3b82c4", ""), ("#c8691c", "7 3"), ("#12896b", "2 3"), ("#b8519b", "9 3 2 3"), ("#7a7a7a", "4 2"))
"""Colour and dashes of each curve of a chart: told apart without colour, on a light page and on a dark one."""


def limit(values: Tensor, percentile: float = 99.5) -> float:
    """The value at which a symmetric scale saturates: a percentile of |values|, never 0.

    A few extreme pixels would otherwise leave the rest white.

    >>> limit(torch.tensor([-2.0, 0.0, 1.0]), percentile=100)
    2.0
    """
    size = values.detach().abs().flatten().double().cpu().numpy()
    return float(np.percentile(size, percentile)) or float(size.max(initial=0.0)) or 1.0


def signed_colours(values: Tensor, most: float) -> np.ndarray:
    """RGB in 0..1, `[row, column] → [row, column, 3]`: symmetric around white, saturated at ± `most`."""
    scaled = (values.detach().double().cpu().numpy() / most).clip(-1, 1)
    return np.asarray(colormaps[DIVERGING]((scaled + 1) / 2)[..., :3])
