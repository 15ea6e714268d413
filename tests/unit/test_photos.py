"""Photos: reading of every kind of picture, and every lesson about what cannot be read."""

import importlib.util
import io
import itertools
import os
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps

from influent.errors import InfluentWarning, InputError
from influent.photos import example, read_photo

torch.set_num_threads(1)

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def row(picture: Image.Image, y: int = 0) -> list[Any]:
    return [picture.getpixel((x, y)) for x in range(picture.width)]


def file_of(picture: Image.Image, kind: str, **settings: Any) -> io.BytesIO:
    stream = io.BytesIO()
    picture.save(stream, kind, **settings)
    return stream


def png(depth: int, colours: int, width: int, data: bytes, **chunks: bytes) -> io.BytesIO:
    """A PNG of one row, written from the format's specification: what Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colours, 0, 0, 0))]
    parts += [chunk(name.encode(), content) for name, content in chunks.items()]
    return io.BytesIO(b"".join([b"\x89PNG\r\n\x1a\n", *parts, chunk(b"IDAT", zlib.compress(b"\0" + data))]))


# Reading


def test_grey_becomes_rgb() -> None:
    picture = read_photo(Image.new("L", (3, 2), 77))
    assert (picture.mode, picture.size, picture.getpixel((2, 1))) == ("RGB", (3, 2), (77, 77, 77))


def test_one_pixel() -> None:
    assert row(read_photo(file_of(Image.new("RGB", (1, 1), RED), "PNG"))) == [RED]


def test_transparency_is_white_paper() -> None:
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))  # hidden black: dropping alpha would show it
    picture.putpixel((1, 0), (255, 0, 0, 128))
    assert row(read_photo(picture)) == [WHITE, (255, 127, 127)]  # 255 · (1 − 128/255)
    grey = Image.new("LA", (2, 1), (0, 0))
    grey.putpixel((1, 0), (0, 128))
    assert row(read_photo(grey)) == [WHITE, (127, 127, 127)]


def test_a_palettes_transparent_colour_is_white_paper() -> None:
    picture = Image.new("P", (3, 1))
    picture.putpalette([*RED, *GREEN, *BLUE])
    picture.putdata([0, 1, 2])
    assert row(read_photo(file_of(picture, "PNG"))) == [RED, GREEN, BLUE]
    assert row(read_photo(file_of(picture, "PNG", transparency=1))) == [RED, WHITE, BLUE]
    assert row(read_photo(file_of(picture, "PNG", transparency=bytes([255, 255, 128])))) == [
        RED,
        GREEN,
        (127, 127, 255),
    ]
    assert row(read_photo(file_of(picture, "GIF", transparency=0))) == [WHITE, GREEN, BLUE]


def test_a_transparent_colour_without_a_palette_is_white_paper() -> None:
    # The chunk tRNS names one colour as transparent.
    assert row(read_photo(png(8, 0, 2, bytes([100, 5]), tRNS=b"\0\5"))) == [(100, 100, 100), WHITE]
    assert row(read_photo(png(16, 0, 2, bytes([100, 100, 0, 5]), tRNS=b"\0\5"))) == [(100, 100, 100), WHITE]
    assert row(read_photo(png(8, 2, 2, bytes([*BLUE, *RED]), tRNS=b"\0\0\0\0\0\xff"))) == [WHITE, RED]


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
@pytest.mark.parametrize("kind", [None, "PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(mode: str, kind: str | None) -> None:
    # 257 = 65535 / 255; the last two lie on either side of the middle between 100 and 101.
    values = [0, 100 * 257, 65535, 100 * 257 + 128, 100 * 257 + 129]
    order = ">" if mode == "I;16B" else "<"
    picture = Image.frombytes(mode, (5, 1), struct.pack(f"{order}5H", *values))
    seen = read_photo(file_of(picture, kind) if kind else picture)
    assert row(seen) == [(grey, grey, grey) for grey in (0, 100, 255, 100, 101)]


def test_sixteen_bits_that_pillow_opens_with_thirty_two() -> None:
    pgm = b"P5 2 1 65535\n" + struct.pack(">HH", 100 * 257, 65535)
    with Image.open(io.BytesIO(pgm)) as opened:
        assert opened.mode == "I"
    assert row(read_photo(io.BytesIO(pgm))) == [(100, 100, 100), WHITE]
    older = Image.new("I", (1, 1), 100 * 257)  # as Pillow before 10.3 opens a PNG of 16 bits
    older.format = "PNG"
    assert row(read_photo(older)) == [(100, 100, 100)]


def test_sixteen_bits_a_colour() -> None:
    rgb = struct.pack(">3H", 100 * 257, 65535, 0)
    assert row(read_photo(png(16, 2, 1, rgb))) == [(100, 255, 0)]
    assert row(read_photo(png(16, 6, 1, rgb + b"\xff\xff"))) == [(100, 255, 0)]
    assert row(read_photo(png(16, 6, 1, rgb + b"\0\0"))) == [WHITE]
    assert row(read_photo(png(16, 4, 1, b"\x64\x64\xff\xff"))) == [(100, 100, 100)]


def test_one_bit() -> None:
    assert row(read_photo(png(1, 0, 2, b"\x40"))) == [(0, 0, 0), WHITE]


@pytest.mark.parametrize(
    ("mode", "value", "rgb"),
    [
        ("CMYK", (0, 255, 255, 0), RED),  # no cyan, all magenta and yellow ink
        ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
        ("YCbCr", (76, 85, 255), RED),  # ITU-T T.871: Y = 0.299 · 255, Cb = 128 − 0.1687 · 255, Cr = 255.5
        ("HSV", (85, 255, 255), GREEN),  # a third of the way round
        ("LAB", (128, 128, 128), (119, 119, 119)),  # L* = 50 is 18.4 % of white's light: 255 · sRGB(0.184)
    ],
)
def test_other_colour_spaces(mode: str, value: tuple[int, ...], rgb: tuple[int, int, int]) -> None:
    picture = Image.new(mode, (16, 16), value)
    kinds = {"CMYK": ("TIFF", "JPEG"), "YCbCr": ("JPEG",), "LAB": ("TIFF",), "HSV": ()}[mode]
    for given in [picture, *(file_of(picture, kind) for kind in kinds)]:
        seen = read_photo(given).getpixel((7, 7))
        assert max(abs(a - b) for a, b in zip(seen, rgb, strict=True)) <= 2  # each rounds its own way to whole values


def test_inks_of_a_jpeg_are_inverted_with_and_without_adobes_mark() -> None:
    # Adobe's programs write 255 for no ink, and so does, for browsers and here, who writes without their mark APP14.
    data = file_of(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG").getvalue()
    mark = data.index(b"\xff\xee")
    assert data[mark + 4 : mark + 9] == b"Adobe"
    bare = data[:mark] + data[mark + 2 + struct.unpack(">H", data[mark + 2 : mark + 4])[0] :]
    for file in (data, bare):
        assert all(abs(a - b) <= 2 for a, b in zip(read_photo(io.BytesIO(file)).getpixel((7, 7)), RED, strict=True))


@pytest.mark.parametrize(
    ("tag", "first_row", "first_column"),  # EXIF 2.3, section 4.6.4: the sides at which these are to be shown
    [
        (1, "top", "left"), (2, "top", "right"), (3, "bottom", "right"), (4, "bottom", "left"),
        (5, "left", "top"), (6, "right", "top"), (7, "right", "bottom"), (8, "left", "bottom"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_every_orientation_is_turned_upright(tag: int, first_row: str, first_column: str, kind: str) -> None:
    stored = Image.new("RGB", (3, 2))
    for x, y in itertools.product(range(3), range(2)):
        stored.putpixel((x, y), (80 * x, 200 * y, 9))
    exif = Image.Exif()
    exif[0x0112] = tag
    seen = read_photo(file_of(stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {})))
    assert seen.size == ((3, 2) if first_row in ("top", "bottom") else (2, 3))
    for x, y in itertools.product(range(3), range(2)):
        place = {first_row: y, first_column: x}  # how far from each named side the stored pixel is to be shown
        left = place["left"] if "left" in place else seen.width - 1 - place["right"]
        top = place["top"] if "top" in place else seen.height - 1 - place["bottom"]
        assert seen.getpixel((left, top)) == (80 * x, 200 * y, 9)


@pytest.mark.parametrize("given", [str, Path, Image.open])
def test_exif_rotation_is_applied_once(tmp_path: Path, given: type) -> None:
    stored = Image.new("RGB", (2, 1), "red")
    stored.putpixel((1, 0), (0, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn clockwise by 90 degrees to show": the left end comes to the top
    stored.save(tmp_path / "turned.png", exif=exif)
    upright = read_photo(given(tmp_path / "turned.png"))
    assert upright.size == (1, 2)
    assert [upright.getpixel((0, 0)), upright.getpixel((0, 1))] == [(255, 0, 0), (0, 0, 255)]
    assert read_photo(upright).size == (1, 2)


def test_example_photos_can_be_read() -> None:
    assert read_photo(example("chelsea")).size == (451, 300)
    assert read_photo(example("coffee")).size == (600, 400)
    assert read_photo(example("rocket")).mode == "RGB"


# Streams


class Pipe(io.RawIOBase):
    """Bytes that can be read once, such as standard input behind a pipe."""

    def __init__(self, data: bytes, name: object = None) -> None:
        self.inner = io.BytesIO(data)
        self.name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self.inner.readinto(buffer)


def test_streams_are_read_whole_from_their_start() -> None:
    stream = file_of(Image.new("RGB", (2, 1), RED), "PNG")  # it stands at its end
    assert row(read_photo(stream)) == row(read_photo(stream)) == [RED, RED]
    assert row(read_photo(Pipe(stream.getvalue()))) == [RED, RED]
    assert row(read_photo(io.BufferedReader(Pipe(stream.getvalue())))) == [RED, RED]


def test_standard_input() -> None:
    code = "import sys; from influent.photos import read_photo; print(read_photo(sys.stdin.buffer).getpixel((0, 0)))"
    data = file_of(Image.new("RGB", (2, 1), RED), "PNG").getvalue()
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().strip() == str(RED)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_may_be_named(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = file_of(Image.new("RGB", (2, 1), RED), "PNG").getvalue()
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert row(read_photo(pipe)) == [RED, RED]
    writer.join()


@pytest.mark.parametrize(
    ("stream", "lesson"),
    [
        (lambda: Pipe(b"", "<stdin>"), r"^standard input is empty \(0 bytes\)"),
        (lambda: Pipe(b"", "cat.png"), r"^cat\.png is empty"),
        (lambda: Pipe(b"", 3), r"^this stream is empty"),
        (lambda: io.BytesIO(b""), r"^this stream is empty \(0 bytes\): a copy, download or pipe that never began"),
        (lambda: Pipe(b"<html>", "<stdin>"), r"^standard input holds text, no picture: it starts with '<html>'"),
        (lambda: io.StringIO("x"), r"^this stream gives text, not bytes\. Type `open\(file, 'rb'\)`, or `sys\.stdin"),
        (lambda: io.TextIOWrapper(Pipe(b"\xff\xd8", "<stdin>")), r"^standard input gives text, not bytes\."),
    ],
    ids=["stdin", "named", "numbered", "nameless", "html", "text", "text stdin"],
)  # fmt: skip
def test_lessons_name_the_stream(stream: Callable[[], Any], lesson: str) -> None:
    with pytest.raises(InputError, match=lesson):
        read_photo(stream())


def test_streams_that_cannot_be_read(tmp_path: Path) -> None:
    with (
        (tmp_path / "out.png").open("wb") as stream,
        pytest.raises(InputError, match=r"out\.png cannot be read \(.*\)\. Type `open\(file, 'rb'\)`, or the file's"),
    ):
        read_photo(stream)
    with pytest.raises(InputError, match=r"out\.png cannot be read \(.*closed file"):
        read_photo(stream)


# Several frames


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_is_read_and_said(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    settings = {"lossless": True} if kind == "WEBP" else {}
    stream = file_of(frames[0], kind, save_all=True, append_images=frames[1:], **settings)
    with pytest.warns(InfluentWarning, match=r"^this stream has 3 frames, and the first is read\..*`p\.seek\(k\)`"):
        assert row(read_photo(stream)) == [RED] * 8
    read_photo(file_of(frames[0], kind))  # one frame: no warning, which would be an error
    with Image.open(stream) as picture:
        picture.seek(1)
        assert row(read_photo(picture)) == [GREEN] * 8  # where the user's picture stands


def test_the_second_eye_of_a_phones_jpeg_is_no_frame() -> None:
    left, right = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)
    stream = file_of(left, "MPO", save_all=True, append_images=[right], quality=100)
    with Image.open(stream) as picture:
        assert (picture.format, picture.n_frames) == ("MPO", 2)
        assert read_photo(picture).getpixel((4, 4)) == (254, 0, 0)
    assert read_photo(stream).getpixel((4, 4)) == (254, 0, 0)


# Large pictures


def tall_jpeg(strip: Image.Image, times: int, **settings: Any) -> bytes:
    """A JPEG that repeats `strip`, 16 pixels high, downwards, made without ever holding the whole picture.

    The strip is one interval between restart marks, of which D0 to D7 follow each other round.
    """
    data = file_of(strip, "JPEG", restart_marker_rows=1, **settings).getvalue()
    size, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")  # start of frame, start of scan
    begin = scan + 2 + struct.unpack(">H", data[scan + 2 : scan + 4])[0]
    head = data[: size + 5] + struct.pack(">H", 16 * times) + data[size + 7 : begin]
    marks = (bytes([0xFF, 0xD0 + k % 8]) for k in range(times - 1))
    return head + b"".join(data[begin:-2] + mark for mark in marks) + data[begin:]


READS = """
import sys
from PIL import Image
from influent.photos import read_photo
def peak():  # the highest of this process's memory in kB; getrusage would give the starting process's, where higher
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
Image.init()
before = peak()
picture = read_photo(sys.argv[1])
print(picture.size, picture.getpixel((9, 4000)), picture.getpixel((9, 900)), peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell the peak of memory")
def test_a_jpeg_of_400_million_pixels_takes_bounded_memory(tmp_path: Path) -> None:
    strip = Image.new("RGB", (20_000, 16), (200, 30, 40))
    strip.paste((20, 40, 220), (10_000, 0, 20_000, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # the left side comes to the top
    (tmp_path / "large.jpg").write_bytes(tall_jpeg(strip, 1250, exif=exif))
    command = [sys.executable, "-W", "error", "-c", READS, str(tmp_path / "large.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    *seen, grown = done.stdout.replace("(", "").replace(")", "").replace(",", "").split()
    # A quarter of each side is the first that comes below 89 million pixels.
    assert [int(n) for n in seen[:2]] == [5000, 5000]
    assert all(abs(int(a) - b) <= 3 for a, b in zip(seen[2:], [20, 40, 220, 200, 30, 40], strict=True))
    # 5000 · 5000 pixels of 4 bytes, as decoded and as turned: 195 MiB. The whole would take 1526 MiB.
    assert 150 * 1024 < int(grown) < 250 * 1024


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    yield


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(("side", "part"), [(31, 1), (32, 2), (63, 2), (64, 4), (127, 8), (250, 8)])
@pytest.mark.parametrize("progressive", [False, True])
def test_larger_jpegs_are_decoded_at_a_part_of_their_size(mode: str, side: int, part: int, progressive: bool) -> None:
    dark = {"RGB": (200, 50, 30), "L": 90, "CMYK": (55, 205, 225, 0)}[mode]
    picture = Image.new(mode, (side, side), {"RGB": (255, 255, 255), "L": 255, "CMYK": (0, 0, 0, 0)}[mode])
    picture.paste(dark, (0, side // 2, side, side))  # the lower half
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: the lower half comes to the top
    seen = read_photo(file_of(picture, "JPEG", quality=95, exif=exif, progressive=progressive))
    assert seen.size == (-(-side // part),) * 2
    expected = (90, 90, 90) if mode == "L" else (200, 50, 30)
    assert all(abs(a - b) <= 4 for a, b in zip(seen.getpixel((2, 0)), expected, strict=True))
    assert all(a >= 251 for a in seen.getpixel((2, seen.height - 1)))


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF", "WEBP"])
@pytest.mark.parametrize("side", [32, 44, 64])  # 64² is above twice the limit, where Pillow itself refuses
def test_other_pictures_above_the_limit_are_refused(kind: str, side: int) -> None:
    size = rf"({side} × {side} = {side * side:,}|more than 2,000) pixels"  # the second for WebP at 64²
    lesson = (
        rf"^this stream is too large a picture: {size}\. Up to 1,000 are read \(of a JPEG, at a part of its size, up "
        r"to 500,000,000\)\. Lift the limit, `PIL\.Image\.MAX_IMAGE_PIXELS = None`, and pass `.*\.reduce\(4\)`, or the "
    )
    with pytest.raises(InputError, match=lesson):
        read_photo(file_of(Image.new("RGB", (side, side)), kind))
    assert read_photo(file_of(Image.new("RGB", (31, 31)), kind)).size == (31, 31)


def test_a_png_of_400_million_pixels_is_refused_by_its_header() -> None:
    data = bytearray(png(8, 2, 1, bytes(3)).getvalue())
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(InputError, match=r"20000 × 20000 = 400,000,000 pixels\. Up to 89,478,485 are read"):
        read_photo(io.BytesIO(data))


def test_a_jpeg_above_its_own_limit_is_refused_by_its_header() -> None:
    data = bytearray(file_of(Image.new("RGB", (16, 16)), "JPEG").getvalue())
    size = data.index(b"\xff\xc0")
    data[size + 5 : size + 9] = struct.pack(">HH", 25_000, 20_001)
    with pytest.raises(InputError, match=r"20001 × 25000 = 500,025,000 pixels"):
        read_photo(io.BytesIO(data))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_users_own_limit_holds(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    stream = file_of(Image.new("RGB", (64, 64)), kind)
    for limit in (None, 4096):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert read_photo(stream).size == (64, 64)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # an eighth of each side is still above it
    with pytest.raises(InputError, match=r"64 × 64 = 4,096 pixels\. Up to 10 are read"):
        read_photo(stream)


# HEIC


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="pillow-heif is not installed")
@pytest.mark.parametrize("tag", [1, 3, 6, 8])
def test_heic_is_read_upright(tag: int) -> None:
    import pillow_heif

    Image.init()
    known = set(Image.OPEN)
    stored = Image.new("RGB", (64, 48), RED)
    stored.paste(BLUE, (32, 0, 64, 48))
    file, stream = pillow_heif.from_pillow(stored), io.BytesIO()
    exif = stored.getexif()
    exif[0x0112] = tag
    file.info["exif"] = exif.tobytes()
    file.save(stream, quality=100)
    expected, seen = ImageOps.exif_transpose(stored), read_photo(stream)
    assert seen.size == expected.size
    for place in itertools.product((6, seen.width - 7), (6, seen.height - 7)):  # away from the edge of red and blue
        assert all(abs(a - b) <= 4 for a, b in zip(seen.getpixel(place), expected.getpixel(place), strict=True))
    assert set(Image.OPEN) == known  # nothing is registered for the whole process
    with pytest.raises(InputError, match=r"^this stream starts as a picture, but cannot be opened: it is truncated"):
        read_photo(io.BytesIO(stream.getvalue()[:-200]))


def test_heic_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # an import of it fails
    with pytest.raises(
        InputError, match=r"^this stream is a HEIC picture.*Type `pip install \"influent\[heic\]\"`, or"
    ):
        read_photo(io.BytesIO(b"\0\0\0\x18ftypheic\0\0\0\0mif1"))


# Lessons of reading


def jpeg(folder: Path) -> bytes:
    Image.effect_noise((64, 64), 100).convert("RGB").save(folder / "whole.jpg")
    return (folder / "whole.jpg").read_bytes()


def test_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "coffee.png").touch()
    with pytest.raises(InputError, match=r"There is no file .*cofee\.png\. Did you mean .*coffee\.png\?"):
        read_photo(tmp_path / "cofee.png")
    with pytest.raises(InputError, match=r"No name in .* comes near it"):
        read_photo(tmp_path / "zzz.jpg")
    with pytest.raises(InputError, match=r"Its folder .*nowhere does not exist either"):
        read_photo(tmp_path / "nowhere" / "a.jpg")
    with pytest.raises(InputError, match=r"There is no file .*xxxxx"):
        read_photo(tmp_path / ("x" * 5000))  # longer than a file's name can be


def test_folder_names_a_picture_in_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder, and a photo is one file\. Name a picture in it\.$"):
        read_photo(tmp_path)
    (tmp_path / "b.JPG").touch()
    with pytest.raises(InputError, match=r"is a folder.*such as .*b\.JPG"):
        read_photo(tmp_path)


def test_truncated_picture(tmp_path: Path) -> None:
    whole = jpeg(tmp_path)
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"half\.jpg starts as a JPEG, but cannot be read to its end .*trunc"):
        read_photo(tmp_path / "half.jpg")
    # A PIL picture is lazy: it breaks later, with the same lesson.
    with (
        Image.open(tmp_path / "half.jpg") as lazy,
        pytest.raises(InputError, match=r"starts as a JPEG, but cannot be read to its end"),
    ):
        read_photo(lazy)
    (tmp_path / "stub.jpg").write_bytes(whole[:12])
    with pytest.raises(InputError, match=r"stub\.jpg starts as a picture, but cannot be opened: it is truncated"):
        read_photo(tmp_path / "stub.jpg")


def test_corrupt_picture(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "bad.png")
    data = bytearray((tmp_path / "bad.png").read_bytes())
    data[45:60] = bytes(15)  # inside the compressed pixels
    (tmp_path / "bad.png").write_bytes(data)
    with pytest.raises(InputError, match=r"bad\.png starts as a PNG, but cannot be read to its end.*corrupt"):
        read_photo(tmp_path / "bad.png")


@pytest.mark.parametrize(
    ("data", "lesson"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            r"holds text, no picture: it starts with 'version https://git",
        ),
        ("<html>\n<p>Größe".encode(), r"holds text, no picture: it starts with '<html>\\n<p>Gr"),
        (
            b"\0\0\0\x18ftypisom\0\0\2\0isom",
            r"is a film, or .* \(brand 'isom'\), that this Pillow does not read\. Export",
        ),
        (b"\x00\x01\x02\xfe\xff" * 20, r"no picture format that Pillow reads.*00 01 02 fe ff 00"),
        (b"PK\x03\x04" + bytes(range(60)), r"no picture format that Pillow reads.*50 4b 03 04"),
    ],
    ids=["empty", "git-lfs", "html", "film", "binary", "zip"],
)
def test_what_is_no_picture(tmp_path: Path, data: bytes, lesson: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(data)
    with pytest.raises(InputError, match=lesson):
        read_photo(tmp_path / "photo.jpg")


def test_web_address() -> None:
    with pytest.raises(InputError, match="is a web address; photos are read from files"):
        read_photo("https://example.org/cat.jpg")


def test_arrays_are_refused() -> None:
    with pytest.raises(InputError, match=r"this is a Tensor, whose colour order.*Image\.fromarray"):
        read_photo(torch.zeros(3, 4, 4))
    with pytest.raises(InputError, match=r"this is a bytes, .*`io\.BytesIO\(data\)` for the bytes of a file"):
        read_photo(b"\xff\xd8\xff")


def test_numbers_of_unknown_range() -> None:
    with pytest.raises(InputError, match=r"32-bit numbers \(mode 'F'\) of unknown range"):
        read_photo(Image.new("F", (2, 2)))


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg(tmp_path)

    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)  # file modes do not bind root, under whom tests may run
    with pytest.raises(InputError, match=r"whole\.jpg cannot be opened \(Permission denied\)\. Type `ls -l .*jpg`"):
        read_photo(tmp_path / "whole.jpg")


def test_example_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no example photo 'cofee'; there are astronaut, .*mean 'coffee'\?"):
        example("cofee")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'not installed here\. Type `pip install "influent\[zoo\]"`'):
        example("coffee")


def test_example_that_this_version_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    with pytest.raises(InputError, match=r"The installed scikit-image has no file coffee\.png"):
        example("coffee")
