"""`influent essence`: units of each class, pages with their images, what is left out, and what a kill leaves."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

import influent as inf
from influent.cli import main
from tests.unit import test_shared
from tests.unit.test_cli import _Page as Page

# The net of colours, with a layer of its own; and a slow one.
NET = (
    test_shared.NET
    + """
import os, time
from dataclasses import replace

def layered():
    return replace(colours(), layer="0/channel")

def slow():
    net = layered()
    net.module[1].register_forward_hook(lambda *_: time.sleep(float(os.environ.get("SLOW", "0.2"))))
    return net
"""
)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder to work in, with a net of one's own and images of two classes."""
    (tmp_path / "own.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, colour in (("warm", (200, 90, 10)), ("cold", (10, 60, 180))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(4):
            Image.new("RGB", (4, 4), tuple(c + 5 * k for c in colour)).save(tmp_path / "photos" / name / f"{k}.png")
    return tmp_path


def test_it_prints_and_stores_the_units_of_each_class(own, capsys):
    assert main(["essence", "photos", "--net", "own:layered", "--out", "made"]) == 0
    said = capsys.readouterr().out
    # ∂ warm / ∂ a channel, summed over its 4 positions: 2, 1 and 0, in every image.
    assert "warm: channel 0 +2 ± 0, channel 1 +1 ± 0, channel 2 +0 ± 0 (4 images; 2 of 3 units" in said
    assert "cold: channel 2 +2 ± 0" in said and "page   made/explanation.html" in said
    a = inf.load("made")
    assert a.instances == ("warm", "cold") and a.values.tolist() == [[2, 1, 0], [0, 1, 2]]
    fired = inf.load("made/activation")
    assert fired.examples.of(0, row=0)[0] == ("warm/3.png", pytest.approx(4 * 215 / 255))
    assert main(["show", "made"]) == 0
    assert "warm: channel 0 +2 ± 0" in capsys.readouterr().out


def test_each_class_has_a_page_with_the_images_that_fire_its_units(own):
    main(["essence", "photos", "--net", "own:layered", "--out", "made", "--top", "2", "--examples", "3"])
    for name, pictures in (("explanation.html", 0), ("class-0.html", 6), ("class-1.html", 6)):
        page = Page()
        page.feed((own / "made" / name).read_text())
        assert len(page.alts) == pictures and all(page.alts) and page.scripts == 0
        assert all(link.startswith(("data:", "class-", "explanation.html")) for link in page.loads)
        listed = json.loads((own / "made" / "meta.json").read_text())["files"]
        assert name in listed


def test_a_broken_image_and_an_empty_class_are_named(own, capsys):
    (own / "photos" / "warm" / "broken.png").write_bytes(b"no picture")
    (own / "photos" / "grey").mkdir()
    (own / "labels.txt").write_text("warm\ncold\ngrey\n")
    assert main(["essence", "photos", "--net", "own:layered", "--labels", "labels.txt", "--out", "made"]) == 1
    said = capsys.readouterr()
    assert "note: 1 of 9 samples were left out: warm/broken.png" in said.err and "(4 images;" in said.out
    page = (own / "made" / "explanation.html").read_text()
    assert "warm/broken.png" in page and "Without an image, and so without a row: grey." in page
    assert list(inf.load("made").left_out) == ["warm/broken.png"]


def listed():
    """What is in the folder, but for what Python keeps of a module."""
    return sorted(set(os.listdir()) - {"__pycache__"})


@pytest.mark.parametrize(("arguments", "lesson"), [
    (["essence", "nowhere"], "nowhere is no folder."),
    (["essence", "photos", "--net", "own:layered", "--until", "0.9"], '--until 0.9: type "Until(top=20'),
    (["essence", "photos", "--net", "own:layered", "--examples", "-1"], "examples=-1: give a whole number, 0 or more."),
    (["essence", "photos"], "This net has no class 'cold'."),
    (["essence", "photos", "--net", "own:layered", "--at", "0,2"], "--at 0,2: one layer at a time."),
])  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_is_written(own, arguments, lesson, capsys):
    before = listed()
    assert main(arguments) == 1
    assert lesson in capsys.readouterr().err and listed() == before


def test_a_folder_without_a_readable_image_is_a_lesson(own, capsys):
    for file in (own / "photos").rglob("*.png"):
        file.write_bytes(b"no picture")
    assert main(["essence", "photos", "--net", "own:colours", "--out", "made"]) == 1
    assert "photos: no image can be read: " in capsys.readouterr().err and not (own / "made").exists()


def test_a_killed_run_leaves_no_result_and_an_old_one_whole(own):
    """SIGKILL half way: what stands at the place is the old result, to the last byte, or nothing."""
    run = [sys.executable, "-m", "influent", "essence", "photos", "--out", "made", "--chunk", "1", "--net"]
    assert subprocess.run([*run, "own:layered"], check=True, capture_output=True)
    old = {f.name: f.read_bytes() for f in (own / "made").rglob("*") if f.is_file()}
    for out in ("made", "fresh"):
        run[run.index("--out") + 1] = out
        with subprocess.Popen([*run, "own:slow"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not list(own.glob(f".{out}-*")):
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
    assert {f.name: f.read_bytes() for f in (own / "made").rglob("*") if f.is_file()} == old
    assert not (own / "fresh").exists()
    assert torch.equal(inf.load("made").values, torch.tensor([[2.0, 1, 0], [0, 1, 2]]))
