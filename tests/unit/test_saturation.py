"""Saturation: curves with a closed form, charts, the film of gradients, and `influent saturation`."""

import json
import math
import re
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import influent as inf
from influent.cli import main
from influent.saturate import Saturation
from influent.views.animation import GAP, HEAD, MOST, SIDE, frames, write_gif
from influent.views.curves import Chart, Curve
from influent.views.palette import LINES
from tests.worlds import Formula, Slice, built, ones


def curves(net, x, at="INPUT", of=None, **more):
    return inf.saturation(net.double().eval(), x, at, of, torch.zeros_like(x[:1]), **more)


def seen(score, gradient, n=None):
    """A saturation of one input, from its numbers."""
    alpha = torch.linspace(0, 1, n or len(score))
    return Saturation(inf.Class(0), alpha, torch.tensor([score]), {k: torch.tensor([g]) for k, g in gradient.items()})


# Numbers


def test_a_linear_score_has_one_gradient_everywhere():
    net = nn.Linear(2, 1, bias=False)
    net.weight.data = torch.tensor([[2.0, -6.0]])
    s = curves(net, torch.tensor([[1.0, 1.0]], dtype=torch.float64), of=inf.Class(0), n=5)
    assert s.alpha.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert s.score.tolist() == [[0, -1, -2, -3, -4]]
    assert s.gradient["INPUT"].tolist() == [[4.0] * 5]  # (2 + 6) / 2
    assert (s.remaining["INPUT"].item(), s.largest_at["INPUT"].item(), s.settled.item()) == (1, 0, 1)


def test_a_square_has_a_gradient_that_grows():
    net = Formula(lambda x: (x**2).sum(1, keepdim=True))
    s = curves(net, torch.tensor([[1.0, -3.0]], dtype=torch.float64), of=inf.Class(0), n=3)
    assert s.score.tolist() == [[0, 2.5, 10]]
    assert s.gradient["INPUT"].tolist() == [[0, 2, 4]]  # 2 α (1 + 3) / 2
    assert s.largest_at["INPUT"].item() == 1


def test_a_score_that_saturates_at_the_input_and_inside():
    # tanh(4 Σ x) of x = (½, ½): at h = 4 x the slope is 1 − tanh², at the input four times that.
    net = Slice(lambda x: 4 * x, lambda h: torch.tanh(h.sum(1, keepdim=True)))
    s = curves(net, ones(1, 2) / 2, ["INPUT", "h"], inf.Class(0), n=11)
    slope = [1 - math.tanh(4 * k / 10) ** 2 for k in range(11)]
    assert s.gradient["h"][0].tolist() == pytest.approx(slope)
    assert s.gradient["INPUT"][0].tolist() == pytest.approx([4 * g for g in slope])
    assert s.remaining["h"].item() == pytest.approx(slope[-1])
    # Within a tenth of tanh 4 from tanh 4: tanh 4α ≥ 0.8994, α ≥ 0.367.
    assert s.settled.item() == pytest.approx(0.4)


def test_a_dip_on_the_way_is_not_settled():
    assert seen([0, 1, 0.5, 1.0], {}).settled.item() == 1
    assert seen([0, 0.95, 0.99, 1.0], {}).settled.item() == pytest.approx(1 / 3)


def test_each_input_keeps_the_class_that_is_predicted_at_its_end():
    """Near black every input is class 0: taking the prediction anew there would begin both curves at 1."""
    net = Formula(lambda x: torch.cat([1 + 0 * x, 3 * x, -5 * x], 1))
    s = curves(net, torch.tensor([[1.0], [-1.0]], dtype=torch.float64), n=3)
    assert s.score.tolist() == [[0, 1.5, 3], [0, 2.5, 5]]
    assert s.gradient["INPUT"].tolist() == [[3, 3, 3], [5, 5, 5]]
    second = curves(net, torch.tensor([[1.0]], dtype=torch.float64), of=inf.RunnerUp(), n=3)
    assert second.score.tolist() == [[1, 1, 1]]


def test_scores_are_sums_of_quantities_and_several_come_by_name():
    net = Formula(lambda x: torch.cat([2 * x, -(x**2)], 1))
    both = inf.Class(0) - 0.5 * inf.Class(1)
    found = curves(net, torch.tensor([[2.0]], dtype=torch.float64), of=[both, inf.Probability(0)], n=3)
    assert found[both].score.tolist() == [[0, 2.5, 6]]  # 2x + x²/2
    assert found[both].gradient["INPUT"].tolist() == [[2, 3, 4]]
    assert found[inf.Probability(0)].score[0, 1].item() == pytest.approx(1 / (1 + math.exp(-3)))


def test_units_are_summed_before_their_size_is_taken():
    stack = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(4, 1, bias=False))
    stack[2].weight.data = torch.tensor([[1.0, -1.0, 1.0, -3.0]])
    s = curves(stack, ones(1, 1, 2, 2), ["0", "0/channel"], inf.Class(0), n=3)
    assert s.gradient["0"][0].tolist() == [1.5] * 3
    assert s.gradient["0/channel"][0].tolist() == [2] * 3


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_chunks_change_nothing(chunk):
    def net():
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))

    x = ones(2, 3)
    s, same = (curves(built(net), x, ["INPUT", "0"], inf.Class(1), n=5, chunk=c) for c in (16, chunk))
    assert torch.allclose(s.score, same.score, rtol=1e-12)
    assert torch.allclose(s.gradient["0"], same.gradient["0"], rtol=1e-12)


# Words and lessons


def test_the_sentence_says_where_the_score_was_made():
    assert seen([0.0, 0.95, 1.0], {"INPUT": [4.0, 8.0, 1.0], "conv": [1.0, 1.0, 1.0]}).sentence() == (
        "The score is settled from α = 0.50 on. It saturates: at α = 1 the gradient at INPUT is 12.5% of its largest, "
        "which is at α = 0.50. What made the score rise is seen there."
    )
    assert seen([0.0, 0.5, 1.0], {"INPUT": [4.0, 5.0, 4.0]}).sentence() == (
        "The score is settled from α = 1.00 on. It does not saturate: at α = 1 the gradient at INPUT is 80.0% of its "
        "largest."
    )


def test_a_score_without_any_change_or_gradient_is_said():
    flat = seen([2.0, 2.0, 2.0], {"INPUT": [0.0, 0.0, 0.0]})
    assert flat.sentence() == "The score does not change on the path."
    assert (flat.settled.item(), math.isnan(flat.remaining["INPUT"].item())) == (0, True)
    step = seen([0.0, 1.0, 1.0], {"INPUT": [0.0, 0.0, 0.0]})
    assert step.sentence() == "The score is settled from α = 0.50 on."


@pytest.mark.parametrize(
    ("ask", "lesson"),
    [
        ({"n": 2}, r"n=2: two ends make no curve\. Type 3 or more\."),
        ({"n": True}, r"n=True: two ends make no curve"),
        ({"of": inf.Through([0], "0", inf.Class(0))}, r"is a flow along a path, and has no value at one point\. Ask"),
        ({"at": "conv"}, r"has no module 'conv'"),
        ({"chunk": 0}, r"chunk=0: give the number of points per pass"),
    ],
)  # fmt: skip
def test_questions_that_have_no_curve_are_lessons(ask, lesson):
    with pytest.raises(inf.QuestionError, match=lesson):
        curves(nn.Sequential(nn.Linear(2, 2)), ones(1, 2), **ask)


# Charts


def luminance(colour):
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_curves_are_seen_on_a_light_and_on_a_dark_page_and_told_apart_by_dashes():
    light, dark = luminance("#fdfdfb"), luminance("#17181a")
    for colour, _ in LINES:
        assert (light + 0.05) / (luminance(colour) + 0.05) >= 3
        assert (luminance(colour) + 0.05) / (dark + 0.05) >= 3
    assert len({dashes for _, dashes in LINES}) == len(LINES)


def test_a_chart_is_well_formed_and_its_curves_are_where_their_values_are():
    names = ("<b>&", "two")
    chart = Chart("a < b", "α", (0.0, 1.0), tuple(Curve(n, (0.0, 1.0)) for n in names), settled=0.5)
    svg = ElementTree.fromstring(chart.svg())
    late = ElementTree.fromstring(Chart("", "α", (0.0, 1.0), (), settled=1.0).svg())
    anchors = [e.get("text-anchor") for tree in (svg, late) for e in tree.iter() if e.text == "settled"]
    assert anchors == ["start", "end"]  # inside the chart, wherever it is
    lines = [e.get("points") for e in svg.iter() if e.tag.endswith("polyline")]
    assert lines == ["46.0,228.0 408.0,30.0"] * 2  # left and right margin, bottom and top
    texts = [e.text for e in svg.iter() if e.tag.endswith("text")]
    assert {"a < b", "α", "settled", "<b>&", "two", "0.25", "1"} <= set(texts)
    assert svg.get("aria-label") == "a < b"


def test_the_scale_has_round_numbers_from_zero_over_all_values():
    def ticks(*values):
        return Chart("", "", (0.0, 1.0), [Curve("", values)]).ticks

    assert ticks(0.2, 11.4) == [0, 5, 10, 15]
    assert ticks(-0.4, 0.6) == pytest.approx([-0.5, -0.25, 0, 0.25, 0.5, 0.75])
    assert ticks(-3.0, -1.0) == [-3, -2, -1, 0]
    assert ticks(0.0, 0.0) == [0, 0.25, 0.5, 0.75, 1]


# The film


class Bright(nn.Module):
    """Logits (0, Σ pixels²): the gradient is 2 · pixel, so that a black picture has none."""

    def forward(self, x):
        y = (x**2).flatten(1).sum(1, keepdim=True)
        return torch.cat([0 * y, y], 1)


def bright():
    pixels = inf.PixelTransform((0.0, 0.0, 0.0), (255.0, 255.0, 255.0), resize=8, crop=8)
    return inf.Net(Bright().eval(), labels=["dark", "bright"], transform=pixels)


def half_white():
    x = torch.zeros(1, 3, 8, 8)
    x[..., :4] = 1
    return x


def panel(frame, k):
    left = GAP + k * (SIDE + GAP)
    return frame.convert("RGB").crop((left, HEAD, left + SIDE, HEAD + SIDE))


def test_the_film_goes_from_black_gradients_to_those_of_the_photo(tmp_path):
    net, x = bright(), half_white()
    s = inf.saturation(net, x, of=inf.Class("bright"), n=5)
    assert write_gif(tmp_path / "film.gif", frames(net, x, s)) == 5
    with Image.open(tmp_path / "film.gif") as film:
        assert (film.format, film.n_frames, film.info["loop"]) == ("GIF", 5, 0)
        # Nothing at black, and nothing in the dark half; in the other a size that grows with α, on one scale.
        for k in range(5):
            film.seek(k)
            middle = panel(film, 1)
            left, right = middle.getpixel((SIDE // 4, 96))[0], middle.getpixel((3 * SIDE // 4, 96))[0]
            assert left == pytest.approx(255 * k / 4, abs=3)
            assert right <= 3
            # On its own scale the largest is white as soon as there is any.
            assert panel(film, 2).getpixel((SIDE // 4, 96))[0] == (255 if k else 0)
        assert film.info["duration"] > 1000  # the last frame stays


def test_a_long_way_makes_no_longer_film():
    net, x = bright(), half_white()
    s = inf.saturation(net, x, of=inf.Class(1), n=101)
    made = list(frames(net, x, s, chunk=7))
    assert len(made) == MOST
    assert panel(made[-1], 0).getpixel((10, 96)) == (255, 255, 255)


def test_a_film_of_no_picture_is_a_lesson():
    flat = nn.Sequential(nn.Linear(2, 2)).eval()
    s = inf.saturation(flat, torch.ones(1, 2), of=inf.Class(0), baseline=torch.zeros(1, 2))
    with pytest.raises(inf.QuestionError, match=r"A film is of one picture, \[1, channel, row, column\]"):
        next(frames(inf.Net(flat), torch.ones(1, 2), s, torch.zeros(1, 2)))
    net, x = bright(), half_white()
    inside = inf.saturation(net, x, "OUTPUT", of=inf.Class(0))
    with pytest.raises(inf.QuestionError, match=r"curves with its own gradient: at=\[inf\.INPUT\]"):
        next(frames(net, x, inside))


# The command

NET = """
import torch
from torch import nn
import influent as inf

def tiny():
    torch.manual_seed(1)
    stack = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4 * 64, 3))
    pixels = inf.PixelTransform((100.0, 110.0, 120.0), (50.0, 60.0, 70.0), resize=12, crop=12)
    return inf.Net(stack.eval(), labels=["cat", "d<b>og", "cup"], transform=pixels)

def plain():
    return tiny().module[4:]
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "curved_net.py").write_text(NET)
    pixels = torch.randint(0, 256, (20, 30, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield tmp_path
    sys.modules.pop("curved_net", None)


def run(*more):
    return main(["saturation", "a.png", "--net", "curved_net:tiny", "--n", "5", *more])


class Page(HTMLParser):
    """What a page would load, and the texts of its pictures."""

    def __init__(self, file):
        super().__init__()
        self.loads, self.alts, self.tags = [], [], []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.loads += [named[key] for key in ("src", "href", "data", "srcset") if key in named]
        self.alts += [named.get("alt")] if tag == "img" else []
        self.tags.append(tag)


def test_the_command_writes_a_page_with_curves_table_and_film(here, capsys):
    assert run("--at", "0,2/channel") == 0
    text = capsys.readouterr().out
    folder = here / "saturation-a"
    assert f"page   {folder.name}/explanation.html" in text
    table = [line.split("  ") for line in text.splitlines() if "α = " in line and line.rstrip().endswith("%")]
    assert len(table) == 6  # probability and logit, at the input and two places
    page = Page(folder / "explanation.html")
    assert [load[:22] for load in page.loads] == ["data:image/gif;base64,"]
    assert all(page.alts) and "script" not in page.tags and page.tags.count("svg") == 4
    assert "d<b>og" not in (folder / "explanation.html").read_text()
    with Image.open(folder / "saturation-1.gif") as film:
        assert film.n_frames == 5
    for file in sorted(folder.glob("*.svg")):
        ElementTree.fromstring(file.read_text())
    meta = json.loads((folder / "meta.json").read_text())
    assert set(meta["files"]) == {p.name for p in folder.iterdir()} - {"meta.json"}
    assert len(meta["files"]) == 1 + 1 + 4 + 1


def test_what_is_stored_is_what_the_library_says(here):
    assert run("--at", "0", "--of", "Class('cup')", "--baseline", "white", "--out", "s") == 0
    net = inf.zoo.load("curved_net:tiny")
    x = net.read("a.png")
    s = inf.saturation(net, x, ["INPUT", "0"], inf.Class("cup"), "white", n=5)
    stored = load_file(here / "s" / "values.safetensors")
    assert torch.equal(stored["curved_net:tiny/cup/score"], s.score)
    assert torch.equal(stored["curved_net:tiny/cup/gradient/0"], s.gradient["0"])
    with torch.no_grad():
        assert s.score[0, -1].item() == pytest.approx(net.module(x)[0, 2].item(), rel=1e-5)


def test_a_stored_saturation_is_shown_and_is_no_attribution(here, capsys):
    assert run() == 0
    said = capsys.readouterr().out.split("\n\npage")[0]
    assert main(["show", "saturation-a"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(said) and "page   saturation-a/explanation.html" in shown
    with pytest.raises(inf.StoreError, match=r"holds no attribution\. `influent show saturation-a` prints"):
        inf.load("saturation-a")
    assert run() == 0  # a result of ours may be replaced


def test_several_nets_stand_on_one_page(here, capsys):
    assert run("--net", "curved_net:tiny", "--at", "0", "--at", "2") == 0
    text = capsys.readouterr().out
    assert text.count(", on a.png") == 2
    inside = [line for line in text.splitlines() if re.match("logit[^:]*$", line) and "INPUT" not in line]
    assert inside and all(re.split(r"\s{2,}", line)[4] for line in inside)
    assert (here / "saturation-a" / "saturation-2.gif").is_file()


@pytest.mark.parametrize(
    ("more", "lesson"),
    [
        (["--n", "2"], "n=2: two ends make no curve. Type 3 or more."),
        (["--at", "0", "--at", "2"], "--at is given 2 times for 1 net(s). Join places with commas: --at A,B."),
        (["--at", "nowhere"], "has no module 'nowhere'"),
        (["--of", "Class('cap')"], "This net has no class 'cap'. Did you mean 'cup', 'cat'?"),
        (["--baseline", "blak"], "There is no baseline 'blak'"),
        (["--chunk", "0"], "--chunk 0: give 1 or more."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_is_written(here, capsys, more, lesson):
    assert run(*more) == 1
    assert lesson in capsys.readouterr().err
    assert not [p for p in here.iterdir() if "saturation" in p.name]


def test_the_help_of_every_command_loads_no_torch():
    import subprocess

    code = (
        "import sys, influent.cli\nfor c in ('saturation', 'shared', 'show'):\n"
        "    try: influent.cli.main([c, '--help'])\n    except SystemExit: pass\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n") and "--outside" in done.stdout
