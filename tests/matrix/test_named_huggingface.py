"""`hf:FOLDER` and `hf:NAME`: transformers' nets with their own processors and labels, from files at hand alone."""

import json
import os
import shutil
import socket

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

import influent as inf
from influent.cli import main
from influent.errors import InputError
from influent.zoo import load

VIT = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32,
       "patch_size": 8}  # fmt: skip
PROCESSORS = {
    "squashed": ("ViTImageProcessor", {"size": {"height": 32, "width": 32}}),
    "cropped": ("CLIPImageProcessor", {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}),
    "scaled": ("ViTImageProcessor", {"size": {"height": 32, "width": 32}, "do_normalize": False}),
    "raw": ("ViTImageProcessor", {"size": {"height": 32, "width": 32}, "do_rescale": False, "image_std": [9, 8, 7]}),
}


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    """An empty cache, and no way out: a net that is fetched would fail here."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def no_way_out(*_, **__):
        raise AssertionError("something was to be fetched")

    monkeypatch.setattr(socket.socket, "connect", no_way_out)


@pytest.fixture
def folder(tmp_path):
    """A small ViT as `save_pretrained` writes it, with three classes; its processor is written by hand."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        **VIT, id2label={0: "cat", 1: "dog", 2: "cup"}, label2id={"cat": 0, "dog": 1, "cup": 2}
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    processor(tmp_path / "vit", "squashed")
    return tmp_path / "vit"


def processor(folder, kind):
    name, settings = PROCESSORS[kind]
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {"image_processor_type": name, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.3, 0.2, 0.1], **settings}
        )
    )


def photo():
    return Image.open(inf.example("chelsea")).convert("RGB")


@pytest.mark.parametrize("kind", PROCESSORS)
def test_a_folder_is_a_net_with_its_own_transform_and_labels(folder, kind):
    processor(folder, kind)
    net = load(f"hf:{folder}")
    theirs = transformers.AutoImageProcessor.from_pretrained(folder)(photo(), return_tensors="np")["pixel_values"]
    assert isinstance(net.transform, inf.PixelTransform)
    assert np.abs(net.read(photo()).numpy() - theirs).max() <= 1e-5 * max(1, np.abs(theirs).max())
    assert net.labels == ("cat", "dog", "cup")
    assert net.module.dtype == torch.float32 and not net.module.training
    x = net.read(photo())
    blocks = [
        f"vit.{name}/channel" for name, module in net.module.vit.named_modules() if type(module).__name__ == "ViTLayer"
    ]
    found = inf.influence(net, blocks, inf.Class("dog"), inf.Line("black", x, 9), inf.contribution)
    assert all(a.values.shape == (1, 16) and a.gap.absolute <= a.residual + 1e-5 for a in found.values())


def test_the_command_line_explains_a_photo_with_one(folder, tmp_path, capsys):
    assert main(["explain", "chelsea", "--net", f"hf:{folder}", "--top", "1", "--out", str(tmp_path / "why")]) == 0
    said = capsys.readouterr()
    assert "/channel, of Class(" in said.out
    assert said.err == ""


def test_weights_that_are_not_in_the_folder_are_not_made_up(folder):
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: w for k, w in weights.items() if "classifier" not in k}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(InputError, match=r"2 weights of ViTForImageClassification are not there, first 'classif"):
        load(f"hf:{folder}")


def test_weights_from_another_file_and_untrained(folder, tmp_path):
    weights = {name: w + 0.5 for name, w in load_file(folder / "model.safetensors").items()}
    torch.save(weights, tmp_path / "other.pth")
    found = load(f"hf:{folder}", weights=tmp_path / "other.pth").module
    own = load(f"hf:{folder}").module.state_dict()
    assert all(torch.equal(w, own[name] + 0.5) for name, w in found.state_dict().items())
    torch.save({"classifier.weight": weights["classifier.weight"]}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth: \d+ weights of ViTForImageClassification are not there"):
        load(f"hf:{folder}", weights=tmp_path / "other.pth")
    torch.save({**weights, "classifier.weight": torch.ones(7, 16)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth does not fit ViTForImageClassification: "):
        load(f"hf:{folder}", weights=tmp_path / "other.pth")
    one, two = (load(f"hf:{folder}", weights="random").module.classifier.weight for _ in range(2))
    assert torch.equal(one, two)


class Payload:
    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


def test_code_in_a_folder_does_not_run(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    torch.save(Payload(tmp_path / "proof"), folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"from which transformers cannot make a net"):
        load(f"hf:{folder}")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.Mine"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'proof')!r}, 'w')")
    with pytest.raises(InputError, match=r"from which transformers cannot make a net"):
        load(f"hf:{folder}")
    assert not (tmp_path / "proof").exists()


def test_tensors_in_the_older_format_are_read(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert torch.equal(load(f"hf:{folder}").module.classifier.weight, weights["classifier.weight"])


def test_a_name_that_is_not_in_the_cache_says_how_to_get_it(tmp_path):
    with pytest.raises(
        InputError, match=r"no config\.json of that name; nothing is downloaded .*`hf download google/vit-b"
    ):
        load("hf:google/vit-base-patch16-224")
    shutil.copytree(tmp_path, tmp_path / "empty")
    with pytest.raises(InputError, match=r"holds nothing, from which transformers cannot make a net"):
        load(f"hf:{tmp_path / 'empty'}")


def test_a_name_in_the_cache_is_a_net(folder, tmp_path):
    kept = tmp_path / "hub" / "models--me--tiny"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("abc")
    shutil.copytree(folder, kept / "snapshots" / "abc")
    assert load("hf:me/tiny").labels == ("cat", "dog", "cup")


def test_a_net_for_text_has_labels_and_no_transform(tmp_path, capsys):
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1},
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    net = load(f"hf:{tmp_path / 'bert'}")
    assert (net.labels, net.transform) == (("bad", "good"), None)
    assert main(["explain", "chelsea", "--net", f"hf:{tmp_path / 'bert'}"]) == 1
    assert "This net has no transform, so a photo cannot be read for it" in capsys.readouterr().err


def test_transformers_speaks_as_before_afterwards(folder):
    log = transformers.utils.logging
    before = log.get_verbosity(), log.is_progress_bar_enabled()
    load(f"hf:{folder}")
    assert (log.get_verbosity(), log.is_progress_bar_enabled()) == before
