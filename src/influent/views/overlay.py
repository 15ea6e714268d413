"""Pictures over the photo: influence as colour on grey, and the photo's own pixels scaled by influence."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from influent.pixels import blurred

from .heat import per_pixel
from .palette import limit, signed_colours


def overlay(values: Tensor, photo: np.ndarray, sigma: float = 2.0) -> np.ndarray:
    """Influence in colour over the photo in grey, RGB in 0..1: `[channel, row, column] → [row, column, 3]`.

    `photo [row, column, 3]` in 0..1. Where influence is small the grey shows; `sigma` (pixels) smooths speckle.
    """
    pixels = blurred(per_pixel(values)[None, None], sigma)[0, 0]
    most = limit(pixels)
    strength = (pixels.abs() / most).clamp(max=1).sqrt().double().cpu().numpy()[..., None]
    grey = photo.mean(axis=2, keepdims=True).repeat(3, axis=2) * 0.6 + 0.35
    return np.asarray(grey * (1 - strength) + signed_colours(pixels, most) * strength)


def scaled_pixels(values: Tensor, photo: np.ndarray, sigma: float = 0.0) -> np.ndarray:
    """The photo's pixels scaled by |influence| for each colour channel, `[channel, row, column] → [row, column, 3]`.

    A channel that does not matter turns dark. Source: Leino et al. 2018, section 3.1 ("measuring the influence of the
    input pixels … along each color channel, and scaling the pixels in the original image accordingly"). The sign is
    lost here: show it beside a heat map.

    >>> float(scaled_pixels(torch.zeros(3, 2, 2), np.ones((2, 2, 3))).max())
    0.0
    """
    size = values.detach().abs()
    size = blurred(size[None], sigma)[0] if sigma else size
    return np.asarray(photo * (size / limit(size, 98.0)).clamp(max=1).double().cpu().permute(1, 2, 0).numpy())
