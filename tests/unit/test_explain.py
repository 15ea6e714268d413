"""`influent explain` on what people have: an own net, a folder, standard input, odd photos, several baselines."""

import importlib
import io
import json
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import influent as inf
from influent.cli import main

NET = """
import torch
from torch import nn
import influent as inf

class Waves(nn.Module):
    def forward(self, x):
        return torch.tanh(x)

def tiny():
    torch.manual_seed(1)
    stack = nn.Sequential(
        nn.Conv2d(3, 6, 3), Waves(), nn.Conv2d(6, 5, 3), Waves(), nn.Flatten(), nn.Linear(5 * 12 * 12, 3)
    )
    pixels = inf.PixelTransform((100.0, 110.0, 120.0), (50.0, 60.0, 70.0), resize=16, crop=16)
    return inf.Net(stack, labels=["cat", "dog", "cup"], transform=pixels, baseline="black")

def plain():
    return tiny().module

def dark(photo):
    return tiny().transform(photo)[0] / 2
"""
ASK = ["--net", "waves_net:tiny", "--over", "Line(n=5, rule='uniform')", "--top", "1"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working folder with an own net in it; the command line finds it without PYTHONPATH."""
    (tmp_path / "waves_net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield tmp_path
    sys.modules.pop("waves_net", None)


def picture(seed=0, size=(40, 30)):
    values = torch.randint(
        0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )
    return Image.frombytes("RGB", size, values.numpy().tobytes())


def run(*arguments):
    return main(["explain", *map(str, arguments), *ASK])


# A folder


@pytest.fixture
def thirty(here):
    """Thirty photos, three of them broken, and what else lies in folders."""
    folder = here / "photos"
    folder.mkdir()
    for k in range(27):
        picture(k).save(folder / f"photo <{k:02}> & co.{'jpg' if k % 2 else 'PNG'}")
    picture(99).save(folder / "half.jpg")
    (folder / "half.jpg").write_bytes((folder / "half.jpg").read_bytes()[:-200])
    (folder / "empty.png").write_bytes(b"")
    (folder / "page.jpg").write_text("<html><b>not found</b></html>")
    (folder / "notes.txt").write_text("mine")
    (folder / ".hidden.jpg").write_bytes(b"x")
    (folder / "more").mkdir()
    return folder


def test_a_folder_of_thirty_with_three_broken_ones(thirty, capsys):
    assert run(thirty) == 1
    text = capsys.readouterr().out
    assert "27 explained, 3 failed" in text
    assert "half.jpg: " in text and "cannot be read to its end" in text
    out = thirty.parent / "why-photos"
    folders = sorted(p.name for p in out.iterdir() if p.is_dir())
    assert folders == sorted(p.name for p in thirty.iterdir() if p.name.startswith("photo "))
    page = (out / "index.html").read_text()
    assert "photos: 27 of 30 photos explained" in page
    assert page.count("/explanation.html") == 3 * 27
    assert "photo%20%3C00%3E%20%26%20co.PNG/explanation.html" in page
    assert "&lt;html&gt;&lt;b&gt;not found" in page and "<b>not" not in page
    assert "2 other entries of the folder" in page  # notes.txt and the folder; hidden files count for nothing
    for name in folders:
        assert (out / name / "explanation.html").is_file()
        assert inf.load(out / name).values.shape == (1, 5)
    assert not [p for p in out.iterdir() if p.name.startswith(".")]


def test_a_folder_without_failures_ends_well_and_can_be_explained_again(here, capsys):
    (here / "few").mkdir()
    picture().save(here / "few" / "a.png")
    assert run("few", "--out", "why") == 0
    assert run("few", "--out", "why") == 0
    assert "1 explained, 0 failed" in capsys.readouterr().out


def test_what_is_wrong_with_the_question_ends_it_at_once(thirty, capsys):
    assert main(["explain", str(thirty), "--net", "waves_net:tiny", "--at", "nowhere"]) == 1
    assert capsys.readouterr().err.count("has no module 'nowhere'") == 1


def test_an_interruption_leaves_the_index_of_what_was_done(thirty, monkeypatch, capsys):
    from influent import explain

    real, seen = explain.explain_photo, []

    def stopped(*arguments):
        seen.append(arguments)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(explain, "explain_photo", stopped)
    (thirty / "empty.png").unlink(), (thirty / "half.jpg").unlink()
    assert run(thirty) == 130
    assert "stopped; 1 photos were explained" in capsys.readouterr().err  # page.jpg is the first by name, and broken
    assert "photos: 1 of 28 photos explained" in (thirty.parent / "why-photos" / "index.html").read_text()


def test_nothing_of_the_users_is_written_over(thirty, capsys):
    assert run(thirty, "--out", thirty) == 1
    assert "is the folder of the photos" in capsys.readouterr().err
    site = thirty.parent / "site"
    site.mkdir()
    (site / "index.html").write_text("my own page")
    assert run(thirty, "--out", site) == 1
    assert "is not a page of influent's" in capsys.readouterr().err
    assert (site / "index.html").read_text() == "my own page"


def test_a_folder_without_photos_is_a_lesson(here, capsys):
    (here / "none").mkdir()
    (here / "none" / "notes.txt").write_text("x")
    assert run("none") == 1
    assert "none holds no photo (1 other entries)" in capsys.readouterr().err


# Standard input


def piped(monkeypatch, data, tty=False):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: tty))


def test_standard_input_is_a_photo_like_any_other(here, monkeypatch, capsys):
    picture(4).save(here / "a.png")
    piped(monkeypatch, (here / "a.png").read_bytes())
    assert run("-") == 0
    assert run("a.png") == 0
    assert "page   why-standard-input/explanation.html" in capsys.readouterr().out
    one, two = inf.load("why-standard-input"), inf.load("why-a")
    assert torch.equal(one.values, two.values)
    sums = [
        json.loads((here / f / "meta.json").read_text())["photo"]["sha256"] for f in ("why-standard-input", "why-a")
    ]
    assert sums[0] == sums[1]


def test_nothing_on_standard_input_is_a_lesson(monkeypatch, capsys):
    piped(monkeypatch, b"")
    assert run("-") == 1
    assert "is empty" in capsys.readouterr().err
    piped(monkeypatch, b"", tty=True)
    assert run("-") == 1
    assert "influent explain - < cat.jpg" in capsys.readouterr().err


# Odd photos, each through the command line


def animated():
    frames, stream = [picture(k).convert("P") for k in range(3)], io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def written(kind, made, **settings):
    stream = io.BytesIO()
    made.save(stream, kind, **settings)
    return stream.getvalue()


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return written("JPEG", picture(), exif=exif)


ODD = {
    "cmyk.jpg": lambda: written("JPEG", picture().convert("CMYK")),
    "grey16.png": lambda: written("PNG", Image.frombytes("I;16", (40, 30), bytes(range(240)) * 10)),
    "palette.png": lambda: written("PNG", picture().convert("P")),
    "clear.gif": lambda: written("GIF", picture().convert("P"), transparency=3),
    "grey.png": lambda: written("PNG", picture().convert("L")),
    "alpha.png": lambda: written("PNG", picture().convert("RGBA")),
    "bits.png": lambda: written("PNG", picture().convert("1")),
    "rotated.jpg": rotated,
    "film.gif": animated,
    "dot.png": lambda: written("PNG", Image.new("RGB", (1, 1), (200, 10, 10))),
    "strip.png": lambda: written("PNG", picture(size=(1, 900))),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_photos_are_explained(here, capsys, name):
    (here / name).write_bytes(ODD[name]())
    assert run(name) == 0
    said = capsys.readouterr()
    assert f"waves_net:tiny on {name}: " in said.out
    assert ("note: " in said.err) == (name == "film.gif")
    assert "3 frames" in said.err or name != "film.gif"


# The net's manners


def test_labels_transform_and_weights_come_from_files(here, capsys):
    picture().save(here / "a.png")
    (here / "names.txt").write_text("one\ntwo\nthree\n")
    sys.path.append(str(here))
    waves_net = importlib.import_module("waves_net")
    module = waves_net.plain()
    torch.save({k: -v for k, v in module.state_dict().items()}, here / "turned.pth")
    ask = [
        "a.png",
        "--net",
        "waves_net:plain",
        "--labels",
        "names.txt",
        "--transform",
        "waves_net:dark",
        "--at",
        "2/channel",
    ]
    assert main(["explain", *ask, "--over", "Point", "--weights", "turned.pth", "--out", "why"]) == 0
    text = capsys.readouterr().out
    with torch.no_grad():
        module.load_state_dict(torch.load(here / "turned.pth", weights_only=True))
        p = module(waves_net.dark(Image.open(here / "a.png"))[None]).softmax(1)[0]
    assert f"{('one', 'two', 'three')[int(p.argmax())]} {float(p.max()):.1%}" in text
    assert "gradient × input" in (here / "why" / "explanation.html").read_text()
    (here / "names.txt").write_text("one\ntwo\n")
    assert main(["explain", *ask, "--over", "Point"]) == 1
    assert "This net has 3 outputs, and 2 class names were given" in capsys.readouterr().err


def test_without_a_transform_a_photo_is_a_lesson(here, capsys):
    picture().save(here / "a.png")
    assert main(["explain", "a.png", "--net", "waves_net:plain"]) == 1
    assert "--transform package.module:function" in capsys.readouterr().err


def test_the_middle_layer_is_chosen_where_the_net_names_none(here, capsys):
    picture().save(here / "a.png")
    assert run("a.png") == 0
    assert "at 3/channel, of Class(" in capsys.readouterr().out  # of six places the fifth is flat; the fourth is next


def test_a_device_that_is_not_there_is_a_lesson(here, capsys):
    picture().save(here / "a.png")
    for name in ("toaster", "xpu:7"):
        assert run("a.png", "--device", name) == 1
        assert f"--device {name} cannot be used: " in capsys.readouterr().err
    assert run("a.png", "--device", "cpu") == 0


# Baselines


def values(out):
    return inf.load(out).values


def test_a_baseline_by_name_by_photo_and_several(here, capsys):
    picture(1).save(here / "a.png")
    picture(2).save(here / "fog.png")
    for out, more in (("w", ["white"]), ("f", ["fog.png"]), ("both", ["white", "fog.png"])):
        given = [word for name in more for word in ("--baseline", name)]
        assert run("a.png", "--out", out, *given) == 0
    assert torch.allclose(values("both"), (values("w") + values("f")) / 2, atol=1e-6)
    assert not torch.allclose(values("w"), values("f"), atol=1e-3)
    net = inf.zoo.load("waves_net:tiny")
    x, fog = net.read("a.png"), net.read("fog.png")
    by_hand = inf.influence(
        net, "3/channel", inf.Class(_first(net, x)), inf.Line(fog, x, 5, "uniform"), inf.contribution
    )
    assert torch.allclose(values("f"), by_hand.values, atol=1e-6)
    assert inf.load("both").gap is not None


def _first(net, x):
    with torch.no_grad():
        return int(net.module(x).argmax())


def test_baselines_in_a_file_of_options(here, capsys):
    picture(1).save(here / "a.png")
    (here / "options.toml").write_text('baseline = ["white", "blur"]\nnet = "waves_net:tiny"\nover = "Line(n=3)"\n')
    assert main(["explain", "a.png", "--config", "options.toml", "--out", "c"]) == 0
    assert run("a.png", "--out", "d", "--baseline", "white", "--baseline", "blur", "--over", "Line(n=3)") == 0
    assert torch.allclose(values("c"), values("d"))
    (here / "options.toml").write_text("baseline = 3\n")
    assert main(["explain", "a.png", "--config", "options.toml"]) == 1
    assert "baseline = 3 should be text" in capsys.readouterr().err


@pytest.mark.parametrize(("more", "message"), [
    (["--baseline", "blak"], "There is no baseline 'blak'"),
    (["--baseline", "fog.png"], "There is no baseline 'fog.png'"),
    (["--baseline", "black", "--over", "Point"], "--baseline is where a line begins, and --over Point"),
    (["--baseline", "black", "--over", "Line('white')"], "leave the baseline out of the line"),
])  # fmt: skip
def test_lessons_on_baselines(here, capsys, more, message):
    picture(1).save(here / "a.png")
    assert run("a.png", *more) == 1 if "--over" not in more else main(["explain", "a.png", *ASK[:2], *more]) == 1
    assert message in capsys.readouterr().err


def test_a_result_can_be_moved(here):
    picture(1).save(here / "a.png")
    assert run("a.png", "--out", "one") == 0
    shutil.move("one", "two")
    assert (here / "two" / "values.safetensors").stat().st_mode & 0o077 == 0o044
    assert main(["show", "two"]) == 0


def test_a_list_of_layers_is_not_half_taken(here, capsys):
    picture(1).save(here / "a.png")
    assert main(["explain", "a.png", "--net", "waves_net:tiny", "--at", "0/channel,2/channel"]) == 1
    assert capsys.readouterr().err.startswith("influent: ")
    (here / "options.toml").write_text("baseline = [3]\n")
    assert main(["explain", "a.png", "--config", "options.toml"]) == 1
    assert "baseline = [3] should be text" in capsys.readouterr().err
