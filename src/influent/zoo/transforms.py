"""Transforms of other libraries, taken apart so that baselines have names in pixels and pictures can be drawn.

A photo's way into a net is geometry (resize, crop: picture → picture) and then x = (pixel − mean) / std. The geometry
stays the library's own; whether the two together give what the library gives, is tried on a picture before it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image

from influent.nets import as_input
from influent.pixels import PixelTransform
from influent.preprocessing import Compose, PictureStep


def taken_apart(whole: Callable[..., Any] | None) -> Any:
    """A `PixelTransform` that gives what `whole` gives, where it is made of known steps; else `whole` itself.

    Known are torchvision's `Compose` (timm's and most users' transforms) and its presets for classification.

    >>> whole = PixelTransform((0, 0, 0), (1, 1, 1))
    >>> taken_apart(whole) is whole
    True
    """
    steps = getattr(whole, "transforms", None)
    if isinstance(steps, Sequence | torch.nn.ModuleList):
        return _from_steps(whole, list(steps))
    if all(hasattr(whole, name) for name in ("resize_size", "crop_size", "interpolation", "antialias", "mean", "std")):
        return _from_preset(whole)
    return whole


def _from_steps(whole: Any, steps: list[Any]) -> Any:
    """Resize, crop, ..., to a tensor in 0..1, normalise."""
    last = steps[-1] if steps else None
    mean, std = getattr(last, "mean", None), getattr(last, "std", None)
    normalised = mean is not None and std is not None
    tensors = ("ToTensor", "MaybeToTensor", "PILToTensor", "ToImage", "ConvertImageDtype", "ToDtype")
    geometry = [s for s in (steps[:-1] if normalised else steps) if type(s).__name__ not in tensors]

    return as_pixels(
        whole, Compose(tuple(geometry)), mean if normalised else (0.0,) * 3, std if normalised else (1.0,) * 3
    )


def _from_preset(preset: Any) -> Any:
    """torchvision's `ImageClassification`: resize, crop, to a tensor in 0..1, normalise."""
    steps = importlib.import_module("torchvision.transforms.functional")

    def see(picture: Image.Image) -> Image.Image:
        small = steps.resize(picture, preset.resize_size, preset.interpolation, antialias=preset.antialias)
        return steps.center_crop(small, preset.crop_size)

    return as_pixels(preset, see, preset.mean, preset.std)


def as_pixels(whole: Callable[[Any], Any], see: PictureStep, mean: Any, std: Any, scale: float = 1 / 255) -> Any:
    """`see`, and then x = (scale · pixel − mean) / std, if that is what `whole` does; else `whole`.

    Tried on a picture with a slope in every colour; equal to 1e-4 of a standard deviation (both are float32).
    """
    across = torch.arange(96, dtype=torch.uint8).repeat(80, 1)
    slopes = torch.stack([across, across + 100, 255 - 2 * across], 2).contiguous()
    picture = Image.frombytes("RGB", (96, 80), slopes.numpy().tobytes())
    try:
        ours = PixelTransform(tuple(float(m) / scale for m in mean), tuple(float(s) / scale for s in std), see=see)
        theirs = as_input(whole(picture))
        same = torch.allclose(ours(picture), theirs.float(), rtol=0, atol=1e-4)
    except Exception:  # Whatever a foreign transform does with our picture: it is then used as it is.
        same = False
    return ours if same else whole
