"""Photos: reading, the transform's arithmetic, pixel-space baselines, and every lesson they teach."""

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from influent.errors import InputError, QuestionError
from influent.photos import PixelTransform, baseline, example, read_photo

torch.set_num_threads(1)

LITE = PixelTransform(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
CAFFE = PixelTransform(mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0), order="BGR")
ODD = PixelTransform(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))


def noise(*shape: int) -> Tensor:
    return 255 * torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


# Reading


def test_grey_becomes_rgb() -> None:
    picture = read_photo(Image.new("L", (3, 2), 77))
    assert (picture.mode, picture.size, picture.getpixel((2, 1))) == ("RGB", (3, 2), (77, 77, 77))


def test_transparency_is_white_paper() -> None:
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))  # hidden black: dropping alpha would show it
    picture.putpixel((1, 0), (255, 0, 0, 128))
    seen = read_photo(picture)
    assert seen.getpixel((0, 0)) == (255, 255, 255)
    assert seen.getpixel((1, 0)) == (255, 127, 127)  # 255 · (1 − 128/255)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    picture = Image.new("I;16", (2, 1), 65535)
    picture.putpixel((0, 0), 100 * 257)  # 257 = 65535 / 255
    seen = read_photo(picture)
    assert [seen.getpixel((0, 0)), seen.getpixel((1, 0))] == [(100, 100, 100), (255, 255, 255)]


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


# Lessons of reading


def jpeg(folder: Path) -> bytes:
    pixels = noise(64, 64, 3).byte()
    Image.frombytes("RGB", (64, 64), bytes(pixels.flatten().tolist())).save(folder / "whole.jpg")
    return (folder / "whole.jpg").read_bytes()


def test_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "coffee.png").touch()
    with pytest.raises(InputError, match=r"There is no file .*cofee\.png\. Did you mean .*coffee\.png\?"):
        read_photo(tmp_path / "cofee.png")
    with pytest.raises(InputError, match=r"No name in .* comes near it"):
        read_photo(tmp_path / "zzz.jpg")
    with pytest.raises(InputError, match=r"Its folder .*nowhere does not exist either"):
        read_photo(tmp_path / "nowhere" / "a.jpg")


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
    with pytest.raises(InputError, match=r"stub\.jpg starts as a picture, but its header breaks off"):
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
            r"is a text file.*starts with 'version https://git",
        ),
        ("<html>\n<p>Größe".encode(), r"is a text file.*starts with '<html>\\n<p>Gr"),
        (
            b"\0\0\0\x18ftypheic\0\0\0\0mif1",
            r"is a HEIC or AVIF picture, or a film \(brand 'heic'\).*pillow-heif",
        ),
        (b"\x00\x01\x02\xfe\xff" * 20, r"no picture format that Pillow reads.*00 01 02 fe ff 00"),
        (b"PK\x03\x04" + bytes(range(60)), r"no picture format that Pillow reads.*50 4b 03 04"),
    ],
    ids=["empty", "git-lfs", "html", "heic", "binary", "zip"],
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


def test_numbers_of_unknown_range() -> None:
    with pytest.raises(InputError, match=r"32-bit numbers \(mode 'F'\) of unknown range"):
        read_photo(Image.new("F", (2, 2)))


def test_unreadable_and_huge_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses beyond twice this many
        with pytest.raises(InputError, match=r"whole\.jpg is too large a picture"):
            read_photo(tmp_path / "whole.jpg")

    def forbidden(_: Path) -> Image.Image:
        raise PermissionError

    monkeypatch.setattr(Image, "open", forbidden)  # file modes do not bind root, under whom tests may run
    with pytest.raises(InputError, match=r"may not be read by this user"):
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


# The transform


@pytest.mark.parametrize("transform", [LITE, CAFFE, ODD], ids=["lite", "caffe", "odd"])
def test_decode_inverts_encode(transform: PixelTransform) -> None:
    pixels = noise(2, 3, 5, 4)
    # Three roundings on numbers up to 256: 3 · 256 · 2^-53 < 1e-13.
    assert (transform.decode(transform.encode(pixels)) - pixels).abs().max() < 1e-13
    x = noise(2, 3, 5, 4) / 128 - 1
    assert (transform.encode(transform.decode(x)) - x).abs().max() < 1e-13


def test_encode_by_hand() -> None:
    orange = torch.tensor([255.0, 128.0, 0.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    assert LITE.encode(orange).flatten().tolist() == [1.0, 1 / 128, -127 / 128]
    assert CAFFE.encode(orange).flatten().tolist() == [
        0.0 - 104,
        128.0 - 117,
        255.0 - 123,
    ]  # blue comes first


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    pixels = torch.full((1, 3, 2, 2), 127, dtype=dtype)
    assert LITE.encode(pixels).dtype == LITE.decode(pixels).dtype == dtype
    assert LITE.encode(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)).unique().tolist() == [1.0]


@pytest.mark.parametrize("transform", [CAFFE, ODD], ids=["caffe", "odd"])
def test_gradients_pass(transform: PixelTransform) -> None:
    pixels = noise(1, 3, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(transform.encode, pixels)
    assert torch.autograd.gradcheck(transform.decode, pixels)


def columns(width: int, height: int, per_value: int) -> Image.Image:
    """Grey picture whose value at column x is x // per_value."""
    row = bytes(x // per_value for x in range(width))
    return Image.frombytes("L", (width, height), row * height).convert("RGB")


def test_centre_crop_of_known_columns() -> None:
    seen = PixelTransform((0,) * 3, (1,) * 3, resize=100, crop=80).view(columns(200, 100, 1))
    assert seen.size == (80, 80)
    assert [seen.getpixel((x, 5))[0] for x in (0, 79)] == [60, 139]  # (200 − 80) / 2 = 60: no resampling


def test_halving_known_columns() -> None:
    # Column pairs (2i, 2i + 1) hold i. The bicubic kernel is symmetric about 2i + ½ and the values are
    # antisymmetric about i there: halving gives exactly i away from the edges. The crop starts at 16.
    x = PixelTransform((0,) * 3, (1,) * 3)(columns(512, 512, 2))
    assert x.shape == (1, 3, 224, 224)
    assert torch.equal(x, torch.arange(16.0, 240.0).expand(1, 3, 224, 224))


def cubic(d: float) -> float:
    """Keys' kernel with a = -1/2 (Keys 1981, equation 15)."""
    d = abs(d)
    return 1.5 * d**3 - 2.5 * d**2 + 1 if d < 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0.0


def test_doubling_an_edge_is_bicubic() -> None:
    picture = Image.new("RGB", (128, 128), (50, 50, 50))
    picture.paste((200, 200, 200), (64, 0, 128, 128))  # dark left half, bright right half
    row = PixelTransform((0,) * 3, (1,) * 3)(picture)[0, 0, 100]
    for column in range(106, 118):  # the edge lies at 256 / 2 - 16 = 112 of the crop
        place = (column + 16 + 0.5) / 2 - 0.5
        expected = sum(cubic(place - x) * (50 if x < 64 else 200) for x in range(55, 75))
        assert abs(row[column] - expected) <= 1  # Pillow rounds to whole pixel values
    assert row.min() < 50 and row.max() > 200  # it overshoots, as neither nearest nor bilinear does


def test_rows_and_colours_keep_their_places() -> None:
    picture = Image.new("RGB", (224, 224), (10, 20, 30))
    picture.putpixel((5, 9), (200, 100, 50))  # PIL says (x, y)
    transform = PixelTransform((0,) * 3, (1,) * 3, resize=224)
    assert transform(picture)[0, :, 9, 5].tolist() == [200, 100, 50]
    assert transform(picture)[0, :, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("size", [(1, 1), (30, 20), (7, 300), (4000, 257), (256, 256)])
def test_every_size_becomes_the_crop(size: tuple[int, int]) -> None:
    x = CAFFE(Image.new("RGB", size, (1, 2, 3)))
    assert x.shape == (1, 3, 224, 224)
    assert x.amax(dim=(0, 2, 3)).tolist() == x.amin(dim=(0, 2, 3)).tolist() == [3 - 104, 2 - 117, 1 - 123]


def test_transform_reads_files() -> None:
    file = example("coffee")
    assert torch.equal(LITE(file), LITE(str(file)))
    assert torch.equal(LITE(file), LITE(Image.open(file)))
    seen = LITE.view(file)
    assert LITE.decode(LITE(file))[0, :, 17, 99].tolist() == list(seen.getpixel((99, 17)))


def test_transform_lessons() -> None:
    with pytest.raises(InputError, match=r"order='GBR' is no order of colours"):
        PixelTransform((0,) * 3, (1,) * 3, order="GBR")
    with pytest.raises(InputError, match=r"needs three of each"):
        PixelTransform((0,), (1,))
    with pytest.raises(InputError, match=r"no std of zero"):
        PixelTransform((0,) * 3, (1, 0, 1))
    with pytest.raises(InputError, match=r"resize=200, crop=224: .* cannot be larger"):
        PixelTransform((0,) * 3, (1,) * 3, resize=200)
    with pytest.raises(InputError, match=r"`pixels` has shape \[3, 4, 4\].*pixels\[None\]"):
        LITE.encode(torch.zeros(3, 4, 4))
    with pytest.raises(InputError, match=r"`x` has shape \[1, 4, 4, 3\].*permute"):
        LITE.decode(torch.zeros(1, 4, 4, 3))


# Baselines


@pytest.mark.parametrize("transform", [LITE, CAFFE, ODD], ids=["lite", "caffe", "odd"])
@pytest.mark.parametrize(("name", "value"), [("black", 0.0), ("white", 255.0), ("grey", 127.5)])
def test_even_baselines(transform: PixelTransform, name: str, value: float) -> None:
    found = baseline(transform, name, noise(2, 3, 4, 5))
    assert found.shape == (2, 3, 4, 5)
    for channel in range(3):
        expected = (value - transform.mean[channel]) / transform.std[channel]
        assert (found[:, channel] - expected).abs().max() < 1e-13


def test_zero_is_grey() -> None:
    # Why baselines are named in pixels: the net's zero is the mean colour, not darkness.
    assert LITE.decode(torch.zeros(1, 3, 1, 1)).unique().tolist() == [127.0]
    assert CAFFE.decode(torch.zeros(1, 3, 1, 1)).flatten().tolist() == [123.0, 117.0, 104.0]
    assert baseline(CAFFE, "black", torch.zeros(1, 3, 1, 1)).flatten().tolist() == [-104.0, -117.0, -123.0]


def test_mean_is_each_photos_own() -> None:
    pixels = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    pixels[0, 0, 0] = 200.0  # half of the first photo's red: mean 100; everything else is black
    found = CAFFE.decode(baseline(CAFFE, "mean", CAFFE.encode(pixels)))
    expected = torch.zeros_like(pixels)
    expected[0, 0] = 100.0
    assert (found - expected).abs().max() < 1e-13


def test_blur_spreads_a_point_as_a_gaussian() -> None:
    pixels = torch.zeros(1, 3, 224, 224, dtype=torch.float64)
    pixels[0, 1, 112, 100] = 255.0
    found = ODD.decode(baseline(ODD, "blur", ODD.encode(pixels)))[0]
    # g(k) = exp(-k²/2σ²) / Σ over |k| ≤ 3σ, σ = 20. The point's mirror images lie at least 100 pixels
    # outside, and reach 60: none comes near the places looked at.
    total = sum(math.exp(-(k**2) / 800) for k in range(-60, 61))
    for dy, dx in [(0, 0), (7, 0), (0, -20), (33, 41), (-60, 60), (61, 0)]:
        inside = max(abs(dy), abs(dx)) <= 60
        expected = 255 * math.exp(-(dy**2 + dx**2) / 800) / total**2 if inside else 0.0
        assert abs(found[1, 112 + dy, 100 + dx].item() - expected) < 1e-12
    assert found[[0, 2]].abs().max() < 1e-12


def test_blur_mirrors_at_the_edge() -> None:
    # A photo that is even about its first column and row (reflect: pixel -k equals pixel k) on a wide canvas:
    # the blur near the corner equals the blur in the middle of the mirrored canvas.
    pixels = noise(1, 3, 112, 112)
    whole = torch.cat([pixels.flip(3)[..., :-1], pixels], dim=3)
    whole = torch.cat([whole.flip(2)[..., :-1, :], whole], dim=2)  # 223 wide, centre at 111
    offsets = torch.arange(-30, 31, dtype=torch.float64)
    g = torch.exp(-(offsets**2) / 200)  # σ = 20/224 · 112 = 10
    g = g / g.sum()
    expected = torch.einsum("cyx,y,x->c", whole[0, :, 81:142, 81:142], g, g)
    plain = PixelTransform((0.0,) * 3, (1.0,) * 3)
    assert (baseline(plain, "blur", pixels)[0, :, 0, 0] - expected).abs().max() < 1e-11


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (40, 90)])
def test_blur_keeps_an_even_photo(size: tuple[int, int]) -> None:
    pixels = torch.full((2, 3, *size), 90.0, dtype=torch.float64)
    assert (LITE.decode(baseline(LITE, "blur", LITE.encode(pixels))) - 90).abs().max() < 1e-11


def test_photos_in_a_batch_do_not_meet() -> None:
    x = LITE.encode(noise(3, 3, 30, 20))
    for name in ("mean", "blur"):
        alone = torch.cat([baseline(LITE, name, one[None]) for one in x])
        assert (baseline(LITE, name, x) - alone).abs().max() < 1e-13


@pytest.mark.parametrize("name", ["black", "white", "grey", "mean", "blur"])
def test_baselines_keep_dtype(name: str) -> None:
    assert baseline(CAFFE, name, torch.zeros(1, 3, 8, 8)).dtype == torch.float32


def test_unknown_baseline() -> None:
    with pytest.raises(QuestionError, match=r"no baseline 'blak'.* there are black, .*mean 'black'\?"):
        baseline(LITE, "blak", torch.zeros(1, 3, 2, 2))
