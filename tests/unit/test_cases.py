"""T1 to T16: the worked cases with known answers, in double precision.

`EXACT` is for sums of fewer than 4500 products of order 1: each adds at most one rounding error of 2.2e-16, so
together less than 1e-12. Everything wider is derived where it stands.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import influent as inf
from tests import oracles, worlds
from tests.worlds import noise, ones

EXACT = 1e-12
RULES = ("adaptive", "graded", "uniform", "gauss")
SECANT = RULES[:3]
F = inf.Class(0)


def line(x, n, rule, baseline=None, **more):
    return inf.Line(torch.zeros_like(x) if baseline is None else baseline, x, n, rule, **more)


def ask(net, at, over, measure, of=F):
    return inf.influence(net, at, of, over, measure).values[0]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [10, 33, 65])
def test_T1_saturation_hides_from_the_gradient_and_not_from_conductance(rule, n):
    net, x = worlds.capped(), ones(1, 1)
    at_x, path = inf.Point(x), line(x, n, rule)
    inside = line(2 * x, n, rule, cut="h", given=x)
    assert ask(net, "h", at_x, inf.gradient) == 0
    assert ask(net, "h", at_x, inf.gradient_times_activation) == 0
    # Each is 2 · (mean over the path of a step function, truth ½), the internal influence once that mean.
    step = oracles.jump_bound(rule, n) + EXACT
    assert abs(ask(net, "h", path, inf.contribution) - 1) <= 2 * step
    assert abs(ask(net, "INPUT", path, inf.contribution) - 1) <= 2 * step
    assert abs(ask(net, "h", inside, inf.contribution) - 1) <= 2 * step
    assert abs(ask(net, "h", path, inf.gradient) - 0.5) <= step
    assert abs(ask(net, "h", inside, inf.gradient) - 0.5) <= step


def test_T1_is_exact_where_half_of_the_nodes_lie_below_the_kink():
    # An even number of symmetric Gauss nodes: weights below α = ½ sum to ½.
    net, x = worlds.capped(), ones(1, 1)
    for at, over in (("h", line(x, 10, "gauss")), ("INPUT", line(x, 10, "gauss"))):
        assert abs(ask(net, at, over, inf.contribution) - 1) < EXACT
    assert abs(ask(net, "h", line(x, 10, "gauss"), inf.gradient) - 0.5) < EXACT


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("eps", [0.25, 0.01])
def test_T2_below_the_hinge_nothing_flows_and_above_it_only_what_crosses_it(rule, eps):
    net, n = worlds.hinge(), 65
    below, above = ones(1, 1) - eps, ones(1, 1) + eps
    for at in ("h", "INPUT"):
        assert ask(net, at, line(below, n, rule), inf.contribution) == 0
    assert ask(net, "h", inf.Point(below), inf.gradient_times_activation) == 0
    assert ask(net, "h", inf.Point(above), inf.gradient_times_activation) == 1 + eps
    # (1 + ε) · the mean of a step function whose truth is ε / (1 + ε). The adaptive rule finds the kink only if it
    # lies in the segment it refines first, so its bound is that of its residual; both are below the step's bound.
    bound = (1 + eps) * oracles.jump_bound(rule, n) + EXACT
    for at in ("h", "INPUT"):
        assert abs(ask(net, at, line(above, n, rule), inf.contribution) - eps) <= bound


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [2, 3, 10])
def test_T3_influence_has_the_sign_of_g_and_conductance_that_of_f(rule, n):
    net, x = worlds.negated(), ones(1, 1)
    assert abs(ask(net, "h", line(x, n, rule), inf.gradient) - 1) < EXACT
    assert ask(net, "h", inf.Point(x), inf.gradient) == 1
    answer = inf.influence(net, "h", F, line(x, n, rule), inf.contribution)
    assert abs(answer.values.item() + 1) < EXACT
    assert answer.gap.change.item() == -1


@pytest.mark.parametrize(("p", "q"), [(2, 1), (1, 1), (3, 0.5), (0.5, 0.25)])
def test_T4_conductance_and_integrated_gradients_are_a_half_each_for_all_powers(p, q):
    # Along the path ∂g/∂y1 · dy1/dα = (α^{1−p}/p · α) · p α^{p−1} = α: a polynomial of degree 1, which one Gauss node
    # integrates exactly. The powers cancel, but each is α^{±p} with relative error p·|ln α|·eps < 100 eps.
    net, x = worlds.powers(p, q), ones(1, 2)
    for at in ("h", "INPUT"):
        assert (ask(net, at, line(x, 10, "gauss"), inf.contribution) - 0.5).abs().max() < EXACT


@pytest.mark.parametrize(("p", "q"), [(2, 1), (1, 3), (2, 4)])
def test_T4_integrated_gradients_at_the_layer_depend_on_the_powers(p, q):
    net, x, n = worlds.powers(p, q), ones(1, 2), 40
    got = ask(net, "h", line(ones(1, 2), n, "gauss", cut="h", given=x), inf.contribution)
    share = (1 / p) / (1 / p + 1 / q)
    truth = torch.tensor([share, 1 - share], dtype=torch.float64)
    # The integrand is c_j · α^s, s = 1/p + 1/q − 1, singular at 0 where s is no whole number. What Gauss makes of that
    # power is a number of its own: c_j · Σ w_k α_k^s, and the net must give just this,
    s = 1 / p + 1 / q - 1
    nodes, weights = oracles.gauss(n)
    scalar = sum(w * a**s for a, w in zip(nodes, weights, strict=True))
    powers = torch.tensor([1 / p, 1 / q], dtype=torch.float64)
    assert (got - powers * scalar).abs().max() < EXACT
    # and that number is within n^{−2(s+1)} of the truth 1 / (s + 1): the error of Gauss–Legendre at an end-point
    # power (Rabinowitz 1968), with a constant below 1 for −½ ≤ s ≤ 1.
    assert (got - truth).abs().max() < n ** (-2 * (s + 1))


@pytest.mark.parametrize("rule", SECANT)
def test_T4_rules_that_visit_the_singular_end_say_so_and_name_the_rule_that_does_not(rule):
    with pytest.raises(inf.InputError, match='rule="gauss"'):
        ask(worlds.powers(2, 1), "h", line(ones(1, 2), 9, rule), inf.contribution)


def test_T5_conductance_does_not_change_when_a_unit_is_split_and_the_other_two_do():
    net, x = worlds.roots(), ones(1, 2)
    path = line(x, 20, "gauss")
    want = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    # ∂g/∂y · dy/dα = α, α·√α·½/√α twice: degree 1.
    assert (ask(net, "h", path, inf.contribution) - want).abs().max() < EXACT
    inside = line(ones(1, 3), 20, "gauss", cut="h", given=x)
    assert (ask(net, "h", inside, inf.contribution) - 1 / 3).abs().max() < EXACT  # ∂g/∂y = α²
    influence = ask(net, "h", path, inf.gradient)
    assert abs(influence[0] - 0.5) < EXACT  # y2 · y3 = α
    # y1 · y3 = α^{3/2}: Gauss at a power s = 3/2 of an end point, error below n^{−2(s+1)} = n^{−5}.
    assert (influence[1:] - 0.4).abs().max() < 20**-5
    whole, at_layer = worlds.unsplit(), line(x, 20, "gauss", cut="h", given=x)
    for over, measure in ((path, inf.contribution), (at_layer, inf.contribution), (path, inf.gradient)):
        assert (ask(whole, "h", over, measure) - 0.5).abs().max() < EXACT


@pytest.mark.parametrize("rule", SECANT)
def test_T5_by_secants_within_the_error_of_the_trapezoid(rule):
    n = 65
    answer = inf.influence(worlds.roots(), "h", F, line(ones(1, 2), n, rule), inf.contribution)
    assert answer.gap.absolute.item() <= answer.residual.item() + EXACT
    # y1: slope and activation are both α, so the trapezoid is exact; y2, y3: ∫ u³ du with u = √α, where a trapezoid
    # on u_k adds Σ h³/12 · G''(ξ) = Σ ½ h³ ξ ≤ ½ Σ h³ u_{k+1}. Uniform and graded grids are known; the adaptive one
    # bisects, which never enlarges a segment of its first 9 equal ones.
    steps = np.arange(9) / 8 if rule == "adaptive" else np.arange(n) / (n - 1)
    u = np.sqrt(steps**3 if rule == "graded" else steps)
    bound = 0.5 * float((np.diff(u) ** 3 * u[1:]).sum())
    assert abs(answer.values[0, 0] - 0.5) < EXACT
    assert (answer.values[0, 1:] - 0.25).abs().max() <= bound + EXACT


DISTRIBUTIONS = {
    "point": lambda x: inf.Point(x),
    "ball": lambda x: inf.Gaussian(x, std=0.3, n=7, seed=1),
    "mixture": lambda x: 0.2 * inf.Point(x) + 0.8 * inf.Gaussian(x, std=0.3, n=7, seed=1),
    **{rule: lambda x, rule=rule: line(x, 12, rule) for rule in RULES},
}


@pytest.mark.parametrize("over", DISTRIBUTIONS)
def test_T6_the_influence_of_a_linear_net_is_its_weights_over_any_distribution(over):
    a = noise(5, seed=3)
    got = ask(worlds.linear(a), "INPUT", DISTRIBUTIONS[over](noise(1, 5)), inf.gradient)
    assert (got - a).abs().max() < EXACT


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [2, 7, 20])
def test_T6_integrated_gradients_of_a_linear_net_are_weight_times_step(rule, n):
    a, x, start = noise(5, seed=3), noise(1, 5), noise(1, 5, seed=1)
    got = ask(worlds.linear(a), "INPUT", line(x, n, rule, start), inf.contribution)
    assert (got - a * (x - start)[0]).abs().max() < EXACT


@pytest.mark.parametrize("rule", RULES)
def test_T7_conductance_of_an_identity_layer_is_integrated_gradients(rule):
    over = line(noise(1, 3), 17, rule)
    got = inf.influence(worlds.identity_layer(), ["INPUT", "0"], F, over, inf.contribution)
    # A secant of x itself is the path's own speed up to rounding / width; the widths cancel in the sum.
    assert (got["INPUT"].values - got["0"].values).abs().max() < EXACT


@pytest.mark.parametrize("activation", [nn.GELU, nn.Softplus])
@pytest.mark.parametrize("seed", range(8))
def test_T8_ten_gauss_points_are_complete_at_every_cut_of_a_smooth_net(activation, seed):
    # Inputs in (−1, 1) and weights of 1/√inputs: pre-activations of order 1, as the case demands. (The error of Gauss
    # falls with the width of the strip in which F is small; inputs of size 3 leave a gap of up to 6e-12 for GELU.)
    net, x = worlds.smooth_mlp(activation, seed), torch.tanh(noise(3, 4, seed=seed))
    cuts = ["INPUT", "0", "1", "2", "3", "4", "OUTPUT", "0:in", "4:in"]
    answers = inf.influence(net, cuts, inf.Predicted(), line(x, 10, "gauss"), inf.contribution)
    for cut in cuts:
        assert answers[cut].gap.absolute.max() < 1e-12, cut
        assert answers[cut].gap.change.abs().max() > 0.05  # there was something to be complete about


def test_T8_by_the_double_loop_over_neurons():
    net, x = worlds.smooth_mlp(seed=2), noise(1, 4, seed=2)
    for cut in (0, 1, 2, 3):
        want = oracles.conductance_gauss(net[: cut + 1], lambda y, k=cut: net[k + 1 :](y)[0, 0], x, 0 * x, 10)
        got = inf.influence(net, str(cut), F, line(x, 10, "gauss"), inf.contribution).values
        assert (got - want).abs().max() < EXACT


@pytest.mark.parametrize("measure", [inf.gradient, inf.gradient_times_activation, inf.magnitude, inf.activation])
def test_T9_a_mixture_of_points_gives_the_mixture_of_their_influences(measure):
    net, a, b = worlds.smooth_mlp(), noise(2, 4, seed=1), noise(2, 4, seed=2)
    mixed, at_a, at_b = (
        inf.influence(net, "1", F, over, measure).values
        for over in (0.25 * inf.Point(a) + 0.75 * inf.Point(b), inf.Point(a), inf.Point(b))
    )
    assert (mixed - (0.25 * at_a + 0.75 * at_b)).abs().max() < EXACT
    assert (at_a - at_b).abs().max() > 1e-3


@pytest.mark.parametrize("over", DISTRIBUTIONS)
def test_T10_slices_that_differ_in_the_other_units_only_give_the_same_influence_of_this_one(over):
    # h = tanh(Wx), and the same with the units 1 and 2 doubled and swapped and g undoing it: unit 0 is as it was.
    w = noise(3, 4, seed=4)
    swap = torch.tensor([[1.0, 0, 0], [0, 0, 2], [0, 2, 0]], dtype=torch.float64)

    def g(y):
        return (y[:, :1] * y[:, 1:2] + torch.sin(y[:, 2:])) ** 2

    first = worlds.sliced(lambda x: torch.tanh(x @ w.T), g)
    second = worlds.sliced(lambda x: torch.tanh(x @ w.T) @ swap, lambda z: g(z @ torch.linalg.inv(swap)))
    x = noise(1, 4, seed=5)
    chi = [ask(net, "h", DISTRIBUTIONS[over](x), inf.gradient) for net in (first, second)]
    assert abs(chi[0][0] - chi[1][0]) < EXACT
    assert abs(chi[0][1] - chi[1][1]) > 1e-3


def test_T11_a_feature_that_preprocessing_computes_has_the_influence_of_the_inner_unit():
    def f(z):
        return (z[:, :1] ** 2 * torch.sin(z[:, 1:]) + z[:, 1:] ** 3).clone()

    outer = worlds.sliced(lambda z: 1.0 * z, f)
    inner = worlds.sliced(lambda x: torch.cat([x, torch.exp(-x)], 1), f)
    a, b = torch.tensor([[0.3]], dtype=torch.float64), torch.tensor([[1.1]], dtype=torch.float64)

    def on_the_support(x):
        return inf.Point(torch.cat([x, torch.exp(-x)], 1))

    seen = ask(outer, "INPUT", 0.3 * on_the_support(a) + 0.7 * on_the_support(b), inf.gradient)
    inside = ask(inner, "h", 0.3 * inf.Point(a) + 0.7 * inf.Point(b), inf.gradient)
    assert abs(seen[1] - inside[1]) < EXACT
    assert abs(seen[1]) > 1e-3


def test_T12_only_the_derivative_on_the_support_counts():
    def f1(x):
        return (x[:, 0] ** 3 * x[:, 1])[:, None]

    def f2(x):  # the same for x2 < 5, and far from it beyond
        return f1(x) + (x[:, :1] * (x[:, 1:] - 5).relu()) ** 2

    near = line(torch.tensor([[1.0, 2.0]], dtype=torch.float64), 20, "gauss")
    far = line(torch.tensor([[1.0, 8.0]], dtype=torch.float64), 20, "gauss")
    nets = [worlds.sliced(lambda x: 1.0 * x, f) for f in (f1, f2)]
    chi = {
        name: [ask(net, "INPUT", over, inf.gradient) for net in nets] for name, over in (("near", near), ("far", far))
    }
    assert (chi["near"][0] - chi["near"][1]).abs().max() < EXACT
    assert (chi["far"][0] - chi["far"][1]).abs().min() > 0.1


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("measure", [inf.gradient, inf.contribution])
def test_T13_an_ignored_unit_counts_nothing_and_symmetric_units_count_the_same(rule, measure):
    # Unit 2 is ignored; units 0 and 1 are exchangeable in g, and equal along the path.
    net = worlds.sliced(
        lambda x: torch.stack([x.sum(1), x.sum(1), x[:, 0]], 1).tanh(), lambda y: torch.exp(y[:, :1] * y[:, 1:2])
    )
    units = ask(net, "h", line(noise(1, 3, seed=6), 15, rule), measure)
    assert units[2] == 0
    assert abs(units[0] - units[1]) < EXACT
    assert abs(units[0]) > 1e-3


def test_T14_integrated_gradients_of_a_cube():
    for n in (2, 3, 10):  # 3α² is of degree 2, and n nodes are exact to degree 2n − 1
        for at in ("INPUT", "h"):
            assert abs(ask(worlds.cube(), at, line(ones(1, 1), n, "gauss"), inf.contribution) - 1) < EXACT
    # The trapezoid on n equal steps adds h²/12 · (f'(1) − f'(0)) of the integrand's derivative 6α: exactly h²/2.
    for n in (2, 5, 20):
        got = ask(worlds.cube(), "INPUT", line(ones(1, 1), n, "uniform"), inf.contribution)
        assert abs(got - (1 + 0.5 / (n - 1) ** 2)) < EXACT


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("at", ["INPUT", "h"])
def test_T15_the_identity_gives_exactly_one_at_every_number_of_points(rule, at):
    for n in (*range(2, 41), 65):
        over = line(ones(1, 1), n, rule)
        answers = inf.influence(worlds.through(), at, F, over, [inf.gradient, inf.contribution])
        assert answers[inf.gradient].values.item() == 1.0, n
        assert answers[inf.contribution].values.item() == 1.0, n


@pytest.mark.parametrize("rule", RULES)
def test_T15_in_single_precision_only_the_sum_of_n_weights_rounds(rule):
    for n in (2, 7, 10, 33, 65):
        x = torch.ones(1, 1)
        got = inf.influence(worlds.through(), "h", F, line(x, n, rule), inf.gradient).values.item()
        assert abs(got - 1) <= n * torch.finfo(torch.float32).eps, n


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [2, 10, 65])
def test_T16_the_predicted_class_is_the_one_at_the_explained_input(rule, n):
    answer = inf.influence(worlds.crossing(), "INPUT", inf.Predicted(), line(ones(1, 1), n, rule), inf.contribution)
    assert abs(answer.values.item() - 3) < EXACT
    assert answer.gap.change.item() == 3  # 1 − (−2)


@pytest.mark.parametrize("rule", RULES)
def test_T16_taking_the_largest_output_again_at_every_point_gives_about_a_half(rule):
    # The wrong question, asked by hand: max is ½ − ¼x up to the crossing at 10/13 and 3x − 2 beyond, from ½ to 1.
    # Its slope steps from −¼ to 3, so the sum is ½ up to 3¼ · the error of a step function.
    def retaken(y):
        return y.max(1).values

    got = ask(worlds.crossing(), "INPUT", line(ones(1, 1), 65, rule), inf.contribution, of=retaken)
    assert abs(got - 0.5) <= 3.25 * oracles.jump_bound(rule, 65) + EXACT
    if rule == "gauss":
        assert math.isclose(got, 0.52, abs_tol=0.005)


def test_T16_runner_up_and_label_are_fixed_too():
    x = ones(1, 1)
    over = line(x, 10, "uniform", label=[1])
    answers = inf.influence(worlds.crossing(), "INPUT", [inf.RunnerUp(), inf.Label()], over, inf.contribution)
    for answer in answers.values():
        assert abs(answer.values.item() + 0.25) < EXACT


class Steep(nn.Module):
    """x ↦ x / √(x² + 10⁻⁸), a norm of one channel: its slope at 0 is 10⁴."""

    def forward(self, x):
        return x / (x**2 + 1e-8).sqrt()


@pytest.mark.parametrize("chunk", [1, 16, 200])
def test_a_baseline_at_which_the_net_has_no_bound_is_said_of_the_input_that_has_it(chunk):
    # The second path's first segment, of length 1/64, changes F by almost 1; its trapezoid is a little
    # over ½ · 10⁴ / 64 = 78.125: it is off by 77.125 and a little, 7713 % of F(x) − F(x′) = 1.
    x, start = torch.tensor([[2.0], [1.0]]).double(), torch.tensor([[1.0], [0.0]]).double()
    over = inf.Line(start, x, 65, "uniform")
    with pytest.warns(inf.InfluentWarning, match=r"^Input 1: .* miss the change by 7713% of .* has no bound there"):
        answer = inf.influence(Steep().eval(), "INPUT", F, over, inf.contribution, chunk=chunk)
    assert abs(answer.residual[1] - (1e4 / 128 - 1)) < 0.01
    assert answer.residual[0] < 1e-6
