"""Nets by name: torchvision's and timm's own transforms, names and weights, from files at hand and never fetched."""

import importlib
import os
import socket

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import influent as inf
from influent.errors import InputError
from influent.zoo import load


@pytest.fixture(autouse=True)
def at_home(vision, tmp_path, monkeypatch):
    """Empty caches, and no way out: a net that is fetched would fail here."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def no_way_out(*_, **__):
        raise AssertionError("something was to be fetched")

    monkeypatch.setattr(socket.socket, "connect", no_way_out)
    return tmp_path


def photo():
    return Image.open(inf.example("chelsea")).convert("RGB")


# Transforms


@pytest.mark.parametrize("name", ["resnet18", "inception_v3", "efficientnet_b3", "vit_b_16", "regnet_y_400mf"])
def test_torchvisions_own_transforms_are_taken_apart_and_give_the_same(vision, name):
    theirs = vision.models.get_model_weights(name).DEFAULT.transforms()
    net = load(f"torchvision:{name}", weights="random")
    assert isinstance(net.transform, inf.PixelTransform)
    assert net.baseline == "black"
    for size in ((451, 300), (300, 451), (37, 1200), (1, 1)):
        picture = photo().resize(size)
        assert (net.read(picture)[0] - theirs(picture)).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto", "efficientnet_b0", "mixer_s16_224"])
def test_timms_own_transforms_are_taken_apart_and_give_the_same(vision, name):
    net = load(f"timm:{name}", weights="random")
    config = vision.timm.data.resolve_model_data_config(net.module)
    theirs = vision.timm.data.create_transform(**config, is_training=False)
    assert isinstance(net.transform, inf.PixelTransform)
    assert (net.read(photo())[0] - theirs(photo())).abs().max() < 1e-5


def test_a_users_compose_is_taken_apart_and_what_is_no_resizing_is_left_whole():
    steps = importlib.import_module("torchvision.transforms")
    plain = [
        steps.Resize(64),
        steps.CenterCrop(56),
        steps.ToTensor(),
        steps.Normalize([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]),
    ]
    for made in (steps.Compose(plain), steps.Compose(plain[:3])):
        net = load("torchvision:resnet18", weights="random", transform=made)
        assert isinstance(net.transform, inf.PixelTransform)
        assert (net.read(photo())[0] - made(photo())).abs().max() < 1e-5
        black = net.baseline_for("black", net.read(photo()))
        assert (black - made(Image.new("RGB", (80, 80)))).abs().max() < 1e-5
    for odd in (
        [*plain[:3], steps.Lambda(torch.sqrt)],
        [*plain, steps.Lambda(lambda x: 2 * x)],
        [steps.ToTensor(), *plain[:2]],
    ):
        whole = steps.Compose(odd)
        net = load("torchvision:resnet18", weights="random", transform=whole)
        assert net.transform is whole
        assert torch.equal(net.read(photo())[0], whole(photo()))


# Weights


def test_torchvisions_weights_are_taken_from_where_torch_keeps_downloads(at_home):
    with pytest.raises(
        InputError, match=r"There is no .*resnet18-f37072fd\.pth\. Fetch https://\S*resnet18-f37072fd\.pth"
    ):
        load("torchvision:resnet18")
    weights = {k: v + 0.5 for k, v in load("torchvision:resnet18", weights="random").module.state_dict().items()}
    kept = at_home / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    kept.parent.mkdir(parents=True)
    torch.save(weights, kept)
    net = load("torchvision:resnet18")
    assert torch.equal(net.module.fc.weight, weights["fc.weight"])
    assert (len(net.labels), net.labels[281]) == (1000, "tabby")


def test_timms_weights_are_taken_from_the_hubs_cache(at_home):
    with pytest.raises(
        InputError, match=r"Type `hf download timm/vit_tiny_patch16_224\.augreg_in21k_ft_in1k model\.saf"
    ):
        load("timm:vit_tiny_patch16_224")
    weights = {
        k: (v + 0.5).contiguous()
        for k, v in load("timm:vit_tiny_patch16_224", weights="random").module.state_dict().items()
    }
    kept = at_home / "hub" / "models--timm--vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("abc")
    (kept / "snapshots" / "abc").mkdir(parents=True)
    save_file(weights, kept / "snapshots" / "abc" / "model.safetensors")
    net = load("timm:vit_tiny_patch16_224")
    assert torch.equal(net.module.head.weight, weights["head.weight"])
    assert (len(net.labels), net.labels[281]) == (1000, "tabby")


class Payload:
    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


def test_code_among_kept_downloads_is_refused_and_does_not_run(at_home):
    kept = at_home / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    kept.parent.mkdir(parents=True)
    torch.save(Payload(at_home / "proof"), kept)
    with pytest.raises(InputError, match=r"holds code \((posix|nt)\.system\)"):
        load("torchvision:resnet18")
    assert not (at_home / "proof").exists()


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18"])
def test_a_finetuned_checkpoint_with_its_names(at_home, name):
    (at_home / "labels.txt").write_text("cat\ndog\ncup\n")
    tuned = load(name, weights="random", labels=at_home / "labels.txt")
    assert tuned.labels == ("cat", "dog", "cup")
    torch.save({"state_dict": {f"module.{k}": v for k, v in tuned.module.state_dict().items()}}, at_home / "tuned.pth")
    with pytest.raises(InputError, match=r"It was trained for 3 outputs: give their names, --labels FILE"):
        load(name, weights=at_home / "tuned.pth")
    net = load(name, weights=at_home / "tuned.pth", labels=at_home / "labels.txt")
    assert net.module(net.read(photo())).shape == (1, 3)
    answer = inf.influence(net, "layer3/channel", inf.Class("dog"), inf.Point(net.read(photo())))
    assert answer.values.shape == (1, 256)


def test_nets_whose_weights_came_from_elsewhere_keep_their_scaling(at_home):
    random = load("torchvision:googlenet", weights="random").module
    assert not random.transform_input
    torch.save(random.state_dict(), at_home / "googlenet.pth")
    assert load("torchvision:googlenet", weights=at_home / "googlenet.pth").module.transform_input


def test_segmentation_fetches_no_backbone():
    net = load("torchvision:fcn_resnet50", weights="random")
    assert net.module(torch.zeros(1, 3, 32, 32))["out"].shape == (1, 21, 32, 32)


# Lessons


@pytest.mark.parametrize(("name", "message"), [
    ("torchvision:resnet19", r"torchvision has no net 'resnet19'\. Did you mean 'resnet18'"),
    ("timm:vit_tiny", r"timm has no net 'vit_tiny'\. Did you mean"),
    ("timm:resnet50.mine", r"timm has no resnet50 trained as 'mine'; it has resnet50\.a1_in1k, "),
])  # fmt: skip
def test_names_that_are_not_there(name, message):
    with pytest.raises(InputError, match=message):
        load(name)


def test_two_loads_of_an_untrained_net_are_the_same_and_leave_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two = (load("torchvision:resnet18", weights="random").module for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.conv1.weight, two.conv1.weight)
    assert isinstance(one, nn.Module) and not one.training


def test_the_command_line_explains_them_at_a_middle_layer_of_its_own_choice(tmp_path, capsys):
    from influent.cli import main

    for name, layer in (
        ("torchvision:resnet18", "layer3.1/channel"),
        ("timm:vit_tiny_patch16_224", "blocks.7/channel"),
    ):
        asked = ["--net", name, "--weights", "random", "--over", "Point", "--top", "1", "--out", str(tmp_path / "why")]
        assert main(["explain", "chelsea", *asked]) == 0
        assert f"at {layer}, of Class(" in capsys.readouterr().out
        assert f"at={layer}" in (tmp_path / "why" / "explanation.html").read_text()
