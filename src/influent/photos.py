"""Photos: from a file, a stream or a PIL picture to an upright RGB picture."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import io
import os
import struct
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import IO

from PIL import Image, ImageFile, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from .errors import InfluentWarning, InputError, nearest

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

PHONES = (".heic", ".heif", ".avif")
"""Endings that Pillow has no plugin for, and that phones write."""

Photo = str | os.PathLike[str] | IO[bytes] | Image.Image
"""What can be read as a photo: a file's name, a binary stream, a PIL picture."""

LARGEST_JPEG = 500_000_000
"""Pixels of the largest JPEG that is read, at a part of its size, above Pillow's own limit for pictures."""

BROKEN = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, struct.error,
)  # fmt: skip
"""What Pillow raises on broken files: each format has its own habits."""

HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
"""What bytes 8 to 11 of a HEIC file say, after the box's name `ftyp`."""


def is_photo(file: Path) -> bool:
    """Whether a file is one to be read, by the ending of its name; folders are none.

    >>> is_photo(Path("cat.HEIC")), is_photo(Path("notes.txt"))
    (True, False)
    """
    return file.suffix.lower() in {*Image.registered_extensions(), *PHONES} and not file.is_dir()


def read_photo(photo: Photo, formats: Collection[str] | None = None, most: int | None = None) -> Image.Image:
    """RGB picture of a photo (a file, a binary stream or a PIL picture), upright as the camera's EXIF tag says.

    Transparent parts come out white, as on paper; grey and 16-bit pictures become RGB with 0..255. A stream is read
    from its start to its end. Of an animation or a document of several pages the first frame is read, with an
    `InfluentWarning`; a PIL picture is taken at the frame where it stands.

    Files above `PIL.Image.MAX_IMAGE_PIXELS` (89 million pixels, unless the user changes it) are refused, but for
    JPEGs of up to 500 million: these are decoded at 1/2, 1/4 or 1/8 of their width and height, whichever comes
    below that limit. (A progressive one takes up to 8 bytes of memory for each pixel of the whole even so.)

    Of somebody else's files: `formats`, as Pillow calls them, "JPEG", "HEIF", are those that are opened at all (some of
    Pillow's formats run other programs), and `most` the pixels of the largest that is decoded.

    Errors: `InputError` for a missing, empty or unreadable file, a folder, a truncated, corrupt or too large picture,
    a format that Pillow cannot read; each says what was found and what to type instead.

    >>> read_photo(Image.new("L", (4, 2), 255)).getpixel((0, 0))
    (255, 255, 255)
    """
    if isinstance(photo, Image.Image):
        return _decoded(photo, str(getattr(photo, "filename", "") or "this picture"))
    if not isinstance(photo, str | os.PathLike):
        name = _name_of_stream(photo)
        return _read(_whole(photo, name), name, formats, most)
    file = Path(photo)
    try:
        _check_file(file)
        # Opened here and not by Pillow, which leaves the file open where a header breaks off.
        with file.open("rb") as stream:
            return _read(stream if stream.seekable() else io.BytesIO(stream.read()), str(file), formats, most)
    except OSError as error:
        raise InputError(
            f"{file} cannot be opened ({error.strerror}). Type `ls -l {file}` to see what it is and who may read it."
        ) from None


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
            "Type `pip install --upgrade scikit-image`, or name a photo file of your own."
        )
    return file


def _read(stream: IO[bytes], name: str, formats: Collection[str] | None, most: int | None) -> Image.Image:
    start = stream.read(64)
    if not start:
        raise InputError(f"{name} is empty (0 bytes): a copy, download or pipe that never began. Fetch it again.")
    try:
        picture = _opened(stream, start, name, formats)
        if picture is None:
            raise InputError(_not_a_picture(name, start))
        if most is not None and picture.size[0] * picture.size[1] > most:
            raise InputError(_too_large_here(name, picture.size, most))
        _reduce(picture, name)
        _say_frames(picture, name)
        return _decoded(picture, name)
    except Image.DecompressionBombError:  # some of Pillow's formats look at the size before they tell it
        raise InputError(_too_large(name, f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels")) from None


def _name_of_stream(stream: IO[bytes]) -> str:
    name = getattr(stream, "name", None)
    if name == "<stdin>":
        return "standard input"
    return name if isinstance(name, str) and name else "this stream"


def _whole(stream: IO[bytes], name: str) -> io.BytesIO:
    """All bytes of a stream from its start; of one that cannot go back, such as a pipe, from where it is."""
    if not hasattr(stream, "read"):
        raise InputError(
            f"A photo is a file name, a binary stream or a PIL picture; this is a {type(stream).__name__}, whose "
            "colour order and range cannot be known. Type `PIL.Image.fromarray(pixels)` for pixels [y, x, rgb] in "
            "uint8, `io.BytesIO(data)` for the bytes of a file."
        )
    data = None
    try:
        if not isinstance(stream, io.TextIOBase):
            if hasattr(stream, "seekable") and stream.seekable():
                stream.seek(0)
            data = stream.read()
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read ({error}). Type `open(file, 'rb')`, or the file's name.") from None
    if not isinstance(data, bytes):
        raise InputError(f"{name} gives text, not bytes. Type `open(file, 'rb')`, or `sys.stdin.buffer`.")
    return io.BytesIO(data)


def _opened(stream: IO[bytes], start: bytes, name: str, formats: Collection[str] | None) -> ImageFile.ImageFile | None:
    """`Image.open` without its warning about large pictures: here they are reduced or refused."""
    Image.preinit()
    Image.init()
    for kind in Image.ID if formats is None else [known for known in Image.ID if known in formats]:
        factory, accept = Image.OPEN[kind]
        with contextlib.suppress(*BROKEN):
            accepted = accept is None or accept(start[:16])
            if accepted and not isinstance(accepted, str):  # a text says that the format is not built in
                stream.seek(0)
                # Out of some phones' JPEGs Pillow makes an MPO of two frames. The first is the photo.
                return JpegImageFile(stream) if kind == "JPEG" else factory(stream, "")
    heic = start[4:8] == b"ftyp" and start[8:12] in HEIC and (formats is None or "HEIF" in formats)
    return _opened_heic(stream, name) if heic else None


def _opened_heic(stream: IO[bytes], name: str) -> ImageFile.ImageFile | None:
    try:
        plugin = importlib.import_module("pillow_heif")  # used here, and not registered for the whole process
    except ImportError:
        raise InputError(
            f"{name} is a HEIC picture, as many phones take them, which Pillow does not read by itself. "
            'Type `pip install "influent[heic]"`, or export it as JPEG or PNG.'
        ) from None
    with contextlib.suppress(*BROKEN):
        stream.seek(0)
        return plugin.HeifImageFile(stream)
    return None


def _reduce(picture: ImageFile.ImageFile, name: str) -> None:
    """Has a JPEG above Pillow's limit decoded at a part of its size; refuses any other picture above it."""
    limit, (width, height) = Image.MAX_IMAGE_PIXELS, picture.size
    if limit is None or width * height <= limit:
        return
    part = next((part for part in (2, 4, 8) if width * height <= limit * part**2), None)
    if part is None or not isinstance(picture, JpegImageFile) or width * height > LARGEST_JPEG:
        raise InputError(_too_large(name, f"{width} × {height} = {width * height:,} pixels"))
    picture.draft(None, (max(1, width // part), max(1, height // part)))


def _too_large(name: str, size: str) -> str:
    return (
        f"{name} is too large a picture: {size}. Up to {Image.MAX_IMAGE_PIXELS:,} are read (of a JPEG, at a part of "
        f"its size, up to {LARGEST_JPEG:,}). Lift the limit, `PIL.Image.MAX_IMAGE_PIXELS = None`, and pass "
        "`PIL.Image.open(file).reduce(4)`, or the whole picture where the memory holds 8 to 16 bytes a pixel."
    )


def _too_large_here(name: str, size: tuple[int, int], most: int) -> str:
    width, height = size
    return f"{name} is too large a picture: {width} × {height}. Up to {most:,} pixels are taken here: make it smaller."


def _say_frames(picture: ImageFile.ImageFile, name: str) -> None:
    frames = 1
    # What Photoshop's and phones' files hold besides the picture itself is no frame: layers, bursts.
    if picture.format not in ("PSD", "HEIF"):
        with contextlib.suppress(*BROKEN):
            frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        warnings.warn(
            f"{name} has {frames} frames, and the first is read. For another: `p = PIL.Image.open(file)`, `p.seek(k)`, "
            "and pass p.",
            InfluentWarning,
            stacklevel=2,
        )


def _decoded(picture: Image.Image, name: str) -> Image.Image:
    kind = picture.format or "picture"
    try:
        return _rgb(ImageOps.exif_transpose(picture), kind, name)
    except BROKEN as error:
        raise InputError(
            f"{name} starts as a {kind}, but cannot be read to its end ({error}): "
            "it is truncated or corrupt. Copy or download it again."
        ) from None


def _rgb(picture: Image.Image, kind: str, name: str) -> Image.Image:
    # Pillow's modes of 16 bits, and the files of 16 bits for which it has only a mode of 32.
    if picture.mode.startswith("I;16") or (picture.mode == "I" and kind in ("PNG", "PPM")):
        grey = [round(value / 257) for value in range(65536)]  # Pillow's own conversion clips at 255
        if "transparency" in picture.info:
            grey[picture.info["transparency"]] = 255
        return picture.convert("I").point(grey, "L").convert("RGB")
    if picture.mode in ("I", "F"):
        raise InputError(
            f"{name} holds 32-bit numbers (mode {picture.mode!r}) of unknown range, not colours. Scale them "
            "to 0..255 and type `picture.convert('L')` first."
        )
    if picture.has_transparency_data:
        colours = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        paper = Image.new("RGB", picture.size, "white")
        paper.paste(colours, mask=colours)
        return paper
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _check_file(file: Path) -> None:
    if str(file).startswith(("http:/", "https:/")):
        raise InputError(f"{file} is a web address; photos are read from files. Download it, and name the file.")
    if os.path.isdir(file):  # unlike Path.is_dir, not upset by a name that is too long
        raise InputError(f"{file} is a folder, and a photo is one file. Name a picture in it{_some_picture(file)}.")
    if not os.path.exists(file):
        raise InputError(f"There is no file {file}. {_nearest_files(file)}")


def _some_picture(folder: Path) -> str:
    pictures = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return f", such as {pictures[0]}" if pictures else ""


def _nearest_files(file: Path) -> str:
    if not os.path.isdir(file.parent):
        return f"Its folder {file.parent} does not exist either; this program runs in {Path.cwd()}."
    names = [entry.name for entry in file.parent.iterdir()]
    near = difflib.get_close_matches(file.name, names, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(str(file.parent / name) for name in near)}?"
    return f"No name in {file.parent.resolve()} comes near it."


def _not_a_picture(name: str, start: bytes) -> str:
    if start[4:8] == b"ftyp" and start[8:12] not in HEIC:
        brand = start[8:12].decode("ascii", "replace")
        return (
            f"{name} is a film, or a picture in a film's format (brand {brand!r}), that this Pillow does not read. "
            "Export one picture of it as JPEG or PNG."
        )
    if start.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM")) or start[4:8] == b"ftyp":
        return (
            f"{name} starts as a picture, but cannot be opened: it is truncated or corrupt. Copy or download it again."
        )
    text = start.decode("utf-8", "ignore")
    # Text has no control characters but white space; bytes read as text have some, or lose many on the way.
    if len(text) > len(start) // 2 and "".join(text.split()).isprintable():
        return (
            f"{name} holds text, no picture: it starts with {text[:40]!r}. (A web page saved under a picture's name, "
            "or a pointer of git-lfs, looks like this.) Fetch the picture itself."
        )
    return (
        f"{name} is in no picture format that Pillow reads: its first bytes are {start[:12].hex(' ')}. Save it as "
        "JPEG or PNG."
    )
