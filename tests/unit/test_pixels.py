"""Pixels: the transform's arithmetic and geometry, pixel-space baselines, and every lesson they teach."""

import io
import math

import pytest
import torch
from PIL import Image
from torch import Tensor

from influent.errors import InputError, QuestionError
from influent.photos import example
from influent.pixels import STRIP, PixelTransform, baseline

torch.set_num_threads(1)

LITE = PixelTransform(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
CAFFE = PixelTransform(mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0), order="BGR")
ODD = PixelTransform(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))
PLAIN = PixelTransform((0.0,) * 3, (1.0,) * 3)


def noise(*shape: int) -> Tensor:
    return 255 * torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def speckle(width: int, height: int) -> Image.Image:
    """Noise in 64..191, so that the kernel, whose weights overshoot by an eighth, stays within 0..255."""
    return Image.frombytes("RGB", (width, height), bytes((64 + noise(width * height * 3) / 2).byte().tolist()))


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


@pytest.mark.parametrize("size", [(1, 1), (30, 20), (7, 300), (1, 5000), (4000, 257), (256, 256)])
def test_every_size_becomes_the_crop(size: tuple[int, int]) -> None:
    x = CAFFE(Image.new("RGB", size, (1, 2, 3)))
    assert x.shape == (1, 3, 224, 224)
    assert x.amax(dim=(0, 2, 3)).tolist() == x.amin(dim=(0, 2, 3)).tolist() == [3 - 104, 2 - 117, 1 - 123]


def test_transform_reads_files() -> None:
    file = example("coffee")
    assert torch.equal(LITE(file), LITE(str(file)))
    assert torch.equal(LITE(file), LITE(Image.open(file)))
    assert torch.equal(LITE(file), LITE(io.BytesIO(file.read_bytes())))
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


# Long strips


@pytest.mark.parametrize("size", [(3, 600), (600, 3), (5, 101), (211, 7), (300, 12000)])
def test_the_middle_of_a_strip_is_as_in_the_whole(size: tuple[int, int]) -> None:
    picture = speckle(*size)
    assert max(size) > STRIP * min(size)
    scale = 256 / min(size)
    whole = picture.resize((round(size[0] * scale), round(size[1] * scale)), Image.Resampling.BICUBIC)
    left, top = (whole.width - 224) // 2, (whole.height - 224) // 2
    expected = torch.tensor(list(whole.crop((left, top, left + 224, top + 224)).tobytes()))
    seen = torch.tensor(list(PLAIN.view(picture).tobytes()))
    # Pillow resizes rows and columns one after the other, which of them first is its choice, and rounds each to
    # whole values: ½ · 5/4 (what the weights' absolute values come to) + ½ for each of the two pictures.
    assert (seen - expected).abs().max() <= 2.25


def test_a_long_strip_takes_little_memory() -> None:
    # The whole would be 256 × 256 000 000 pixels, of 4 bytes each: 262 GB.
    strip = Image.new("RGB", (1, 1_000_000), (50, 50, 50))
    strip.putpixel((0, 500_000), (200, 50, 50))
    x = PLAIN(strip)[0]
    for row in range(224):  # the crop's first row is 112 above the middle, that is 0.4375 pixels of the strip
        expected = 50 + 150 * cubic((row + 0.5) / 256 - 0.4375 - 0.5)
        assert (x[0, row] - expected).abs().max() <= 1
    assert x[1:].unique().tolist() == [50]


@pytest.mark.parametrize("size", [(40, 800), (4000, 257), (300, 200)])
def test_ordinary_photos_are_resized_as_a_whole(size: tuple[int, int]) -> None:
    picture = speckle(*size)
    scale = 256 / min(size)
    whole = picture.resize((round(size[0] * scale), round(size[1] * scale)), Image.Resampling.BICUBIC)
    left, top = (whole.width - 224) // 2, (whole.height - 224) // 2
    assert PLAIN.view(picture).tobytes() == whole.crop((left, top, left + 224, top + 224)).tobytes()


# A library's own geometry


def wide(picture: Image.Image) -> Image.Image:
    return picture.resize((30, 10))


def test_what_the_net_sees_may_be_a_librarys_own() -> None:
    transform = PixelTransform((104.0, 117.0, 123.0), (2.0,) * 3, order="BGR", see=wide)
    photo = Image.new("RGBA", (90, 90), (200, 100, 50, 255))
    assert transform.view(photo).tobytes() == bytes([200, 100, 50]) * 300
    x = transform(photo)
    assert x.shape == (1, 3, 10, 30)
    assert x[0, :, 9, 29].tolist() == [(50 - 104) / 2, (100 - 117) / 2, (200 - 123) / 2]
    assert torch.equal(transform.decode(x), torch.tensor([200.0, 100.0, 50.0]).reshape(1, 3, 1, 1).expand(1, 3, 10, 30))
    for name in ("black", "white", "grey", "mean", "blur"):
        assert baseline(transform, name, x).shape == x.shape
    assert (baseline(transform, "blur", x) - x).abs().max() < 1e-4  # an even photo


def test_the_geometry_gets_an_upright_rgb_picture() -> None:
    given = []

    def see(picture: Image.Image) -> Image.Image:
        given.append((picture.mode, picture.size))
        return picture

    assert PixelTransform((0.0,) * 3, (1.0,) * 3, see=see)(Image.new("L", (5, 7), 9)).unique().tolist() == [9.0]
    assert given == [("RGB", (5, 7))]


def test_lessons_of_a_librarys_own_geometry() -> None:
    with pytest.raises(InputError, match=r"see='resize' is no function\. .* see=lambda picture: picture\.resize"):
        PixelTransform((0,) * 3, (1,) * 3, see="resize")
    tensor = PixelTransform((0,) * 3, (1,) * 3, see=lambda picture: torch.zeros(3, 4, 4))
    with pytest.raises(InputError, match=r"see= gives a Tensor, .*Leave out .*\(ToTensor, Normalize.* mean= and std="):
        tensor.view(Image.new("RGB", (4, 4)))
    grey = PixelTransform((0,) * 3, (1,) * 3, see=lambda picture: picture.convert("L"))
    with pytest.raises(InputError, match=r"see= gives a L picture, and should give an RGB PIL picture"):
        grey(Image.new("RGB", (4, 4)))


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
    assert (baseline(PLAIN, "blur", pixels)[0, :, 0, 0] - expected).abs().max() < 1e-11


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
