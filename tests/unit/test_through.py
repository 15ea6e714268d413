"""The flow through a set of units: conductance of the set, seen on the input or anywhere before the units."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

import influent as inf
from influent import Class, Line, Point, Predicted, QuestionError, Through, contribution, gradient, influence
from influent.probe import Pass
from influent.shapes import Stored
from tests import oracles, worlds
from tests.laws.laws import ROUNDING, close, snapshot
from tests.worlds import noise

X, START = noise(3, 4, seed=1), noise(1, 4, seed=2)
PICTURES = noise(2, 2, 5, 5, seed=3)


def path(rule="uniform", n=7, x=X, start=START, **more):
    return Line(start, x, n, rule, **more)


def flows(*units, net=None, at="INPUT", cut="1", of=None, over=None, chunk=16):
    """The contribution of each flow, from one sweep."""
    of = Class(0) if of is None else of
    found = influence(
        net or worlds.smooth_mlp(), at, [Through(u, cut, of) for u in units], over or path(), contribution, chunk=chunk
    )
    return [found[Through(u, cut, of)] for u in units]


def smooth_conv(seed=0):
    """Conv 2 → 3, GELU, Conv 3 → 2, GELU, head: every place is a full cut, pre-activations of order 1."""

    def make():
        return nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.GELU(), nn.Conv2d(3, 2, 3), nn.GELU(), nn.Flatten(), nn.Linear(18, 3)
        )

    return worlds.built(make, seed)


# The double loop, with plain autograd and nothing of ours


def looped(below, above, x, start, alphas, weights, units):
    """Σ_k w_k Σ_{j ∈ units} ∂g/∂y_j · ∂y_j/∂x_i · (x − x′)_i of one input, neuron by neuron, point by point."""
    total = torch.zeros_like(x)
    for alpha, weight in zip(alphas, weights, strict=True):
        p = torch.lerp(start, x, alpha).detach().requires_grad_()
        y = below(p)
        leaf = y.detach().clone().requires_grad_()
        slope = torch.autograd.grad(above(leaf), leaf)[0].flatten()
        for j in units:
            row = torch.autograd.grad(y.flatten()[j], p, retain_graph=True)[0]
            total += weight * slope[j] * row * (x - start)
    return total


def trapezoid(n):
    alphas = [k / (n - 1) for k in range(n)]
    return alphas, [(0.5 if k in (0, n - 1) else 1.0) / (n - 1) for k in range(n)]


def graded(n):
    alphas = [(k / (n - 1)) ** 3 for k in range(n)]
    widths = [b - a for a, b in pairwise(alphas)]
    return alphas, [(a + b) / 2 for a, b in zip([0.0, *widths], [*widths, 0.0], strict=True)]


POINTS = {"uniform": trapezoid(7), "graded": graded(7), "adaptive": trapezoid(7), "gauss": oracles.gauss(7)}


@pytest.mark.parametrize("rule", POINTS)
@pytest.mark.parametrize("make", [worlds.smooth_mlp, worlds.relu_mlp])
def test_it_is_the_double_loop_over_units_and_points(rule, make):
    net = make()
    [got] = flows([1, 4], net=net, cut="2", over=path(rule))
    for i in range(len(X)):
        want = looped(net[:3], lambda y: net[3:](y)[0, 0], X[i : i + 1], START, *POINTS[rule], units=[1, 4])
        close(got.values[i : i + 1], want)


@pytest.mark.parametrize("rule", ["uniform", "gauss"])
def test_a_filter_on_pixels_is_the_double_loop_over_its_neurons(rule):
    net = smooth_conv()
    [got] = flows(1, net=net, cut="0", over=path(rule, x=PICTURES, start=0 * PICTURES[:1]))
    for i in range(len(PICTURES)):
        x = PICTURES[i : i + 1]
        want = looped(net[:1], lambda y: net[1:](y)[0, 0], x, 0 * x, *POINTS[rule], units=range(25, 50))
        close(got.values[i : i + 1], want)


def test_at_a_point_it_is_the_slopes_times_the_rows_of_the_jacobian():
    net = worlds.smooth_mlp()
    got = influence(net, "INPUT", Through([1, 4], "2", Class(0)), Point(X)).values
    for i in range(len(X)):
        want = looped(net[:3], lambda y: net[3:](y)[0, 0], X[i : i + 1], X[i : i + 1] - 1, [1.0], [1.0], units=[1, 4])
        close(got[i : i + 1], want)


# T17


@pytest.mark.parametrize("rule", POINTS)
def test_a_filter_is_the_sum_over_its_neurons(rule):
    over = path(rule, x=PICTURES, start=0 * PICTURES[:1])
    neurons = [(1, row, column) for row in range(3) for column in range(3)]
    whole, every, *each = flows(1, neurons, *([n] for n in neurons), net=smooth_conv(), cut="2", over=over)
    close(whole.values, sum(a.values for a in each))
    close(whole.values, every.values)
    assert float(whole.values.abs().max()) > 1e-3


def test_by_exact_velocity_the_pixels_sum_to_the_filter_s_total_conductance():
    """Σ_i ∂y_j/∂x_i (x − x′)_i is the forward-mode velocity of y_j itself, at every point: the same number twice."""
    net, over = smooth_conv(), path("gauss", n=10, x=PICTURES, start=0 * PICTURES[:1])
    total = influence(net, "2/channel", Class(0), over, contribution).values
    for channel in (0, 1):
        [got] = flows(channel, net=net, cut="2", over=over)
        assert float((got.values.flatten(1).sum(1) - total[:, channel]).abs().max()) < 1e-12
        assert got.gap is None and got.residual is None
        assert got.note.startswith("an exact velocity")


@pytest.mark.parametrize("rule", ["uniform", "graded", "adaptive"])
@pytest.mark.parametrize("n", [2, 5, 17])
def test_by_secants_the_pixels_sum_to_the_total_conductance_within_the_residual(rule, n):
    net, over = worlds.relu_mlp(), path(rule, n)
    for units in ([1], [0, 3], None):
        [got] = flows(units, net=net, cut="2", over=over)
        total = got.values.sum(1)
        close(total - got.gap.change, got.gap.signed)
        assert float((got.gap.absolute - got.residual).max()) <= ROUNDING
    # With equal points, the change is the trapezoid form of the set's conductance.
    if rule != "adaptive":
        [got] = flows([0, 3], net=net, cut="2", over=over)
        for i in range(len(X)):
            alphas = trapezoid(n)[0] if rule == "uniform" else graded(n)[0]
            every = oracles.conductance_secant(net[:3], lambda y: net[3:](y)[0, 0], X[i : i + 1], START, alphas)
            close(got.gap.change[i], every[0, [0, 3]].sum())


@pytest.mark.parametrize("rule", POINTS)
def test_through_all_units_of_a_full_cut_it_is_integrated_gradients(rule):
    whole, mask = flows(None, torch.ones(8), cut="1", over=path(rule))
    plain = influence(worlds.smooth_mlp(), "INPUT", Class(0), path(rule), contribution)
    # An adaptive path of n = 7 starts from its 7 points and halves none.
    close(whole.values, plain.values)
    close(mask.values, plain.values)


# A wrong implementation


def product_of_sums(net, x, start, units, n):
    """Σ_k w_k (Σ_j ∂F/∂y_j) · (Σ_j ∂y_j/∂x_i) (x − x′)_i: the wrong formula."""
    total = torch.zeros_like(x)
    for alpha, weight in zip(*trapezoid(n), strict=True):
        p = torch.lerp(start, x, alpha)
        y = net[:3](p).detach()
        slope = oracles.gradient(lambda y: net[3:](y)[0, 0], y)[0, units].sum()
        total += weight * slope * oracles.gradient(lambda p: net[:3](p)[0, units].sum(), p) * (x - start)
    return total


def test_a_product_of_sums_is_another_number():
    net, x = worlds.smooth_mlp(), X[:1]
    wrong = product_of_sums(net, x, START, [1, 4], 7)
    [right] = flows([1, 4], net=net, cut="2", over=path(x=x))
    with pytest.raises(AssertionError):
        close(right.values, wrong)
    [single] = flows([4], net=net, cut="2", over=path(x=x))
    close(single.values, product_of_sums(net, x, START, [4], 7))  # of one unit the two are the same


# Closed forms, T1 to T5: on one input, the flow through the layer is its total conductance


@pytest.mark.parametrize(
    ("net", "end", "want", "jump"),
    [
        (worlds.capped(), 1.0, 1.0, 2.0),  # T1
        (worlds.hinge(), 1 - 0.25, 0.0, 0.0),  # T2
        (worlds.hinge(), 1 + 0.25, 0.25, 1.25),
        (worlds.negated(), 1.0, -1.0, 0.0),  # T3
    ],
)
def test_t1_to_t3(net, end, want, jump):
    """∂F/∂y · dy/dα is 0 or `jump` along the path, or constant: the rule misses by no more than a jump can make it."""
    x = end * worlds.ones(1, 1)
    for rule in ("uniform", "graded", "gauss"):
        [got] = flows([0], net=net, cut="h", over=path(rule, 65, x, 0 * x))
        assert abs(float(got.values) - want) <= jump * oracles.jump_bound(rule, 65) + ROUNDING


@pytest.mark.parametrize(("p", "q"), [(2, 1), (1, 3), (2, 3)])
def test_t4(p, q):
    """The flow through y_1 = x_1^p is the integrated gradient of x_1 alone: α, whatever p. Gauss nodes are exact."""
    x = worlds.ones(1, 2)
    first, second = flows([0], [1], net=worlds.powers(p, q), cut="h", over=path("gauss", 4, x, 0 * x))
    close(first.values, torch.tensor([[0.5, 0.0]], dtype=torch.float64))
    close(second.values, torch.tensor([[0.0, 0.5]], dtype=torch.float64))


def test_t5():
    """∂F/∂y_2 · ∂y_2/∂x_2 = x_1 √x_2 / (2 √x_2) = α/2: a quarter through each root, ½ through both."""
    x = worlds.ones(1, 2)
    one, other, both = flows([0], [1], [1, 2], net=worlds.roots(), cut="h", over=path("gauss", 4, x, 0 * x))
    close(one.values, torch.tensor([[0.5, 0.0]], dtype=torch.float64))
    close(other.values, torch.tensor([[0.0, 0.25]], dtype=torch.float64))
    close(both.values, torch.tensor([[0.0, 0.5]], dtype=torch.float64))


# Laws


@pytest.mark.parametrize("over", [path("uniform"), path("adaptive", 21), path("gauss"), Point(X)], ids=str)
def test_chunk_and_batch_do_not_matter(over):
    net, of = worlds.smooth_mlp(), Through([0, 3], "2", Predicted())
    measure = gradient if isinstance(over, Point) else contribution
    answers = [influence(net, "INPUT", of, over, measure, chunk=chunk) for chunk in (1, 3, 16)]
    for other in answers[1:]:
        close(answers[0].values, other.values, 1e-12)
        if answers[0].gap is not None:
            close(answers[0].gap.signed, other.gap.signed, 1e-12)
            close(answers[0].residual, other.residual, 1e-12)
    for i in range(len(X)):
        single = Point(X[i : i + 1]) if isinstance(over, Point) else path(over.rule, over.n, X[i : i + 1])
        close(answers[0].values[i : i + 1], influence(net, "INPUT", of, single, measure).values, 1e-12)


@pytest.mark.parametrize("tol", [0.3, 0.01])
def test_a_tolerance_is_kept_or_all_points_are_spent(tol):
    over = path("adaptive", 65, X[:1], tol=tol)
    [got] = flows([0, 3], net=worlds.relu_mlp(), cut="2", over=over)
    spent = got.cost.forward - 1  # one pass finds out what is a full cut
    assert spent == 65 or float(got.residual) <= tol * float(got.gap.change.abs()) * (1 + ROUNDING)
    assert spent >= 9


def test_a_mixture_is_the_weighted_mean_of_its_parts():
    parts = path("uniform", 5), path("graded", 6)
    [got] = flows([1, 2], cut="2", over=0.25 * parts[0] + 0.75 * parts[1])
    one, other = (flows([1, 2], cut="2", over=part)[0] for part in parts)
    close(got.values, 0.25 * one.values + 0.75 * other.values)
    close(got.gap.change, 0.25 * one.gap.change + 0.75 * other.gap.change)
    assert float((got.gap.absolute - got.residual).max()) <= ROUNDING


def test_where_one_part_of_a_mixture_is_exact_there_is_no_gap():
    [got] = flows([1, 2], cut="2", over=0.5 * path("uniform") + 0.5 * path("gauss"))
    assert got.gap is None and got.note.startswith("an exact velocity")


@pytest.mark.parametrize("rule", POINTS)
def test_flows_and_values_add_up_in_combinations(rule):
    net = worlds.smooth_mlp()
    a, b = Through([0], "1", Class(0)), Through([2], "3", Class(1))
    combined = [a - b, a + 0.5 * Class(2), -2.0 * a, a + a]
    found = influence(net, "INPUT", [*combined, a, b, Class(2)], path(rule), contribution)
    va, vb, vc = (found[q].values for q in (a, b, Class(2)))
    for q, want in zip(combined, (va - vb, va + 0.5 * vc, -2 * va, 2 * va), strict=True):
        close(found[q].values, want)
        if rule != "gauss":
            assert float((found[q].gap.absolute - found[q].residual).max()) <= ROUNDING
    if rule != "gauss":
        change = found[a].gap.change + 0.5 * found[Class(2)].gap.change
        close(found[a + 0.5 * Class(2)].gap.change, change)
    if rule in ("uniform", "graded"):  # whose points do not depend on what else is asked
        close(found[a].gap.change, influence(net, "INPUT", a, path(rule), contribution).gap.change)


def test_the_predicted_class_inside_is_fixed_at_the_subject():
    """T16 through its layer: 3 for the class predicted at x = 1; taken again at each point, about ½."""
    x = worlds.ones(1, 1)
    [got] = flows([0], net=worlds.crossing(), cut="h", of=Predicted(), over=path("uniform", 65, x, 0 * x))
    close(got.values, 3 * x)


def test_label_and_runner_up_are_fixed_inside_too():
    over = Line(START, X, 5, "uniform", label=[2, 0, 1])
    net = worlds.smooth_mlp()
    for of, classes in ((inf.Label(), [2, 0, 1]), (inf.RunnerUp(), net(X).topk(2).indices[:, 1].tolist())):
        got = influence(net, "INPUT", Through([1], "2", of), over, contribution).values
        for i, c in enumerate(classes):
            close(got[i : i + 1], flows([1], cut="2", of=Class(c), over=path("uniform", 5, X[i : i + 1]))[0].values)


def test_flows_of_one_behaviour_share_its_slope():
    """One backward pass a point for each quantity, and one for the slopes of each behaviour at each place."""
    n, points = 7, 7 * len(X)

    def cost(*of):
        return influence(worlds.smooth_mlp(), "INPUT", list(of), path(n=n), contribution)[of[0]].cost

    same = [Through([k], "1", Class(0)) for k in range(3)]
    # And one for each slope at the look whether the cut is full.
    assert cost(*same).backward == points * (3 + 1) + 1
    assert cost(*same, Through([0], "1", Class(1))).backward == points * (4 + 2) + 2
    assert cost(*same, Through([0], "3", Class(0))).backward == points * (4 + 2) + 2
    assert cost(same[0], Class(0)).backward == points * (2 + 1) + 1
    assert cost(same[0] - same[1]).backward == points * (1 + 1) + 1
    assert cost(*same).forward == cost(same[0]).forward == points + 1


def test_the_slope_is_taken_once_a_pass(monkeypatch):
    taken, slope = [], Pass.slope
    monkeypatch.setattr(Pass, "slope", lambda *words: taken.append(words) or slope(*words))
    flows([0], [1], [2], over=path(n=7), chunk=len(X) * 7)
    assert len(taken) == 2  # one pass, and the one that finds out what is a full cut


# Where it may be asked


@pytest.mark.parametrize("rule", POINTS)
def test_at_the_units_own_place_it_is_the_conductance_of_these_units(rule):
    net, over = worlds.smooth_mlp(), path(rule)
    [got] = flows([0, 3], net=net, at="3", cut="3", over=over)
    total = influence(net, "3", Class(0), over, contribution).values
    close(got.values[:, [0, 3]], total[:, [0, 3]])
    assert float(got.values[:, [1, 2, 4, 5, 6, 7]].abs().max()) == 0.0
    if rule != "gauss":  # the change is the same sum
        assert float(got.gap.absolute.max()) <= ROUNDING


@pytest.mark.parametrize("rule", ["uniform", "gauss"])
def test_at_a_layer_before_the_units(rule):
    net, over = worlds.smooth_mlp(), path(rule)
    found = influence(net, ["0", "INPUT"], Through([0, 3], "3", Class(0)), over, contribution)
    for i in range(len(X)):
        total = torch.zeros(1, 8, dtype=torch.float64)
        points, weights = POINTS[rule]
        ys = [net[:1](torch.lerp(START, X[i : i + 1], a)).detach() for a in points]
        for y, weight in zip(ys, weights, strict=True):
            row = looped(net[1:4], lambda y: net[4:](y)[0, 0], y, y - 1, [1.0], [1.0], [0, 3])
            # Layer "0" is linear, so every secant of it, and its velocity, is W (x − x′).
            total += weight * row * ((X[i] - START) @ net[0].weight.T).detach()
        close(found["0"].values[i : i + 1], total)
    if rule == "gauss":
        close(found["0"].values.sum(1), found["INPUT"].values.sum(1))


def test_on_a_path_inside_the_net():
    net = worlds.smooth_mlp()
    y = inf.activations(net, "0", X)
    over = Line(0 * y, y, 7, "uniform", cut="0", given=X)
    got = influence(net, "0", Through([1], "2", Class(0)), over, contribution).values
    want = torch.cat(
        [looped(net[1:3], lambda y: net[3:](y)[0, 0], row[None], 0 * row[None], *trapezoid(7), units=[1]) for row in y]
    )
    close(got, want)


# Units


def test_units_may_be_said_in_several_ways():
    over = path(x=PICTURES, start=0 * PICTURES[:1])
    mask = torch.zeros(2, 3, 3)
    mask[1] = 1
    every = [(1, row, column) for row in range(3) for column in range(3)]
    ways = [1, [1], (1,), -1, [1, 1], every, mask, mask.bool(), mask.double()]
    first, *rest = (flows(units, net=smooth_conv(), cut="2", over=over)[0].values for units in ways)
    for other in rest:
        close(first, other)
    both, none = flows([0, 1], None, net=smooth_conv(), cut="2", over=over)
    close(both.values, none.values)


def test_channels_are_where_the_axes_say():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.last = worlds.Formula(lambda x: torch.tanh(x)), worlds.Formula(lambda y: y.prod(1))

        def forward(self, x):
            return self.last(self.mix(x))

    x = noise(1, 2, 3, seed=5)
    net = inf.Net(Tokens().eval(), axes={"mix": ("token", "channel")})
    mask = torch.zeros(2, 3)
    mask[:, 2] = 1
    over = path(x=x, start=0 * x)
    by_channel, by_mask = flows(2, mask, net=net, cut="mix", over=over)
    close(by_channel.values, by_mask.values)
    q = Through(2, "mix", Class(0), axis=2)
    close(influence(net.module, "INPUT", q, over, contribution).values, by_mask.values)


# Text


@pytest.mark.parametrize(
    "q",
    [
        Through(52, "inception_3a"),
        Through([52, 76], "inception_3a", Class(817)),
        Through([(52, 7, 7)], "inception_3a", Class("cup") - 0.5 * Class(3)),
        Through(None, "lstm#2", Predicted()),
        Through(3, "block", inf.Unit(2, "later"), axis=2),
        Through([1], "a") - 0.5 * Through([2], "b", Class(1)) + Class(4),
    ],
    ids=repr,
)
def test_its_text_is_read_back(q):
    assert inf.parse(repr(q)) == q
    assert hash(inf.parse(repr(q))) == hash(q)


def test_masks_compare_by_their_entries():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert Through(a, "1") == Through(a.clone(), "1") != Through(b, "1")
    assert repr(Through(a, "1")) == f"Through({Stored.of(a)!r}, cut='1')"


def test_it_is_described_in_words():
    net = inf.Net(worlds.smooth_mlp(), labels=["cat", "dog", "cup"])
    assert Through([1, 2], "1", Class(2)).describe(net) == "cup through 1, 2 of 1"
    assert Through(None, "1", Class(2)).describe(net) == "cup through all units of 1"
    assert Through(torch.ones(8), "1", Class(2)).describe(net) == "cup through masked units of 1"
    assert Through(list(range(8)), "1", Class(2)).describe(net) == "cup through 0, 1, 2, 3, 4, 5, … of 1"


# Lessons


def asked(q, at="INPUT", net=None):
    return influence(net or worlds.smooth_mlp(), at, q, path(), contribution)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: asked(Through(8, "1", Class(0))), r"unit 8 is out of range: 1 has neurons of shape \[8\]"),
        (
            lambda: asked(Through([(0, 1)], "1", Class(0))),
            r"the neuron \(0, 1\) has 2 numbers, and 1 has neurons of shape \[8\]",
        ),
        (lambda: asked(Through(torch.ones(7), "1", Class(0))), r"the mask is float32 \[7\], and 1 has neurons"),
        (lambda: asked(Through([1], "OUTPUT", inf.Unit(0, "1"))), r"does not depend on OUTPUT, or that is not between"),
        (lambda: asked(Through([1], "1", Class(0)), at="3"), r"does not depend on 1, or that is not between the cut"),
        (lambda: asked(Through([1], "1", Class(0)), at=["0", "3"]), r"does not depend on '3'"),
        (lambda: Through([1], "1", Through([1], "0")), r"^Through takes a behaviour, not another flow"),
        (lambda: Through([1], "1", Class(0) + Through([1], "0")), r"^Through takes a behaviour, not another flow"),
        (lambda: Through([], "1"), r"Through\(\(\), \.\.\.\): units are channels"),
        (lambda: Through("a", "1"), r"Through\('a', \.\.\.\): units are channels"),
        (lambda: Through(1.0, "1"), r"Through\(1\.0, \.\.\.\): units are channels"),
        (lambda: Through(True, "1"), r"Through\(True, \.\.\.\): units are channels"),
        (lambda: Through([()], "1"), r"units are channels"),
        (lambda: Through([1], "1", 3), r"^3 is no quantity"),
        (lambda: Through([1], "1").value(X, None), r"^The flow through units has no value at a point"),
        (lambda: asked(Through([1], "9", Class(0))), r"^This net has no module '9'"),
    ],
)
def test_lessons(ask, says):
    with pytest.raises(QuestionError, match=says):
        ask()


def test_an_unknown_channel_axis_is_asked_for():
    net, x = worlds.sliced(lambda x: torch.tanh(x), lambda y: y.flatten(1)), noise(1, 2, 3)
    with pytest.raises(QuestionError, match=r"which axis of float64 \[1, 2, 3\] counts channels is not known\. Say it"):
        influence(net, "INPUT", Through(1, "h", Class(0)), Point(x))
    assert influence(net, "INPUT", Through([(1, 2)], "h", Class(5)), Point(x)).values.count_nonzero() == 1


def test_the_activation_needs_no_slopes():
    a = influence(worlds.smooth_mlp(), "1", Through([1], "3", Class(0)), Point(X), inf.activation)
    close(a.values, inf.activations(worlds.smooth_mlp(), "1", X))
    assert a.cost.backward == 0


def test_the_net_is_left_alone():
    net = worlds.smooth_mlp()
    before = snapshot(net)
    asked(Through([1], "1", Class(0)), net=net)
    after = snapshot(net)
    assert {k for k in before if before[k] != after[k]} == set()


def test_the_residual_bounds_the_error_of_the_flow_itself():
    # Below a linear layer the flow on the input repeats the flow's own trapezoid, error for error: the gap is 0.
    net, x = worlds.capped(), torch.ones(1, 1, dtype=torch.float64)
    for n in (9, 65):
        a = inf.influence(net, "INPUT", inf.Through([0], "h", Class(0)), inf.Line(0 * x, x, n), inf.contribution)
        error = abs(float(a.values.sum()) - 1.0)
        assert error <= float(a.residual) + 1e-12
    assert error < 0.001  # the adaptive rule looks where the slopes change


def test_a_question_with_a_mask_can_be_stored_and_read_back(tmp_path):
    net, x = worlds.relu_mlp(), noise(1, 4)
    y = inf.activations(net, "0", x)
    a = inf.influence(
        net, "INPUT", inf.Through((y[0] > 0).double(), "0", Class(0)), inf.Line(0 * x, x, 5), inf.contribution
    )
    again = inf.load(inf.save(a, tmp_path / "flow"))
    assert again.question == a.question
    with pytest.raises(inf.QuestionError, match=r"knows its mask by checksum alone\. Give the mask again"):
        inf.influence(net, "INPUT", again.question.of, inf.Line(0 * x, x, 5), inf.contribution)


def test_an_axis_that_is_none_is_refused():
    net, x = worlds.relu_conv(), noise(1, 2, 5, 5)
    for axis in (0, 4, 9, -4):
        with pytest.raises(inf.QuestionError, match=rf"axis={axis} is none of float64 \[\d+, \d+, \d+, \d+\]"):
            inf.influence(
                net, "INPUT", inf.Through([1], "conv1", Class(0), axis=axis), inf.Line(0 * x, x, 3), inf.contribution
            )


def test_channels_of_the_input_are_known():
    net, x = worlds.relu_conv(), noise(1, 2, 5, 5)
    line = inf.Line(0 * x, x, 5, "uniform")
    one = inf.influence(net, "INPUT", inf.Through(1, "INPUT", Class(0)), line, inf.contribution).values
    whole = inf.influence(net, "INPUT", Class(0), line, inf.contribution).values
    assert torch.allclose(one[:, 1], whole[:, 1], atol=1e-12) and not one[:, 0].any()


GOOGLENET = Path(os.environ.get("INFLUENT_DATA", "")) / "googlenet-bvlc" / "googlenet_bvlc.safetensors"


@pytest.mark.skipif(not GOOGLENET.is_file(), reason="INFLUENT_DATA names no folder with GoogLeNet's weights")
def test_a_filter_of_googlenet_is_the_sum_of_its_neurons() -> None:
    # T17 at low resolution: 64 × 64 pixels, 8 × 8 neurons of filter 52 of inception_3a, in double precision.
    module = inf.zoo.load("googlenet").module.double()
    x = noise(1, 3, 64, 64) * 60
    line = Line(0 * x, x, 5, "uniform")
    whole, of = Through(52, "inception_3a", Class(967)), Class(967)
    neurons = [Through([(52, i, j)], "inception_3a", of) for i in range(8) for j in range(8)]
    found = influence(module, "INPUT", [whole, *neurons], line, contribution)
    total = sum(found[neuron].values for neuron in neurons)
    assert float(found[whole].values.abs().max()) > 0
    assert float((found[whole].values - total).abs().max()) <= 1e-12 * float(total.abs().max())
    flow = influence(module, "inception_3a/channel", of, line, contribution).values[0, 52]
    assert float(found[whole].gap.change) == pytest.approx(float(flow), rel=1e-9)
    assert float(found[whole].gap.absolute) <= float(found[whole].residual)
