"""`influent experts`: experts chosen on one half of a folder and reported on the other, with their page."""

import json

import pytest
import torch
from PIL import Image

import influent as inf
from influent.cli import main
from influent.samples import Folder
from influent.specialists import halves
from tests.unit import test_essences
from tests.unit.test_cli import _Page as Page

ASK = ["experts", "photos", "--net", "own:layered", "--alphas", "1,2", "--betas", "0,1"]


NET = test_essences.NET.replace("[[2.0, 1, 0], [0, 1, 2]]", "[[2.0, 1, -2], [-2, 1, 2]]")
own = test_essences.own


@pytest.fixture
def torn(own):
    """The net of `own`, where each class speaks against the other's colour: one unit alone says one class always."""
    (own / "own.py").write_text(NET)
    return own


def test_experts_are_reported_on_the_half_that_did_not_choose_them(torn, capsys):
    assert main([*ASK, "--out", "made"]) == 0
    said = capsys.readouterr().out
    # The classes are told apart by red and blue as well as by all three; green and blue, which fire most, do it too.
    assert "cold   100% / 100%  100% / 100%" in said and "α 1, β 1: 2" in said
    assert "more recall in 0 of 2" in said and "page   made/explanation.html" in said
    main(["show", "made"])
    assert "cold   100% / 100%" in capsys.readouterr().out


def test_each_expert_is_stored_and_the_page_shows_its_sweep(torn):
    main([*ASK, "--out", "made", "--class", "warm"])
    import own as user

    expert = inf.Expert.load("made/expert-0", user.layered())
    assert expert.mask == inf.Mask("0/channel", [0, 2])
    text = (torn / "made" / "explanation.html").read_text()
    page = Page()
    page.feed(text)
    assert page.loads == [] and page.scripts == 0 and text.count("<svg") == 2 and "Recall" in text
    assert not (torn / "made" / "expert-1").exists()
    assert "explanation.html" in json.loads((torn / "made" / "meta.json").read_text())["files"]


def test_a_class_of_one_image_is_numbered_alike_in_both_halves(own):
    for file in sorted((own / "photos" / "cold").iterdir())[1:]:
        file.unlink()
    net = inf.Net(torch.nn.Flatten())
    whole = Folder.at("photos")
    assert [half.classes(net) for half in halves(whole)] == [whole.classes(net)] * 2


def test_the_halves_split_each_class_and_share_no_image(own):
    first, second = halves(Folder.at("photos"))
    assert {name for _, name in first.files} == {name for _, name in second.files} == {"warm", "cold"}
    assert len(first.files) == len(second.files) == 4 and not set(first.files) & set(second.files)


@pytest.mark.parametrize(("more", "lesson"), [
    (["--class", "dog"], "This net has no class 'dog'."),
    (["--alphas", "1,x"], "--alphas 1,x: give numbers of units between commas"),
    (["--criterion", "luck"], "criterion='luck' is not known"),
    (["--at", "0/token"], "asks for units by 'token'"),
])  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_is_written(own, more, lesson, capsys):
    assert main([*ASK, "--out", "made", *more]) == 1
    assert lesson in capsys.readouterr().err and not (own / "made").exists()


# Several workers, and kills


@pytest.fixture
def many(torn):
    """As `torn`, with forty images of each class."""
    for name, colour in (("warm", (200, 90, 10)), ("cold", (10, 60, 180))):
        for k in range(40):
            shade = tuple(min(255, c + k) for c in colour)
            Image.new("RGB", (4, 4), shade).save(torn / "photos" / name / f"{k}.png")
    return torn


def told(folder):
    meta = json.loads((folder / "meta.json").read_text())
    return meta["said"], {name: h for name, h in meta["files"].items() if name != "explanation.html"}


def test_workers_share_experts_in_three_rounds(many, monkeypatch, capsys):
    monkeypatch.setattr("influent.counting.PART", 16)
    assert main([*ASK, "--out", "whole"]) == 0
    capsys.readouterr()
    for number in (1, 2, 3):
        for share in ("1/3", "0/3", "2/3"):
            assert main([*ASK, "--out", "made", "--shard", share]) == 0
        assert f"round {number + (number < 3)} of 3" in capsys.readouterr().out.splitlines()[-1]

    def again(*_, **__):
        raise AssertionError("this was computed before")

    monkeypatch.setattr("influent.counting.evaluate", again)
    assert main([*ASK, "--out", "made"]) == 0
    assert told(many / "made") == told(many / "whole")
    assert [f.name for f in many.iterdir() if f.name.startswith(".made")] == []
    assert main([*ASK, "--out", "made", "--shard", "3/3"]) == 1


def test_a_stopped_run_goes_on(many, monkeypatch):
    monkeypatch.setattr("influent.counting.PART", 16)
    assert main([*ASK, "--out", "whole"]) == 0

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("influent.specialists.expert_lines", stopped)
        assert main([*ASK, "--out", "made"]) == 130
    (parts,) = (f for f in many.iterdir() if f.name.startswith(".made-parts"))
    assert {f.name for f in parts.iterdir()} == {
        "orders", *(f"sweep-{k}.safetensors" for k in range(3)), *(f"report-{k}.safetensors" for k in range(3))
    }  # fmt: skip
    assert main([*ASK, "--out", "made"]) == 0 and told(many / "made") == told(many / "whole")
