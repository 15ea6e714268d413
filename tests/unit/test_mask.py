"""Masks: which units they keep, what the others are put to, and that they read back as they were typed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import influent as inf
from influent.cut import Cut
from influent.language import parse
from tests.worlds import noise

torch.set_num_threads(1)

CONV = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU()).double().eval()
H = noise(3, 4, 2, 5, seed=1)


def test_kept_channels_stay_and_all_others_are_zero():
    found = inf.Mask("0/channel", [1, 3]).apply(CONV, H)
    assert torch.equal(found[:, [1, 3]], H[:, [1, 3]])
    assert torch.equal(found[:, [0, 2]], torch.zeros(3, 2, 2, 5, dtype=torch.float64))


def test_silenced_channels_are_zero_and_all_others_stay():
    found = inf.Mask("0/channel", [1, 3], keep=False).apply(CONV, H)
    assert torch.equal(found[:, [0, 2]], H[:, [0, 2]])
    assert int(found[:, [1, 3]].count_nonzero()) == 0


def test_the_activations_are_left_alone():
    before = H.clone()
    inf.Mask("0/channel", [0]).apply(CONV, H)
    assert torch.equal(H, before)


def test_infinite_activations_that_are_silenced_are_zero():
    """Multiplied by zero they would be no number."""
    h = torch.full((1, 4, 1, 1), torch.inf, dtype=torch.float64)
    assert int(inf.Mask("0/channel", [0]).apply(CONV, h).isinf().sum()) == 1


def test_units_along_another_axis():
    rows = inf.Mask("0/row", [1]).apply(CONV, H)
    assert torch.equal(rows[:, :, 1], H[:, :, 1])
    assert int(rows[:, :, 0].count_nonzero()) == 0


def test_declared_axes_decide():
    net = inf.Net(CONV, axes={"0": ("row", "column", "channel")})
    found = inf.Mask("0/channel", [4]).apply(net, H)
    assert torch.equal(found[..., 4], H[..., 4])
    assert int(found[..., :4].count_nonzero()) == 0


@pytest.mark.parametrize("units", [[0, 13, 39], [(0, 0, 0), (1, 0, 3), (3, 1, 4)], [0, (1, 0, 3), 39]])
def test_single_neurons_by_flat_position_and_by_whole_index(units):
    found = inf.Mask("0", units).apply(CONV, H)
    assert torch.equal(found.flatten(1)[:, [0, 13, 39]], H.flatten(1)[:, [0, 13, 39]])
    assert int(found.count_nonzero()) == 9


@pytest.mark.parametrize(
    "units",
    [(1, 2, 4), range(1, 5, 1), [[1, 2], [4]], ((1, 2), (4,)), {"a": [1, 2], "b": [4]}, torch.tensor([1, 2, 4])],
)
def test_groups_are_taken_together(units):
    want = (1, 2, 3, 4) if isinstance(units, range) else (1, 2, 4)
    assert inf.Mask("a/channel", units).units == want


def test_one_unit_needs_no_list():
    assert inf.Mask("a/channel", 3) == inf.Mask("a/channel", [3])


def test_groups_of_neurons():
    assert inf.Mask("a", {"corner": [(0, 0), (0, 1)], "rest": [7]}).units == ((0, 0), (0, 1), 7)


# What silenced units are put to


def test_silenced_units_are_put_to_their_mean():
    mean = H.mean(0)
    found = inf.Mask("0/channel", [2], fill="mean").apply(CONV, H, mean=mean)
    assert torch.equal(found[:, 2], H[:, 2])
    for row in found:
        assert torch.equal(row[[0, 1, 3]], mean[[0, 1, 3]])


def test_resampled_units_are_those_of_another_input():
    h = torch.arange(5.0)[:, None, None, None].expand(5, 4, 1, 1)
    found = inf.Mask("0/channel", [2], fill="resample", seed=4).apply(CONV, h)
    assert torch.equal(found[:, 2], h[:, 2])
    given_to = found[:, 0, 0, 0]
    assert sorted(given_to.tolist()) == [0, 1, 2, 3, 4]
    assert not (given_to == torch.arange(5.0)).any()
    assert torch.equal(found[:, 0], found[:, 3])  # an input's units stay together


def test_resampling_is_reproducible_and_depends_on_the_seed():
    h = noise(20, 4, 1, 1, seed=3)
    one, again, other = (inf.Mask("0/channel", [2], fill="resample", seed=s).apply(CONV, h) for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


# Text


units = st.one_of(
    st.lists(st.integers(0, 9), min_size=1, unique=True), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)),
    min_size=1, unique=True),
)  # fmt: skip


@given(units, st.booleans(), st.sampled_from(["zero", "mean", "resample"]), st.integers(0, 3))
def test_a_mask_reads_back(units, keep, fill, seed):
    mask = inf.Mask("a", units, keep, fill, seed)
    assert parse(repr(mask)) == mask
    assert hash(parse(repr(mask))) == hash(mask)


def test_the_text_leaves_out_what_is_not_said():
    assert repr(inf.Mask(Cut("a:in#2/channel"), [3, 17])) == "Mask('a:in#2/channel', (3, 17))"
    assert repr(inf.Mask("a", 1, keep=False, fill="mean")) == "Mask('a', (1,), keep=False, fill='mean')"


@pytest.mark.parametrize(
    "other", [inf.Mask("b", 1), inf.Mask("a", 2), inf.Mask("a", 1, keep=False), inf.Mask("a", 1, fill="mean"), "a"]
)
def test_masks_that_differ_are_not_equal(other):
    assert inf.Mask("a", 1) != other


# Lessons


@pytest.mark.parametrize(
    ("make", "lesson"),
    [
        (lambda: inf.Mask("a/channel", []), r"of a/channel without units says nothing\. .* with keep=False\.$"),
        (lambda: inf.Mask("a", {"none": []}), r"of a without units says nothing"),
        (lambda: inf.Mask("a", [1, 2, 1]), r"names unit 1 twice\. Name each once\.$"),
        (lambda: inf.Mask("a", [(1, 2), (1, 2)]), r"names unit \(1, 2\) twice"),
        (lambda: inf.Mask("a", [-1]), r"-1 is no unit of a\. Units are numbers from 0, \[3, 17\]"),
        (lambda: inf.Mask("a", [1.5]), r"1\.5 is no unit of a\."),
        (lambda: inf.Mask("a", [True]), r"True is no unit of a\."),
        (lambda: inf.Mask("a", "3"), r"'3' is no unit of a\."),
        (lambda: inf.Mask("a", [(1, "b")]), r"'b' is no unit of a\."),
        (lambda: inf.Mask("a", 1, keep=1), r"keep=1: True keeps these units, False silences them\.$"),
        (lambda: inf.Mask("a", 1, fill="noise"), r"fill='noise' is not known: 'zero', 'mean', 'resample'\.$"),
    ],
)
def test_what_no_mask_is(make, lesson):
    with pytest.raises(inf.QuestionError, match=lesson):
        make()


@pytest.mark.parametrize(
    ("mask", "more", "lesson"),
    [
        (inf.Mask("0/channel", [1, 4]), {}, r"names unit 4, and 0/channel has 4 units, counted from 0\.$"),
        (inf.Mask("0", [40]), {}, r"names unit 40, and 0 has neurons of shape \[4, 2, 5\], counted from 0\.$"),
        (inf.Mask("0", [(4, 0, 0)]), {}, r"names unit \(4, 0, 0\), and 0 has neurons of shape \[4, 2, 5\]"),
        (inf.Mask("0", [(0, 0)]), {}, r"names unit \(0, 0\), and 0 has neurons of shape \[4, 2, 5\]"),
        (inf.Mask("0", [13, (1, 0, 3)]), {}, r"names a neuron twice, flat and by its whole index\.$"),
        (inf.Mask("0/token", [1]), {}, r"has no axis 'token'\. Its axes: channel, row, column\.$"),
        (inf.Mask("0/channel", [1], fill="mean"), {}, r"fill='mean': mean= is for .* x\)\.mean\(0\)\.$"),
        (inf.Mask("0/channel", [1]), {"mean": H[0]}, r"fill='zero': mean= is for fill='mean', and only for it"),
        (inf.Mask("0", [1], fill="mean"), {"mean": H}, r"\[3, 4, 2, 5\], and 0 has neurons of shape \[4, 2, 5\]\.$"),
    ],
)  # fmt: skip
def test_masks_that_do_not_fit_the_activations(mask, more, lesson):
    with pytest.raises(inf.QuestionError, match=lesson):
        mask.apply(CONV, H, **more)


def test_axes_that_are_not_known_can_be_declared():
    with pytest.raises(inf.QuestionError, match=r"axis 'token'\. Its axes are not known: declare them, inf\.Net\("):
        inf.Mask("0/token", [1]).apply(nn.Sequential(nn.Identity()), noise(2, 3, 4))


def test_one_input_cannot_be_resampled():
    with pytest.raises(inf.QuestionError, match=r"takes the values of another input, and there is one\. Give several"):
        inf.Mask("0/channel", [1], fill="resample").apply(CONV, H[:1])
