"""Heat map: a pixel's influence summed over its colour channels, sign shown by colour."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from .palette import limit, signed_colours


def per_pixel(values: Tensor) -> Tensor:
    """Influence of each pixel, summed over its colour channels: `[channel, row, column] → [row, column]`.

    >>> per_pixel(torch.ones(3, 2, 2))[0, 0]
    tensor(3.)
    """
    return values.detach().sum(0)


def heat(values: Tensor) -> np.ndarray:
    """A heat map, RGB in 0..1: `[channel, row, column] → [row, column, 3]`; red speaks for, blue against.

    >>> heat(torch.zeros(3, 2, 2)).shape
    (2, 2, 3)
    """
    pixels = per_pixel(values)
    return signed_colours(pixels, limit(pixels))
