"""Steps on a picture's way into a net, each a value that can be left out: blur, loss of colour, any function."""

from __future__ import annotations

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
        if not isinstance(self.steps, tuple | list):
            raise InputError(f"Compose({self.steps!r}): give several steps in brackets, Compose(({self.steps!r},)).")
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
