"""Experts against hand-counted answers: who says what under which mask, and what is remembered of it."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import influent as inf
from influent import experts
from influent.counting import Counts, evaluate, says, spoken
from influent.errors import InfluentWarning, QuestionError, StoreError
from influent.experts import Grid, chosen, random_units, sweep
from tests import worlds
from tests.laws.laws import snapshot
from tests.worlds import noise

torch.set_num_threads(1)

PLACE = "0/channel"


def summing() -> nn.Module:
    """Logits (u₀ − u₁, u₂, 0) of four units u = x: class 0 is said for u₀ − u₁ large, class 1 for u₂ large."""
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 3, bias=False)).double().eval()
    net[0].weight.data = torch.eye(4, dtype=torch.float64)
    net[1].weight.data = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.float64)
    return net


# Six samples: what the net says is 0, none, 1, 0, 1, 2 is never said. Logits beside each.
X = torch.tensor(
    [
        [9.0, 0.0, 0.0, 1.0],  # (9, 0, 0): 0
        [9.0, 9.0, 0.0, 1.0],  # (0, 0, 0): none, for want of u₁ it would be 0
        [0.0, 0.0, 9.0, 1.0],  # (0, 9, 0): 1
        [9.0, 0.0, 5.0, 1.0],  # (9, 5, 0): 0
        [5.0, 0.0, 9.0, 1.0],  # (5, 9, 0): 1, for want of u₂ it would be 0
        [0.0, 9.0, 0.0, 1.0],  # (−9, 0, 0): none
    ],
    dtype=torch.float64,
)
LABEL = torch.tensor([0, 0, 1, 0, 0, 1])
DATA = [(X[:4], LABEL[:4]), (X[4:], LABEL[4:])]
C0, C1 = inf.Class(0), inf.Class(1)


# Who is said


def test_a_class_is_said_that_outweighs_all_others_together():
    logits = torch.log(torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.3, 0.2], [0.4, 0.3, 0.3], [0.1, 0.2, 0.7]]).double())
    assert spoken(logits).tolist()[::3] == [0, 2]
    assert spoken(logits)[2] == -1
    assert says(logits, 2).tolist() == [False, False, False, True]


def test_two_equal_classes_are_not_said():
    assert spoken(torch.zeros(1, 2)).tolist() == [-1]


def test_probabilities_that_round_to_one_and_zero_are_told_apart():
    """p = 1 and Σ of the rest = 0 in float32, and a tie of two huge logits."""
    assert spoken(torch.tensor([[200.0, 0.0], [200.0, 200.0]])).tolist() == [0, -1]


@given(st.integers(0, 1000))
def test_saying_is_comparing_probabilities(seed):
    logits = 3 * noise(20, 4, seed=seed)
    p = logits.softmax(1)
    for i in range(4):
        assert torch.equal(says(logits, i), p[:, i] > p.sum(1) - p[:, i])


@pytest.mark.parametrize("logits", [torch.zeros(3), torch.zeros(2, 3, 4), torch.zeros(2, 1)])
def test_outputs_that_name_no_classes_are_refused(logits):
    with pytest.raises(QuestionError, match=r'^"Class i against the rest" needs logits \[point, class\], two classes'):
        spoken(logits)


# Which units


def test_the_most_positive_then_the_most_negative():
    influence = torch.tensor([0.1, -3.0, 2.0, 0.0, 5.0, -1.0, -2.0])
    assert chosen(influence, 2, 2) == (4, 2, 1, 6)
    assert chosen(influence, 0, 1) == (1,)
    assert chosen(influence, 3, 3) == (4, 2, 0, 1, 6, 5)


def test_of_equal_units_the_first_comes_first():
    assert chosen(torch.tensor([1.0, 2, 2, 1, -1, -1]), 3, 1) == (1, 2, 0, 4)
    many = torch.arange(1000) % 2 * 2.0 - 1
    assert chosen(many, 300, 300) == (*range(1, 600, 2), *range(0, 600, 2))


@pytest.mark.parametrize(
    ("alpha", "beta", "units", "lesson"),
    [
        (9, 1, (2, 0, 1), r"^alpha=9, and 2 units have a positive influence: these are taken\.$"),
        (1, 2, (2, 1), r"^beta=2, and 1 units have a negative influence: these are taken\.$"),
    ],
)
def test_where_there_are_fewer_it_is_said(alpha, beta, units, lesson):
    with pytest.warns(InfluentWarning, match=lesson):
        assert chosen(torch.tensor([1.0, -1, 3, 0]), alpha, beta) == units


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9), st.integers(0, 4), st.integers(0, 4))
def test_chosen_units_are_no_weaker_than_those_left(values, alpha, beta):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InfluentWarning)
        units = chosen(torch.tensor(values).double(), alpha, beta)
    taken, left = [values[u] for u in units], [v for u, v in enumerate(values) if u not in units]
    positive, negative = [v for v in taken if v > 0], [v for v in taken if v < 0]
    assert len(positive) == min(alpha, sum(v > 0 for v in values))
    assert len(negative) == min(beta, sum(v < 0 for v in values))
    assert taken == sorted(positive, reverse=True) + sorted(negative)
    assert len(set(units)) == len(units)
    assert all(v <= min(positive) for v in left if positive) and all(v >= min(negative) for v in left if negative)


def test_an_attribution_is_an_influence():
    a = inf.influence(summing(), PLACE, C0, inf.Point(X[:1]))
    assert chosen(a, 1, 1) == (0, 1)


@pytest.mark.parametrize(
    ("influence", "alpha", "lesson"),
    [
        (torch.tensor([1.0, math.nan]), 1, r"^This influence holds NaN or infinite values"),
        (torch.ones(2), -1, r"^alpha=-1: give a number of units, alpha=20\.$"),
        (torch.ones(2), 1.5, r"^alpha=1\.5: give a number of units"),
        (inf.influence(summing(), PLACE, C0, inf.Point(X)), 1, r"^An expert is of one class: choose one of the 6 rows"),
        (inf.influence(summing(), PLACE, inf.Classes([0, 1]), inf.Point(X[:1])), 1, r"a question about one quantity"),
    ],
)
def test_what_orders_no_units(influence, alpha, lesson):
    with pytest.raises(QuestionError, match=lesson):
        chosen(influence, alpha, 0)


def test_random_units_are_drawn_by_their_seed():
    drawn = [random_units(5, of=20, seed=s) for s in range(30)]
    assert drawn[3] == random_units(5, of=20, seed=3)
    assert len(set(drawn)) > 20
    assert {u for units in drawn for u in units} == set(range(20))
    assert all(len(set(units)) == 5 for units in drawn)
    assert random_units(3, of=3, seed=0) == (0, 1, 2)
    with pytest.raises(QuestionError, match=r"^4 units cannot be drawn out of 3\.$"):
        random_units(4, of=3, seed=0)


# Counting, by hand


def counted(counts: Counts) -> list[tuple[int, int, int]]:
    return list(zip(counts.tp.tolist(), counts.fp.tolist(), counts.fn.tolist(), strict=True))


def test_counts_are_those_by_hand():
    """Class 0 has the samples 0, 1, 3, 4; the net says it for 0 and 3. Without u₁ also for 1, without u₂ also for 4."""
    masks = [
        inf.Mask(PLACE, [0, 1, 2, 3]),  # the net itself
        inf.Mask(PLACE, [0, 2, 3]),  # 0, 1, 3
        inf.Mask(PLACE, [0]),  # 0, 1, 3, 4
        inf.Mask(PLACE, [2, 3]),  # never
        inf.Mask(PLACE, [0, 1], keep=False),  # never
        inf.Mask(PLACE, [0, 1, 2, 3], keep=False),  # never
    ]
    found = evaluate(summing(), DATA, masks, [C0] * 6)
    assert counted(found.masked) == [(2, 0, 2), (3, 0, 1), (4, 0, 0), (0, 0, 4), (0, 0, 4), (0, 0, 4)]
    assert counted(found.original) == [(2, 0, 2)] * 6
    assert found.masked.recall.tolist() == [0.5, 0.75, 1, 0, 0, 0]
    assert found.masked.precision[:3].tolist() == [1, 1, 1]
    assert found.masked.precision[3:].isnan().all()


def test_classes_are_counted_in_the_same_pass():
    """Class 1 has the samples 2 and 5; the net says it for 2 and 4, with u₂ alone for 2, 3 and 4."""
    masks = [inf.Mask(PLACE, [2]), inf.Mask(PLACE, [2]), inf.Mask(PLACE, [0, 1, 2])]
    found = evaluate(summing(), DATA, masks, [C1, C0, inf.Probability(1)])
    assert counted(found.masked) == [(1, 2, 1), (0, 0, 4), (1, 1, 1)]
    assert counted(found.original) == [(1, 1, 1), (2, 0, 2), (1, 1, 1)]
    # Five samples for the plan, then each sample once; two different masks, twelve points.
    assert found.cost.forward == 5 + 6
    tries = evaluate(summing(), DATA, masks[:1], [C1]).replayed - 6
    assert found.replayed - tries == 12


@pytest.mark.parametrize("chunk", [1, 2, 5, 64])
@pytest.mark.parametrize("batch", [1, 2, 6])
def test_counts_depend_on_no_batch_and_no_chunk(chunk, batch):
    data = list(zip(X.split(batch), LABEL.split(batch), strict=True))
    masks = [inf.Mask(PLACE, [0]), inf.Mask(PLACE, [0, 2, 3]), inf.Mask(PLACE, [0], fill="zero")]
    found = evaluate(summing(), data, masks, [C0] * 3, chunk=chunk)
    assert counted(found.masked) == [(4, 0, 0), (3, 0, 1), (4, 0, 0)]


@given(st.integers(0, 50), st.integers(1, 7))
def test_counts_are_those_of_one_sample_and_one_mask_at_a_time(seed, chunk):
    net, x, label = worlds.relu_mlp(), 2 * noise(7, 4, seed=seed), torch.arange(7) % 3
    masks = [inf.Mask("1/channel", random_units(4, of=10, seed=seed + k)) for k in range(3)]
    found = evaluate(
        net, [(x[:5], label[:5]), (x[5:], label[5:])], masks, [inf.Class(k) for k in range(3)], chunk=chunk
    )
    for k, mask in enumerate(masks):
        kept = torch.zeros(10, dtype=torch.float64)
        kept[list(mask.units)] = 1
        p = net[2:](net[:2](x) * kept).softmax(1).detach()
        said = [bool(row[k] > row.sum() - row[k]) for row in p]
        assert counted(found.masked)[k] == (
            sum(s and c == k for s, c in zip(said, label, strict=True)),
            sum(s and c != k for s, c in zip(said, label, strict=True)),
            sum(not s and c == k for s, c in zip(said, label, strict=True)),
        )


def test_fills_are_heard():
    """With u₁ put to its mean of 3 instead of 0, sample 4's logits are (2, 9, 0) and (2, 0, 0) without u₂."""
    mean = X.mean(0)
    found = evaluate(summing(), DATA, [inf.Mask(PLACE, [0, 3], fill="mean")], [C0], mean=mean)
    want = X.clone()
    want[:, 1], want[:, 2] = mean[1], mean[2]
    said = says(summing()(want).detach(), 0)
    assert counted(found.masked) == [
        (int((said & (LABEL == 0)).sum()), int((said & (LABEL != 0)).sum()), int((~said & (LABEL == 0)).sum()))
    ]
    other = evaluate(summing(), [(X, LABEL)], [inf.Mask(PLACE, [0, 3], fill="resample", seed=5)], [C0])
    drawn = says(summing()[1](inf.Mask(PLACE, [0, 3], fill="resample", seed=5).apply(summing(), X)).detach(), 0)
    assert int(other.masked.tp) == int((drawn & (LABEL == 0)).sum())


def test_masks_of_the_same_units_and_other_fills_are_other_masks():
    net, mean = summing(), 0 * X[0] + 20
    masks = [
        inf.Mask(PLACE, [0, 3], fill=fill, seed=s)
        for fill, s in (("zero", 0), ("mean", 0), ("resample", 1), ("resample", 2))
    ]
    found = evaluate(net, [(X, LABEL)], masks, [C0] * 4, mean=mean)
    for k, mask in enumerate(masks):
        said = says(net[1](mask.apply(net, X, mean if mask.fill == "mean" else None)).detach(), 0)
        assert int(found.masked.tp[k]) == int((said & (LABEL == 0)).sum())
    assert len(set(counted(found.masked))) > 2


def test_a_class_that_does_not_occur_has_no_recall():
    found = evaluate(summing(), DATA, [inf.Mask(PLACE, [0])], [inf.Class(2)])
    assert counted(found.masked) == [(0, 0, 0)]
    assert bool(found.masked.recall.isnan()) and bool(found.masked.precision.isnan())


@pytest.mark.parametrize(
    ("data", "masks", "of", "lesson"),
    [
        ([], [inf.Mask(PLACE, 0)], [C0], r"^There is no batch in these data\. A generator runs once"),
        ([X], [inf.Mask(PLACE, 0)], [C0], r"^Data are batches \(x \[sample, \.\.\.\], label \[sample\]\)"),
        ([(X, LABEL.double())], [inf.Mask(PLACE, 0)], [C0], r"^Data are batches"),
        ([(X, LABEL[None])], [inf.Mask(PLACE, 0)], [C0], r"^Data are batches"),
        ([(X, LABEL[:5])], [inf.Mask(PLACE, 0)], [C0], r"^This batch has 6 samples and 5 labels\.$"),
        (
            DATA,
            [inf.Mask(PLACE, 0), inf.Mask("0", 0)],
            [C0, C0],
            r"^Masks and classes do not fit: 2 masks at 2 cuts, 2 classes\.",
        ),
        (DATA, [inf.Mask(PLACE, 0)], [C0, C1], r"^Masks and classes do not fit: 1 masks at 1 cuts, 2 classes\."),
        (DATA, [inf.Mask(PLACE, 0)] * 2, [C0, inf.Class(1, cut="0")], r"^All classes are read at one output\.$"),
        (DATA, [inf.Mask(PLACE, 0)], [inf.Predicted()], r"^of=Predicted\(\): an expert is of one class, Class\(3\)"),
        (DATA, [inf.Mask(PLACE, 0)], [C0 - C1], r"^of=Class\(0\) - Class\(1\): an expert is of one class"),
        (DATA, [inf.Mask(PLACE, 0)], [inf.Class(-1)], r"^of=Class\(-1\): an expert is of one class"),
        (DATA, [inf.Mask(PLACE, 4)], [C0], r"^This mask names unit 4, and 0/channel has 4 units"),
    ],
)
def test_what_cannot_be_counted(data, masks, of, lesson):
    with pytest.raises(QuestionError, match=lesson):
        evaluate(summing(), data, masks, of)


# Grids

INFLUENCE = torch.tensor([1.0, -0.5, -2.0, 0.0])  # of class 0: u₀ positive, u₂ and then u₁ negative


def grid(alphas: tuple[int, ...] = (0, 1, 9), betas: tuple[int, ...] = (0, 1, 2)) -> Grid:
    return sweep(summing(), PLACE, DATA, C0, alphas, betas, influence=INFLUENCE)


def test_a_grid_is_that_by_hand():
    found = grid()
    assert found.units[1] == ((0,), (0, 2), (0, 2, 1)) == found.units[2]
    assert found.units[0] == ((), (2,), (2, 1))
    assert found.counts.tp.tolist() == [[0, 0, 0], [4, 3, 2], [4, 3, 2]]
    assert found.counts.fp.tolist() == [[0] * 3] * 3
    assert found.counts.fn.tolist() == [[4, 4, 4], [0, 1, 2], [0, 1, 2]]
    assert found.recall.tolist() == [[0, 0, 0], [1, 0.75, 0.5], [1, 0.75, 0.5]]
    assert found.precision[1:].tolist() == [[1, 1, 1]] * 2
    assert (int(found.original.tp), int(found.original.fp), int(found.original.fn)) == (2, 0, 2)


def test_equal_cells_run_once():
    tries = grid((1,), (0,)).replayed - 6
    assert grid().replayed - tries == 6 * 6  # of nine cells three are repeated
    assert grid().cost.forward == 5 + 6


def test_several_classes_in_one_pass():
    both = sweep(summing(), PLACE, DATA, [C0, C1], (1, 9), (0, 1), influence=[INFLUENCE, torch.tensor([0.0, 0, 3, 0])])
    assert [one.of for one in both] == [C0, C1]
    assert torch.equal(both[0].recall, grid((1, 9), (0, 1)).recall)
    assert both[1].units == (((2,), (2,)), ((2,), (2,)))
    assert counted(both[1].counts.reshape(4)) == [(1, 2, 1)] * 4
    assert (int(both[1].original.tp), int(both[1].original.fp)) == (1, 1)
    assert both[0].cost.forward == 5 + 6


def test_an_attribution_of_the_same_cut_is_an_influence():
    a = inf.influence(summing(), PLACE, C0, inf.Point(X[:1]))
    assert sweep(summing(), PLACE, DATA, C0, (1,), (1,), influence=a).units == (((0, 1),),)


def test_single_neurons_and_other_fills():
    found = sweep(summing(), "0", DATA, C0, (1,), (0,), influence=INFLUENCE, fill="mean", mean=0 * X[0])
    assert found.cell(0, 0).mask == inf.Mask("0", [0], fill="mean")
    assert float(found.recall) == 1


def made(tp: list[list[int]], fp: list[list[int]], original: tuple[int, int], units: list[list[int]]) -> Grid:
    """A grid of ten positives from its counts, with as many units in each cell as it says."""
    named = tuple(tuple(tuple(range(n)) for n in row) for row in units)
    said = Counts(torch.tensor(tp), torch.tensor(fp), 10 - torch.tensor(tp))
    plain = Counts(torch.tensor(original[0]), torch.tensor(original[1]), torch.tensor(10 - original[0]))
    return Grid(inf.Cut(PLACE), C0, tuple(range(len(tp))), tuple(range(len(tp[0]))), named, said, plain)


# Precisions: 1, 8/10, 9/18, 6/6; the original's 4/5.
FOUR = made([[3, 8], [9, 6]], [[0, 2], [9, 0]], (4, 1), [[1, 5], [3, 7]])


@pytest.mark.parametrize(
    ("criterion", "slack", "cell"),
    [
        ("recall", 0.0, (0, 1)),  # 0.8 at 0.8, no less precise than the original
        ("recall", -0.1, (1, 1)),  # 0.6 at 1.0
        ("recall", 0.3, (1, 0)),  # 0.9 at 0.5
        ("relaxed", 0.0, (1, 0)),
        ("f1", 0.0, (0, 1)),  # 16/20 against 6/13, 18/28 and 12/16
    ],
)
def test_the_best_cell(criterion, slack, cell):
    best = FOUR.best(criterion=criterion, slack=slack)
    assert (best.alpha, best.beta) == cell
    assert best.mask == inf.Mask(PLACE, range(len(best.units)))
    assert best.recall == float(FOUR.recall[cell]) and best.precision == float(FOUR.precision[cell])


def test_of_equal_cells_the_one_of_fewest_units_is_best():
    tie = made([[5, 5], [5, 5]], [[0, 0], [0, 0]], (4, 0), [[4, 2], [2, 9]])
    assert (tie.best().alpha, tie.best().beta) == (0, 1)


def test_without_units_nobody_is_an_expert():
    """An expert that looks at nothing is none, however well it does."""
    assert made([[9, 5]], [[0, 0]], (4, 0), [[0, 2]]).best().beta == 1
    assert made([[9]], [[0]], (4, 0), [[0]]).best() is None


def test_where_no_cell_is_precise_enough_there_is_none():
    assert made([[3]], [[3]], (4, 0), [[2]]).best() is None
    assert made([[3]], [[3]], (4, 0), [[2]]).best(slack=0.5).recall == 0.3


def test_where_the_original_never_says_the_class_any_precision_will_do():
    assert made([[3, 4]], [[0, 9]], (0, 0), [[1, 2]]).best().recall == 0.4


def test_cells_that_never_say_the_class_are_not_chosen():
    assert made([[0]], [[0]], (0, 0), [[1]]).best() is None
    assert made([[0, 1]], [[0, 9]], (0, 0), [[1, 2]]).best("relaxed").beta == 1


def test_criteria_are_named():
    with pytest.raises(QuestionError, match=r"^criterion='best' is not known: 'recall', 'relaxed', 'f1'\.$"):
        FOUR.best(criterion="best")


@pytest.mark.parametrize(
    ("changed", "lesson"),
    [
        ({"alphas": []}, r"^A sweep takes one influence for each class, and at least one alpha and one beta\.$"),
        ({"of": [C0, C1]}, r"^A sweep takes one influence for each class"),
        ({"of": [], "influence": []}, r"^A sweep takes one influence"),
        ({"betas": [-1]}, r"^beta=-1: give a number of units"),
        ({"influence": torch.ones(3)}, r"^The influence has 3 units, and 0/channel has 4\. Ask for it at the same cut"),
        ({"influence": torch.ones(5)}, r"^The influence has 5 units, and 0/channel has 4\."),
        ({"of": [C0, C1], "influence": [torch.ones(3), torch.ones(4)]}, r"different numbers of units: \[3, 4\]\.$"),
        (
            {"influence": inf.influence(summing(), "0", C0, inf.Point(X[:1]))},
            r"^The influence is of '0', the masks are at '0/channel'\. Ask at the same cut\.$",
        ),
    ],
)
def test_what_cannot_be_swept(changed, lesson):
    words = {"of": C0, "alphas": [1], "betas": [0], "influence": INFLUENCE, **changed}
    with pytest.raises(QuestionError, match=lesson):
        sweep(summing(), PLACE, DATA, words["of"], words["alphas"], words["betas"], influence=words["influence"])


# One expert


def expert(**more: object) -> inf.Expert:
    return inf.Expert(summing(), inf.Mask(PLACE, [0, 3], **more), C0)


def test_an_expert_speaks():
    assert torch.equal(expert()(X), torch.stack([X[:, 0], 0 * X[:, 0], 0 * X[:, 0]], 1))
    assert expert().says(X).tolist() == [True, True, False, True, True, False]


def test_an_expert_compares_itself():
    found = expert().compare(DATA)
    assert (float(found.masked.recall), float(found.original.recall)) == (1.0, 0.5)
    assert (float(found.masked.precision), float(found.original.precision)) == (1.0, 1.0)


def test_the_net_is_left_alone():
    net = summing()
    before = snapshot(net)
    one = inf.Expert(net, inf.Mask(PLACE, [0]), C0)
    one(X), one.compare(DATA), one.prune()
    sweep(net, PLACE, DATA, C0, (1, 2), (0, 1), influence=INFLUENCE)
    assert snapshot(net) == before
    assert list(one.parameters()) == []


def test_an_expert_can_be_explained():
    """∂(logit 0)/∂x is u₀'s alone: u₁ is silenced."""
    found = inf.influence(expert(), "INPUT", C0, inf.Point(X[:2])).values
    assert torch.equal(found, torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64).expand(2, 4))


def test_an_expert_prunes_itself():
    pruned = expert().prune()
    assert [tuple(p.shape) for p in pruned.parameters()] == [(2, 4), (3, 2)]
    assert torch.equal(pruned(X), expert()(X))


def test_an_expert_of_a_called_class():
    net = inf.Net(summing(), labels=["ape", "bee", "cow"])
    assert inf.Expert(net, inf.Mask(PLACE, [2]), inf.Class("bee")).says(X).tolist() == [
        False,
        False,
        True,
        True,
        True,
        False,
    ]
    with pytest.raises(QuestionError, match=r"an expert is of one class"):
        inf.Expert(net, inf.Mask(PLACE, [2]), inf.Rest(1))


@pytest.mark.parametrize(
    ("mask", "mean"),
    [
        (inf.Mask(PLACE, [0, 3]), None), (inf.Mask("0", [(1,), 2], keep=False), None),
        (inf.Mask(PLACE, [0, 3], fill="mean"), X[0]), (inf.Mask(PLACE, [1], fill="resample", seed=7), None),
    ],
)  # fmt: skip
def test_an_expert_is_read_back(tmp_path, mask, mean):
    net = inf.Net(summing(), labels=["ape", "bee", "cow"])
    one = inf.Expert(net, mask, inf.Class("ape"), mean)
    again = inf.Expert.load(one.save(tmp_path / "expert"), net)
    assert (again.mask, again.of, again.index) == (mask, inf.Class("ape"), 0)
    assert torch.equal(again(X), one(X))
    one.save(tmp_path / "expert")  # a folder of ours is replaced
    assert sorted(f.name for f in (tmp_path / "expert").iterdir()) == ["meta.json", "values.safetensors"]


def test_many_neurons_are_read_back(tmp_path):
    net = nn.Sequential(nn.Linear(2, 30_000), nn.Linear(30_000, 2)).eval()
    mask = inf.Mask("0", range(0, 30_000, 2))
    assert inf.Expert.load(inf.Expert(net, mask, C0).save(tmp_path / "e"), net).mask == mask


def changed(place: Path, change: object) -> None:
    meta = json.loads((place / "meta.json").read_text())
    change(meta)
    (place / "meta.json").write_text(json.dumps(meta))


def test_an_expert_of_another_net_is_refused(tmp_path):
    expert().save(tmp_path / "e")
    other = summing()
    other[1].weight.data[0, 0] = 2
    with pytest.raises(
        StoreError, match=r"of a net with weights \w{16}, and this net has \w{16}\. Load it with the net"
    ):
        inf.Expert.load(tmp_path / "e", other)


def test_an_attribution_is_no_expert_and_an_expert_no_attribution(tmp_path):
    inf.save(inf.influence(summing(), PLACE, C0, inf.Point(X[:1])), tmp_path / "a")
    with pytest.raises(StoreError, match=r"holds no expert, but an attribution\. Type inf\.load\("):
        inf.Expert.load(tmp_path / "a", summing())
    expert().save(tmp_path / "e")
    with pytest.raises(StoreError, match=r"holds an expert, which needs its net: inf\.Expert\.load\(.*, net\)\.$"):
        inf.load(tmp_path / "e")


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta.pop("mask"), lambda meta: meta["mask"].update(units=[]), lambda meta: meta.update(mask=3),
        lambda meta: meta["question"].update(of="os.remove('x')"), lambda meta: meta["mask"].update(colour="red"),
    ],
)  # fmt: skip
def test_damaged_experts_are_named(tmp_path, change):
    net = summing()
    changed(inf.Expert(net, inf.Mask(PLACE, [0]), C0).save(tmp_path / "e"), change)
    with pytest.raises(StoreError, match=r"is damaged: .* Make it again\.$"):
        inf.Expert.load(tmp_path / "e", net)


def test_changed_values_are_named(tmp_path):
    place = expert(fill="mean").save(tmp_path / "e")
    (place / "values.safetensors").write_bytes(b"x")
    with pytest.raises(StoreError, match=r"was changed after it was written"):
        inf.Expert.load(place, summing())


def test_files_of_others_are_not_replaced(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"holds files that are not of a result \(note\.txt\)"):
        expert().save(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["note.txt"]


def test_the_names_of_the_module():
    assert experts.evaluate is evaluate and experts.says is says


def test_what_cannot_be_read_is_named_and_samples_without_labels_are_refused(tmp_path):
    from PIL import Image

    net = inf.Net(
        nn.Sequential(nn.Flatten(), nn.Linear(3, 2)).eval(), ["cat", "dog"], lambda photo: torch.ones(1, 3, 1, 1)
    )
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name / "1.png")
    (tmp_path / "dog" / "2.png").write_bytes(b"no picture")
    told = []
    with pytest.warns(inf.InfluentWarning, match=r"1 of 3 samples were left out: dog/2.png"):
        done = evaluate(net, inf.Dataset(tmp_path), [inf.Mask("1/channel", [0])], [C0], progress=told.append)
    assert int(done.masked.tp + done.masked.fn) == 1 and sum(told) == 2
    with pytest.raises(inf.QuestionError, match="Recall and precision need labels, and these samples have none"):
        evaluate(net, inf.Dataset([torch.ones(1, 3, 1, 1)]), [inf.Mask("1/channel", [0])], [C0])


def test_a_class_may_be_swept_by_several_influences():
    other = -INFLUENCE
    two = sweep(summing(), PLACE, DATA, [C0, C0], (1,), (0,), influence=[INFLUENCE, other])
    one = [sweep(summing(), PLACE, DATA, C0, (1,), (0,), influence=i) for i in (INFLUENCE, other)]
    assert [grid.units for grid in two] == [grid.units for grid in one] and two[0].units != two[1].units
