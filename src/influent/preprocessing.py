"""Steps on a picture's way into a net, each a value that can be left out: blur, loss of colour, any function."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageFilter

from .errors import InputError

PictureStep = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Blur:
    """A Gaussian of `std` pixels, of the picture as it is when the step comes: RGB picture → RGB picture, same size.

    Errors: `InputError` for widths that are none.

    >>> Blur(2.0)(Image.new("RGB", (30, 20))).size
    (30, 20)
    """

    std: float

    def __post_init__(self) -> None:
        if not isinstance(self.std, int | float) or not 0 < self.std < float("inf"):
            raise InputError(f"Blur({self.std!r}): give a width in pixels above 0, Blur(2.0).")

    def __call__(self, picture: Image.Image) -> Image.Image:
        return picture.filter(ImageFilter.GaussianBlur(self.std))


@dataclass(frozen=True)
class Grey:
    """Shades of grey: RGB picture → RGB picture of one brightness in all three colours, same size.

    >>> Grey()(Image.new("RGB", (1, 1), (255, 0, 0))).getpixel((0, 0))
    (76, 76, 76)
    """

    def __call__(self, picture: Image.Image) -> Image.Image:
        return picture.convert("L").convert("RGB")


@dataclass(frozen=True)
class Compose:
    """Steps one after another, as `PixelTransform(see=...)` takes them: what `influent debug` can leave out in turn.

    Each is a function from an RGB picture to an RGB picture: ours, torchvision's, one's own. Errors: `InputError` for
    what is no function.

    >>> Compose((Grey(), Blur(1.0)))(Image.new("RGB", (30, 20))).size
    (30, 20)
    """

    steps: tuple[PictureStep, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        for step in self.steps:
            if not callable(step):
                raise InputError(
                    f"Compose(({step!r}, ...)): {step!r} is no function. A step goes from an RGB PIL picture to "
                    "another: Compose((Blur(2.0), lambda picture: picture.resize((224, 224))))."
                )

    def __call__(self, picture: Image.Image) -> Image.Image:
        for step in self.steps:
            picture = step(picture)
        return picture


def name_of(step: Any) -> str:
    """A step in words: its `repr`, or the name of a function.

    >>> name_of(Blur(2.0)), name_of(name_of)
    ('Blur(std=2.0)', 'name_of')
    """
    return str(getattr(step, "__name__", None) or repr(step))


def spell_way(transform: Any) -> str:
    """A way into a net as text that tells one from another: its `repr`, and a checksum of functions in it.

    >>> spell_way(lambda picture: picture) == spell_way(lambda picture: picture.convert("L"))
    False
    """
    steps = [transform, getattr(transform, "see", None), *getattr(getattr(transform, "see", None), "steps", ())]
    return re.sub(r" at 0x[0-9a-f]+", "", repr(transform)) + "".join(f" {code_of(step)}" for step in steps)


def code_of(function: Any) -> str:
    """A checksum of a function's code; nothing where there is none."""
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    told = re.sub(r" at 0x[0-9a-f]+", "", repr((code.co_code, code.co_consts, code.co_names)))
    return hashlib.sha256(told.encode()).hexdigest()[:12]
