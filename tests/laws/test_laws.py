"""The laws that every answer keeps, over random nets, cuts, rules and numbers of points."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import influent as inf
from tests import oracles, worlds
from tests.laws import laws
from tests.laws.laws import ROUNDING, close
from tests.worlds import noise

RULES = ("adaptive", "graded", "uniform", "gauss")
SECANT = RULES[:3]
seeds = st.integers(0, 1000)
rules, secants = st.sampled_from(RULES), st.sampled_from(SECANT)
points = st.integers(2, 40)
MEASURES = (inf.gradient, inf.contribution, inf.gradient_times_activation, inf.activation, inf.magnitude, inf.square)
measures = st.sampled_from(MEASURES)


def ask(*words, **how):
    return inf.influence(*words, **how)


def path(x, n=12, rule="uniform", **more):
    return inf.Line(0 * x, x, n, rule, **more)


# --- completeness ---------------------------------------------------------------------------------------------------


@given(seeds, secants, points, st.sampled_from(["INPUT", "0", "1", "2", "3", "4", "2:in", "OUTPUT"]))
def test_completeness_is_bounded_by_the_residual_in_a_relu_net(seed, rule, n, at):
    x = noise(2, 4, seed=seed)
    over = inf.Line(noise(1, 4, seed=seed + 1), x, n, rule)
    laws.law_completeness(ask, worlds.relu_mlp(seed % 7), at, inf.Predicted(), over)


@given(
    seeds, secants, points, st.sampled_from(["INPUT", "conv1", "conv1/channel", "relu1", "relu2", "head:in", "head"])
)
def test_completeness_is_bounded_by_the_residual_in_a_residual_conv_net(seed, rule, n, at):
    x = noise(2, 2, 5, 5, seed=seed)
    of = inf.Class(0) - 0.5 * inf.Class(2)
    laws.law_completeness(ask, worlds.relu_conv(seed=seed % 5), at, of, path(x, n, rule))


@given(seeds, secants, points)
def test_completeness_along_a_path_inside_the_net(seed, rule, n):
    net, x = worlds.relu_mlp(seed % 7), noise(3, 4, seed=seed)
    y = inf.activations(net, "1", x)
    for at in ("1", "2", "3"):
        over = inf.Line(noise(1, 10, seed=seed), y, n, rule, cut="1", given=x)
        laws.law_completeness(ask, net, at, inf.Predicted(), over)


@given(seeds, st.sampled_from(["branch", "branch:in"]))
def test_inside_a_residual_branch_there_is_no_gap_to_speak_of(seed, at):
    x = noise(1, 2, 5, 5, seed=seed)
    a = ask(worlds.relu_conv(), at, inf.Class(0), path(x), inf.contribution)
    if at == "branch":
        assert a.gap is None and a.residual is None and a.note == "not a full cut"
    else:  # the input of the branch is y itself, which the shortcut takes too, but not through this call
        assert a.gap is None or float(a.gap.absolute.max()) <= float(a.residual.max()) + ROUNDING


@pytest.mark.parametrize("rule", SECANT)
def test_a_residual_is_claimed_only_where_units_must_add_up(rule):
    # Σ|ΔF − Σ units| is an error only where Σ units should be ΔF: with the branch alone it never is.
    net, x = worlds.relu_conv(), noise(2, 2, 5, 5)
    answers = ask(net, "branch", inf.Class(0), path(x, 6, rule), list(MEASURES))
    assert {measure.__name__: a.residual for measure, a in answers.items()} == {m.__name__: None for m in MEASURES}


@pytest.mark.parametrize("rule", RULES)
def test_a_path_of_no_length_gives_nothing_and_no_error(rule):
    net, x = worlds.relu_mlp(), noise(2, 4)
    over = inf.Line(x, x, 20, rule)
    for at in ("INPUT", "1"):
        a = ask(net, at, inf.Class(0), over, inf.contribution)
        assert float(a.values.abs().max()) <= ROUNDING
        assert float(a.gap.absolute.max()) <= ROUNDING


@given(seeds, points)
def test_the_two_sides_of_a_fork_add_up_to_a_full_cut(seed, n):
    net, x = worlds.built(worlds.Forked, seed % 5), noise(2, 3, seed=seed)
    answers = ask(net, ["block[0]", "block[1]", "last:in"], inf.Class(1), path(x, 24, "gauss"), inf.contribution)
    a, b, product = (answers[k] for k in ("block[0]", "block[1]", "last:in"))
    assert a.note == b.note == "not a full cut"
    # d(a·b) = b·da + a·db, unit by unit.
    close(a.values + b.values, product.values)


@given(seeds, st.integers(2, 12))
def test_the_gap_vanishes_with_the_square_of_the_step_in_a_smooth_net(seed, n):
    # A trapezoid on equal steps h has the error c·h² + O(h⁴): dividing h by 2 divides the gap by 4, and 8 to 16 steps
    # are enough for 3 to 5 when c is not small; where c is small both gaps are.
    net, x = worlds.smooth_mlp(seed=seed % 5), torch.tanh(noise(1, 4, seed=seed))
    gaps = [
        abs(float(ask(net, "1", inf.Class(0), path(x, m + 1, "uniform"), inf.contribution).gap.signed))
        for m in (32, 64)
    ]
    assert gaps[1] <= gaps[0] / 3 or gaps[0] < 1e-6


# --- linearity ------------------------------------------------------------------------------------------------------


@given(seeds, rules, st.sampled_from(["INPUT", "conv1", "branch", "relu2"]), st.floats(-3, 3), st.floats(-3, 3))
def test_linear_in_of(seed, rule, at, s, t):
    # The adaptive rule asks each question at points of its own, so there the sums agree only as integrals.
    rule = "graded" if rule == "adaptive" else rule
    net, x = worlds.relu_conv(seed=seed % 5), noise(2, 2, 5, 5, seed=seed)
    for measure in (inf.gradient, inf.contribution, inf.gradient_times_activation):
        a, b, both = (
            ask(net, at, of, path(x, 7, rule), measure).values
            for of in (inf.Class(0), inf.Predicted(), s * inf.Class(0) + t * inf.Predicted())
        )
        close(both, s * a + t * b)


@given(seeds)
def test_linear_in_of_across_places(seed):
    net, x = worlds.relu_mlp(seed % 7), noise(2, 4, seed=seed)
    inside = inf.Unit(2, "2")
    a, b, both = (
        ask(net, "0", of, path(x, 9, "graded"), inf.contribution).values
        for of in (inf.Class(1), inside, inf.Class(1) - 2.0 * inside)
    )
    close(both, a - 2 * b)


@given(seeds, measures, rules)
def test_linear_in_over(seed, measure, rule):
    net, x, z = worlds.relu_mlp(seed % 7), noise(2, 4, seed=seed), noise(2, 4, seed=seed + 1)
    p, q = path(x, 9, rule), path(z, 5, "uniform")
    mixed, at_p, at_q = (ask(net, "0", inf.Class(0), over, measure) for over in (0.3 * p + 0.7 * q, p, q))
    close(mixed.values, 0.3 * at_p.values + 0.7 * at_q.values)
    if mixed.gap is not None:
        close(mixed.gap.signed, 0.3 * at_p.gap.signed + 0.7 * at_q.gap.signed)
        close(mixed.gap.change, 0.3 * at_p.gap.change + 0.7 * at_q.gap.change)


def test_mixture_weights_are_divided_by_their_sum():
    laws.law_mixture_weights_are_divided_by_their_sum(ask)


@given(seeds, rules, points)
def test_weights_sum_to_one(seed, rule, n):
    laws.law_weights_sum_to_one(ask, rule, n, seed)


def test_the_ends_weigh_one_half():
    laws.law_ends_weigh_one_half(ask)


def test_the_reversed_path_negates():
    laws.law_reversed_path_negates(ask)


def test_the_predicted_class_is_fixed():
    laws.law_predicted_is_fixed(ask)


# --- execution does not matter --------------------------------------------------------------------------------------

OVERS = {
    "point": inf.Point,
    "ball": lambda x: inf.Gaussian(x, std=0.2, n=11, seed=3),
    "mixture": lambda x: 0.3 * inf.Gaussian(x, std=0.2, n=5) + 0.5 * path(x, 7, "graded") + 0.2 * inf.Point(x),
    **{rule: lambda x, rule=rule: path(x, 13, rule) for rule in RULES},
    "adaptive, long": lambda x: path(x, 40, "adaptive"),
    "adaptive, with a tolerance": lambda x: path(x, 60, "adaptive", tol=3e-2),
}


@pytest.mark.parametrize("over", OVERS)
@pytest.mark.parametrize("seed", range(3))
def test_chunk_does_not_matter(over, seed):
    laws.law_chunk_does_not_matter(ask, OVERS[over], seed=seed)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("at", ["INPUT", "0", "3"])
def test_chunk_does_not_matter_to_contributions(rule, at):
    laws.law_chunk_does_not_matter(ask, OVERS[rule], inf.contribution, at)
    laws.law_chunk_does_not_matter(ask, lambda x: path(x, 40, rule), inf.contribution, at, seed=1)


@pytest.mark.parametrize("of", [inf.Predicted(), inf.RunnerUp(), inf.Class(1)])
@pytest.mark.parametrize("over", OVERS)
def test_a_batch_equals_its_singles_in_any_order(over, of):
    laws.law_batch_equals_singles(ask, OVERS[over], of)


def test_labels_travel_with_their_inputs():
    net, x, label = worlds.relu_mlp(), noise(4, 4), [2, 0, 1, 1]
    together = ask(net, "1", inf.Label(), inf.Point(x, label=label), inf.gradient, chunk=3).values
    for i, k in enumerate(label):
        close(together[i : i + 1], ask(net, "1", inf.Class(k), inf.Point(x[i : i + 1]), inf.gradient).values)


@given(seeds, rules)
def test_other_inputs_travel_with_their_points(seed, rule):
    net, x = worlds.built(worlds.Keywords), noise(3, 3, seed=seed)
    scale = noise(3, seed=seed + 1)
    over = inf.Line(0 * x, x, 6, rule, cut="INPUT[x]", given={"scale": scale})
    together = ask(net, "INPUT[x]", inf.Class(0), over, inf.contribution, chunk=4)
    for i in range(3):
        alone = inf.Line(0 * x[:1], x[i : i + 1], 6, rule, cut="INPUT[x]", given={"scale": scale[i : i + 1]})
        close(together.values[i : i + 1], ask(net, "INPUT[x]", inf.Class(0), alone, inf.contribution).values)
    plain = ask(
        worlds.built(worlds.Keywords).a, "INPUT", lambda y: torch.tanh(y)[:, 0], path(x, 6, rule), inf.contribution
    )
    if rule != "adaptive":  # whose points depend on the size of the residuals
        close(together.values, scale[:, None] * plain.values)


@settings(max_examples=4)  # 91 sweeps each
@given(seeds, rules)
def test_many_words_in_one_sweep_are_the_same_words_one_by_one(seed, rule):
    # Static points depend on no question; the adaptive rule looks at the largest residual over all of them.
    rule = "graded" if rule == "adaptive" else rule
    net, x = worlds.relu_conv(seed=seed % 5), noise(2, 2, 5, 5, seed=seed)
    cuts = ["INPUT", "conv1", "conv1/channel", "branch", "head:in"]
    ofs = [inf.Class(0), inf.Predicted(), inf.Class(2) - inf.Predicted()]
    nested = ask(net, cuts, ofs, path(x, 6, rule), list(MEASURES))
    assert [list(nested), list(nested["conv1"]), list(nested["conv1"][ofs[0]])] == [cuts, ofs, list(MEASURES)]
    for at in cuts:
        for of in ofs:
            for measure in MEASURES:
                alone, together = ask(net, at, of, path(x, 6, rule), measure), nested[at][of][measure]
                close(alone.values, together.values)
                assert alone.question == together.question and alone.note == together.note
                if alone.gap is not None:
                    close(alone.gap.signed, together.gap.signed)
                if alone.residual is not None:
                    close(alone.residual, together.residual)


@pytest.mark.parametrize("over", [k for k in OVERS if not k.startswith("adaptive")])  # whose points heed the company
def test_quantities_that_look_at_the_input_and_those_that_do_not_share_a_sweep(over):
    where = OVERS[over](noise(2, 4))
    net, ofs = worlds.smooth_mlp(), [inf.Class(0), inf.RunnerUp(), inf.Predicted() - inf.Class(0)]
    together = ask(net, "1", ofs, where, inf.gradient)
    for of in ofs:
        close(together[of].values, ask(net, "1", of, where, inf.gradient).values)


@given(seeds)
def test_many_measures_at_one_place_share_the_adaptive_points(seed):
    net, x = worlds.relu_mlp(seed % 7), noise(2, 4, seed=seed)
    nested = ask(net, "1", inf.Class(0), path(x, 30, "adaptive"), list(MEASURES))
    for measure in MEASURES:
        if measure is not inf.activation:  # which needs no gradient, alone
            close(nested[measure].values, ask(net, "1", inf.Class(0), path(x, 30, "adaptive"), measure).values)


@given(seeds, rules)
def test_classes_as_one_axis_are_the_classes_one_by_one(seed, rule):
    rule = "uniform" if rule == "adaptive" else rule
    net, x = worlds.relu_mlp(seed % 7), noise(2, 4, seed=seed)
    a = ask(net, "1", inf.Classes([2, 0]), path(x, 6, rule), inf.contribution)
    for k, c in enumerate((2, 0)):
        one = ask(net, "1", inf.Class(c), path(x, 6, rule), inf.contribution)
        close(a.values[:, k], one.values)
        close(a.gap.signed[:, k], one.gap.signed)


# --- the net is left as it was --------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", OVERS)
def test_the_net_is_left_alone(over):
    laws.law_net_is_left_alone(ask, OVERS[over])
    if over in RULES:
        laws.law_net_is_left_alone(ask, OVERS[over], inf.contribution)


@pytest.mark.parametrize("over", OVERS)
def test_the_net_is_left_alone_by_a_quantity_that_fails(over):
    laws.law_net_is_left_alone(ask, OVERS[over], fails=True)


def failing_measure(e):
    raise ValueError("a measure that fails")


class Fragile(nn.Module):
    """Linear – tanh – linear, and an error in the second layer whenever more than one point comes."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        h = torch.tanh(self.a(x))
        if len(x) > 1:
            raise RuntimeError("too many")
        return self.b(h)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("at", ["INPUT", "a", "b", "a:in"])
def test_the_net_is_left_alone_by_every_kind_of_error(rule, at):
    net, x = worlds.built(Fragile), noise(2, 4)
    before = laws.snapshot(net)
    with pytest.raises(inf.InputError, match="too many"):
        ask(net, at, inf.Class(0), path(x, 5, rule), inf.gradient, chunk=4)
    assert laws.snapshot(net) == before
    with pytest.raises(ValueError, match="a measure that fails"):
        ask(net, at, inf.Class(0), path(x, 5, rule), failing_measure, chunk=1)
    assert laws.snapshot(net) == before
    with pytest.raises(inf.CutError, match="no module 'nowhere'"):
        ask(net, [at, "nowhere"], inf.Class(0), path(x, 5, rule), inf.gradient)
    assert laws.snapshot(net) == before
    with pytest.raises(inf.QuestionError, match="out of range"):
        ask(net, at, inf.Class(9), path(x, 5, rule), inf.gradient, chunk=1)
    assert laws.snapshot(net) == before


def test_results_belong_to_no_graph_even_when_the_inputs_do():
    net = worlds.smooth_mlp()
    x, start = noise(2, 4).requires_grad_(), noise(2, 4, seed=1).requires_grad_()
    for rule in RULES:
        nested = ask(net, ["INPUT", "1"], inf.Class(0), inf.Line(start, x, 5, rule), [inf.gradient, inf.contribution])
        for answers in nested.values():
            for a in answers.values():
                assert not a.values.requires_grad
    assert not ask(net, "1", inf.Class(0), inf.Gaussian(x, 0.1, 3), inf.gradient).values.requires_grad
    assert x.grad is None and start.grad is None


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("cuts", [["INPUT"], ["first"], ["last:in"], ["INPUT", "last:in"]])
def test_a_net_that_overwrites_its_own_input_is_explained_as_one_that_does_not(rule, cuts):
    x = noise(2, 3)
    kept, answers = x.clone(), []
    for inplace in (False, True):
        net = worlds.built(lambda inplace=inplace: worlds.Overwriting(inplace))
        answers.append(ask(net, cuts, inf.Predicted(), path(x, 9, rule), [inf.gradient, inf.contribution]))
        assert torch.equal(x, kept)
    for at in cuts:
        for measure in (inf.gradient, inf.contribution):
            close(*(answer[at][measure].values for answer in answers))


@pytest.mark.parametrize("over", [inf.Point, lambda x: inf.Gaussian(x, 0.1, 5)])
def test_an_input_that_the_net_overwrites_is_not_the_caller_s(over):
    net, x = worlds.built(lambda: worlds.Overwriting(True)), noise(2, 3)
    kept = x.clone()
    for at in ("INPUT", "first"):
        ask(net, at, inf.Predicted(), over(x), inf.gradient)
        assert torch.equal(x, kept)


# --- same function, same influence ----------------------------------------------------------------------------------


@given(seeds, rules, st.sampled_from([inf.gradient, inf.contribution, inf.magnitude]))
def test_the_same_function_has_the_same_influence_batch_norm_folded(seed, rule, measure):
    nets, x = worlds.batch_norm_pair(seed % 5), noise(2, 2, 5, 5, seed=seed)
    close(*(ask(net, "INPUT", inf.Predicted(), path(x, 9, rule), measure).values for net in nets))


@given(seeds, rules, st.sampled_from([inf.gradient, inf.contribution, inf.magnitude]))
def test_the_same_function_has_the_same_influence_linear_layers_merged(seed, rule, measure):
    nets, x = worlds.merged_pair(seed % 5), noise(2, 4, seed=seed)
    close(*(ask(net, "INPUT", inf.Predicted(), path(x, 9, rule), measure).values for net in nets))


@pytest.mark.parametrize("at", ["conv1", "relu1", "branch", "relu2", "INPUT"])
def test_relus_that_overwrite_their_input_change_nothing(at):
    laws.law_overwriting_changes_nothing(ask, at)


# --- units ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", [inf.gradient, inf.contribution, inf.gradient_times_activation, inf.activation])
def test_groups_are_plain_sums(measure):
    laws.law_groups_are_plain_sums(ask, measure)


@given(seeds)
def test_magnitude_is_taken_at_each_point(seed):
    laws.law_magnitude_is_taken_at_each_point(ask, seed % 50)


# --- backward rules -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_backward_rule_holds_however_a_relu_is_written(seed):
    laws.law_a_backward_rule_holds_however_a_relu_is_written(ask, seed)


# --- samples --------------------------------------------------------------------------------------------------------


@given(st.integers(2, 60), seeds)
def test_mean_and_standard_error_are_those_of_the_draws(n, seed):
    laws.law_standard_error(ask, n, seed)


def test_one_draw_has_no_standard_error():
    a = ask(worlds.through(), "INPUT", inf.Class(0), inf.Gaussian(noise(1, 1), 0.1, n=1), inf.gradient)
    assert torch.isnan(a.stderr).all()
    assert a.values.item() == 1.0


@given(seeds)
def test_the_standard_error_of_a_mixture_adds_in_squares(seed):
    net, x = worlds.smooth_mlp(seed=seed % 5), noise(2, 4, seed=seed)
    p, q = inf.Gaussian(x, 0.2, 9, seed), inf.Gaussian(x, 0.5, 7, seed + 1)
    mixed, a, b = (ask(net, "1", inf.Class(0), over, inf.gradient) for over in (0.25 * p + 0.75 * q, p, q))
    close(mixed.stderr, ((0.25 * a.stderr) ** 2 + (0.75 * b.stderr) ** 2).sqrt(), 1e-9)


# --- the adaptive rule ----------------------------------------------------------------------------------------------


def test_residual_does_not_cancel():
    laws.law_residual_does_not_cancel(ask)


@given(seeds, st.sampled_from([1e-1, 1e-2, 1e-3]), st.sampled_from(["INPUT", "1", "3"]))
def test_a_tolerance_is_kept_or_all_points_are_spent(seed, tol, at):
    net, x, n = worlds.smooth_mlp(seed=seed % 5), noise(1, 4, seed=seed), 65
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", inf.InfluentWarning)
        a = ask(net, at, inf.Class(0), path(x, n, "adaptive", tol=tol), inf.contribution)
    kept = float(a.gap.absolute) <= tol * abs(float(a.gap.change)) + ROUNDING
    assert kept or a.cost.forward == n + 1
    assert [f"above tol={tol:g}" in str(w.message) for w in said] == [True] * (not kept)


@pytest.mark.parametrize("at", ["INPUT", "1"])
def test_a_coarse_tolerance_stops_after_the_second_round(at):
    net, x = worlds.smooth_mlp(), noise(1, 4)
    a = ask(net, at, inf.Class(0), path(x, 65, "adaptive", tol=0.5), inf.contribution)
    assert a.cost.forward == 9 + 8 + 1
    assert float(a.gap.absolute) <= 0.5 * abs(float(a.gap.change))


def test_each_input_has_its_own_tolerance_and_stops_by_itself():
    net, x = worlds.smooth_mlp(), noise(4, 4, seed=8)
    together = inf.influence(net, "1", inf.Class(0), path(x, 257, "adaptive", tol=1e-4), inf.contribution)
    alone = [inf.influence(net, "1", inf.Class(0), path(x[k : k + 1], 257, "adaptive", tol=1e-4), inf.contribution)
             for k in range(4)]  # fmt: skip
    assert float(together.gap.relative.max()) <= 1e-4
    assert together.cost.forward - 1 == sum(a.cost.forward - 1 for a in alone)
    close(together.values, torch.cat([a.values for a in alone]), 1e-12)


@given(
    st.integers(2, 70), rules, st.integers(1, 3), st.sampled_from(["inside.0", "INPUT"]), st.sampled_from([1, 5, 64])
)
def test_n_points_are_run_and_never_more(n, rule, inputs, at, chunk):
    # Beside its n points, a Line runs one for the question whether the cut is full; "gauss" runs its two ends too,
    # and, inside the net, every node once more in forward mode.
    net, x = worlds.Counted(worlds.relu_mlp()).eval(), noise(inputs, 4)
    a = ask(net, at, inf.Class(0), path(x, n, rule), inf.contribution, chunk=chunk)
    more = 0 if rule != "gauss" else 2 + (n if at != "INPUT" else 0)
    assert net.points == a.cost.forward == inputs * (n + more) + 1
    assert a.cost.backward == inputs * n


@given(st.integers(1, 30), st.integers(1, 3))
def test_a_ball_runs_n_points_and_a_point_one(n, inputs):
    net, x = worlds.Counted(worlds.relu_mlp()).eval(), noise(inputs, 4)
    a = ask(net, "inside.0", inf.Class(0), inf.Gaussian(x, 0.1, n), inf.gradient)
    assert net.points == a.cost.forward == inputs * n
    net.points = 0
    assert ask(net, "inside.0", inf.Class(0), inf.Point(x), inf.gradient).cost.forward == net.points == inputs


@given(seeds)
def test_bisection_finds_a_kink_that_equal_steps_miss(seed):
    # One kink in (⅛, ⅞): every full round of 8 halves its segment, so the residual halves at least 7 times with 65
    # points, and the error is at most that of a step function in a segment of 2^{−7}/8.
    kink = 0.125 + 0.75 * float(torch.rand((), generator=torch.Generator().manual_seed(seed)))
    net = worlds.sliced(lambda x: 1.0 * x, lambda y: (y - kink).relu())
    x = worlds.ones(1, 1)
    a = ask(net, "h", inf.Class(0), path(x, 65, "adaptive"), inf.contribution)
    assert abs(a.values.item() - (1 - kink)) <= oracles.jump_bound("adaptive", 65) + ROUNDING


# --- against plain loops --------------------------------------------------------------------------------------------


@given(seeds, st.integers(0, 2))
def test_gradients_are_those_of_a_plain_loop(seed, c):
    net, x = worlds.relu_conv(seed=seed % 5), noise(3, 2, 5, 5, seed=seed)
    close(
        ask(net, "INPUT", inf.Class(c), inf.Point(x), inf.gradient, chunk=2).values,
        oracles.gradient(lambda x: net(x)[0, c], x),
    )


@given(seeds)
def test_gradients_are_those_of_central_differences(seed):
    # Error of a central difference: h²/6·F‴ + eps·|F|/h with h = 1e-5 and F of order 1: below 1e-9.
    net, x = worlds.smooth_mlp(seed=seed % 5), noise(1, 4, seed=seed)
    got = ask(net, "INPUT", inf.Class(0), inf.Point(x), inf.gradient).values
    assert float((got - oracles.central_difference(lambda x: net(x)[0, 0], x)).abs().max()) < 1e-9


@given(seeds, st.sampled_from(["uniform", "graded"]), st.integers(2, 8))
def test_conductance_by_secants_is_that_of_the_double_loop(seed, rule, n):
    net, x = worlds.relu_conv(seed=seed % 5), noise(1, 2, 5, 5, seed=seed)
    alphas = [(k / (n - 1)) ** (3 if rule == "graded" else 1) for k in range(n)]
    below, above = net.conv1, lambda y: net.above_conv1(y.clone())[0, 2]
    a = ask(net, "conv1", inf.Class(2), path(x, n, rule), inf.contribution)
    close(a.values, oracles.conductance_secant(below, above, x, 0 * x, alphas))
    assert abs(float(a.residual) - oracles.residual_secant(below, above, x, 0 * x, alphas)) < ROUNDING


@given(seeds)
def test_integrated_gradients_are_those_of_a_dense_sum(seed):
    # 2000 midpoints of a smooth integrand: error h²/24·f″ = 1e-8·f″, and f″ is a few at most.
    net, x = worlds.smooth_mlp(seed=seed % 5), torch.tanh(noise(2, 4, seed=seed))
    got = ask(net, "INPUT", inf.Class(1), path(x, 12, "gauss"), inf.contribution).values
    want = oracles.dense_integrated_gradients(lambda x: net(x)[:, 1], x, 0 * x)
    assert float((got - want).abs().max()) < 1e-7


# --- awkward nets ---------------------------------------------------------------------------------------------------


@given(seeds, rules)
def test_each_call_of_a_shared_module_is_a_full_cut_of_its_own(seed, rule):
    net, x = worlds.built(worlds.Shared), noise(2, 3, seed=seed)
    answers = ask(net, ["again#1", "again#2", "again:in#2"], inf.Class(0), path(x, 12, rule), inf.contribution)
    for a in answers.values():
        # Gauss at 12 nodes on tanh of pre-activations below 2: poles at iπ/2 leave less than 1e-6.
        assert float((a.gap.absolute - (1e-6 if a.residual is None else a.residual)).max()) <= ROUNDING
    with pytest.raises(inf.CutError, match="more than once"):
        ask(net, "again", inf.Class(0), path(x, 12, rule), inf.contribution)


@given(seeds, rules)
def test_outputs_by_name(seed, rule):
    net, x = worlds.built(worlds.Named), noise(2, 3, seed=seed)
    hidden = inf.Class(1, cut=inf.OUTPUT["hidden"])
    answers = ask(net, "a", [inf.Class(1), hidden], path(x, 8, "uniform"), inf.gradient)
    logits = worlds.sliced(net.a, lambda y: net.b(torch.tanh(y)))
    close(answers[inf.Class(1)].values, ask(logits, "h", inf.Class(1), path(x, 8, "uniform"), inf.gradient).values)
    tanh = worlds.sliced(net.a, torch.tanh)
    close(answers[hidden].values, ask(tanh, "h", inf.Class(1), path(x, 8, "uniform"), inf.gradient).values)


@given(seeds, rules)
def test_a_recurrent_net_by_its_sequence_of_outputs(seed, rule):
    net, x = worlds.built(worlds.Recurrent), noise(2, 5, 3, seed=seed)
    answers = ask(net, ["INPUT", "lstm[0]", "last:in"], inf.Class(0), path(x, 12, rule), inf.contribution)
    for a in answers.values():
        # Tanh and logistic gates of pre-activations below 2, five steps deep: 12 Gauss nodes leave less than 1e-6.
        assert float((a.gap.absolute - (1e-6 if a.residual is None else a.residual)).max()) <= ROUNDING
    # Only the last step's output is read.
    assert float(answers["lstm[0]"].values[:, :-1].abs().max()) == 0.0
    close(answers["lstm[0]"].values[:, -1], answers["last:in"].values)


@given(seeds, rules)
def test_a_path_between_embeddings_of_words(seed, rule):
    net = worlds.built(worlds.Reader)
    ids = torch.randint(0, 11, (3, 6), generator=torch.Generator().manual_seed(seed))
    e = inf.activations(net, "embed", ids)
    over = inf.Line(0 * e, e, 12, rule, cut="embed", given=ids)
    answers = ask(net, ["embed", "attend[0]", "last:in"], inf.Class(1), over, inf.contribution, chunk=5)
    for a in answers.values():
        assert a.gap is not None
        # A softmax of scores of order 1 on the path: 12 Gauss nodes leave less than 1e-6.
        assert float((a.gap.absolute - (1e-6 if a.residual is None else a.residual)).max()) <= ROUNDING
    if rule == "gauss":
        want = oracles.dense_integrated_gradients(lambda e: net.above_embed(e)[:, 1], e, 0 * e)
        assert float((answers["embed"].values - want).abs().max()) < 1e-6


def test_the_standard_error_of_a_small_spread_around_a_large_mean_survives_single_precision():
    """Values near 100 that differ by 0.01: squares near 10⁴ would leave nothing of the spread in float32."""
    net = torch.nn.Identity().eval()
    asked = {"at": inf.INPUT, "of": lambda y: y.sum(1), "measure": inf.activation}
    single, double = (
        inf.influence(net, over=inf.Gaussian(torch.full((1, 3), 100.0, dtype=kind), std=0.01, n=50, seed=0), **asked)
        for kind in (torch.float32, torch.float64)
    )
    # float32 stores 100 ± 0.01 in steps of 7.6e-6, a thousandth of the spread.
    assert single.stderr.double() == pytest.approx(double.stderr, rel=1e-2)


@pytest.mark.parametrize("module", [torch.nn.LSTM(4, 4), torch.nn.MultiheadAttention(4, 2)])
def test_layers_that_count_time_first_are_refused_by_name(module):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x):
            return (self.inner(x, x, x) if isinstance(module, torch.nn.MultiheadAttention) else self.inner(x))[0].sum(1)

    with pytest.raises(inf.CutError, match=r"counts time first.*batch_first=True"):
        inf.influence(Net().eval(), "inner[0]", inf.Class(0), inf.Point(torch.ones(3, 3, 4)))


def test_a_path_fed_at_a_place_is_seen_by_all_who_look_there():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)).eval()
    ends = torch.zeros(1, 2), torch.ones(1, 2)
    line = inf.Line(*ends, n=3, rule="uniform", cut="0#1", given=torch.full((1, 2), 7.0))
    seen = inf.influence(net, "0", inf.Class(0), line, inf.activation)
    assert seen.values.tolist() == [[0.5, 0.5]]
