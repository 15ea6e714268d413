"""Rates and their intervals; the one pass over labelled data; samples chosen out of a source."""

import itertools
import math
import random

import pytest
import torch
from torch import nn

import influent as inf
from influent.confusion import class_rates, confusions, matrix, see
from influent.rates import by_lot, difference, fisher, wilson
from influent.samples import Folder, as_source
from influent.selection import selected

# Rates


@pytest.mark.parametrize(("hits", "count"), [(0, 20), (3, 7), (19, 20), (20, 20)])
def test_wilson_s_ends_are_where_the_score_test_rejects(hits, count):
    z = 1.959963984540054
    for end in wilson(hits, count):
        if 0 < end < 1:
            assert abs(hits / count - end) == pytest.approx(z * math.sqrt(end * (1 - end) / count), rel=1e-9)
        else:
            assert end == hits / count
    assert wilson(0, 0) == (0, 1)


def test_newcombe_s_interval_is_the_published_one():
    # Newcombe 1998, table II, example (a), method 10: 56/70 − 48/80.
    assert difference(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference(1, 2, 0, 0) == (-1, 1)


def test_fisher_s_value_is_a_count_of_permutations():
    ours, theirs = [1, 1, 1, 0], [1, 0, 0]
    seen = sum(ours)
    deals = [sum(deal) for deal in itertools.combinations(ours + theirs, len(ours))]
    assert fisher(3, 4, 1, 3) == pytest.approx(sum(d >= seen for d in deals) / len(deals), abs=1e-12)


def test_fisher_accuses_one_rate_of_being_two_at_its_level_at_most():
    dice = random.Random(0)
    told = 0
    for _ in range(2000):
        p = dice.random()
        a, b = (sum(dice.random() < p for _ in range(15)) for _ in range(2))
        told += fisher(a, 15, b, 15) <= 0.05
    # 5 % and three standard errors.
    assert told / 2000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_a_lot_never_has_no_chance():
    assert by_lot(1.0, [0.0] * 99) == 0.01 and by_lot(0.0, [0.0] * 99) == 1.0


@pytest.mark.parametrize(("ask", "lesson"), [
    (lambda: wilson(3, 2), "3 of 2 samples: a rate takes between 0 and as many hits as there are samples."),
    (lambda: wilson(1, 2, 95), "level=95: give a probability between 0 and 1, level=0.95."),
])  # fmt: skip
def test_what_is_no_rate_is_a_lesson(ask, lesson):
    with pytest.raises(inf.QuestionError) as error:
        ask()
    assert str(error.value) == lesson


# The pass


def net_of(weight):
    made = nn.Sequential(nn.Linear(len(weight[0]), len(weight), bias=False)).eval()
    made[0].weight.data = torch.tensor(weight)
    return made


X = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
LABEL = torch.tensor([0, 1, 0, 1, 0])


def test_the_pass_keeps_what_is_said_with_its_probability_and_the_units():
    seen = see(inf.Net(net_of([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), labels=["a", "b", "c"]), "0/channel",
               inf.Dataset([(X[:3], LABEL[:3]), (X[3:], LABEL[3:])], block=2))  # fmt: skip
    assert seen.said.tolist() == [0, 1, 0, 1, 1] and seen.label.tolist() == LABEL.tolist() and seen.outputs == 3
    assert seen.probability[2] == pytest.approx(math.exp(3) / (math.exp(3) + 2))
    assert torch.equal(seen.units, torch.cat([X, torch.zeros(5, 1)], 1))
    assert matrix(seen, (0, 1)).tolist() == [[2, 1], [0, 2]] and seen.lost(0).tolist() == [4]
    (pair,) = confusions(seen)
    assert (pair.true, pair.said, pair.count, pair.of) == (0, 1, 1, 3) and (pair.low, pair.high) == wilson(1, 3)


def test_units_of_a_layer_with_positions_are_summed_over_them():
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(12, 2)).eval()
    x = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    seen = see(net, "0/channel", inf.Dataset([(x, torch.tensor([0, 1, 0, 1]))]), chunk=3)
    assert torch.allclose(seen.units, net[0](x).sum((2, 3)), atol=1e-6)


def test_classes_have_their_recall():
    net = inf.Net(net_of([[1.0, 0.0], [0.0, 1.0]]), labels=["a", "b"])
    first, second = class_rates(net, see(net, "0/channel", inf.Dataset([(X, LABEL)])))
    assert (first.name, first.count, first.found, first.said, first.recall) == ("a", 3, 2, 2, 2 / 3)
    assert (second.low, second.high) == wilson(2, 2)


@pytest.mark.parametrize(("net", "at", "data", "lesson"), [
    (nn.Linear(2, 2), "INPUT/channel", [(X, LABEL * 0)], "All 5 samples are of one class, class 0: what a net takes"),
    (nn.Linear(2, 2), "INPUT/channel", [X], "What a net takes for what needs labels, and these samples have none."),
    (nn.Linear(2, 2), "INPUT/channel", [(X, LABEL * 7)], "sample 0 has the label 0"),
    (nn.Linear(2, 1), "INPUT/channel", [(X, LABEL)], "This net gives float32 [5, 1], and a classification is scores"),
    (nn.Linear(2, 2), "INPUT", [(X, LABEL)], "'INPUT' names no units that are counted here, float32 [5, 2]. Type"),
    (nn.Linear(2, 2), "INPUT/channel", [(X * torch.nan, LABEL)], "'[Tensor, Tensor]' gave no sample"),
])  # fmt: skip
def test_what_cannot_be_counted_is_a_lesson(net, at, data, lesson):
    with pytest.raises(inf.InfluentError) as error:
        see(net.eval(), at, inf.Dataset(data))
    if "label 0" in lesson:
        assert str(error.value).startswith("sample 1 has the label 7, and the net has 2 outputs, 0 to 1.")
    elif "gave no sample" in lesson:
        assert "gave no sample: sample 0 (It holds NaN or infinite values)" in str(error.value)
    else:
        assert str(error.value).startswith(lesson)


def test_a_net_that_gives_nan_is_a_lesson():
    net = nn.Linear(2, 2).eval()
    net.weight.data[:] = torch.inf
    with pytest.raises(inf.NetError, match=r"^This net gives NaN or infinite scores"):
        see(net, "INPUT/channel", inf.Dataset([(X, LABEL)]))


# Chosen samples


class _Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, k):
        return X[k], int(LABEL[k])


@pytest.mark.parametrize("data", [[(X[:2], LABEL[:2]), (X[2:], LABEL[2:])], _Rows()], ids=["batches", "indexed"])
def test_chosen_samples_come_in_the_order_of_the_source(data):
    net = inf.Net(nn.Linear(2, 2).eval())
    part = selected(as_source(data), [4, 1, 2])
    (block,) = part.blocks(net, 8, {})
    assert torch.equal(block.x, X[[1, 2, 4]]) and block.label.tolist() == [1, 0, 0]
    assert repr(part) != repr(selected(as_source(data), [1, 2])) or isinstance(data, _Rows)


def test_nothing_is_read_behind_the_last_chosen_sample():
    class Counted(list):
        read = 0

        def __iter__(self):
            for batch in super().__iter__():
                Counted.read += 1
                yield batch

    batches = Counted((X[k : k + 1], LABEL[k : k + 1]) for k in range(5))
    (block,) = selected(as_source(batches), [0, 2]).blocks(inf.Net(nn.Linear(2, 2).eval()), 8, {})
    assert len(block) == 2 and Counted.read == 3


def test_a_class_of_a_folder_keeps_its_number_where_others_are_not_chosen(tmp_path):
    from PIL import Image

    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name / "0.png")
    folder, net = Folder.at(tmp_path), inf.Net(nn.Linear(2, 2))
    only = selected(folder, [k for k, (_, name) in enumerate(folder.files) if name == "b"])
    assert [name for _, name in only.files] == ["b"] and only.classes(net) == folder.classes(net)
