"""How a score flows: every layer of the trunk out of one sweep, in words, from a neutral baseline or not."""

import json

import pytest
import torch
from torch import nn

import influent as inf
from influent.baselines import beginning
from influent.cli import main
from influent.places import middle, trunk
from tests import worlds
from tests.worlds import noise


class Branched(nn.Module):
    """stem → (left + right) → head: the two branches are not on every path."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GELU())
        self.left, self.right = nn.Sequential(nn.Conv2d(4, 4, 1)), nn.Sequential(nn.Conv2d(4, 4, 1), nn.GELU())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))

    def forward(self, x):
        y = self.stem(x)
        return self.head(self.left(y) + self.right(y))


def branched():
    return worlds.built(Branched), noise(1, 2, 5, 5)


# Places


def test_the_trunk_is_what_every_path_crosses():
    net, x = branched()
    assert [place.name for place in trunk(inf.Net(net), x)] == ["stem", "head"]
    assert middle(inf.Net(net), x) == inf.Cut("stem/channel")


def test_single_layers_are_the_trunk_where_there_are_no_blocks():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.GELU(), nn.Flatten(), nn.Linear(27, 2)).double().eval()
    assert [place.name for place in trunk(inf.Net(net), noise(1, 2, 5, 5))] == ["0", "1", "2", "3"]


def test_a_net_without_channels_has_no_middle():
    with pytest.raises(inf.QuestionError, match=r"No middle layer of this net is known to have channels"):
        middle(inf.Net(nn.Sequential(nn.Linear(3, 2)).eval()), torch.ones(1, 3))


# Words


def told(values, change, axes=("channel",), **more):
    """An attribution of given values at "conv/channel" of a net with nicknames."""
    at, of = inf.Cut("conv/channel"), inf.Class(0)
    question = inf.Question(at, of, inf.Point(torch.zeros(1, 2)), inf.contribution)
    values = torch.tensor([values])
    gap = None if change is None else inf.Gap(values.sum(1) - change, torch.tensor([change]))
    net = inf.Net(nn.Linear(2, 2).eval(), nicknames={"conv": {1: "glare"}})
    return inf.Attribution(values, question, (0,), axes=axes, gap=gap, net=net, **more)


def test_the_sentence_gives_signed_shares_of_the_change():
    a = told([0.5, 3.0, -1.0, 1.5], 4.0)
    assert (
        a.sentence(3) == "88% of the score's change flows through channels 1 (glare), 3, 2 of conv (+75%, +38%, -25%)."
    )
    assert a.sentence(1) == "75% of the score's change flows through channel 1 (glare) of conv (+75%)."


def test_all_shares_add_up_to_the_whole_but_for_the_gap():
    a = told([0.5, 3.0, -1.0, 1.5], 4.0)
    assert a.sentence(4).startswith("100% of the score's change flows through")
    assert told([0.5, 3.0, -1.0, 1.5], 5.0).sentence(4).startswith("80% of the score's change")


def test_a_score_that_falls_has_positive_shares_for_what_makes_it_fall():
    assert (
        told([-3.0, 1.0], -2.0).sentence(2).startswith("100% of the score's change flows through channels 0, 1 (glare)")
    )
    assert told([-3.0, 1.0], -2.0).sentence(1) == "150% of the score's change flows through channel 0 of conv (+150%)."


def test_without_completeness_shares_are_of_all_magnitudes():
    said = told([3.0, -1.0], None, note="not a full cut").sentence(1)
    assert said == "75% of all influence, whatever its sign, is that of channel 0 of conv."


def test_nothing_and_no_change_are_said():
    assert told([0.0, 0.0], 4.0).sentence() == "Nothing flows through the units of conv."
    assert (
        told([1.0, -1.0], 0.0).sentence(1).startswith("The score does not change on the path; channel 0 of conv carry")
    )


def test_nicknames_stand_in_rankings():
    assert [u.name for u in told([0.5, 3.0], 4.0).top(2)] == ["channel 1 (glare)", "channel 0"]


# Baselines


def test_a_baseline_of_equal_scores_is_neutral():
    net = nn.Sequential(nn.Linear(2, 3, bias=False)).double().eval()
    net[0].weight.data = torch.tensor([[4.0, 0.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    x = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    found = beginning(inf.Net(net, labels=["a", "b", "c"]), inf.Line(torch.zeros(1, 2, dtype=torch.float64), x))
    assert found.neutral and found.at_baseline[1] == pytest.approx(1 / 3)
    assert found.explained == pytest.approx(1 / 3)
    e = torch.tensor([4.0, 0.0, 0.0]).exp()
    assert found.half_way == ("a", pytest.approx(float(e[0] / e.sum()), rel=1e-6))
    assert (found.distance, found.unit) == (pytest.approx(2**0.5), "units")
    assert "(neutral)" in str(found)


def test_a_baseline_that_says_something_is_told():
    net = nn.Sequential(nn.Linear(2, 2)).double().eval()
    net[0].bias.data = torch.tensor([0.0, 5.0], dtype=torch.float64)
    found = beginning(net, inf.Line(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)))
    assert not found.neutral and found.at_baseline[0] == "class 1"
    assert "NOT neutral" in str(found)


def test_the_distance_is_in_grey_levels_where_pixels_are_known():
    net = inf.Net(
        nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval(),
        transform=inf.PixelTransform((100.0,) * 3, (50.0,) * 3, resize=2, crop=2),
    )
    x = net.transform.encode(torch.full((1, 3, 2, 2), 200.0))
    found = beginning(net, inf.Line("black", x))
    assert (found.distance, found.unit) == (pytest.approx(200.0), "grey levels")


def test_lessons_on_beginnings():
    net, x = nn.Sequential(nn.Linear(2, 2)).eval(), torch.ones(1, 2)
    with pytest.raises(inf.QuestionError, match=r"is looked at where it runs at the input"):
        beginning(net, inf.Line(0 * x, x, cut="0", given=x))
    with pytest.raises(inf.QuestionError, match=r"gives no classes \[point, class\]"):
        beginning(nn.Linear(2, 1).eval(), inf.Line(0 * x, x))


# The command


def test_the_command_tells_every_layer_with_its_gap(tmp_path, capsys):
    (tmp_path / "names.json").write_text('{"_blocks.10": {"102": "rim", "38": "coffee"}}')
    ask = ["conductance", "coffee", "--over", "Line(n=5, rule='uniform')", "--out", str(tmp_path / "flow")]
    assert (
        main([*ask, "--at", "_blocks.10/channel,_blocks.14/channel", "--nicknames", str(tmp_path / "names.json")]) == 0
    )
    text = capsys.readouterr().out
    assert "Where does espresso flow?" in text
    rows = [line for line in text.splitlines() if line.startswith("_blocks.")]
    assert [row.split()[0] for row in rows] == ["_blocks.10/channel", "_blocks.14/channel"]
    assert all(row.count("%") == 5 for row in rows)  # three units, the gap and the residual
    assert "of the score's change flows through channels" in text
    assert "(rim)" in text or "(coffee)" in text
    assert "baseline: the path begins where the net says " in text
    page = (tmp_path / "flow" / "explanation.html").read_text()
    assert "_blocks.14/channel" in page and "Total conductance, layer by layer" in page
    first, second = inf.load(tmp_path / "flow"), inf.load(tmp_path / "flow" / "layer-2")
    assert (first.question.at.text, second.question.at.text) == ("_blocks.10/channel", "_blocks.14/channel")
    for a in (first, second):
        assert float(a.gap.absolute) <= float(a.residual) + 1e-4
    assert main(["show", str(tmp_path / "flow")]) == 0
    assert json.loads((tmp_path / "flow" / "meta.json").read_text())["predictions"][0]["class"] == "espresso"


def test_nicknames_that_cannot_be_read_are_a_lesson(tmp_path, capsys):
    for text in ("{", "[1]", '{"a": {"x": "y"}}'):
        (tmp_path / "names.json").write_text(text)
        assert main(["conductance", "coffee", "--nicknames", str(tmp_path / "names.json")]) == 1
        assert "cannot be read as nicknames" in capsys.readouterr().err
