"""Photos: from a file to a net's input and back, and the baselines that live in pixel space."""

from __future__ import annotations

import difflib
import importlib.util
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from .errors import InputError, QuestionError, nearest

EXAMPLES = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "hubble_deep_field": "hubble_deep_field.jpg",
    "motorcycle_left": "motorcycle_left.png",
    "motorcycle_right": "motorcycle_right.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
}
BASELINES = ("black", "white", "grey", "mean", "blur")


def read_photo(path: str | os.PathLike[str] | Image.Image) -> Image.Image:
    """RGB picture of a photo file (or of a PIL picture), upright as the camera's EXIF tag says.

    Transparent parts come out white, as on paper; grey and 16-bit pictures become RGB with 0..255.

    Errors: `InputError` for a missing, empty or unreadable file, a folder, a truncated or corrupt picture, a
    format that Pillow cannot read; each says what was found and what to type instead.

    >>> read_photo(Image.new("L", (4, 2), 255)).getpixel((0, 0))
    (255, 255, 255)
    """
    if isinstance(path, Image.Image):
        return _decoded(path, str(getattr(path, "filename", "") or "this picture"))
    if not isinstance(path, str | os.PathLike):
        raise InputError(
            f"A photo is a file name or a PIL picture; this is a {type(path).__name__}, whose colour order "
            "and range cannot be known. Type `PIL.Image.fromarray(pixels)` for pixels [y, x, rgb] in uint8."
        )
    file = Path(path)
    _check_file(file)
    try:
        # Opened here and not by Pillow, which leaves the file open where a header breaks off.
        with file.open("rb") as stream, Image.open(stream) as picture:
            return _decoded(picture, str(file))
    except PermissionError:
        raise InputError(f"{file} may not be read by this user. Type `ls -l {file}` to see who may.") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{file} is too large a picture: {error}. Make it smaller first.") from None
    except (OSError, ValueError):
        raise InputError(_not_a_picture(file)) from None


def example(name: str) -> Path:
    """File of a colour photo that is installed with scikit-image, such as "coffee" or "chelsea" (a cat).

    Errors: `InputError` where scikit-image is not installed or has no such photo.

    >>> example("coffee").name
    'coffee.png'
    """
    if name not in EXAMPLES:
        raise InputError(
            f"There is no example photo {name!r}; there are {', '.join(EXAMPLES)}.{nearest(name, EXAMPLES, most=1)}"
        )
    # The spec gives the folder without running the package, whose import takes longer than reading the photo.
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"The example photo {name!r} comes with scikit-image, which is not installed here. "
            'Type `pip install "influent[zoo]"`, or name a photo file of your own.'
        )
    file = Path(spec.submodule_search_locations[0]) / "data" / EXAMPLES[name]
    if not file.is_file():
        raise InputError(
            f"The installed scikit-image has no file {file.name}: other versions bring fewer photos. "
            'Type `pip install --upgrade "influent[zoo]"`, or name a photo file of your own.'
        )
    return file


@dataclass(frozen=True)
class PixelTransform:
    """x = (pixel − mean) / std, after the shorter side is resized and the centre is cropped.

    `mean` and `std` are in pixel units (0..255), one per channel in the net's own order (`"RGB"`, or
    `"BGR"` for nets from Caffe). Called on a photo (a file name or a PIL picture), it gives
    `[1, 3, crop, crop]` in float32.

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

    def __call__(self, photo: str | os.PathLike[str] | Image.Image) -> Tensor:
        """The net's input `[1, 3, crop, crop]` for a photo, float32."""
        return self.encode(_pixels(self.view(photo)))

    def view(self, photo: str | os.PathLike[str] | Image.Image) -> Image.Image:
        """What the net sees of a photo: its centre, `crop` pixels square, after resizing.

        The shorter side becomes `resize` pixels (bicubic; small photos are enlarged).

        >>> PixelTransform((0, 0, 0), (1, 1, 1)).view(Image.new("RGB", (30, 20))).size
        (224, 224)
        """
        picture = read_photo(photo)
        scale = self.resize / min(picture.size)
        width, height = (round(side * scale) for side in picture.size)
        if (width, height) != picture.size:
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - self.crop) // 2, (height - self.crop) // 2
        return picture.crop((left, top, left + self.crop, top + self.crop))

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


def _decoded(picture: Image.Image, name: str) -> Image.Image:
    try:
        return _rgb(ImageOps.exif_transpose(picture), name)
    # What Pillow's decoders raise on broken files: each format has its own habits.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise InputError(
            f"{name} starts as a {picture.format or 'picture'}, but cannot be read to its end ({error}): "
            "it is truncated or corrupt. Copy or download it again."
        ) from None


def _rgb(picture: Image.Image, name: str) -> Image.Image:
    if picture.mode in ("I", "F"):
        raise InputError(
            f"{name} holds 32-bit numbers (mode {picture.mode!r}) of unknown range, not colours. Scale them "
            "to 0..255 and type `picture.convert('L')` first."
        )
    if picture.mode.startswith("I;16"):  # Pillow's own conversion would clip at 255, not scale
        return picture.convert("I").point(lambda value: value * (1 / 257)).convert("L").convert("RGB")
    if picture.has_transparency_data:
        paper = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(paper, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")


def _check_file(file: Path) -> None:
    if str(file).startswith(("http:/", "https:/")):
        raise InputError(f"{file} is a web address; photos are read from files. Download it, and name the file.")
    if file.is_dir():
        raise InputError(f"{file} is a folder, and a photo is one file. Name a picture in it{_some_picture(file)}.")
    if not file.exists():
        raise InputError(f"There is no file {file}. {_nearest_files(file)}")
    if file.stat().st_size == 0:
        raise InputError(f"{file} is empty (0 bytes): a copy or download that never began. Fetch it again.")


def _some_picture(folder: Path) -> str:
    pictures = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return f", such as {pictures[0]}" if pictures else ""


def _nearest_files(file: Path) -> str:
    if not file.parent.is_dir():
        return f"Its folder {file.parent} does not exist either; this program runs in {Path.cwd()}."
    names = [entry.name for entry in file.parent.iterdir()]
    near = difflib.get_close_matches(file.name, names, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(str(file.parent / name) for name in near)}?"
    return f"No name in {file.parent.resolve()} comes near it."


def _not_a_picture(file: Path) -> str:
    with file.open("rb") as stream:
        start = stream.read(64)
    if start[4:8] == b"ftyp":
        brand = start[8:12].decode("ascii", "replace")
        return (
            f"{file} is a HEIC or AVIF picture, or a film (brand {brand!r}), which this Pillow does not "
            "read. Export it as JPEG or PNG, or `pip install pillow-heif` and pass a PIL picture."
        )
    if start.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM")):
        return f"{file} starts as a picture, but its header breaks off: truncated or corrupt. Copy it again."
    text = start.decode("utf-8", "ignore")
    # Text has no control characters but white space; bytes read as text have some, or lose many on the way.
    if len(text) > len(start) // 2 and "".join(text.split()).isprintable():
        return (
            f"{file} is a text file, whatever its name says: it starts with {text[:40]!r}. (A web page saved "
            "under a picture's name, or a pointer of git-lfs, looks like this.) Fetch the picture itself."
        )
    return (
        f"{file} is in no picture format that Pillow reads, whatever its name says: its first bytes are "
        f"{start[:12].hex(' ')}. Save it as JPEG or PNG."
    )


def _check_photos(x: Tensor, name: str) -> None:
    if x.ndim != 4 or x.shape[1] != 3:
        raise InputError(
            f"`{name}` has shape {list(x.shape)}; photos are [n, 3, y, x]. Type `{name}[None]` for a single "
            f"photo [3, y, x], `{name}.permute(0, 3, 1, 2)` for colours last."
        )
