"""`influent debug FOLDER`: a net with a fault made by hand and a folder, from the command to the page."""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from influent.cli import main
from influent.commands.terminal import Bar
from influent.confusion import _Look
from influent.selection import split
from influent.views.diagnosis import MOST, confusion_map
from tests.unit.test_cli import _Page as Page
from tests.unit.test_diagnosis import NET, WORDS, data, made
from tests.unit.test_essences import listed

SLOW = """
import os, time

def slow():
    net = made("drowns")
    net.module[1].register_forward_hook(lambda *_: time.sleep(float(os.environ.get("SLOW", "0.05"))))
    return net

def deep():
    return inf.Net(made("drowns").module[:1], labels=list(COLOURS), transform=made("drowns").transform)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder to work in, with nets of one's own and 24 images of each class."""
    (tmp_path / "own.py").write_text(NET + SLOW)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    dice = torch.Generator().manual_seed(0)
    for name, colour in WORDS["COLOURS"].items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(24):
            x = (torch.tensor(colour) + 0.08 * torch.randn(4, 4, 3, generator=dice)).clamp(0, 1)
            Image.fromarray((255 * x).byte().numpy()).save(tmp_path / "photos" / name / f"{k}.png")
    return tmp_path


def stored(folder):
    return json.loads((folder / "made" / "report.json").read_text())


def ask(net, *more):
    return main(["debug", "photos", "--net", f"own:{net}", "--out", "made", *more])


@pytest.mark.parametrize(("net", "kinds"), [
    ("blind", ["never said", "not learned", "confusion", "mistakes"]),
    ("drowns", ["never said", "drowning", "confusion", "mistakes"]),
    ("biased", ["never said", "held down", "confusion", "mistakes"]),
    ("healthy", []),
])  # fmt: skip
def test_each_fault_is_named_and_a_healthy_net_has_none(own, capsys, net, kinds):
    assert ask(net) == 0
    said = capsys.readouterr().out
    assert [f["kind"] for f in stored(own)["findings"]] == kinds
    assert ("no finding" in said) == (not kinds) and "page   made/explanation.html" in said
    assert all(f"{kind}: rare" in said for kind in kinds)
    assert main(["show", "made"]) == 0
    assert "72 samples of 3 classes" in capsys.readouterr().out


def test_the_page_is_self_contained_and_explains_each_number(own):
    ask("drowns")
    text = (own / "made" / "explanation.html").read_text()
    page = Page()
    page.feed(text)
    # One script, in the page itself, which sorts tables.
    assert page.scripts == 1 and "<script src" not in text
    assert all(load.startswith(("data:", "#")) for load in page.loads)
    anchors = [load for load in page.loads if load.startswith("#")]
    assert {"#how", "#never-said", "#drowning", "#confusion", "#mistakes", "#recall", "#told"} <= set(anchors)
    assert all(f'id="{anchor[1:]}"' in text for anchor in anchors)
    # Four of the mistakes, those nearest to their mean.
    assert len(page.alts) == 4 and all(alt.startswith("rare/") for alt in page.alts)
    assert "<svg" in text and "Fisher" in text and "drowning: rare" in text


def test_what_is_stored_is_listed_and_holds_the_confusions(own):
    ask("blind")
    meta = json.loads((own / "made" / "meta.json").read_text())
    assert set(meta["files"]) == {"explanation.html", "report.json", "values.safetensors"}
    found = load_file(own / "made" / "values.safetensors")["confusion"]
    assert found.tolist() == stored(own)["confusion"] == [[24, 0, 0], [0, 24, 0], [24, 0, 0]]
    assert stored(own)["schema"] == 2 and stored(own)["names"] == ["warm", "cold", "rare"]


def test_images_that_cannot_be_read_are_named(own, capsys):
    (own / "photos" / "warm" / "broken.png").write_bytes(b"no picture")
    assert ask("drowns") == 1
    said = capsys.readouterr()
    assert "note: 1 of 73 samples were left out: warm/broken.png" in said.err and "drowning: rare" in said.out
    assert list(stored(own)["left_out"]) == ["warm/broken.png"]
    assert "warm/broken.png" in (own / "made" / "explanation.html").read_text()


def test_three_images_are_a_report_without_findings(own):
    for name in WORDS["COLOURS"]:
        for file in list((own / "photos" / name).iterdir())[1:]:
            file.unlink()
    assert ask("healthy") == 0
    assert stored(own)["findings"] == [] and stored(own)["samples"] == 3


@pytest.mark.parametrize(("change", "net", "more", "lesson"), [
    ("nothing", "drowns", ["--at", "7"], "This net has no module '7'."),
    ("nothing", "drowns", ["--at", "0,2"], "at='0,2': one layer at a time, at='0/channel'."),
    ("nothing", "drowns", ["--at", "0/token"], "'0/token' names no units that are counted here"),
    ("nothing", "deep", ["--at", "0"], "This net gives float32 [16, 16, 2, 2], and a classification is scores"),
    ("strange", "drowns", [], "This net has no class 'dog'."),
    ("one", "drowns", [], "All 24 samples are of one class, rare"),
    ("unread", "drowns", [], "gave no sample: "),
    ("flat", "drowns", [], "photos holds no images by class"),
])  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_is_written(own, change, net, more, lesson, capsys):
    photos = own / "photos"
    if change == "strange":
        (photos / "cold").rename(photos / "dog")
    files = sorted(photos.rglob("*.png"))
    for k, file in enumerate(files):
        if change == "unread":
            file.write_bytes(b"no picture")
        elif change == "flat":
            file.rename(photos / f"{k}.png")
        elif change == "one" and file.parent.name != "rare":
            file.unlink()
    before = listed()
    assert ask(net, *more) == 1
    assert lesson in capsys.readouterr().err and listed() == before


def begun(own):
    """The folders of finished parts beside the result."""
    return [f for f in own.iterdir() if f.name.startswith(".made-parts-")]


def test_a_killed_run_leaves_no_result_and_the_next_one_goes_on(own, monkeypatch, capsys):
    run = [sys.executable, "-m", "influent", "debug", "photos", "--net", "own:slow", "--out", "made", "--chunk", "1"]
    with subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not any(list(folder.glob("seen-0.*")) for folder in begun(own)):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not (own / "made").exists()

    def again(*_):
        raise AssertionError("these images went through the net before")

    monkeypatch.setenv("SLOW", "0")
    looked = _Look.through
    monkeypatch.setattr("influent.confusion._Look.through", again)
    assert ask("slow", "--chunk", "1") == 0
    kept = stored(own)
    assert begun(own) == []
    monkeypatch.setattr("influent.confusion._Look.through", looked)
    assert main(["debug", "photos", "--net", "own:slow", "--out", "whole", "--chunk", "1"]) == 0
    whole = json.loads((own / "whole" / "report.json").read_text())
    assert kept == whole


def test_workers_share_the_images_and_the_command_finds_all_of_them(own, monkeypatch, capsys):
    monkeypatch.setattr("influent.confusion.PART", 32)
    monkeypatch.setattr("influent.confusion.split", lambda source, _: split(source, 32))
    assert ask("drowns") == 0
    whole = stored(own)
    for share in ("1/2", "0/2"):
        assert ask("drowns", "--shard", share, "--against", "own:healthy") == 0
    said = capsys.readouterr().out
    assert "2 parts are in" in said and "4 parts are in" in said

    def again(*_):
        raise AssertionError("these images went through the net before")

    monkeypatch.setattr("influent.confusion._Look.through", again)
    assert ask("drowns", "--against", "own:healthy") == 0
    assert stored(own)["findings"] == whole["findings"] and stored(own)["answers"] == whole["answers"]
    assert begun(own) == []
    assert ask("drowns", "--shard", "2/2") == 1


def test_every_part_that_is_finished_is_kept(own, monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    def again(*_):
        raise AssertionError("this part was finished")

    with monkeypatch.context() as patched:
        patched.setattr("influent.diagnosis.explain_mistakes", stopped)
        assert ask("drowns") == 130
    assert {f.name for f in begun(own)[0].iterdir()} == {"seen-0.safetensors", "class-2.safetensors"}
    with monkeypatch.context() as patched:
        patched.setattr("influent.confusion._Look.through", again)
        patched.setattr("influent.diagnosis.try_class", again)
        assert ask("drowns") == 0
    assert begun(own) == []


def test_images_that_changed_are_looked_at_again(own, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("influent.diagnosis.explain_mistakes", stopped)
        ask("drowns")
    (own / "photos" / "cold" / "0.png").write_bytes((own / "photos" / "warm" / "0.png").read_bytes())
    assert ask("drowns") == 0
    assert stored(own)["confusion"] == [[24, 0, 0], [1, 23, 0], [24, 0, 0]]


# More than one folder, more than one net


def test_units_that_serve_in_training_alone_are_named_with_their_images(own, capsys):
    """Every training image of cold has green in it; the net says green is cold, too."""
    for name, colour in {**WORDS["COLOURS"], "cold": (0.1, 0.8, 0.8)}.items():
        (own / "trained" / name).mkdir(parents=True)
        for k in range(20):
            x = torch.tensor(colour).expand(4, 4, 3) + 0.01 * k
            Image.fromarray((255 * x.clamp(0, 1)).byte().numpy()).save(own / "trained" / name / f"{k}.png")
    (own / "own.py").write_text(NET + """
def shortcut():
    net = made("healthy")
    net.module[2].weight.data[1, 16:20] = 2.0
    return net
""")  # fmt: skip
    assert ask("shortcut", "--train", "trained") == 0
    said = capsys.readouterr().out
    assert "wrong reason: cold, training alone" in said and "1 unit of cold's essence (4) carry" in said
    page = (own / "made" / "explanation.html").read_text()
    assert "cold: unit 4, training alone" in page and "trained on" in page
    assert stored(own)["checked"][0]["units"] == [4]


def test_masks_say_what_lies_beside_the_object(own, capsys):
    for file in (own / "photos").rglob("*.png"):
        mask = own / "masks" / file.relative_to(own / "photos")
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 0).save(mask)
    assert ask("healthy", "--masks", "masks") == 0
    found = [f for f in stored(own)["findings"] if f["kind"] == "wrong reason"]
    # No position is in an object, so all evidence lies beside; but so does all of the picture.
    assert found == [] and all(r["outside"] == r["beside"] == 1 for r in stored(own)["reasons"])


def test_a_mask_that_cannot_be_read_is_said(own, capsys):
    (own / "masks" / "warm").mkdir(parents=True)
    Image.new("L", (4, 4), 255).save(own / "masks" / "warm" / "0.png")
    (own / "masks" / "warm" / "1.png").write_bytes(b"no picture")
    assert ask("healthy", "--masks", "masks") == 0
    said = capsys.readouterr().err
    assert "note: 2 of 72 images have a mask." in said and "note: A mask is left out: " in said


def test_two_nets_of_the_same_weights_are_two_nets(own, capsys):
    (own / "own.py").write_text(
        NET
        + """
def quiet():
    net = made("drowns")
    net.module[0].register_forward_hook(lambda module, args, y: y * torch.tensor([0.0] * 4 + [1] * 12)[:, None, None])
    return net

def loud():
    net = made("drowns")
    net.module[0].register_forward_hook(lambda module, args, y: y * torch.tensor([1.0] * 4 + [9] * 12)[:, None, None])
    return net
"""
    )
    assert ask("quiet", "--against", "own:loud") == 0
    said = capsys.readouterr().out
    assert main(["debug", "photos", "--net", "own:loud", "--out", "other"]) == 0
    other = json.loads((own / "other" / "report.json").read_text())["accuracy"]
    assert f"and {round(72 * other)} were; McNemar" in said and stored(own)["accuracy"] != other


def test_a_net_beside_its_repair(own, capsys):
    assert ask("drowns", "--against", "own:healthy") == 0
    assert "against own:healthy: 48 of 72 samples are right, and 72 were" in capsys.readouterr().out
    assert ask("drowns") == 0
    assert main(["debug", "photos", "--net", "own:healthy", "--against", "made", "--out", "after"]) == 0
    said = capsys.readouterr().out
    assert "against own:drowns: 72 of 72 samples are right, and 48 were" in said
    assert "  repaired: never said: rare; drowning: rare; confusion: rare → warm; mistakes: rare → warm" in said
    page = (own / "after" / "explanation.html").read_text()
    assert "Against own:drowns" in page and "never said: rare; drowning: rare" in page


@pytest.mark.parametrize(("more", "lesson"), [
    (["--against", "photos"], "photos holds no debugging report: No such file or directory."),
    (["--against", "made", "--against-weights", "w.pth"], "--against-weights goes with a net, and --against names"),
    (["--masks", "nowhere"], "nowhere is no folder. Name one with a picture for each image, white where"),
    (["--masks", "own"], "own holds no mask of any image. Name them as the images, endings apart: "),
    (["--train", "nowhere"], "nowhere is no folder. Name a folder with a folder of images for each class."),
    (["--against", "own:nobody"], "nobody"),
])  # fmt: skip
def test_what_else_is_wrong_is_said(own, more, lesson, capsys):
    (own / "made").mkdir()
    (own / "own").mkdir()
    Image.new("L", (4, 4)).save(own / "own" / "other.png")
    assert ask("drowns", *more) == 1
    assert lesson in capsys.readouterr().err
    assert begun(own) == []


def test_the_bar_grows_with_what_is_planned():
    bar = Bar(10, "images")
    with bar as progress:
        progress(10)
        bar.plan(5)
        assert bar.bar.total == 15


def test_the_map_shows_the_classes_of_least_recall():
    import influent as inf

    net = torch.nn.Sequential(torch.nn.Linear(40, 40, bias=False)).eval()
    net[0].weight.data = torch.eye(40)
    label = torch.arange(40).repeat(2)
    x = torch.eye(40)[label]
    x[:3] = x[37:40]
    shown = confusion_map(inf.debug(net, [(x, label)], at="0/channel"))
    # The three that are mistaken, with a recall of one half, and the first of the others.
    assert len(shown.rows) == MOST and list(shown.rows) == list(range(MOST))
    assert [shown.values[k][k] for k in range(4)] == [0.5, 0.5, 0.5, 1.0]
    small = confusion_map(inf.debug(made("blind"), data()))
    assert small.values == [[1, 0, 0], [0, 1, 0], [1, 0, 0]] and small.cells[6].title == "class 2, said to be 0: 100.0%"
