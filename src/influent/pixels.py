"""Pixels: from a photo to a net's input and back, and the baselines that live in pixel space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from .errors import InputError, QuestionError, nearest
from .photos import Photo, read_photo
from .preprocessing import PictureStep

BASELINES = ("black", "white", "grey", "mean", "blur")

STRIP = 20
"""Times its width that a photo is high, or its height that it is wide, above which only its middle is resized."""


@dataclass(frozen=True)
class PixelTransform:
    """x = (pixel − mean) / std, after the shorter side is resized and the centre is cropped.

    `mean` and `std` are in pixel units (0..255), one per channel in the net's own order (`"RGB"`, or
    `"BGR"` for nets from Caffe). Called on a photo (a file name, a binary stream or a PIL picture), it gives
    `[1, 3, crop, crop]` in float32.

    `see`: what the net sees of an upright RGB picture, in place of resizing and cropping, for nets whose library brings
    its own geometry: another RGB picture, square or not. The input is then `[1, 3, y, x]` of its size.

    Errors: `InputError` for settings that no picture can satisfy.

    >>> transform = PixelTransform(mean=(127, 127, 127), std=(128, 128, 128))
    >>> x = transform(Image.new("RGB", (300, 200), (255, 127, 127)))
    >>> x.shape, x[0, :, 0, 0].tolist()
    (torch.Size([1, 3, 224, 224]), [1.0, 0.0, 0.0])
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int = 256
    crop: int = 224
    order: str = "RGB"
    see: PictureStep | None = None

    def __post_init__(self) -> None:
        if self.order not in ("RGB", "BGR"):
            raise InputError(f"order={self.order!r} is no order of colours: write 'RGB', or 'BGR' for Caffe's nets.")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(self.std):
            raise InputError(
                f"mean={self.mean}, std={self.std}: a transform needs three of each, one per colour in the "
                f"order {self.order} and in pixel units (0..255), and no std of zero: it is divided by."
            )
        if not 0 < self.crop <= self.resize:
            raise InputError(
                f"resize={self.resize}, crop={self.crop}: the crop is cut out of a picture whose shorter "
                "side is `resize`, so it cannot be larger. Write resize=256, crop=224, for example."
            )
        if self.see is not None and not callable(self.see):
            raise InputError(
                f"see={self.see!r} is no function. Write one from an RGB PIL picture to what the net sees of it: "
                "see=lambda picture: picture.resize((224, 224))."
            )

    def __call__(self, photo: Photo) -> Tensor:
        """The net's input `[1, 3, y, x]` for a photo, float32."""
        return self.encode(_pixels(self.view(photo)))

    def view(self, photo: Photo) -> Image.Image:
        """What the net sees of a photo: its centre, `crop` pixels square, after resizing; or what `see` gives.

        The shorter side becomes `resize` pixels (bicubic; small photos are enlarged).

        Errors: those of `read_photo`; `InputError` where `see` gives no RGB picture.

        >>> PixelTransform((0, 0, 0), (1, 1, 1)).view(Image.new("RGB", (30, 20))).size
        (224, 224)
        """
        picture = read_photo(photo)
        return self._cropped(picture) if self.see is None else _checked(self.see(picture))

    def encode(self, pixels: Tensor) -> Tensor:
        """x = (pixel − mean) / std: RGB pixels 0..255 `[n, 3, y, x]` → the net's input, same shape.

        Differentiable; keeps device and dtype (whole numbers become float32).

        >>> caffe = PixelTransform(mean=(104, 117, 123), std=(1, 1, 1), order="BGR")
        >>> caffe.encode(torch.tensor([255.0, 0.0, 0.0]).reshape(1, 3, 1, 1)).flatten().tolist()
        [-104.0, -117.0, 132.0]
        """
        _check_photos(pixels, "pixels")
        if not pixels.is_floating_point():
            pixels = pixels.float()
        return (self.to_rgb(pixels) - self._column(self.mean, pixels)) / self._column(self.std, pixels)

    def decode(self, x: Tensor) -> Tensor:
        """pixel = x · std + mean: the net's input `[n, 3, y, x]` → RGB pixels, same shape.

        The inverse of `encode`. Values outside 0..255 are kept, so that `encode(decode(x))` is x.

        >>> transform = PixelTransform((127, 127, 127), (128, 128, 128))
        >>> transform.decode(torch.zeros(1, 3, 1, 1)).flatten().tolist()
        [127.0, 127.0, 127.0]
        """
        _check_photos(x, "x")
        return self.to_rgb(x * self._column(self.std, x) + self._column(self.mean, x))

    def to_rgb(self, x: Tensor) -> Tensor:
        """Channels in the net's order → red, green, blue, `[n, 3, ...]`; its own inverse. For influences, too.

        >>> PixelTransform((0, 0, 0), (1, 1, 1), order="BGR").to_rgb(torch.arange(3.0)[None])
        tensor([[2., 1., 0.]])
        """
        return x.flip(1) if self.order == "BGR" else x

    def _cropped(self, picture: Image.Image) -> Image.Image:
        scale = self.resize / min(picture.size)
        width, height = (round(side * scale) for side in picture.size)
        left, top = (width - self.crop) // 2, (height - self.crop) // 2
        right, bottom = left + self.crop, top + self.crop
        if max(picture.size) > STRIP * min(picture.size):
            # The whole of it at this scale could take gigabytes. The kernel still reaches beyond the box.
            across, down = picture.width / width, picture.height / height
            box = (left * across, top * down, right * across, bottom * down)
            return picture.resize((self.crop, self.crop), Image.Resampling.BICUBIC, box=box)
        if (width, height) != picture.size:
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        return picture.crop((left, top, right, bottom))

    def _column(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device).reshape(1, 3, 1, 1)


def baseline(transform: PixelTransform, name: str, x: Tensor) -> Tensor:
    """encode(pixels that show nothing): net inputs `[n, 3, y, x]` → baselines of the same shape.

    `name` is "black" (0), "white" (255), "grey" (127.5), "mean" (each photo's own mean colour) or "blur"
    (the photo under a Gaussian with a standard deviation of 20 pixels for each 224 of its shorter side,
    mirrored at the edges).

    A baseline is named in pixels because a zero after the transform is no "nothing": encode(p) = 0 means
    p = mean, a grey card for most nets. A path from there gives a dark object and a bright one influences of
    opposite sign, and none at all to a grey one, which the baseline already holds.

    Errors: `QuestionError` for another name.
    Source: Sturmfels et al. 2020, "Visualizing the impact of feature attribution baselines".

    >>> transform = PixelTransform(mean=(127, 127, 127), std=(128, 128, 128))
    >>> baseline(transform, "black", torch.zeros(1, 3, 2, 2)).unique().tolist()
    [-0.9921875]
    """
    pixels = transform.decode(x)
    if name == "black":
        return transform.encode(torch.zeros_like(pixels))
    if name == "white":
        return transform.encode(torch.full_like(pixels, 255.0))
    if name == "grey":
        return transform.encode(torch.full_like(pixels, 127.5))
    if name == "mean":
        return transform.encode(pixels.mean(dim=(2, 3), keepdim=True).expand_as(pixels))
    if name == "blur":
        return transform.encode(blurred(pixels, std=20 / 224 * min(pixels.shape[2:])))
    raise QuestionError(
        f"There is no baseline {name!r} for photos; there are {', '.join(BASELINES)}."
        f"{nearest(name, BASELINES, most=1)} Any other baseline is a tensor: `transform(photo)` of the "
        "picture to start from."
    )


def blurred(pixels: Tensor, std: float) -> Tensor:
    """`[n, channel, row, column]` under a Gaussian of `std` pixels, mirrored at the edges.

    >>> bool(torch.isclose(blurred(torch.ones(1, 1, 8, 8), 1.0), torch.ones(())).all())
    True
    """
    # Columns, then rows: two passes of length k instead of one of k². Three deviations hold 99.7 % of the
    # weight, and mirroring cannot reach further than the picture.
    for dim in (2, 3):
        radius = min(math.ceil(3 * std), pixels.shape[dim] - 1)
        offsets = torch.arange(-radius, radius + 1, dtype=pixels.dtype, device=pixels.device)
        weights = torch.softmax(-(offsets**2) / (2 * std**2), dim=0)  # a Gaussian whose sum is one
        turned = pixels.movedim(dim, -1)
        rows = functional.pad(turned.flatten(0, -2)[:, None], (radius, radius), mode="reflect")
        pixels = functional.conv1d(rows, weights[None, None])[:, 0].reshape(turned.shape).movedim(-1, dim)
    return pixels


def _pixels(picture: Image.Image) -> Tensor:
    width, height = picture.size
    flat = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return flat.reshape(1, height, width, 3).permute(0, 3, 1, 2).float().contiguous()


def _checked(seen: Image.Image) -> Image.Image:
    if not isinstance(seen, Image.Image) or seen.mode != "RGB":
        kind = f"a {seen.mode} picture" if isinstance(seen, Image.Image) else f"a {type(seen).__name__}"
        raise InputError(
            f"see= gives {kind}, and should give an RGB PIL picture: resizing and cropping only. Leave out what comes "
            "after (ToTensor, Normalize, rescaling): mean= and std= do that, in pixel units (0..255)."
        )
    return seen


def _check_photos(x: Tensor, name: str) -> None:
    if x.ndim != 4 or x.shape[1] != 3:
        raise InputError(
            f"`{name}` has shape {list(x.shape)}; photos are [n, 3, y, x]. Type `{name}[None]` for a single "
            f"photo [3, y, x], `{name}.permute(0, 3, 1, 2)` for colours last."
        )
