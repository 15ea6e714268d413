"""The axioms as checks: each holds where it must, and its gap is the right number where it is broken on purpose."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import influent as inf
from influent import (
    Class,
    Gaussian,
    Line,
    Point,
    Predicted,
    QuestionError,
    Through,
    Unit,
    activation,
    contribution,
    gradient,
    gradient_times_activation,
    influence,
)
from influent import axioms as law
from influent.ablation import ablate
from tests import worlds
from tests.laws.laws import ROUNDING, close, snapshot
from tests.worlds import noise, ones

X, START = noise(3, 4, seed=1), noise(1, 4, seed=2)


def path(rule="gauss", n=10, x=X, start=START, **more):
    return Line(start, x, n, rule, **more)


def unit_path(inputs, rule="gauss", n=10):
    return Line(0 * ones(1, inputs), ones(1, inputs), n, rule)


def premise(check):
    return max(float(p.abs().max()) for p in check.premises.values())


# What a check says


def test_a_check_says_by_how_much_and_where():
    found, expected = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[1.0, 1.5], [4.0, 0.0]])
    check = law.Check("an axiom", found, expected, torch.tensor([[2.0, 2.0], [4.0, 0.0]]), {"p": found}, "of two")
    assert check.gap.tolist() == [[0.0, 0.5], [-1.0, 0.0]]
    assert check.relative.tolist() == [[0.0, 0.25], [0.25, 0.0]]
    assert check.worst == (0, 1)
    assert check.holds(0.25) and not check.holds(0.2499)
    assert repr(check).splitlines() == [
        "an axiom: 2 for 1.5, gap 0.5 (0.25) at (0, 1)", "  premise: |p| ≤ 3", "  of two"
    ]  # fmt: skip


def test_a_gap_without_a_scale_never_holds():
    check = law.Check("an axiom", torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([0.0]))
    assert check.relative.tolist() == [float("inf")] and not check.holds(1e9)
    undefined = law.Check("an axiom", torch.tensor([float("nan")]), torch.tensor([0.0]), torch.tensor([1.0]))
    assert not undefined.holds(1e9)


# Completeness


@pytest.mark.parametrize("at", ["INPUT", "0", "3", "OUTPUT"])
def test_completeness_is_the_gap_of_the_attribution(at):
    check = law.completeness(worlds.smooth_mlp(), at, Predicted(), path("uniform", 9))
    gap = influence(worlds.smooth_mlp(), at, Predicted(), path("uniform", 9), contribution).gap
    assert torch.equal(check.expected, gap.change)
    close(check.gap, gap.signed)
    close(check.relative, gap.relative)
    assert not check.holds(0) and check.holds(float(gap.relative.max()))


def test_completeness_is_exact_where_the_rule_is():
    """F = x³: two Gauss–Legendre nodes integrate 3α² exactly, two trapezoid points give 1½."""
    close(law.completeness(worlds.cube(), "h", Class(0), unit_path(1, n=2)).gap, torch.zeros(1, dtype=torch.float64))
    assert float(law.completeness(worlds.cube(), "h", Class(0), unit_path(1, "uniform", 2)).gap) == 0.5


def test_the_comparators_are_not_complete():
    """F = x³ on [0, 1]: gradient × activation is ∫ 3α² · α = ¾, the activation ½, the gradient, by chance, 1."""
    over = unit_path(1)
    for measure, want in ((gradient_times_activation, 0.75), (gradient, 1.0), (activation, 0.5)):
        check = law.completeness(worlds.cube(), "INPUT", Class(0), over, measure)
        close(check.found, torch.tensor([want], dtype=torch.float64))
        assert float(check.scale) == 1.0


# Sensitivity


def test_sensitivity_holds_for_contributions_where_each_unit_goes_alone():
    net = worlds.smooth_mlp()
    check = law.sensitivity(net, Class(1), path())
    for j in range(4):
        alone = START.expand_as(X).clone()
        alone[:, j] = X[:, j]
        change = (net(alone) - net(START))[:, 1].abs().detach()
        close(check.expected[:, j], change)
    assert check.holds(1e-9)
    # The axiom asks for no more than a value: twice as much is no gap.
    assert law.sensitivity(net, Class(1), path(), lambda e: 2 * e.contribution).holds(0)


def test_saturation_breaks_sensitivity_of_what_looks_at_one_point():
    """T1: min(2x, 1) at x = 1.5: the gradient there is 0, and F changed by 1."""
    x = 1.5 * ones(1, 1)
    over = Line(0 * x, x, 33, "adaptive")

    def at_the_end(e):
        return e.slope.where(e.value == 1.5, 0.0)

    check = law.sensitivity(worlds.capped(), Class(0), over, at_the_end)
    assert (float(check.found), float(check.expected), float(check.relative)) == (0.0, 1.0, 1.0)
    assert law.sensitivity(worlds.capped(), Class(0), over).holds(0.05)


def test_sensitivity_of_named_units_inside_the_net_with_their_own_inputs():
    net = worlds.built(worlds.Keywords)
    scale, x = ones(2), noise(2, 3, seed=5)
    scale[1] = 2.0
    over = Line(0 * x, x, 10, "gauss", cut="INPUT[x]", given={"scale": scale}, label=[1, 0])
    check = law.sensitivity(net, inf.Label(), over, units=[2, 0])
    for i, (c, s) in enumerate(((1, 1.0), (0, 2.0))):
        for k, j in enumerate((2, 0)):
            alone = torch.zeros(1, 3, dtype=torch.float64)
            alone[0, j] = x[i, j]
            change = s * (torch.tanh(net.a(alone)) - torch.tanh(net.a(0 * alone)))[0, c]
            close(check.expected[i, k], change.abs().detach())
    assert check.holds(1e-6)


# Insensitivity


def third_ignored():
    return worlds.sliced(lambda x: torch.tanh(x), lambda y: (y[:, 0] * y[:, 1])[:, None])


@pytest.mark.parametrize("measure", [gradient, contribution])
def test_ignored_units_are_found_and_get_nothing(measure):
    check = law.insensitivity(third_ignored(), "h", Class(0), path(x=X[:, :3], start=START[:, :3]), measure)
    assert float(check.found.abs().max()) == 0 and check.holds(0) and premise(check) == 0
    assert check.note == "1 of 3 units are ignored"


def test_what_does_not_look_at_the_quantity_breaks_insensitivity():
    check = law.insensitivity(third_ignored(), "h", Class(0), Point(X[:, :3]), activation)
    y = torch.tanh(X[:, :3])
    close(check.gap[:, 2], y[:, 2])
    assert float(check.gap[:, :2].abs().max()) == 0
    close(check.relative[:, 2], y[:, 2].abs() / y.abs().amax(1))


def test_a_unit_that_is_named_but_not_ignored_shows_in_value_and_premise():
    mask = torch.tensor([True, False, False])
    check = law.insensitivity(third_ignored(), "h", Class(0), Point(X[:, :3]), gradient, mask)
    y = torch.tanh(X[:, :3])
    close(check.gap[:, 0], y[:, 1])  # ∂(y0 y1)/∂y0
    step = y.abs().amax(1)
    close(check.premises["F(unit moved) − F"][:, 0], step * y[:, 1].abs())


def test_whole_channels_are_moved_at_once():
    net = worlds.relu_conv()
    net.head.weight.data[:, 2] = 0  # the head ignores channel 2 of the second ReLU
    check = law.insensitivity(net, "relu2/channel", Class(1), Point(noise(2, 2, 5, 5)))
    assert check.note == "1 of 4 units are ignored" and check.holds(0)


# Symmetry


def test_symmetric_units_are_equal_and_others_are_not():
    net, x = worlds.sliced(lambda x: 1.0 * x, lambda y: (y[:, 0] * y[:, 1] + y[:, 2] ** 2)[:, None]), 2 * ones(1, 3)
    over = Line(0 * x, x, 10, "gauss")
    check = law.symmetry(net, "h", Class(0), over, (0, 1), contribution)
    assert check.holds(ROUNDING) and premise(check) <= ROUNDING
    check = law.symmetry(net, "h", Class(0), over, (0, 2), contribution)
    # ∫ y1 dy0 = 2 and ∫ 2 y2 dy2 = 4. F(4, 2, 2) = 12 and, swapped, F(2, 2, 4) = 20; F(0, 2, 2) = F(2, 2, 0) = 4.
    close(check.gap, torch.tensor([-2.0], dtype=torch.float64))
    close(check.premises["F(swapped) − F"], torch.tensor([[8.0, 0.0]], dtype=torch.float64))
    assert float(check.premises["y_i − y_j"]) == 0


def test_unequal_activations_show_in_the_premise():
    x = torch.tensor([[1.0, 3.0]], dtype=torch.float64)
    check = law.symmetry(nn.Identity().eval(), "INPUT", lambda y: y[:, 0] * y[:, 1], Point(x), (0, 1))
    assert float(check.premises["y_i − y_j"]) == 2.0
    assert (float(check.found), float(check.expected)) == (3.0, 1.0)
    assert float(check.premises["F(swapped) − F"].abs().max()) == 0


# Linear agreement and linearity


@pytest.mark.parametrize("given", [True, False])
def test_a_linear_net_has_its_weights_as_influence(given):
    """T6."""
    a = noise(4, seed=8)
    for over in (Point(X), path("uniform"), Gaussian(X, 0.3, 4)):
        check = law.linear_agreement(worlds.linear(a), "INPUT", Class(0), over, weights=a if given else None)
        close(check.expected, a.expand(3, 4))
        assert check.holds(ROUNDING) and premise(check) <= ROUNDING


def test_the_label_of_each_input_is_its_own_in_the_premises_too():
    net = worlds.built(lambda: nn.Linear(4, 3))
    check = law.linear_agreement(net, "INPUT", inf.Label(), Point(X, label=[2, 0, 1]))
    close(check.expected, net.weight[[2, 0, 1]].detach())
    assert check.holds(ROUNDING) and premise(check) <= ROUNDING


def test_a_net_that_bends_says_so_in_the_premise():
    """F = y³ at 1: the slope is 3, a step of 1 gains 7."""
    check = law.linear_agreement(worlds.cube(), "h", Class(0), Point(ones(1, 1)))
    assert (float(check.found), float(check.expected)) == (3.0, 7.0)
    s = float(torch.randn(1, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert abs(premise(check) - abs((1 + s) ** 3 - 1 - 7 * s)) <= ROUNDING


def test_the_weight_of_a_channel_is_what_all_its_neurons_gain_together():
    net = worlds.relu_conv()
    check = law.linear_agreement(net, "relu2/channel", Class(1), Point(noise(2, 2, 5, 5)))
    close(check.expected, net.head.weight[1].detach().expand(2, 4))  # the mean over 25 positions of 1 each
    assert check.holds(ROUNDING) and premise(check) <= ROUNDING


@pytest.mark.parametrize("measure", [gradient, contribution])
def test_linearity_in_the_quantity(measure):
    of = Class(0) - 0.5 * Unit(2, "3") + 2.0 * Class(0)
    check = law.linearity(worlds.smooth_mlp(), "1", of, path("adaptive", 21), measure)
    assert check.holds(ROUNDING)
    assert float(check.found.abs().max()) > 1e-3
    broken = law.linearity(worlds.smooth_mlp(), "1", Class(0) - Class(1), Point(X), inf.square)
    assert not broken.holds(0.1)


# Distributions


@pytest.mark.parametrize("measure", [gradient, gradient_times_activation])
def test_distribution_linearity(measure):
    """T9, with weights that do not sum to 1."""
    over = 2 * Point(X) + 5 * Gaussian(X, 0.2, 3) + 1 * path("uniform")
    check = law.distribution_linearity(worlds.smooth_mlp(), "1", Predicted(), over, measure)
    assert check.holds(ROUNDING)
    close(check.found, influence(worlds.smooth_mlp(), "1", Predicted(), over, measure).values)


# Slices and implementations


@pytest.mark.parametrize("measure", [gradient, contribution])
def test_slices_that_differ_elsewhere_agree_on_the_unit_they_share(measure):
    """T10, with the two implementations of Dhamdhere et al. 2018, section 8.2: y_1 is ½ in both."""
    over = unit_path(2)
    slices = (worlds.unsplit(), "h"), (worlds.roots(), "h")
    check = law.slice_invariance(*slices, Class(0), over, [(0, 0)], measure)
    close(check.found, torch.tensor([[0.5]], dtype=torch.float64))
    assert check.holds(ROUNDING) and premise(check) <= ROUNDING


def test_the_split_unit_is_another_unit_and_the_premise_says_so():
    """∂F/∂y_2 is x_1 unsplit and x_1 √x_2 split: with x = s · (1, 4), s from ¼ to 1, the means of s and of 2 s^1.5."""
    x = torch.tensor([[1.0, 4.0]], dtype=torch.float64)
    slices = (worlds.unsplit(), "h"), (worlds.roots(), "h")
    check = law.slice_invariance(*slices, Class(0), Line(x / 4, x, 20, "gauss"), [(1, 1)])
    close(check.found, torch.tensor([[(1 - 0.25**2) / 2 / 0.75]], dtype=torch.float64))
    close(check.expected, torch.tensor([[2 * (1 - 0.25**2.5) / 2.5 / 0.75]], dtype=torch.float64))
    # At x: y_2 is 4 and 2; F is 1 · 4 and 1 · 2 · 2; y_2 ± 1 makes it 5 and 3, and 6 and 2.
    close(check.premises["y_j of both"], torch.tensor([[2.0]], dtype=torch.float64))
    close(check.premises["F of both"], torch.tensor([[0.0, -1.0, 1.0]], dtype=torch.float64))


@pytest.mark.parametrize("pair", [worlds.batch_norm_pair, worlds.merged_pair])
def test_two_implementations_of_one_function(pair):
    first, second = pair()
    x = noise(2, 2, 5, 5) if pair is worlds.batch_norm_pair else X
    check = law.implementation_invariance(first, second, Predicted(), Line(0 * x, x, 5), contribution)
    assert check.holds(ROUNDING) and premise(check) <= ROUNDING


def test_two_functions_are_told_apart():
    first, second = worlds.linear(noise(4, seed=1)), worlds.linear(noise(4, seed=2))
    check = law.implementation_invariance(first, second, Class(0), Point(X))
    close(check.gap, (noise(4, seed=1) - noise(4, seed=2)).expand(3, 4))
    close(check.premises["F of both"][:, 0], X @ (noise(4, seed=1) - noise(4, seed=2)))


# Preprocessing


def test_preprocessing():
    """T11: x_2 = x_0 · x_1 almost surely."""
    x = X[:, :3].clone()
    x[:, 2] = x[:, 0] * x[:, 1]
    net = worlds.identity_layer()
    check = law.preprocessing(net, Class(1), Point(x), 2, lambda x: x[:, 0] * x[:, 1])
    assert check.holds(0) and premise(check) == 0
    close(check.found, influence(net, "INPUT", Class(1), Point(x)).values[:, 2])


def test_preprocessing_by_what_predicts_wrongly():
    """F = y³: predicted one too much at x = 1, the slope is 3 · 2² = 12 for 3."""
    check = law.preprocessing(worlds.cube(), Class(0), Point(ones(1, 1)), 0, lambda x: x[:, 0] + 2)
    assert (float(check.found), float(check.expected), premise(check)) == (3.0, 12.0, 1.0)


def test_the_predictor_does_not_see_what_it_predicts():
    seen = []

    def predictor(x):
        seen.append(x[:, 1, 0].detach())
        return x[:, 0, 0]

    picture = ones(2, 2, 2)
    net = nn.Flatten().eval()
    check = law.preprocessing(net, lambda y: (y**2).sum(1), Point(picture), (1, 0), predictor)
    assert float(torch.cat(seen).abs().max()) == 0 and check.holds(0)


# Partitions


@pytest.mark.parametrize(("p", "q"), [(2, 1), (2, 3)])
def test_partition_consistency_of_conductance(p, q):
    """T4: y_1 of x_1 alone and y_2 of x_2 alone: ½ each, for all powers."""
    check = law.partition_consistency(worlds.powers(p, q), "h", Class(0), unit_path(2), [([0], [0]), ([1], [1])])
    close(check.found, torch.full((1, 2), 0.5, dtype=torch.float64))
    close(check.expected, torch.full((1, 2), 0.5, dtype=torch.float64))
    assert premise(check) == 0


def test_partition_consistency_of_a_split_part():
    """T5: y_1 of x_1; both roots of x_2."""
    check = law.partition_consistency(worlds.roots(), "h", Class(0), unit_path(2), [([0], [0]), ([1], [1, 2])])
    close(check.found, torch.full((1, 2), 0.5, dtype=torch.float64))
    assert check.holds(ROUNDING) and premise(check) == 0


def test_a_part_that_depends_on_other_inputs_says_so():
    net = worlds.smooth_mlp()
    check = law.partition_consistency(net, "0", Class(0), path(), [([0], range(4)), ([1, 2, 3], range(4, 8))])
    alone = START.expand_as(X).clone()
    alone[:, 0] = X[:, 0]
    close(check.premises["Q_k lost"][:, 0], (net[0](X) - net[0](alone))[:, :4].abs().amax(1).detach())
    assert not check.holds(0.01)


@pytest.mark.parametrize("rule", ["uniform", "adaptive", "gauss"])
def test_the_flow_through_a_set_is_the_sum_over_its_parts(rule):
    over = path(rule)
    check = law.additivity(worlds.smooth_mlp(), [[0], [1, 5], [(3,)]], "2", Predicted(), over)
    assert check.holds(ROUNDING)
    if rule != "adaptive":  # whose points depend on all that is asked together
        whole = influence(worlds.smooth_mlp(), "INPUT", Through([0, 1, 3, 5], "2"), over, contribution)
        close(check.found, whole.values)


def test_parts_that_overlap_count_twice():
    check = law.additivity(worlds.smooth_mlp(), [[0, 1], [1]], "2", Class(0), path("uniform"))
    twice = influence(worlds.smooth_mlp(), "INPUT", Through([1], "2", Class(0)), path("uniform"), contribution).values
    close(check.gap, -twice)


# Lessons

FORKED = worlds.built(worlds.Forked)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (
            lambda: law.completeness(FORKED, "block[0]", Class(0), path("uniform", 5, X[:, :3], START[:, :3])),
            r"^Completeness does not apply at block\[0\]: not a full cut\.$",
        ),
        (lambda: law.completeness(worlds.cube(), "h", Class(0), Point(ones(1, 1))), r"^This measure needs a path"),
        (
            lambda: law.completeness(worlds.cube(), "h", inf.Classes([0]), unit_path(1)),
            r"^An axiom is measured on one question: of= is several\. Give them one by one\.$",
        ),
        (lambda: law.symmetry(worlds.cube(), ["h"], Class(0), unit_path(1), (0, 0)), r"at= is several"),
        (lambda: law.insensitivity(worlds.cube(), "h", Class(0), unit_path(1), [gradient]), r"measure= is several"),
        (lambda: law.sensitivity(worlds.cube(), Class(0), Point(ones(1, 1))), r"^Sensitivity moves one unit along"),
        (
            lambda: law.sensitivity(worlds.cube(), Class(0), Line(ones(1, 1), ones(1, 1))),
            r"^No unit differs between the two ends of the path\. Choose another baseline\.$",
        ),
        (
            lambda: law.sensitivity(worlds.cube(), Class(0), unit_path(1), units=[1]),
            r"^Unit 1 is out of range: the units have shape \[1\]\.$",
        ),
        (
            lambda: law.insensitivity(worlds.cube(), "h", Class(0), Point(ones(1, 1))),
            r"^F depends on every unit of h\. Name those to look at: ignored=mask\.$",
        ),
        (
            lambda: law.insensitivity(worlds.cube(), "h", Class(0), Point(ones(1, 1)), ignored=torch.ones(2)),
            r"^ignored= is float32 \[2\]: give a mask \[1\] with a unit in it\.$",
        ),
        (
            lambda: law.insensitivity(worlds.cube(), "h", Class(0), Point(ones(1, 1)), ignored=torch.zeros(1)),
            r"^ignored= is float32 \[1\]: give a mask \[1\] with a unit in it\.$",
        ),
        (
            lambda: law.symmetry(worlds.cube(), "h", Class(0), Point(ones(1, 1)), (0, (0, 0))),
            r"^Unit \(0, 0\) is out of range: the units have shape \[1\]\.$",
        ),
        (
            lambda: law.linear_agreement(worlds.cube(), "h", Class(0), Point(ones(1, 1)), weights=ones(3)),
            r"^weights= is float64 \[3\], and the units have shape \[1\]\.$",
        ),
        (
            lambda: law.linearity(worlds.cube(), "h", Class(0), unit_path(1)),
            r"^Linearity is asked of a sum, Class\(3\) - 0\.5 \* Class\(5\), not of Class\(0\)\.$",
        ),
        (
            lambda: law.distribution_linearity(worlds.cube(), "h", Class(0), Point(ones(1, 1))),
            r"^Distribution linearity needs a mixture, 0\.25 \* Point\(a\) \+ 0\.75 \* Point\(b\), not Point",
        ),
        (
            lambda: law.preprocessing(worlds.cube(), Class(0), Point(ones(1, 1), cut="h", given=ones(1, 1)), 0, sum),
            r"^Preprocessing is about the net's own input, one tensor\. Let the distribution run there\.$",
        ),
        (
            lambda: law.partition_consistency(worlds.cube(), "h", Class(0), Point(ones(1, 1)), [([0], [0])]),
            r"^Partition consistency compares a layer with the net's own input: over=Line\(baseline, x\)\.$",
        ),
        (
            lambda: law.partition_consistency(worlds.roots(), "h", Class(0), unit_path(2), [([0], [0]), ([1], [0])]),
            r"^The parts overlap: give each input, and each unit, to one part\.$",
        ),
        (
            lambda: law.linear_agreement(worlds.smooth_mlp(), "3", Class(0), Point(ones(1, 8), cut="1", given=X[:1])),
            r"^Units are moved where the points run, at 1, or inside a net that takes one tensor: 3 is neither\.$",
        ),
        (lambda: ablate(worlds.cube(), "h", Through([0], "h", Class(0)), ones(1, 1)), r"^Ablation compares values,"),
        (lambda: ablate(worlds.cube(), "INPUT", Class(0), (ones(1, 1),)), r"^Ablation of INPUT takes one tensor x\."),
        (lambda: ablate(worlds.cube(), "h", Class(0), ones(1, 1), fill="noise"), r"^fill='noise' is not known: 'zero'"),
        (lambda: ablate(worlds.cube(), "h", Class(0), ones(1, 1), fill="mean"), r"^fill='mean' is the mean over the"),
        (
            lambda: ablate(worlds.cube(), "h", Class(0), ones(1, 1), fill=ones(2)),
            r"^fill= is float64 \[2\], and the activations are float64 \[1, 1\]\.$",
        ),
    ],
)  # fmt: skip
def test_lessons(ask, says):
    with pytest.raises(QuestionError, match=says):
        ask()


# Ablation


def silenced(net, k, x, of, fill):
    """F(x) − F(x with unit at its fill), by a net that is cut in two by hand."""
    y = net[:k](x).detach()
    values = torch.zeros_like(y)
    for i in range(len(y)):
        for j in range(y.shape[1]):
            changed = y[i : i + 1].clone()
            changed[0, j] = fill[i, j]
            values[i, j] = of(net[k:](y[i : i + 1]), i) - of(net[k:](changed), i)
    return values.detach()


@pytest.mark.parametrize("chunk", [1, 5, 100])
@pytest.mark.parametrize("fill", ["zero", "mean", "tensor"])
def test_ablation_is_the_loop_over_units(fill, chunk):
    net = worlds.relu_mlp()
    y = net[:2](X).detach()
    fills = {"zero": 0 * y, "mean": y.mean(0).expand_as(y), "tensor": noise(1, 10, seed=9).expand_as(y)}[fill]
    predicted = net(X).argmax(1)
    a = ablate(net, "1", Predicted(), X, fills[:1] if fill == "tensor" else fill, chunk)
    close(a.values, silenced(net, 2, X, lambda out, i: out[0, predicted[i]], fills))
    assert a.gap is None and a.residual is None and a.stderr is None
    assert a.note.endswith("is no expectation of a gradient: it has no gap") and a.note in repr(a)
    assert a.cost.backward == 0


def test_ablation_of_channels_silences_all_their_neurons():
    net, x = worlds.relu_conv(), noise(2, 2, 5, 5)
    a = ablate(net, "relu1/channel", Class(1) - Class(0), x)
    assert a.axes == ("channel",) and a.values.shape == (2, 4)
    y = inf.activations(net, "relu1", x)
    for channel in range(4):
        changed = y.clone()
        changed[:, channel] = 0
        f = [net.head(net.relu2(net.branch(z) + z).mean((2, 3))) for z in (y.clone(), changed)]
        close(a.values[:, channel], ((f[0] - f[1])[:, 1] - (f[0] - f[1])[:, 0]).detach())


def test_ablation_inside_a_net_of_several_inputs():
    net = worlds.built(worlds.Keywords)
    given = {"x": noise(2, 3), "scale": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    a = ablate(net, "a", Class(1), given)
    y = net.a(given["x"]).detach()
    close(a.values, torch.stack([0 * y[:, 0], given["scale"] * torch.tanh(y[:, 1])], 1))


def test_ablation_is_stored_and_leaves_the_net_alone(tmp_path):
    net = worlds.relu_mlp()
    before = snapshot(net)
    a = ablate(net, "1", Class(0), X)
    after = snapshot(net)
    assert {k for k in before if before[k] != after[k]} == set()
    inf.save(a, tmp_path / "a")
    b = inf.load(tmp_path / "a")
    assert torch.equal(a.values, b.values) and b.note == a.note and b.question == a.question


def test_what_ablation_does_not_see():
    """y_0 or y_1, and y_0 and y_1, both at 1: redundant units are worth 0 each, necessary ones 1 each."""
    x = ones(1, 2)
    either, both = worlds.sliced(lambda x: 1.0 * x, lambda y: y.amax(1, keepdim=True)), worlds.unsplit()
    assert ablate(either, "h", Class(0), x).values.tolist() == [[0.0, 0.0]]
    assert ablate(both, "h", Class(0), x).values.tolist() == [[1.0, 1.0]]
