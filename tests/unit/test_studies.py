"""The studies' own arithmetic on cases small enough to do by hand, and what they say without data."""

import dataclasses
import importlib
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import influent as inf

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture
def study(monkeypatch):
    """A study, or what they share, by name."""
    monkeypatch.syspath_prepend(str(STUDIES))
    return importlib.import_module


def tiny_net():
    """2 × 2 pixels, one channel that is their red, and a linear head: logits (0, Σ red / 255)."""
    conv, head = nn.Conv2d(3, 1, 1, bias=False), nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1))
        head.weight.copy_(torch.tensor([[0.0] * 4, [1.0] * 4]))
    transform = inf.PixelTransform(mean=(0, 0, 0), std=(255, 255, 255), resize=2, crop=2)
    return inf.Net(nn.Sequential(conv, nn.Flatten(), head).eval(), labels=["none", "red"], transform=transform)


# Units that tell labels apart


def test_units_are_ranked_by_their_best_label(study):
    scores = torch.tensor([[0.0, 5.0, 0.0], [2.0, 3.0, 0.0], [4.0, 0.0, 8.0], [2.0, 0.0, 0.0]])
    # Means of label 0: (1, 4, 0); of label 1: (3, 0, 4). The larger: (3, 4, 4); of equal ones the lower unit first.
    assert study("_selection").ranked(scores, torch.tensor([0, 0, 1, 1])).tolist() == [1, 2, 0]


def test_negative_scores_rank_last(study):
    # Signed: −9 for every label is less than 1 for one.
    scores = torch.tensor([[-9.0, 1.0], [-9.0, -5.0]])
    assert study("_selection").ranked(scores, torch.tensor([0, 1])).tolist() == [1, 0]


def test_splits_are_drawn_within_labels(study):
    labels = torch.tensor([0, 1] * 5)
    train, test = study("_selection").split(labels, 0.6, seed=1)
    assert labels[train].tolist() == [0] * 3 + [1] * 3
    assert labels[test].tolist() == [0] * 2 + [1] * 2
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(10))
    again, other = (study("_selection").split(labels, 0.6, seed=s)[0].tolist() for s in (1, 2))
    assert again == train.tolist() != other


def test_classifier_minimises_what_it_says(study):
    x, labels = torch.tensor([[1.0], [-1.0]], dtype=torch.float64), torch.tensor([1, 0])
    weight, bias = study("_selection").fitted(x, labels)
    # By symmetry W = (−a, a) and b is even. Loss 2 log(1 + e^{−2a}) + a²: least where a (1 + e^{2a}) = 2.
    a = float(weight[0, 1])
    assert float(weight[0, 0]) == pytest.approx(-a, abs=1e-6)
    assert a * (1 + math.exp(2 * a)) == pytest.approx(2, abs=1e-5)
    assert float(bias[1] - bias[0]) == pytest.approx(0, abs=1e-6)


def test_classifier_on_a_separable_case(study):
    labels = torch.tensor([0, 1, 2] * 4)
    corners = torch.tensor([[0.0, 0.0], [1000.0, 0.0], [0.0, 0.001]])  # on scales that only standardising brings near
    train, test = torch.arange(6), torch.arange(6, 12)
    accuracy = study("_selection").accuracy
    assert accuracy(corners[labels], labels, train, test) == 100
    # A constant feature (no variance) says nothing; intercepts alone name the most frequent training label.
    often = torch.tensor([0, 0, 1, 0, 1, 1])
    assert accuracy(torch.ones(6, 1), often, torch.arange(3), torch.arange(3, 6)) == pytest.approx(100 / 3)


def test_errors_over_splits(study):
    selection = study("_selection")
    assert selection.mean_error([1.0, 3.0]) == pytest.approx((2, 1))  # sd √2, over √2
    # sd² (1/2 + 0.4/0.6) = 2 · 7/6
    assert selection.corrected_error([1.0, 3.0], 0.4) == pytest.approx(math.sqrt(7 / 3))


def test_differences_are_paired_and_claimed_with_care(study):
    result = {"ours": [[5.0, 9.0], [7.0, 9.5]], "theirs": [[4.0, 1.0], [4.0, 1.0]]}
    first, second = study("_selection").differences(result, "ours", 0.4)["theirs"]
    # 1 and 3: mean 2 ± 1, corrected √(7/3) = 1.53, and 2 < 3.06. 8 and 8.5: mean 8.25, far beyond.
    assert (first["mean"], first["stderr"], first["claimed"]) == (pytest.approx(2), pytest.approx(1), False)
    assert (second["mean"], second["claimed"]) == (pytest.approx(8.25), True)


def test_label_sets_are_averaged_split_by_split(study):
    both = study("_selection").averaged([{"m": [[10.0, 20.0]]}, {"m": [[30.0, 40.0]]}])
    assert both == {"m": [[20, 30]]}


def test_neighbouring_classes(study):
    closest = study("_selection").closest
    assert closest([20, 1, 7, 5, 6], 3) == [5, 6, 7]
    assert closest([0, 1, 2, 3], 2) == [0, 1]  # the first of several


def test_photos_of_a_label(study, monkeypatch, tmp_path):
    (tmp_path / "set").mkdir()
    lines = ["file\tindex\twnid\tname", *(f"{n}{i}.jpg\t{i}\tw\t{n}" for n in ("cat", "dog") for i in range(4))]
    (tmp_path / "set" / "labels.tsv").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("INFLUENT_DATA", str(tmp_path))
    photos_of = study("feature_selection_images").photos_of
    few, more = photos_of("set", ["dog"], 2), photos_of("set", ["dog"], 4)
    assert few == more[:2]  # a longer run holds the photos of a shorter one
    assert sorted(p.file.name for p in more) == ["dog0.jpg", "dog1.jpg", "dog2.jpg", "dog3.jpg"]
    with pytest.raises(inf.InputError, match=r"--images 5: set has 4 photos of 'cat'\. Type fewer\."):
        photos_of("set", ["cat"], 5)


def test_scores_are_kept(study, tmp_path):
    images = study("feature_selection_images")
    file = tmp_path / "red.png"
    Image.new("RGB", (2, 2), (255, 255, 0)).save(file)
    scorer = images.Scorer(tiny_net(), ("0",), 3, tmp_path / "kept", torch.tensor([4.0]))
    found = scorer.scores(images.Photo(file, "red", 1))
    # Four positions at 1, slope 1 each, and a linear net: all four scores are 4, and nothing is missing.
    assert {m: found[m].tolist() for m in images.METHODS} == {m: [pytest.approx(4)] for m in images.METHODS}
    assert (int(found["predicted"]), float(found["gap"])) == (1, pytest.approx(0, abs=1e-6))
    again = dataclasses.replace(scorer, net=None).scores(images.Photo(file, "red", 1))
    assert all(torch.equal(again[name], found[name]) for name in found)
    assert [p.suffix for p in (tmp_path / "kept").iterdir()] == [".safetensors"]


# Filters that labels share


def test_control_labels_are_spread(study):
    spread = study("shared_filters").spread
    assert spread(10, 2, set()) == [2, 7]  # ⌊(2k + 1) · 10 / 4⌋: the middles of two halves
    assert spread(10, 2, {2, 3}) == [4, 7]


def test_overlap_of_labels(study):
    shared_filters = study("shared_filters")
    tops = {10: [1, 2], 20: [2, 3], 30: [2, 1]}
    assert shared_filters.overlap(list(tops.values())) == pytest.approx(4 / 3)  # pairs: 1, 2 and 1
    assert list(shared_filters.shared(tops).items()) == [(2, [10, 20, 30]), (1, [10, 30])]
    assert shared_filters.lots([[1, 2]] * 4, size=3, count=2, seed=0) == [2, 2]


def test_pictures_stay_out_of_the_repository(study, capsys):
    assert study("shared_filters").main(["--pictures", str(STUDIES / "new")]) == 2
    assert "is inside the repository, and the photos are ImageNet's" in capsys.readouterr().err
    assert not (STUDIES / "new").exists()


# Saturation


def test_where_a_gradient_is_largest(study):
    assert study("saturation").largest_at([0, 0.5, 1], [1, 2, 2]) == 0.5


def test_curves_of_a_linear_net(study):
    x = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    found = study("saturation").curves(tiny_net(), ["0"], x, 3)
    # The logit is 4α; a third of the inputs has slope 1, every neuron of the channel has; p = σ(4α), p' = p (1 − p).
    assert found["score"]["logit"] == pytest.approx([0, 2, 4])
    assert found["mean absolute gradient"]["logit"] == {
        "input": pytest.approx([1 / 3] * 3),
        "0": pytest.approx([1] * 3),
    }
    p = [1 / (1 + math.exp(-4 * a)) for a in (0, 0.5, 1)]
    assert found["score"]["probability"] == pytest.approx(p)
    assert found["mean absolute gradient"]["probability"]["0"] == pytest.approx([q * (1 - q) for q in p], rel=1e-5)
    assert found["photo / largest"]["probability"]["0"] == pytest.approx(p[2] * (1 - p[2]) / 0.25, rel=1e-5)


# Lessons


@pytest.mark.parametrize("name", ["feature_selection_images", "shared_filters"])
def test_without_data(study, monkeypatch, capsys, tmp_path, name):
    monkeypatch.delenv("INFLUENT_DATA", raising=False)
    assert study(name).main([]) == 2
    assert "INFLUENT_DATA is not set, so this study does not know where" in capsys.readouterr().err
    monkeypatch.setenv("INFLUENT_DATA", str(tmp_path))
    assert study(name).main([]) == 2
    assert "/labels.tsv in it." in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["saturation", "experts", "experts_grid", "influence_grid", "adversarial", "wrong_reason"]
)
def test_without_weights(study, monkeypatch, capsys, name):
    monkeypatch.delenv("INFLUENT_DATA", raising=False)
    assert study(name).main([]) == 2
    assert "INFLUENT_DATA" in capsys.readouterr().err


def test_too_little_to_compute(study, capsys):
    assert study("saturation").main(["--points", "2"]) == 2
    assert "--points 2: two ends make no curve. Type 3 or more." in capsys.readouterr().err
    assert study("feature_selection_images").main(["--images", "2"]) == 2
    assert "Type --images 3 or more and --splits 2 or more" in capsys.readouterr().err


# Experts


def test_an_expert_is_better_with_more_recall_and_at_most_a_point_less_precision(study):
    better = study("experts").better
    own = (0.5, 1.0)
    for mine, expected in (
        ((0.6, 0.99), True), ((0.6, 0.98), False), ((0.5, 1.0), False), ((0.9, None), False), (None, False),
    ):  # fmt: skip
        assert better({"way": [mine], "net": [own]}, "way", 0) is expected
    assert better({"way": [(0.1, 0.3)], "net": [(0.0, None)]}, "way", 0)


def test_means_over_halves_leave_out_what_was_never_said(study):
    halves = [{"way": [(0.2, None)]}, {"way": [(0.4, 0.5)]}, {"way": [None]}]
    mean = study("experts").means({"halves": halves}, "way", 0)
    assert mean == (pytest.approx(0.3), pytest.approx(2**0.5 / 10), 0.5, 0.0)
    assert study("experts").means({"halves": halves[2:]}, "way", 0) is None


def test_the_head_keeps_the_rows_of_its_classes(study):
    head, tail = nn.Linear(4, 5), inf.Net(nn.Sequential(nn.ReLU(), nn.Linear(4, 5)), labels=list("abcde"))
    tail.module[1].load_state_dict(head.state_dict())
    cut = study("influence_grid").head_of(tail, [3, 1])
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(cut.module(x), head(x.relu())[:, [3, 1]]) and list(cut.labels) == ["d", "b"]


def test_the_plateau_is_the_fewest_units_near_the_best_recall(study):
    from influent.counting import Counts

    def counts(*recalls):
        tp = torch.tensor(recalls)
        return Counts(tp, torch.zeros_like(tp), 100 - tp)

    units = (((1,),), ((1, 2),), ((1, 2, 3),))
    grid = inf.experts.Grid(
        inf.Cut("a/channel"), inf.Class(0), (1, 2, 3), (0,), units, counts([40], [91], [95]), counts(50), size=9
    )
    assert study("experts_grid").numbers(grid)["plateau"] == {
        "units": 2, "alpha": 2, "beta": 0, "recall": pytest.approx(0.91), "precision": 1.0,
    }  # fmt: skip


# Debugging reports


def test_photographs_of_a_grade_have_its_lesions_and_are_drawn_anew_by_seed(study):
    fundus = study("_fundus")
    x, grade = fundus.drawn({0: 3, 1: 2, 4: 1}, seed=1)
    assert x.shape == (6, 3, 96, 96) and sorted(grade.tolist()) == [0, 0, 0, 1, 1, 4]
    again, other = (fundus.drawn({0: 3, 1: 2, 4: 1}, seed=s)[0] for s in (1, 2))
    assert torch.equal(x, again) and not torch.equal(x, other)
    assert fundus.NESTED[4] == (0, 1, 2, 3) and fundus.ALONE[4] == (3,) and fundus.NESTED[0] == fundus.ALONE[0] == ()


def test_a_blur_leaves_little_of_the_smallest_lesions(study):
    """One photograph with dots and without: what differs, but for the noise of single pixels."""
    fundus = study("_fundus")
    largest = []
    for steps in ((), (inf.Blur(2.0),)):
        way = inf.PixelTransform((0.0,) * 3, (1.0,) * 3, see=inf.Compose(steps))
        shots = [way(fundus.pictures(fundus.drawn({1: 1}, 0, {1: kinds})[0])[0]) for kinds in ((0,), ())]
        largest.append(float((shots[0] - shots[1]).abs().max()))
    assert largest[0] > 30 and largest[1] < 8


def test_a_background_is_half_pink_outside_of_the_head(study):
    faces = study("_faces")
    photo = faces.tinted(Image.new("RGB", (100, 100), (0, 100, 0)))
    assert photo.getpixel((50, 50)) == (0, 100, 0)
    corner = photo.getpixel((0, 0))
    assert all(abs(c - (p + g) / 2) <= 1 for c, p, g in zip(corner, faces.PINK, (0, 100, 0), strict=True))


def test_a_net_that_was_trained_is_not_trained_again(study, monkeypatch, tmp_path):
    nets = study("_nets")
    monkeypatch.setattr(nets, "NETS", tmp_path)
    one = nets.kept("one", nn.Linear(2, 2), lambda: nn.Linear(2, 2))

    def refuse():
        raise AssertionError("it was there")

    assert torch.equal(nets.kept("one", nn.Linear(2, 2), refuse).weight, one.weight)


def test_rates_have_intervals(study):
    reports = study("_reports")
    assert reports.spelt(reports.rate([True] * 19 + [False])) == "19 of 20 (76% to 99%)"
