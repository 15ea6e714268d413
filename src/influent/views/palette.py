"""Colours: one diverging scale for signed values, readable without red–green vision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
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


def signed_hex(values: Sequence[float], most: float) -> list[str]:
    """The colours `#rrggbb` of signed values: symmetric around white, saturated at ± `most`.

    >>> signed_hex([-2.0, -1.0, 0.0, 1.0], most=1.0)
    ['#053061', '#053061', '#f7f6f6', '#67001f']
    """
    return [to_hex(colour) for colour in signed_colours(torch.tensor([list(values)], dtype=torch.float64), most)[0]]


SIGNS = {"safe": ("#d2691e", "#2f7fc1"), "paper": ("#2e8b3d", "#c8322b")}
"""Colour of what speaks for and of what speaks against: told apart by all common colour visions; or green and red."""

SEQUENTIAL = "cividis"
"""From dark blue to yellow, ever lighter: in the order of its greys, the same for all common colour visions."""


def sequential_colour(part: float) -> str:
    """The colour `#rrggbb` of a value between 0 (dark) and 1 (light); what lies beyond is the end's.

    >>> sequential_colour(0.0), sequential_colour(1.0)
    ('#00224e', '#fee838')
    """
    return to_hex(colormaps[SEQUENTIAL](min(max(part, 0.0), 1.0)))


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, 0 to 1. Source: WCAG 2.1.

    >>> luminance("#000000"), luminance("#ffffff")
    (0.0, 1.0)
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def ink(colour: str) -> str:
    """Black or white, whichever is read more easily on `#rrggbb`: the contrast is at least √21, above AA's 4.5.

    >>> ink("#00224e"), ink("#fee838")
    ('#ffffff', '#000000')
    """
    # (1.05 / (L + 0.05)) · ((L + 0.05) / 0.05) = 21, so that one of the two is √21 or more.
    return "#000000" if luminance(colour) + 0.05 > (1.05 * 0.05) ** 0.5 else "#ffffff"
