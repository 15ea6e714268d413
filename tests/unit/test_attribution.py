"""The result: rankings, sums over axes, rows, tables, and what its print says."""

from __future__ import annotations

import importlib.util
import math
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from influent import (
    INPUT,
    Attribution,
    Class,
    Classes,
    Gap,
    Gaussian,
    Line,
    Net,
    Point,
    Question,
    Unit,
    activation,
    contribution,
    gradient,
    influence,
    magnitude,
)
from influent.attribution import NOT_FULL
from influent.cut import Cut
from influent.errors import InputError, QuestionError

torch.set_num_threads(1)


FIRST = Class(0)


def result(values: Any, of: Any = FIRST, axes: tuple[str, ...] | None = None, **more: Any) -> Attribution:
    """An attribution with these values, `[instance, *unit]`."""
    x = torch.ones(1, 2)
    values = torch.as_tensor(values, dtype=torch.float64)
    question = Question(Cut("layer"), of, Point(x), gradient)
    return Attribution(values, question, tuple(range(len(values))), axes=axes, **more)


# Rankings


def test_the_top_is_by_magnitude_and_keeps_the_sign() -> None:
    top = result([[1.0, -4.0, 0.5, 2.5]]).top(3)
    assert [(u.index, u.value) for u in top] == [((1,), -4.0), ((3,), 2.5), ((0,), 1.0)]


def test_shares_are_parts_of_the_sum_of_magnitudes() -> None:
    top = result([[1.0, -4.0, 0.5, 2.5]]).top(4)
    assert [u.share for u in top] == [0.5, 0.3125, 0.125, 0.0625]  # |v| / 8
    assert math.fsum(u.share for u in top) == 1.0


@pytest.mark.parametrize(("sign", "order"), [("+", [3, 0, 2]), ("-", [1, 4]), (None, [1, 3, 4, 0, 2])])
def test_one_side_only_has_units_of_that_sign_and_no_zeros(sign: str | None, order: list[int]) -> None:
    values = [[1.0, -4.0, 0.5, 2.5, -2.0, 0.0]]
    assert [u.index[0] for u in result(values).top(len(order), sign=sign)] == order
    if sign:
        assert [u.index[0] for u in result(values).top(99, sign=sign)] == order


def test_ties_keep_the_order_of_the_units() -> None:
    values = torch.ones(1, 40)
    values[0, ::2] = -1
    assert [u.index[0] for u in result(values).top(40)] == list(range(40))
    assert [u.index[0] for u in result(values).top(3, sign="-")] == [0, 2, 4]


def test_more_units_than_there_are_give_them_all() -> None:
    assert len(result([[1.0, 2.0]]).top(99)) == 2
    assert result([[1.0, 2.0]]).top(0) == ()


def test_no_influence_at_all_has_no_shares() -> None:
    assert [(u.value, u.share) for u in result([[0.0, 0.0]]).top(2)] == [(0.0, 0.0), (0.0, 0.0)]


def test_units_are_named_by_their_axes_and_indexed_by_all_of_them() -> None:
    values = torch.zeros(1, 2, 3, 4)
    values[0, 1, 2, 3], values[0, 0, 1, 0] = -5.0, 3.0
    top = result(values, axes=("channel", "row", "column")).top(2)
    assert [u.index for u in top] == [(1, 2, 3), (0, 1, 0)]
    assert [u.name for u in top] == ["channel 1, row 2, column 3", "channel 0, row 1, column 0"]
    assert repr(top) == "channel 1, row 2, column 3  -5  62.5%\nchannel 0, row 1, column 0  +3  37.5%"
    assert [u.name for u in result(values).top(1)] == ["(1, 2, 3)"]
    assert repr(result([[1.0, -3.0]]).top(1)) == "1  -3  75.0%"


def test_the_top_of_classes_is_of_one_of_them() -> None:
    a = result([[[1.0, -2.0], [3.0, 0.0]]], of=Classes([4, 7]))
    assert [u.value for u in a.top(2)] == [-2.0, 1.0]
    assert [u.value for u in a.top(2, of_class=1)] == [3.0, 0.0]
    assert [u.index for u in a.top(1, of_class=1)] == [(0,)]


# Sums over axes


def test_by_an_axis_sums_over_all_the_others() -> None:
    values = torch.arange(24.0).reshape(1, 2, 3, 4)
    a = result(values, axes=("channel", "row", "column"), stderr=values)
    assert a.by("channel").values.tolist() == [[66.0, 210.0]]  # 0+…+11 and 12+…+23
    assert a.by("row").values.tolist() == [[60.0, 92.0, 124.0]]
    assert a.by("column").values.tolist() == [[60.0, 66.0, 72.0, 78.0]]
    assert a.by("row").axes == ("row",)
    assert a.by("row").question.at == Cut("layer/row")
    assert a.by("row").question.of == a.question.of
    assert a.by("row").stderr is None


def test_by_the_only_axis_changes_nothing_and_keeps_the_error() -> None:
    a = result([[1.0, -2.0]], axes=("channel",), stderr=torch.ones(1, 2))
    assert a.by("channel").values is a.values
    assert a.by("channel").stderr is a.stderr


def test_by_keeps_the_axis_of_classes() -> None:
    a = result(torch.ones(2, 3, 4, 5, 5), of=Classes([0, 1, 2]), axes=("channel", "row", "column"))
    assert a.by("channel").values.tolist() == torch.full((2, 3, 4), 25.0).tolist()


def test_sums_afterwards_are_those_of_the_question_for_what_is_linear() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(27, 2)).double().eval()
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = influence(
        net, ["0", "0/channel", "0/row"], Class(1), Line(0 * x, x, n=5), [contribution, gradient, magnitude]
    )
    for axis in ("channel", "row"):
        for m in (contribution, gradient):
            # Nine numbers of size one, added in two orders in float64.
            torch.testing.assert_close(found["0"][m].by(axis).values, found[f"0/{axis}"][m].values, rtol=0, atol=1e-13)
        # |Σ| is not Σ|·|: for magnitude the units belong in the question.
        assert bool((found["0"][magnitude].by(axis).values > found[f"0/{axis}"][magnitude].values + 1e-3).all())


# Rows


def test_a_row_keeps_its_dimension_and_takes_everything_along() -> None:
    gap = Gap(torch.tensor([0.1, -0.2]), torch.tensor([1.0, 4.0]))
    one = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    a = result(one, gap=gap, residual=torch.tensor([5.0, 6.0]), stderr=10 * one, count=torch.tensor([7, 8]))
    b = a[1]
    assert b.values.tolist() == [[3.0, 4.0]]
    assert b.instances == (1,)
    assert b.gap is not None and b.gap.signed.tolist() == [pytest.approx(-0.2)] and b.gap.change.tolist() == [4.0]
    assert (b.residual.tolist(), b.stderr.tolist(), b.count.tolist()) == ([6.0], [[30.0, 40.0]], [8])
    assert b[1].values.tolist() == [[3.0, 4.0]]
    assert a.values.shape == (2, 2)


def test_rows_are_known_by_their_names() -> None:
    a = Attribution(torch.eye(2), result([[0.0]]).question, ("cat", "dog"))
    assert a["dog"].values.tolist() == [[0.0, 1.0]]
    with pytest.raises(QuestionError, match=r"^There is no row 'cup'\. Rows: 'cat', 'dog'\.$"):
        a["cup"]


# Gap


def test_the_gap_is_signed_absolute_and_relative_to_the_change() -> None:
    gap = Gap(torch.tensor([-0.5, 0.25]), torch.tensor([2.0, -1.0]))
    assert gap.absolute.tolist() == [0.5, 0.25]
    assert gap.relative.tolist() == [0.25, 0.25]


def test_the_worst_gap_is_shown() -> None:
    gap = Gap(torch.tensor([0.01, -0.5]), torch.tensor([2.0, 4.0]))
    assert result([[1.0], [1.0]], gap=gap).summary() == "gap -0.5 of ΔF +4 (12.50%)"
    a = result([[1.0], [1.0]], gap=gap, residual=torch.tensor([0.5, 0.75]))
    assert a.summary() == "gap -0.5 of ΔF +4 (12.50%), residual 0.75"
    still = Gap(torch.tensor([0.0]), torch.tensor([0.0]))
    assert result([[1.0]], gap=still).summary() == "gap +0 of ΔF +0 (nan%)"


# Print


def test_the_print_says_the_question_the_error_and_the_velocity() -> None:
    net = nn.Linear(3, 2).eval()
    x = torch.ones(1, 3)
    a = influence(net, INPUT, Class(1), Line(0 * x, x, n=2), contribution)
    lines = repr(a).splitlines()
    assert lines[0] == "Attribution: 1 × [3] units"
    assert lines[1] == f"  at=INPUT, of=Class(1), over={Line(0 * x, x, n=2)!r}, measure=contribution"
    assert lines[2].startswith("  gap ") and "of ΔF" in lines[2] and "residual" in lines[2]
    assert lines[3] == "  velocity: exact (the path's own)"
    assert len(lines) == 4


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script. is deprecated:DeprecationWarning"
)  # torch's own, in forward mode
def test_the_print_says_how_velocities_were_found_and_that_a_cut_is_not_full() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.branch(x)

    x = torch.ones(1, 3)
    for rule, velocity in (("adaptive", "secant"), ("gauss", "exact (forward mode)")):
        a = influence(Skips().eval(), "branch", Class(1), Line(0 * x, x, n=3, rule=rule), contribution)
        assert repr(a).splitlines()[2:] == [f"  {NOT_FULL}", f"  velocity: {velocity}"]
        assert a.gap is None and a.residual is None
        assert a.summary() == "not a full cut"


def test_off_a_path_the_print_has_no_error_to_show() -> None:
    a = influence(nn.Conv2d(1, 2, 2).eval(), "OUTPUT", Unit((1, 0, 0), "OUTPUT"), Point(torch.ones(3, 1, 3, 4)))
    assert repr(a).splitlines() == ["Attribution: 3 × [2 × 2 × 3] units", f"  {a.question!r}"]
    assert "net=" not in repr(a)


def test_questions_are_equal_when_their_words_are() -> None:
    x = torch.ones(1, 2)
    words = (Cut("a"), Class(1), Point(x), gradient)
    same = Question(Cut("a"), Class(1), Point(x.clone()), gradient)
    assert Question(*words) == same
    assert hash(Question(*words)) == hash(same)
    for k, other in enumerate([Cut("b"), Class(2), Point(2 * x), magnitude]):
        assert Question(*words[:k], other, *words[k + 1 :]) != same


# Lists


NET = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5)).eval()
X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


def test_lists_nest_in_the_order_at_of_measure_whatever_order_they_are_in() -> None:
    at, of, measures = ["1", INPUT, "0"], [Class(3), Class(0), Classes([1, 2])], [magnitude, activation, gradient]
    found = influence(NET, at, of, Point(X), measures)
    assert list(found) == at
    for cut in at:
        assert list(found[cut]) == of
        for q in of:
            assert list(found[cut][q]) == measures
            for m in measures:
                a = found[cut][q][m]
                assert (a.question.at, a.question.of, a.question.measure) == (Cut(str(getattr(cut, "text", cut))), q, m)


@pytest.mark.parametrize(
    "lists", [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)]
)
def test_only_what_was_given_as_a_list_is_nested(lists: tuple[int, int, int]) -> None:
    words = ["0", Class(1), gradient]
    at, of, measure = ([word] if listed else word for word, listed in zip(words, lists, strict=True))
    found = influence(NET, at, of, Point(X), measure)
    for word, listed in zip(words, lists, strict=True):
        if listed:
            assert list(found) == [word]
            found = found[word]
    assert isinstance(found, Attribution)
    assert torch.equal(found.values, influence(NET, "0", Class(1), Point(X)).values)


def test_a_tuple_is_a_list_and_functions_are_their_own_keys() -> None:
    first, second = (lambda y: y[:, 0]), (lambda y: y[:, 1])
    found = influence(NET, ("0", "1"), (first, second), Point(X))
    assert list(found) == ["0", "1"]
    assert list(found["0"]) == [first, second]
    assert torch.equal(found["0"][second].values, influence(NET, "0", Class(1), Point(X)).values)


def test_classes_are_the_second_dimension() -> None:
    indices = [3, 0, 4]
    over = Gaussian(X, 0.1, 4)
    together = influence(NET, "0", Classes(indices), over)
    apart = [influence(NET, "0", Class(i), over) for i in indices]
    assert together.values.shape == (2, 3, 4)
    # The same sums in the same order: bit for bit.
    assert torch.equal(together.values, torch.stack([a.values for a in apart], dim=1))
    assert torch.equal(together.stderr, torch.stack([a.stderr for a in apart], dim=1))
    assert together.count.tolist() == [4, 4]
    assert together.axes == ("channel",)


def test_classes_have_a_gap_and_a_residual_each() -> None:
    line = Line(0 * X, X, n=9, rule="uniform")
    together = influence(NET, "0", Classes([3, 0]), line, contribution)
    apart = [influence(NET, "0", Class(i), line, contribution) for i in (3, 0)]
    assert together.gap is not None and together.gap.signed.shape == (2, 2)
    assert torch.equal(together.gap.signed, torch.stack([a.gap.signed for a in apart], dim=1))
    assert torch.equal(together.gap.change, torch.stack([a.gap.change for a in apart], dim=1))
    assert torch.equal(together.residual, torch.stack([a.residual for a in apart], dim=1))


def test_classes_beside_quantities_in_one_list_get_their_own_columns() -> None:
    of = [Class(1), Classes([2, 3]), Class(4), Classes([0])]
    found = influence(NET, "0", of, Point(X))
    for q in of:
        indices = q.indices if isinstance(q, Classes) else [q.index]
        for k, i in enumerate(indices):
            alone = influence(NET, "0", Class(i), Point(X)).values
            mine = found[q].values[:, k] if isinstance(q, Classes) else found[q].values
            assert torch.equal(mine, alone)


def test_the_cost_counts_samples_of_the_whole_sweep() -> None:
    a = influence(NET, "0", [Class(0), Class(1)], Point(X))[Class(0)]
    assert (a.cost.forward, a.cost.backward) == (2, 4)
    a = influence(NET, "0", Class(0), Point(X), activation)
    assert (a.cost.forward, a.cost.backward) == (2, 0)
    a = influence(NET, "0", Class(0), Gaussian(X, 0.1, 5), gradient)
    assert (a.cost.forward, a.cost.backward) == (10, 10)


def test_progress_hears_every_point() -> None:
    heard: list[int] = []
    influence(NET, "0", Class(0), Gaussian(X, 0.1, 5), chunk=4, progress=heard.append)
    assert heard == [4, 4, 2]


# Tables

needs_pandas = pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is not installed")


@needs_pandas
def test_a_table_has_one_line_for_each_row_and_unit() -> None:
    a = result(torch.arange(6.0).reshape(2, 3), axes=("channel",), stderr=10 * torch.arange(6.0).reshape(2, 3))
    frame = a.to_frame()
    assert list(frame.columns) == ["instance", "channel", "value", "stderr"]
    assert frame.values.tolist() == [[i, c, 3.0 * i + c, 10 * (3.0 * i + c)] for i in range(2) for c in range(3)]


@needs_pandas
def test_a_table_of_classes_has_a_column_for_them() -> None:
    frame = result(torch.zeros(1, 2, 3, 4), of=Classes([5, 6])).to_frame()
    assert list(frame.columns) == ["instance", "class", "unit_0", "unit_1", "value"]
    assert len(frame) == 24


def test_without_pandas_a_table_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r'^to_frame\(\) needs pandas: pip install "influent\[frame\]"\.$'):
        result([[1.0]]).to_frame()


# The net's manners


def test_units_of_declared_axes_are_named_by_them() -> None:
    net = Net(nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(12, 2)).eval(), axes={"0": ("token", "channel")})
    a = influence(net, "0", Class(0), Point(torch.ones(1, 3, 4)))
    assert a.axes == ("token", "channel")
    assert a.by("token").values.shape == (1, 3)
    assert a.net is net


# Groups of units, and of rows


def test_groups_are_sums_over_named_units() -> None:
    a = result([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]], axes=("channel",))
    found = a.groups({"warm": [0, 2], "cold": [1], "none": []})
    assert {name: x.tolist() for name, x in found.items()} == {"warm": [5, 40], "cold": [2, 16], "none": [0, 0]}


def test_lessons_on_groups() -> None:
    with pytest.raises(QuestionError, match=r"^Groups are of units along one axis, and these have \('row', 'column'\)"):
        result(torch.ones(1, 2, 2), axes=("row", "column")).groups({"a": [0]})
    with pytest.raises(QuestionError, match=r"^The group 'a' has the unit 2, and there are 2 units, from 0\.$"):
        result([[1.0, 2.0]], axes=("channel",)).groups({"a": [0, 2]})


def test_means_over_the_rows_of_each_label() -> None:
    gap = Gap(torch.tensor([0.5, 0.1, 0.3]), torch.tensor([4.0, 2.0, 6.0]))
    a = result([[1.0, 2.0], [7.0, 8.0], [5.0, 2.0]], axes=("channel",), gap=gap, residual=torch.tensor([1.0, 2.0, 3.0]))
    by = a.mean(["cat", "dog", "cat"])
    assert (by.instances, by.values.tolist(), by.count.tolist()) == (("cat", "dog"), [[3, 2], [7, 8]], [2, 1])
    assert by.stderr[0].tolist() == [2, 0]  # |5 − 1| / 2, the standard error of two
    assert by.stderr[1].isnan().all()  # one row says nothing of the spread
    assert torch.allclose(by.gap.signed, torch.tensor([0.4, 0.1]))
    assert by.gap.change.tolist() == [5, 2]
    assert by.residual.tolist() == [2, 2]
    assert by["cat"].top(1)[0].value == 3


def test_as_many_labels_as_rows() -> None:
    with pytest.raises(QuestionError, match=r"^There are 1 labels for 2 rows\. Give one for each\.$"):
        result([[1.0], [2.0]]).mean(["cat"])
