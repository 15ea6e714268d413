"""Layered explanations: layers ranked in one pass, units scored, pictures sent back; and `influent layers`."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import influent as inf
from influent.cli import main
from influent.layered import Features, candidates, cosine, explain, gini, linear_accuracy, rank, spell_share
from influent.monotone import coherence
from tests.unit.test_essences import listed

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'influent[layered]'")


@pytest.fixture
def net(data):
    """Two convolutions and poolings, with one colour, and three classes, none of which it says of all data."""
    torch.manual_seed(1)
    made = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(32, 3),
    ).double().eval()  # fmt: skip
    made[7].bias.data -= made(data).detach().mean(0)
    assert min(made(data).argmax(1).bincount().tolist()) >= 5
    return made


@pytest.fixture
def data():
    dice = torch.Generator().manual_seed(2)
    shades = torch.rand(90, 1, 1, 1, generator=dice, dtype=torch.float64) * 4
    return torch.rand(90, 1, 14, 14, generator=dice, dtype=torch.float64) * shades


def test_gini_is_the_mean_difference_of_all_pairs():
    v = torch.rand(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    for row, found in zip(v.abs(), gini(v), strict=True):
        pairs = sum(abs(float(a) - float(b)) for a in row for b in row)
        # Half the mean difference of two different units, by the mean.
        assert float(found) == pytest.approx(pairs / (7 * 6) / (2 * float(row.mean())), abs=1e-12)


def test_gini_of_nothing_is_not_known():
    assert bool(gini(torch.zeros(1, 4)).isnan().all())


def test_the_candidates_leave_out_input_and_output(net, data):
    assert [cut.text for cut in candidates(inf.Net(net), data[:1])] == ["0", "1", "2", "3", "4", "5", "6"]


def test_wide_layers_are_hashed_by_signs_that_do_not_change():
    wide = torch.randn(5, 2000, generator=torch.Generator().manual_seed(0))
    one, two = Features([inf.Cut("a")], seed=3), Features([inf.Cut("a")], seed=3)
    one.add({inf.Cut("a"): wide}, torch.eye(5))
    for k in range(5):
        two.add({inf.Cut("a"): wide[k : k + 1]}, torch.eye(5)[k : k + 1])
    hashed = torch.cat(one.rows[inf.Cut("a")])
    assert hashed.shape == (5, 512) and torch.allclose(hashed, torch.cat(two.rows[inf.Cut("a")]))
    # Each unit goes to one place with sign ±1: a single unit alone leaves its value there, and nothing else.
    alone = torch.zeros(1, 2000)
    alone[0, 77] = 2.5
    one.add({inf.Cut("a"): alone}, torch.eye(5)[:1])
    last = one.rows[inf.Cut("a")][-1]
    assert int((last != 0).sum()) == 1 and float(last.abs().max()) == 2.5
    other = Features([inf.Cut("a")], seed=4)
    other.add({inf.Cut("a"): wide}, torch.eye(5))
    assert not torch.allclose(hashed, torch.cat(other.rows[inf.Cut("a")]))


def test_narrow_layers_are_kept_as_they_are():
    kept = Features([inf.Cut("a")], seed=0)
    y = torch.randn(4, 2, 3)
    kept.add({inf.Cut("a"): y}, torch.tensor([[0.0, 1.0]] * 4))
    assert torch.equal(kept.rows[inf.Cut("a")][0], y.flatten(1)) and kept.said[0].tolist() == [1] * 4


def test_a_linear_model_knows_what_is_linear_and_guesses_what_is_not():
    dice = torch.Generator().manual_seed(0)
    x = torch.randn(200, 4, generator=dice)
    sure, error = linear_accuracy(x, (x[:, 0] > 0).long())
    assert sure > 0.95 and 0 <= error < 0.03
    guessed, _ = linear_accuracy(x, torch.randint(2, (200,), generator=dice))
    # Four standard deviations of 200 tosses around one half.
    assert abs(guessed - 0.5) < 4 * 0.5 / 200**0.5


def test_classes_of_few_samples_are_left_out_of_the_linear_model():
    x = torch.cat([torch.full((20, 1), -1.0), torch.full((20, 1), 1.0), torch.zeros(2, 1)])
    said = torch.tensor([0] * 20 + [1] * 20 + [2] * 2)
    assert linear_accuracy(x, said) == (1.0, 0.0)


def test_one_class_alone_is_a_lesson():
    with pytest.raises(
        inf.QuestionError, match=r"^The net says 1 classes of these 9 samples, and 5 samples or more of "
    ):
        linear_accuracy(torch.zeros(9, 2), torch.zeros(9, dtype=torch.long))


def test_a_table_of_layers_says_what_each_criterion_says_alone(net, data):
    x = data[:4]
    table = rank(net, data, ["2", "5"], x, chunk=16)
    assert [layer.cut.text for layer in table.layers] == ["2", "5"]
    assert [layer.units for layer in table.layers] == [216, 32] and table.samples == 90 and table.inputs == 4
    phi, agreed = (f(net, ["2", "5"], x, data, chunk=16) for f in (inf.mim, coherence))
    for layer in table.layers:
        place = layer.cut.text
        assert layer.spread == pytest.approx(float(gini(phi[place].values).mean()), rel=1e-9)
        assert layer.coherence == pytest.approx(float(agreed[place].mean()), rel=1e-9)
        y, said = inf.activations(net, place, data).flatten(1), net(data).argmax(1)
        assert (layer.accuracy, layer.accuracy_error) == linear_accuracy(y.float(), said)
    assert "accuracy" in repr(table) and "216" in repr(table)


def test_one_pass_over_the_data_feeds_all_cuts(net, data):
    class Counted(list):
        passes = 0

        def __iter__(self):
            Counted.passes += 1
            return super().__iter__()

    batches = Counted(data.split(30))
    rank(net, batches, ["0", "2", "3", "5"], data[:2])
    assert Counted.passes == 1


def test_coherence_is_free_of_a_layers_scale(net, data):
    louder = nn.Sequential(*net)
    louder[3] = nn.Conv2d(6, 8, 3).double()
    louder[3].weight.data, louder[3].bias.data = net[3].weight / 1000, net[3].bias
    scale = nn.Conv2d(6, 6, 1, groups=6, bias=False).double()
    scale.weight.data.fill_(1000.0)
    louder = nn.Sequential(*louder[:3], scale, *louder[3:]).eval()
    before, after = rank(net, data, ["2"], data[:3]), rank(louder, data, ["3"], data[:3])
    assert after.layers[0].coherence == pytest.approx(before.layers[0].coherence, rel=1e-9)
    assert after.layers[0].spread == pytest.approx(before.layers[0].spread, rel=1e-9)


def test_the_best_layer_is_the_earliest_of_those_that_are_as_good(net, data):
    table = rank(net, data, ["2", "5"], data[:2])
    first, second = table.layers
    close = table.__class__((first, second.__class__(**{**vars(second), "accuracy": first.accuracy})), 90, 2, 3)
    assert close.best().cut == first.cut
    assert table.best("coherence").coherence == max(layer.coherence for layer in table.layers)
    with pytest.raises(inf.QuestionError, match=r"^'coherent' is no criterion: .* Did you mean 'coherence'\?$"):
        table.best("coherent")


def test_pictures_are_what_the_chosen_units_send_back(net, data):
    made = explain(net, data[:2], data, ["2", "5"], shares=(0.1, 0.5))
    assert made.chosen.text == "2" and [row.cut.text for row in made.rows] == ["2", "5"]
    assert [p.name for p in made.rows[0].pictures] == ["max", "1.3 %", "10 %", "50 %"]
    phi = inf.mim(net, "5", data[:2], data).values
    for k in range(2):
        most = phi[k].flatten().abs().argsort(descending=True)[:16]
        mask = torch.zeros(32, dtype=torch.float64).index_fill(0, most, 1.0).reshape(phi[k].shape)
        want = inf.deconvnet(net, data[k : k + 1], "5", mask).values
        assert torch.allclose(made.rows[1].pictures[3].values[k : k + 1], want, atol=1e-12)
        strongest = int(inf.activations(net, "5", data[k : k + 1]).argmax())
        single = torch.zeros(32, dtype=torch.float64).index_fill(0, torch.tensor([strongest]), 1.0).reshape(mask.shape)
        want = inf.deconvnet(net, data[k : k + 1], "5", single).values
        assert torch.allclose(made.rows[1].pictures[0].values[k : k + 1], want, atol=1e-12)
    assert torch.equal(made.picture, made.rows[0].pictures[1].values)


def test_numbers_of_pictures_are_cosines(net, data):
    made = explain(net, data[:2], data, ["2", "5"], share=0.5, shares=(0.5, 1.0))
    first, second = (row.pictures[1].values.abs().flatten(1) for row in made.rows)
    want = nn.functional.cosine_similarity(first, second)
    assert torch.allclose(made.consistency("50 %"), want, atol=1e-12)
    grown = [p.values.abs().flatten(1) for p in made.rows[0].pictures[1:]]
    assert torch.allclose(made.rows[0].convergence[:, 0], nn.functional.cosine_similarity(*grown), atol=1e-12)
    with pytest.raises(inf.QuestionError, match=r"^There is one layer with a picture 'max': agreement takes two\."):
        explain(net, data[:1], data, ["5"]).consistency("max")


def test_a_cosine_of_a_blank_picture_is_not_known():
    assert bool(cosine(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).isnan().all())


def test_units_can_be_scored_in_other_ways(net, data):
    x = data[:1]
    own = {"5": torch.arange(32.0, dtype=torch.float64).reshape(1, 8, 2, 2)}
    by = {way: explain(net, x, data, ["5"], by=way, baseline=0 * x).rows[0].scores for way in inf.layered.WAYS}
    assert torch.equal(by["activation"], inf.activations(net, "5", x))
    assert torch.equal(by["influence"], inf.internal_influence(net, x, "5").values)
    assert torch.equal(by["conductance"], inf.conductance(net, x, "5", baseline=0 * x).values)
    assert torch.equal(explain(net, x, data, ["5"], by=own).rows[0].scores, own["5"])


def test_the_layer_is_chosen_where_none_is_named(net, data):
    made = explain(net, data[:1], data, criterion="coherence")
    assert made.table is not None and made.chosen == made.table.best("coherence").cut
    assert len(made.rows) == 1 and made.picture.shape == (1, 1, 14, 14)


@pytest.mark.parametrize(("words", "lesson"), [
    ({"by": "mime"}, r"^by='mime' is not known: 'mim', .* Did you mean 'mim'\?$"),
    ({"share": 0}, r"^A share of the units is above 0 and at most 1, not 0: share=0\.013\.$"),
    ({"shares": (0.1, 1.5)}, r"^A share of the units is above 0 and at most 1, not 1\.5"),
])  # fmt: skip
def test_words_that_are_not_known_are_lessons(net, data, words, lesson):
    with pytest.raises(inf.QuestionError, match=lesson):
        explain(net, data[:1], data, ["5"], **words)


def test_a_share_is_written_in_percent():
    assert [spell_share(s) for s in (0.001, 0.013, 1)] == ["0.1 %", "1.3 %", "100 %"]


OWN = """
import numpy as np
import torch
from torch import nn
import influent as inf

def small(bend=nn.ReLU):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), bend(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), bend(), nn.MaxPool2d(2),
                        nn.Flatten(), nn.Linear(24, 2)).eval()
    red, blue = (torch.tensor(c).reshape(1, 3, 1, 1).expand(1, 3, 14, 14) for c in ([0.9, 0.4, 0.2], [0.2, 0.4, 0.9]))
    a, b = (net[:-1](x).detach()[0] for x in (red, blue))
    net[-1].weight.data = torch.stack([a - b, b - a])
    net[-1].bias.data = torch.stack([-(a - b) @ (a + b) / 2, (a - b) @ (a + b) / 2])
    prepare = lambda photo: torch.tensor(np.array(photo.resize((14, 14)))).permute(2, 0, 1) / 255
    return inf.Net(net, labels=["warm", "cold"], transform=prepare)

def smooth():
    return small(nn.GELU)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a net of one's own, and photos of two classes."""
    (tmp_path / "own_layers.py").write_text(OWN)
    dice = np.random.default_rng(0)
    for name, shade in (("warm", (250, 120, 40)), ("cold", (40, 120, 250))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(8):
            noise = dice.integers(0, 90, (12, 12, 3))
            picture = np.clip(np.array(shade) * (k + 1) / 8 + noise, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / "photos" / name / f"{k}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_layers", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_command_writes_a_table_a_page_and_pictures(own, capsys):
    assert main(["layers", "photos", "--net", "own_layers:small", "--share", "0.1", "--out", "made"]) == 0
    said = capsys.readouterr().out
    assert "by accuracy: " in said and "agreement of layers max" in said and "page   made/explanation.html" in said
    page = (own / "made" / "explanation.html").read_text()
    assert page.count("<img") >= 10 and "<svg" in page and "<script" not in page
    meta = json.loads((own / "made" / "meta.json").read_text())
    assert {"explanation.html", "layers-1.png", "layers-2.png"} <= set(meta["files"])
    assert main(["show", "made"]) == 0
    assert "by coherence: " in capsys.readouterr().out


@pytest.mark.parametrize(("words", "lesson"), [
    (["--photos", "0"], "--photos 0: give 1 or more."),
    (["--share", "2"], "A share of the units is above 0 and at most 1, not 2.0"),
    (["--by", "luck"], "by='luck' is not known"),
    (["--criterion", "beauty"], "'beauty' is no criterion"),
    (["--at", "9"], "This net has no module '9'"),
    (["--net", "own_layers:smooth"], "Deconvnet() does not know Gelu"),
])  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_is_written(own, words, lesson, capsys):
    before = listed()
    assert main(["layers", "photos", "--net", "own_layers:small", "--out", "made", *words]) == 1
    assert lesson in capsys.readouterr().err and listed() == before


def test_a_broken_photo_is_named(own, capsys):
    (own / "photos" / "warm" / "broken.png").write_bytes(b"no picture")
    assert main(["layers", "photos", "--net", "own_layers:small", "--out", "made"]) == 1
    assert "warm/broken.png" in capsys.readouterr().err
    assert "warm/broken.png" in (own / "made" / "explanation.html").read_text()


def test_T20_all_units_are_the_deconvnet_of_the_whole_layer(net, data):
    made = explain(net, data[:2], data, ["5"], shares=(1.0,))
    whole = torch.cat([inf.deconvnet(net, data[k : k + 1], "5").values for k in range(2)])
    assert torch.allclose(made.rows[0].pictures[-1].values, whole, atol=1e-12)


@pytest.mark.parametrize(("points", "lesson"), [
    (lambda x, said: x[said == said[0]], "The net says 1 classes of these "),
    (lambda x, said: x[:1], "The net says 1 classes of these 1 samples"),
    (lambda x, said: x[:1].expand(20, -1, -1, -1), "The net says 1 classes of these 20 samples"),
])  # fmt: skip
def test_data_that_say_nothing_of_a_layer_are_a_lesson(net, data, points, lesson):
    with pytest.warns(inf.InfluentWarning), pytest.raises(inf.QuestionError, match=lesson):
        rank(net, points(data, net(data).argmax(1)), ["2"], data[:2])


def test_a_layer_that_is_not_there_is_a_lesson(net, data):
    with pytest.raises(inf.CutError, match=r"^This net has no module 'nine'"):
        rank(net, data, ["nine"], data[:2])


def test_without_scikit_learn_there_is_a_lesson(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(inf.InputError, match=r'^Linear models need scikit-learn: pip install "influent\[layered\]"\.$'):
        rank(nn.Linear(2, 2).eval(), torch.zeros(9, 2))  # before anything is run
