"""Shared units: a net in which one unit serves two labels and others one each, and `influent shared`."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import influent as inf
from influent.cli import main
from influent.shared import Look, glance, look, shared_units, where
from influent.views.shared import lit
from tests.unit.test_saturation import Page

NET = """
import torch
from torch import nn
import influent as inf

def colours():
    # Channel k is colour k; warm = 2 red + green, cold = 2 blue + green, means over 4 positions.
    conv, head = nn.Conv2d(3, 3, 1, bias=False), nn.Linear(12, 2, bias=False)
    conv.weight.data = torch.eye(3).reshape(3, 3, 1, 1)
    head.weight.data = torch.tensor([[2.0, 1, 0], [0, 1, 2]]).repeat_interleave(4, 1) / 4
    pixels = inf.PixelTransform((0.0, 0.0, 0.0), (255.0, 255.0, 255.0), resize=2, crop=2)
    return inf.Net(nn.Sequential(conv, nn.Flatten(), head).eval(), labels=["warm", "cold"], transform=pixels)
"""
CUT = inf.Cut("0/channel")


def colours():
    words = {}
    exec(NET, words)
    return words["colours"]()


def picture(red, green, blue):
    return torch.tensor([red, green, blue]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2).contiguous()


def looked(*values, top=2, **more):
    looks = [look(colours(), picture(*v), [CUT], n=5, name=f"{k}") for k, v in enumerate(values)]
    return shared_units(looks, top=top, **more)


# Numbers


def test_a_look_holds_shares_of_the_change_and_mean_activations():
    seen = look(colours(), picture(0.8, 0.5, 0.1), [CUT], n=5)
    # warm = 2.1, cold = 0.7, and both 0 at black.
    assert (seen.label, seen.probability) == (0, pytest.approx(1 / (1 + np.exp(-1.4))))
    assert seen.share[CUT].tolist() == pytest.approx([1.6 / 2.1, 0.5 / 2.1, 0])
    assert seen.fired[CUT].tolist() == pytest.approx([0.8, 0.5, 0.1])
    assert seen.gap[CUT] == pytest.approx(0, abs=1e-6)


def test_a_glance_sees_the_same_without_a_path():
    net, x = colours(), picture(0.8, 0.5, 0.1)
    seen, full = glance(net, x, [CUT]), look(net, x, [CUT], n=3)
    assert (seen.label, seen.probability) == (full.label, full.probability)
    assert torch.equal(seen.fired[CUT], full.fired[CUT]) and not seen.share


def test_green_is_shared_by_two_labels_and_red_and_blue_by_one_each():
    (green,) = looked((0.8, 0.5, 0), (0, 0.4, 0.8), (0.9, 0, 0))
    assert (green.cut, green.unit) == (CUT, 1)
    assert green.labels == (0, 1)  # the higher share first: 0.5 / 2.1 against 0.4 / 2
    assert [seen.name for seen in green.members] == ["0", "1"]
    assert green.share == pytest.approx((0.5 / 2.1 + 0.2) / 2)
    assert green.among == pytest.approx(2 / 3)
    assert [seen.name for seen in green.outside] == ["2"]


def test_units_that_carry_nothing_are_in_no_ones_first():
    assert looked((0.8, 0, 0), (0, 0, 0.8), top=3) == ()


def test_only_the_first_few_count():
    assert looked((0.8, 0.5, 0), (0, 0.4, 0.8), top=1) == ()


def test_units_of_more_labels_and_then_of_larger_shares_come_first():
    def seen(label, *share):
        return Look("", label, 1.0, {CUT: torch.zeros(3)}, {CUT: torch.tensor(share)})

    looks = [seen(0, 0.1, 0.5, 0.2), seen(1, 0.1, 0.5, 0.4), seen(2, 0.3, 0.0, 0.2), seen(2, 0.3, 0.0, 0.1)]
    found = shared_units(looks, top=3)
    assert [(s.unit, len(s.labels)) for s in found] == [(2, 3), (0, 3), (1, 2)]  # means 0.225, 0.2, 0.5
    assert [s.among for s in found] == [1, 1, 0.5]


def test_the_photos_outside_are_those_that_fire_the_unit_most():
    others = [glance(colours(), picture(0, g, 0.1), [CUT], f"g{g}") for g in (0.2, 0.9, 0.6)]
    (green,) = looked((0.8, 0.5, 0), (0, 0.4, 0.8), outside=others, most=2)
    assert [seen.name for seen in green.outside] == ["g0.9", "g0.6"]


def test_where_a_unit_fires_is_a_map_of_its_own_positions():
    x = torch.arange(12.0).reshape(1, 3, 2, 2)
    found = where(colours(), x, [(CUT, 2), (inf.Cut("0/row"), 0), (inf.Cut("1/channel"), 5)])
    assert found[0].tolist() == [[8, 9], [10, 11]]
    assert found[1:] == [None, None]  # a row has no rows and columns, a vector neither


def test_a_photo_is_dimmed_where_the_unit_is_silent():
    x = picture(1.0, 1.0, 1.0)
    seen = lit(colours(), x, torch.tensor([[1.0, 0.0], [1.0, -5.0]]))
    assert seen[:, 0].min() == pytest.approx(1)
    assert seen[:, 1].max() == pytest.approx(0.25)
    assert lit(colours(), x, None).min() == lit(colours(), x, torch.zeros(2, 2)).min() == 1


# Lessons


@pytest.mark.parametrize(
    ("run", "error", "lesson"),
    [
        (lambda: looked((0.8, 0.5, 0)), inf.InputError, r"1 photo\(s\) could be read, and sharing takes two or more"),
        (lambda: looked((0.8, 0, 0), (0.5, 0, 0)), inf.InputError, r"gives all 2 photos the same class, and units"),
        (lambda: looked((0.0, 0, 0)), inf.InputError, r"^0: the predicted score does not change from the baseline"),
        (lambda: glance(colours(), picture(1.0, 0, 0), [inf.Cut("0")]), inf.QuestionError,
         r"'0' names no units that inputs could share\. Type '0/channel'\."),
        (lambda: glance(nn.Sequential(nn.Conv2d(3, 3, 1)).eval(), picture(1.0, 0, 0), [CUT]), inf.QuestionError,
         r"Predicted\(\) needs outputs \[point, class\]"),
    ],
)  # fmt: skip
def test_what_cannot_be_shared_is_a_lesson(run, error, lesson):
    with pytest.raises(error, match=lesson):
        run()


# The command


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A net, a folder of two labels, one photo that is none, and photos beside them."""
    (tmp_path / "colours_net.py").write_text(NET)
    inside = {"a": (204, 128, 0), "b<i>": (0, 102, 204), "c": (230, 0, 0)}
    for folder, colours in (("in", inside), ("out", {"x": (0, 255, 20), "y": (0, 40, 20)})):
        (tmp_path / folder).mkdir()
        for name, colour in colours.items():
            Image.new("RGB", (8, 8), colour).save(tmp_path / folder / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield tmp_path
    sys.modules.pop("colours_net", None)


def run(folder, *more):
    return main(["shared", folder, "--net", "colours_net:colours", "--at", "0", "--n", "3", "--top", "2", *more])


def test_the_command_tells_shared_units_with_their_part_of_all_photos(here, capsys):
    assert run("in", "--outside", "out") == 0
    text = capsys.readouterr().out
    assert "The net gives 3 photos 2 different labels." in text
    (line,) = [line for line in text.splitlines() if line.startswith("channel")]
    # Shares 0.239 and 0.2; green fires 1 at x and 0.157 at y, both of them cold.
    assert [cell.strip() for cell in line.split("  ") if cell.strip()] == [
        "channel 1 of 0", "warm, cold", "21.9%", "2 of 3 photos", "cold",
    ]  # fmt: skip
    assert "Among the first of most photos, which says nothing about these labels: channel 1 of 0." in text
    folder = here / "shared-in"
    meta = json.loads((folder / "meta.json").read_text())
    assert [p["name"] for p in meta["photos"]] == ["a.png", "b<i>.png", "c.png"]
    assert meta["units"][0]["fires most outside"] == ["x.png", "y.png"]
    stored = load_file(folder / "values.safetensors")
    assert stored["share/0/channel"].shape == stored["fired/0/channel"].shape == (3, 3)
    assert main(["show", "shared-in"]) == 0
    assert capsys.readouterr().out.startswith(text.split("\n\npage")[0])
    assert run("in") == 0  # replaced as a whole


def test_the_page_is_self_contained_and_names_its_photos(here):
    assert run("in") == 0
    page = Page(here / "shared-in" / "explanation.html")
    assert len(page.loads) == 3 and all(load.startswith("data:image/jpeg;base64,") for load in page.loads)
    assert page.alts == [
        "a.png: warm: 23.9% of the score, activation 0.502",
        "b<i>.png: cold: 20.0% of the score, activation 0.4",
        "c.png: warm: activation 0",
    ]
    assert "script" not in page.tags and "i" not in page.tags


def test_photos_that_cannot_be_read_are_named_and_the_rest_goes_on(here, capsys):
    (here / "in" / "half.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    (here / "out" / "empty.png").write_bytes(b"")
    (here / "in" / "notes.txt").write_text("mine")
    Image.new("RGB", (8, 8)).save(here / "in" / "night.png")
    assert run("in", "--outside", "out") == 1
    said = capsys.readouterr()
    assert "The net gives 3 photos 2 different labels; 3 could not be read." in said.out
    failures = said.err.splitlines()
    assert [line.split(":")[0] for line in failures] == ["half.jpg", "night.png", "empty.png"]
    assert "the predicted score does not change from the baseline" in failures[1]
    assert "half.jpg" in (here / "shared-in" / "explanation.html").read_text()


def test_without_photos_outside_those_of_the_folder_are_looked_at(here):
    assert run("in", "--outside", "in") == 0
    meta = json.loads((here / "shared-in" / "meta.json").read_text())
    assert meta["units"][0]["fires most outside"] == ["c.png"]


def test_nothing_shared_is_an_answer(here, capsys):
    assert run("in", "--top", "1") == 0
    assert "No unit is among the first 1 of two labels. A larger --top looks further." in capsys.readouterr().out
    assert "<table>" not in (here / "shared-in" / "explanation.html").read_text()


def test_nicknames_stand_in_the_table(here, capsys):
    (here / "names.json").write_text('{"0": {"1": "leaf"}}')
    assert run("in", "--nicknames", "names.json") == 0
    assert "channel 1 (leaf) of 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ask", "lesson"),
    [
        (["one"], "1 of 1 photo(s) could be read, and sharing takes two or more: add photos."),
        (["reds"], "The net gives all 2 photos the same class, and units are shared by different ones."),
        (["in/a.png"], "in/a.png is no folder, and units are shared by photos of one: influent shared zoo/"),
        (["in", "--outside", "nowhere"], "nowhere is no folder"),
        (["empty"], "empty holds no photo (0 other entries)."),
        (["in", "--at", "7"], "has no module '7'"),
        (["in", "--top", "0"], "--top 0: give 1 or more."),
        (["broken"], "0 of 1 photo(s) could be read, and sharing takes two or more: add photos. broken/a.png is empty"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_is_written(here, capsys, ask, lesson):
    for folder, colours in (("one", [9]), ("reds", [9, 200]), ("empty", []), ("broken", [])):
        (here / folder).mkdir()
        for red in colours:
            Image.new("RGB", (8, 8), (red, 0, 0)).save(here / folder / f"{red}.png")
    (here / "broken" / "a.png").write_bytes(b"")
    assert run(*ask) == 1
    assert lesson in capsys.readouterr().err
    assert not [p for p in here.iterdir() if "shared" in p.name]
