"""Weights and class names from files: what is read, and what is refused before anything in it can run."""

import json
import os
import pickle
import re

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from influent.errors import InputError
from influent.zoo import load
from influent.zoo.files import read_labels, weights_for


class Tied(nn.Module):
    """Two names for one weight, as a language model's embedding and head have them."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False)
        self.last = nn.Linear(2, 2, bias=False)
        self.last.weight = self.first.weight


class Payload:
    """What an attacker puts into a pickle: a call, made while it is read."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def refused(file, message, module=None):
    with pytest.raises(InputError, match=message) as caught:
        weights_for(module or net(), file)
    assert str(file) in str(caught.value)


# Code


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("write", [pickle.dump, torch.save], ids=["pickle", "torch.save"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_pickle_with_code_is_refused_and_nothing_runs(tmp_path, write, wrapped):
    proof, file = tmp_path / "proof", tmp_path / "net.pth"
    evil = {"weight": torch.ones(1), "more": Payload(proof)} if wrapped else Payload(proof)
    with file.open("wb") as stream:
        write(evil, stream)
    refused(file, r"(holds code \((posix|nt)\.system\)|no file of weights)")
    assert not proof.exists()
    with file.open("rb") as stream:  # the payload is a real one: read carelessly, it runs
        torch.load(stream, weights_only=False) if write is torch.save else pickle.load(stream)
    assert proof.exists()


def test_a_whole_net_saved_by_pickle_is_refused_by_the_name_of_its_class(tmp_path):
    torch.save(net(), tmp_path / "net.pt")
    refused(
        tmp_path / "net.pt", r"holds code \(torch\.nn\.modules\.container\.Sequential\).*nothing in it was run\. Where"
    )


def test_a_pickle_that_says_it_is_safetensors_is_not_unpickled(tmp_path):
    proof, file = tmp_path / "proof", tmp_path / "net.safetensors"
    with file.open("wb") as stream:
        pickle.dump(Payload(proof), stream)
    refused(file, r"no readable safetensors file")
    assert not proof.exists()


def test_a_scripted_net_is_refused(tmp_path, recwarn):
    torch.jit.script(nn.Linear(3, 4)).save(tmp_path / "net.pt")
    refused(tmp_path / "net.pt", r"is a traced or scripted net")


# Weights


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"state_dict": w, "epoch": 3, "optimizer": {"lr": 0.1}},
                                  lambda w: {"model": w}, lambda w: {"anything": w}])  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_weights_are_found_in_what_training_scripts_store(tmp_path, wrap, prefix):
    file, weights = tmp_path / "net.pth", net().state_dict()
    torch.save(wrap({prefix + name: weight for name, weight in weights.items()}), file)
    found = weights_for(net(), file)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weight) for name, weight in weights.items())


def test_safetensors_are_known_by_what_is_in_them(tmp_path):
    save_file(net().state_dict(), tmp_path / "weights.bin")
    assert weights_for(net(), tmp_path / "weights.bin").keys() == net().state_dict().keys()


def test_tied_weights_may_stand_in_the_file_once(tmp_path):
    save_model(Tied(), str(tmp_path / "tied.safetensors"))
    assert len(weights_for(Tied(), tmp_path / "tied.safetensors")) == 1


def test_counters_of_batches_may_be_missing(tmp_path):
    old = {name: w for name, w in net().state_dict().items() if "num_batches" not in name}
    torch.save(old, tmp_path / "old.pth")
    assert weights_for(net(), tmp_path / "old.pth").keys() == old.keys()


LESSONS = {
    "another net": (lambda f: torch.save(nn.Linear(3, 4).state_dict(), f), r"8 of its tensors"),
    "another head": (
        lambda f: torch.save(nn.Sequential(nn.Linear(3, 7), nn.BatchNorm1d(4)).state_dict(), f),
        r"first '0\.bias': \[7\] in the file, \[4\] in the net\. It was trained for 7 outputs: give their names",
    ),
    "one missing": (
        lambda f: torch.save({k: v for k, v in net().state_dict().items() if k != "0.bias"}, f),
        r"1 of its tensors .* first '0\.bias': nothing in the file, \[4\] in the net\. Name the net",
    ),
    "one too many": (
        lambda f: torch.save({**net().state_dict(), "2.bias": torch.ones(1)}, f),
        r"'2\.bias': \[1\] in the file, nothing in the net",
    ),
    "no tensors": (lambda f: torch.save([1, 2], f), r"holds no dictionary of tensors by name, but a list"),
    "empty": (lambda f: f.write_bytes(b""), r"is empty \(0 bytes\)"),
    "text": (lambda f: f.write_text("hello, weights of mine"), r"no file of weights that torch or safetensors wrote"),
    "pointer": (lambda f: f.write_text("version https://git-lfs.github.com/spec/v1\n"), r"a pointer of git-lfs"),
    "folder": (lambda f: f.mkdir(), r"is a folder\. Name the file of weights in it"),
    "nothing": (lambda f: None, r"There is no file"),
}


@pytest.mark.parametrize("case", LESSONS)
def test_lessons_on_weights(tmp_path, case):
    make, message = LESSONS[case]
    make(tmp_path / "net.pth")
    refused(tmp_path / "net.pth", message)


def test_half_a_file_is_a_lesson(tmp_path):
    for name, write in (("net.pth", torch.save), ("net.safetensors", save_file)):
        write(net().state_dict(), tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        for share in (0.1, 0.5, 0.99):
            (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
            refused(tmp_path / name, r"Copy it again|no readable safetensors|no file of weights")


# Labels


@pytest.mark.parametrize(("name", "text"), [
    ("l.txt", "cat\n tabby dog \ncup\n\n"), ("l.txt", "\ufeffcat\r\ntabby dog\r\ncup"),
    ("l.json", '["cat", "tabby dog", "cup"]'), ("l.json", '{"0": "cat", "2": "cup", "1": "tabby dog"}'),
    ("l.json", '{"0": ["n01", "cat"], "1": ["n02", "tabby dog"], "2": ["n03", "cup"]}'),
])  # fmt: skip
def test_labels_as_people_keep_them(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / name) == ("cat", "tabby dog", "cup")


@pytest.mark.parametrize(("name", "text", "message"), [
    ("l.json", '{"1": "cat"}', r'its keys are not the indices "0" to "0"'), ("l.json", "[1, 2]", r"text; 1 is not"),
    ("l.json", "{", r"cannot be read as class names"), ("l.json", "3", r"holds no class names"),
    ("l.txt", "", r"is empty"), ("l.json", "[]", r"holds no class names"),
])  # fmt: skip
def test_lessons_on_labels(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_labels(tmp_path / name)


def test_labels_in_another_encoding_are_a_lesson(tmp_path):
    (tmp_path / "l.txt").write_bytes("Café".encode("latin-1"))
    with pytest.raises(InputError, match=r"cannot be read as class names: 'utf-8'"):
        read_labels(tmp_path / "l.txt")


# An own net by name

OWN = """
import torch
from torch import nn
import influent as inf

def tiny():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(144, 3))

def whole():
    return inf.Net(tiny(), labels=["cat", "dog", "cup"], layer="1/channel")

def centre(photo):
    pixels = torch.frombuffer(bytearray(photo.resize((8, 8)).tobytes()), dtype=torch.uint8)
    return pixels.reshape(8, 8, 3).permute(2, 0, 1) / 255

def broken():
    raise ValueError("no disk")

ready = tiny()
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_own_nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_an_own_net_is_ready_to_be_explained(mine):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    net = load("my_own_nets:tiny", transform="my_own_nets:centre")
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(m.training for m in net.module.modules())
    assert not any(p.requires_grad for p in net.module.parameters())
    assert net.read(_photo(mine)).shape == (1, 3, 8, 8)
    assert load("my_own_nets:whole").labels == ["cat", "dog", "cup"]
    assert load("my_own_nets:ready").module[0].out_channels == 4


def test_an_own_net_with_own_weights_and_labels(mine):
    weights = load("my_own_nets:tiny").module.state_dict()
    changed = {name: weight + 1 for name, weight in weights.items()}
    torch.save(changed, mine / "net.pth")
    (mine / "labels.json").write_text(json.dumps(["a", "b", "c"]))
    net = load("my_own_nets:tiny", weights=mine / "net.pth", labels=mine / "labels.json")
    assert all(torch.equal(net.module.state_dict()[name], weight) for name, weight in changed.items())
    assert net.labels == ("a", "b", "c")


def _photo(folder):
    from PIL import Image

    Image.new("RGB", (20, 10), (255, 0, 0)).save(folder / "red.png")
    return folder / "red.png"


@pytest.mark.parametrize(("name", "message"), [
    ("my_own_nets:broken", r"was called to make the net, and failed: ValueError: no disk"),
    ("my_own_nets:nothing", r"cannot be loaded: module 'my_own_nets' has no attribute 'nothing'"),
    ("not_there:net", r"cannot be loaded: No module named 'not_there'"),
    ("os:getcwd", r"gives a str\. A net is a torch module or influent\.Net"),
    ("timm:", r"timm"), ("torchvision:resnet18", r"torchvision is not installed here: pip install torchvision"),
])  # fmt: skip
def test_lessons_on_own_nets(mine, name, message):
    with pytest.raises(InputError, match=message):
        load(name)


@pytest.mark.parametrize("transform", ["centre", "my_own_nets:ready_not", "os:sep"])
def test_lessons_on_transforms(mine, transform):
    with pytest.raises(Exception, match=re.escape(transform)):
        load("my_own_nets:tiny", transform=transform)
