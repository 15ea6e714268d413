"""Wrong reasons, planted by hand: units that serve in training alone, on a few samples, or beside the object."""

import pytest
import torch
from torch import nn

import influent as inf
from influent.confusion import see
from influent.finding import WRONG_REASON
from influent.reasons import reasons

# Units are inputs. Class 0 is known by unit 0 everywhere, and by unit 1 where it is on; class 1 by unit 2.
HEAD = torch.tensor([[2.0, 3.0, 0.0], [0.0, 0.0, 2.0]])


def net():
    made = nn.Sequential(nn.Identity(), nn.Linear(3, 2, bias=False)).eval()
    made[1].weight.data = HEAD.clone()
    return made


def rows(count, shortcut, seed=0):
    """`count` samples of each class; `shortcut [count]` is what unit 1 is on class 0."""
    noise = 0.1 * torch.rand(2 * count, 3, generator=torch.Generator().manual_seed(seed))
    x, label = noise, torch.arange(2 * count) % 2
    x[label == 0, 0] += 1
    x[label == 1, 2] += 1
    x[label == 0, 1] += shortcut
    return [(x, label)]


def wrong(report):
    return [(f.subject, f.statistic) for f in report.findings if f.kind == WRONG_REASON]


def test_a_unit_that_serves_in_training_alone_is_named():
    report = inf.debug(net(), rows(30, torch.zeros(30), 1), "0/channel", train=rows(40, torch.ones(40)))
    assert wrong(report) == [("class 0, training alone", "AUROC of evidence, training against held out")]
    (finding,) = [f for f in report.findings if f.kind == WRONG_REASON]
    assert finding.value == 1.0 and "1 unit of class 0's essence (1) carry" in finding.seen
    one = next(r for r in report.reasons if (r.index, r.unit) == (0, 1))
    # Evidence is 3 · (1 + noise) in training, and 3 · noise held out.
    train, held = (
        x[label == 0, 1].mean() for ((x, label),) in (rows(40, torch.ones(40)), rows(30, torch.zeros(30), 1))
    )
    assert one.gone == pytest.approx(float(1 - held / train), rel=1e-5) and (one.count, one.held) == (40, 30)
    (checked,) = report.checked
    assert (checked.index, checked.units) == (0, (1,)) and checked.as_is.hits == 40 == checked.without.hits


def test_the_same_data_on_both_sides_accuse_nobody():
    report = inf.debug(net(), rows(30, torch.ones(30), 1), "0/channel", train=rows(40, torch.ones(40)))
    assert wrong(report) == [] and report.checked == ()


def test_units_that_differ_by_chance_are_rarely_named():
    """Evidence of one distribution in both data: an AUROC of 0.9 is far from chance, whatever the test."""
    named = 0
    for seed in range(50):
        report = inf.debug(
            net(), rows(20, torch.rand(20), seed), "0/channel", train=rows(20, torch.rand(20), seed + 99)
        )
        named += bool(wrong(report))
    assert named == 0


def test_evidence_on_few_samples_is_named():
    few = torch.zeros(40)
    few[:3] = 30.0
    report = inf.debug(net(), rows(40, few), "0/channel")
    assert wrong(report) == [("class 0, few samples", "share of evidence on a tenth of the samples")]
    one = next(r for r in report.reasons if r.unit == 1)
    assert one.few > 0.8 and set(one.names[:3]) == {"sample 0", "sample 2", "sample 4"}
    even = next(r for r in report.reasons if r.unit == 0)
    assert even.few == pytest.approx(0.1, abs=0.02)


@pytest.fixture
def places():
    """A net of two channels with positions, and images whose object is the left half; channel 0 looks there."""
    made = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(2 * 4 * 4, 2, bias=False)).eval()
    made[2].weight.data = torch.zeros(2, 32)
    made[2].weight.data[0] = 1.0
    x = torch.zeros(60, 2, 4, 4)
    label = torch.arange(60) % 2
    x[label == 0, 0, :, :2] = 1.0
    x[label == 0, 1, :, 3] = 1.0
    left = torch.zeros(8, 8)
    left[:, :4] = 1
    return made, x, label, left


def test_evidence_beside_the_object_is_named(places):
    made, x, label, left = places
    report = inf.debug(made, [(x, label)], "0/channel", objects=lambda _: left)
    assert wrong(report) == [("class 0, beside the object", "share of evidence beside the object")]
    found = {r.unit: (r.outside, r.beside) for r in report.reasons if r.index == 0}
    assert found == {0: (0.0, 0.5), 1: (1.0, 0.5)}


def test_samples_without_a_marked_object_do_not_count(places):
    made, x, label, left = places
    odd = {f"sample {k}" for k in range(0, 60, 4)}
    report = inf.debug(made, [(x, label)], "0/channel", objects=lambda name: None if name in odd else left)
    assert {r.unit: r.outside for r in report.reasons if r.index == 0} == {0: 0.0, 1: 1.0}
    report = inf.debug(made, [(x, label)], "0/channel", objects=lambda name: None)
    assert all(r.outside != r.outside for r in report.reasons) and wrong(report) == []


def test_masks_need_a_layer_with_places():
    with pytest.raises(inf.QuestionError) as error:
        inf.debug(net(), rows(5, torch.zeros(5)), "0/channel", objects=lambda _: torch.ones(2, 2))
    assert str(error.value).startswith(
        "'0/channel' has no rows and columns, and masks say where in the picture an object"
    )


def test_classes_of_few_samples_have_no_essence():
    seen = see(net(), "0/channel", inf.Dataset(rows(10, torch.ones(10))))
    assert reasons(seen, None, inf.Limits()) == ()
    assert {r.index for r in reasons(seen, None, inf.Limits(least=10))} == {0, 1}
    assert len(reasons(seen, None, inf.Limits(least=10, essence=1))) == 2
