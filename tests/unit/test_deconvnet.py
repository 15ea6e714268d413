"""Backward rules: DeconvNet and guided backpropagation beside backward passes by hand, and all that must be refused."""

from __future__ import annotations

import copy
import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import influent as inf
from influent import rules
from influent.errors import NetError, QuestionError
from influent.language import parse
from tests import oracles, worlds
from tests.epsilon import Epsilon
from tests.oracles import deconv, guided, transposed, unpooled
from tests.worlds import noise

DECONVNET, GUIDED = inf.Ruled(inf.gradient, inf.Deconvnet()), inf.Ruled(inf.gradient, inf.Guided())
BOTH = pytest.mark.parametrize("measure", [DECONVNET, GUIDED], ids=["deconvnet", "guided"])

# Numbers of size one in float64, added up in another order by a few hundred operations.
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b.detach(), **EXACT)


def apart(a: Tensor, b: Tensor) -> bool:
    """Whether two pictures are different ones, and not one that was computed in two ways."""
    a, b = a.detach(), b.detach()
    return float((a - b).abs().max()) > 0.1 * float(a.abs().max()) > 0


def down(measure: inf.Ruled, arriving: Tensor, before: Tensor) -> Tensor:
    """What a ReLU hands down, by hand."""
    return deconv(arriving) if measure is DECONVNET else guided(arriving, before)


def ask(net: nn.Module, x: Tensor, measure: Any = GUIDED, of: Any = None) -> Tensor:
    return inf.influence(net, "INPUT", of or inf.Class(1), inf.Point(x), measure).values


# T18


def small() -> nn.Sequential:
    """Convolutions with stride and padding, pooling with and without overlap, rounded up: [2, 20, 17] → [5, 2, 2]."""
    return worlds.built(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(6, 5, 2, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True),
        )
    )  # fmt: skip


def by_hand(net: nn.Sequential, x: Tensor, mask: Tensor | float = 1.0, of_guided: bool = False) -> Tensor:
    """The net run backward, layer by layer, from the masked activations of its end: R at the input."""
    given = [x]
    for layer in net:
        given.append(layer(given[-1]))
    arriving = given[-1] * mask
    for layer, before in reversed(list(zip(net, given, strict=False))):
        if isinstance(layer, nn.ReLU):
            arriving = guided(arriving, before) if of_guided else deconv(arriving)
        elif isinstance(layer, nn.Conv2d):
            arriving = transposed(arriving, layer.weight, before, layer.stride[0], layer.padding[0])
        else:
            words = {"ceil_mode": layer.ceil_mode, "return_indices": True}
            _, switches = F.max_pool2d(before, layer.kernel_size, layer.stride, **words)
            arriving = unpooled(arriving, switches, before)
    return arriving


class Mirror(nn.Module):
    """A DeconvNet as it is drawn: layers of its own that unpool, rectify and filter with the transposed weights."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        first, second = net[0], net[3]
        self.up2 = nn.ConvTranspose2d(6, 4, 3, padding=1, bias=False)
        self.up1 = nn.ConvTranspose2d(4, 2, 3, padding=1, bias=False)
        self.up2.weight, self.up1.weight = second.weight, first.weight
        self.unpool = nn.MaxUnpool2d(2)

    def forward(self, top: Tensor, below: Tensor, switches: Tensor) -> Tensor:
        inside = self.unpool(self.up2(torch.relu(top)), switches, output_size=below.shape)
        return self.up1(torch.relu(inside))


def test_t18_a_deconvnet_is_the_explicit_net_of_unpooling_and_transposed_convolutions() -> None:
    net = worlds.built(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()
        )
    )
    x, chosen = noise(3, 2, 9, 8), [0, 2, 5]
    inside = net[:2](x)
    pooled, switches = F.max_pool2d(inside, 2, return_indices=True)
    top = net[3:](pooled)
    top = torch.stack([top[:, c] if c in chosen else 0 * top[:, c] for c in range(6)], 1)
    close(inf.deconvnet(net, x, "4", chosen).values, Mirror(net)(top, inside, switches))


def test_t18_with_strides_overlapping_windows_and_sizes_rounded_up() -> None:
    net, x = small(), noise(2, 2, 20, 17)
    close(inf.deconvnet(net, x, "8").values, by_hand(net, x))
    mask = torch.zeros(5, 2, 2, dtype=torch.float64)
    mask[[1, 3]] = 1
    close(inf.deconvnet(net, x, "8", [1, 3]).values, by_hand(net, x, mask))
    close(inf.deconvnet(net, x, "8", mask).values, by_hand(net, x, mask))


def test_guided_backpropagation_is_its_definition() -> None:
    net, x = small(), noise(2, 2, 20, 17)
    mask = torch.zeros(5, 2, 2, dtype=torch.float64)
    mask[4, 1, 0] = mask[2, 0, 1] = 1
    found = inf.guided_backpropagation(net, x, "8", [(4, 1, 0), (2, 0, 1)]).values
    close(found, by_hand(net, x, mask, of_guided=True))
    assert apart(found, by_hand(net, x, mask))


def test_t20_all_units_named_are_the_whole_layer() -> None:
    net, x = small(), noise(1, 2, 20, 17)
    whole = inf.deconvnet(net, x, "5")
    assert torch.equal(inf.deconvnet(net, x, "5", range(6)).values, whole.values)
    assert torch.equal(inf.deconvnet(net, x, "5", torch.ones(6, 2, 2)).values, whole.values)
    assert whole.question.text["of"] == "Energy(None, cut='5')"


def test_what_is_sent_back_are_raw_activations_not_ones() -> None:
    """At a layer before its ReLU, too, where some are negative; a picture doubles with its net's last weights."""
    net, x = small(), noise(1, 2, 20, 17)
    y = net[:4](x).detach()
    pooled = net[:2](x).detach()
    _, switches = F.max_pool2d(pooled, 2, return_indices=True)
    back = unpooled(transposed(y, net[3].weight, net[2](pooled), 2, 1), switches, pooled)
    close(inf.deconvnet(net, x, "3").values, transposed(deconv(back), net[0].weight, x, 1, 1))
    twice = copy.deepcopy(net[:4]).eval()
    twice[3].weight.data *= 2
    twice[3].bias.data *= 2
    # Twice in the activations, and twice on the way back.
    close(inf.deconvnet(twice, x, "3").values, 4 * inf.deconvnet(net, x, "3").values)


# However a ReLU is written


class Written(nn.Module):
    """last(r(third(r(second(r(first(x))))))), one `r` for all: `relu` is called three times."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.last, self.relu = nn.Linear(4 * 9, 3), relu

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.second(self.relu(self.first(x))))
        return self.last(self.relu(self.third(y)).flatten(1))

    def back(self, x: Tensor, measure: inf.Ruled, of: int) -> Tensor:
        a = self.first(x)
        b = self.second(torch.where(a > 0, a, 0.0))
        c = self.third(torch.where(b > 0, b, 0.0))
        arriving = down(measure, self.last.weight[of].reshape(1, 4, 3, 3).expand_as(c), c)
        arriving = down(measure, transposed(arriving, self.third.weight, b), b)
        return transposed(down(measure, transposed(arriving, self.second.weight, a), a), self.first.weight, x)


def overwritten(overwrite: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    """A net that goes on with the tensor that it overwrote, not with what the function gives."""

    def relu(x: Tensor) -> Tensor:
        overwrite(x)
        return x

    return relu


SPELLED: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU": nn.ReLU(), "nn.ReLU in place": nn.ReLU(inplace=True), "F.relu": F.relu,
    "F.relu by keyword": lambda x: F.relu(input=x), "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu in place, by position": lambda x: F.relu(x, True), "F.relu_": F.relu_, "torch.relu": torch.relu,
    "torch.relu by keyword": lambda x: torch.relu(input=x), "torch.relu_": torch.relu_, "x.relu()": lambda x: x.relu(),
    "x.relu_()": lambda x: x.relu_(), "x.clamp(min=0)": lambda x: x.clamp(min=0), "x.clamp(0)": lambda x: x.clamp(0),
    "x.clamp(0., None)": lambda x: x.clamp(0.0, None), "x.clamp_(min=0)": lambda x: x.clamp_(min=0),
    "x.clip(min=0)": lambda x: x.clip(min=0), "x.clip_(0)": lambda x: x.clip_(0),
    "x.clamp_min(0)": lambda x: x.clamp_min(0), "x.clamp_min_(0)": lambda x: x.clamp_min_(0),
    "torch.clamp(x, min=0)": lambda x: torch.clamp(x, min=0), "torch.clamp(input=x, min=0)":
    lambda x: torch.clamp(input=x, min=0), "torch.clamp_": lambda x: torch.clamp_(x, 0), "torch.clip":
    lambda x: torch.clip(x, 0), "torch.clip_": lambda x: torch.clip_(x, 0), "torch.clamp_min":
    lambda x: torch.clamp_min(x, 0), "torch.clamp_min by keyword": lambda x: torch.clamp_min(x, min=0),
    "torch.clamp_min_": lambda x: torch.clamp_min_(x, 0), "goes on with what F.relu_ wrote": overwritten(F.relu_),
    "goes on with what F.relu wrote": overwritten(lambda x: F.relu(x, inplace=True)),
    "goes on with what x.clamp_ wrote": overwritten(lambda x: x.clamp_(min=0)),
    "goes on with what a view of it wrote": overwritten(lambda x: x.view(-1).relu_()),
    "through a view": lambda x: F.relu(x.flatten()).view_as(x),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("spelling", SPELLED)
def test_however_a_relu_is_written_the_picture_is_the_one_made_by_hand(spelling: str, measure: inf.Ruled) -> None:
    net, x = worlds.built(lambda: Written(SPELLED[spelling])), noise(3, 2, 9, 9)
    found = ask(net, x, measure)
    expected = net.back(x, measure, 1)
    close(found, expected)
    assert apart(expected, inf.saliency(net, x, inf.Class(1)).values)  # what a silent fall back would have given


@pytest.mark.parametrize("spelling", SPELLED)
def test_the_rule_changes_no_value_of_the_net(spelling: str) -> None:
    net, x = worlds.built(lambda: Written(SPELLED[spelling])), noise(3, 2, 9, 9)
    seen = {}

    class Seen(inf.Quantity):
        def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
            seen["y"] = y.detach().clone()
            return y[:, 0]

    ask(net, x, GUIDED, dataclass(frozen=True, repr=False, eq=False)(Seen)())
    assert torch.equal(seen["y"], net(x.clone()))


# Sums, branches, norms


@BOTH
@pytest.mark.parametrize("inplace", [False, True])
def test_what_arrives_at_a_residual_sum_goes_down_both_ways(inplace: bool, measure: inf.Ruled) -> None:
    net, x = worlds.relu_conv(inplace), noise(2, 2, 5, 5)
    a = net.conv1(x)
    y = torch.where(a > 0, a, 0.0)
    total = net.branch(y) + y
    arriving = (net.head.weight[1] / 25)[None, :, None, None].expand_as(total)
    arriving = down(measure, arriving, total)
    arriving = down(measure, transposed(arriving, net.branch.weight, y, 1, 1) + arriving, a)
    close(ask(net, x, measure), transposed(arriving, net.conv1.weight, x, 1, 1))


class Branches(nn.Module):
    """last(relu(join(norm([relu(a(x)), relu(b(x))])))): branches side by side, then local response norm."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.a, self.b, self.join = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 2, 1), nn.Conv2d(5, 4, 3)
        self.norm, self.relu = norm, nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([self.relu(self.a(x)), F.relu(self.b(x))], 1)
        return self.relu(self.join(self.norm(both))).mean((2, 3))


@BOTH
@pytest.mark.parametrize("normed", [False, True])
def test_concatenation_and_local_response_norm_are_passed_by_hand(normed: bool, measure: inf.Ruled) -> None:
    words = (3, 0.5, 0.75, 2.0)
    net = worlds.built(lambda: Branches(nn.LocalResponseNorm(*words) if normed else nn.Identity()))
    x = noise(2, 2, 6, 5)
    a, b = net.a(x), net.b(x)
    both = torch.cat([torch.where(y > 0, y, 0.0) for y in (a, b)], 1)
    joined = net.join(net.norm(both))
    arriving = torch.zeros_like(joined)
    arriving[:, 2] = 1 / 12
    arriving = transposed(down(measure, arriving, joined), net.join.weight, both)
    if normed:
        arriving = oracles.normalised_back(arriving, both, *words)
    expected = transposed(down(measure, arriving[:, :3], a), net.a.weight, x, 1, 1)
    expected = expected + transposed(down(measure, arriving[:, 3:], b), net.b.weight, x)
    close(ask(net, x, measure, inf.Class(2)), expected)


# In the language of the library


def test_the_question_says_by_which_rule_it_was_answered(tmp_path: Any) -> None:
    net, x = small(), noise(1, 2, 20, 17)
    a = inf.guided_backpropagation(net, x, "4", [1, 2])
    assert a.question.text["measure"] == "Ruled(gradient, Guided())"
    assert a.question.text["of"] == "Energy((1, 2), cut='4')"
    assert a.gap is None
    assert a.note == "slopes by the rule Guided(), which are no gradients: they have no gap"
    assert a.note in repr(a)
    assert a.values.shape == x.shape
    assert inf.load(inf.save(a, tmp_path / "a")).question == a.question
    assert a.question != inf.deconvnet(net, x, "4", [1, 2]).question
    assert a.question != inf.influence(net, "INPUT", inf.Energy([1, 2], "4"), inf.Point(x)).question


@pytest.mark.parametrize(
    "noun", [
        GUIDED, DECONVNET, inf.Ruled(inf.magnitude, inf.Deconvnet()), inf.Guided(), inf.Energy([1, 2], "conv"),
        inf.Energy([(1, 2, 3)], "conv"), inf.Energy(None, "OUTPUT"), inf.Class(1) - 0.5 * inf.Energy(3, "conv"),
        Epsilon(0.25), inf.Ruled(inf.square, Epsilon(0.25)), inf.Ruled(transposed, inf.Guided()),
    ], ids=repr,
)  # fmt: skip
def test_a_rule_and_an_energy_can_be_typed(noun: Any) -> None:
    again = parse(repr(noun))
    assert again == noun
    assert hash(again) == hash(noun)
    assert repr(again) == repr(noun)


def test_rules_of_different_numbers_are_different() -> None:
    assert Epsilon(0.25) != Epsilon(0.5)
    assert inf.Deconvnet() != inf.Guided()
    assert inf.Ruled(inf.gradient, Epsilon(0.25)) != inf.Ruled(inf.gradient, Epsilon(0.5))


def test_slopes_of_the_energy_are_the_units_own_activations() -> None:
    net, x = small(), noise(2, 2, 20, 17)
    a = inf.influence(net, "3", inf.Energy([0, 5], "3"), inf.Point(x)).values
    y = net[:4](x).detach()
    y[:, 1:5] = 0
    assert torch.equal(a, y)
    assert inf.Energy([0, 5], "3").describe(inf.Net(net)) == "the activity of 0, 5 of 3"


def test_several_quantities_cuts_and_measures_come_out_of_one_sweep() -> None:
    net, x = worlds.built(lambda: Written(F.relu)), noise(2, 2, 9, 9)
    energy = inf.Energy([2], "third")
    found = inf.influence(
        net, ["INPUT", "second/channel"], [inf.Class(1), energy], inf.Point(x),
        [GUIDED, inf.Ruled(inf.magnitude, inf.Guided()), inf.activation], chunk=1,
    )  # fmt: skip
    close(found["INPUT"][inf.Class(1)][GUIDED].values, net.back(x, GUIDED, 1))
    close(found["INPUT"][energy][GUIDED].values, inf.guided_backpropagation(net, x, "third", 2).values)
    magnitude = found["second/channel"][inf.Class(1)][inf.Ruled(inf.magnitude, inf.Guided())].values
    close(magnitude, ask_at(net, x, "second/channel").abs())
    assert torch.equal(found["INPUT"][energy][inf.activation].values, x)


def ask_at(net: nn.Module, x: Tensor, at: str) -> Tensor:
    return inf.influence(net, at, inf.Class(1), inf.Point(x), GUIDED).values


def test_measures_of_several_rules_take_a_sweep_each(tmp_path: Any) -> None:
    net, x = worlds.built(lambda: Written(F.relu)), noise(2, 2, 9, 9)
    measures = [inf.activation, GUIDED, inf.gradient, DECONVNET, inf.Ruled(inf.square, inf.Guided())]
    found = inf.influence(net, "INPUT", [inf.Class(1), inf.Class(2)], inf.Point(x), measures)
    for k in (1, 2):
        asked = found[inf.Class(k)]
        close(asked[GUIDED].values, net.back(x, GUIDED, k))
        close(asked[DECONVNET].values, net.back(x, DECONVNET, k))
        close(asked[measures[4]].values, net.back(x, GUIDED, k) ** 2)
        assert torch.equal(asked[inf.gradient].values, inf.saliency(net, x, inf.Class(k)).values)
        assert torch.equal(asked[inf.activation].values, x)
        assert [a.question.measure for a in asked.values()] == measures
    data = inf.Dataset([(x, torch.tensor([0, 1]))])
    with pytest.raises(QuestionError, match=r"^A ledger keeps what one sweep gives, and these measures take a sweep"):
        inf.influence(net, "INPUT", inf.Class(1), data, [GUIDED, DECONVNET], ledger=tmp_path)


def test_over_data_and_balls_it_is_the_mean_of_its_points() -> None:
    net, x = worlds.built(lambda: Written(F.relu)), noise(4, 2, 9, 9)
    each = torch.stack([net.back(row[None], DECONVNET, 1)[0] for row in x])
    data = inf.Dataset([(x, torch.tensor([0, 1, 0, 1]))])
    a = inf.influence(net, "INPUT", inf.Class(1), data, DECONVNET)
    close(a.values, torch.stack([each[[0, 2]].mean(0), each[[1, 3]].mean(0)]))
    ball = inf.influence(net, "INPUT", inf.Class(1), inf.Gaussian(x[:1], 0.3, 4), DECONVNET)
    assert ball.stderr is not None
    assert a.note == ball.note == "slopes by the rule Deconvnet(), which are no gradients: they have no gap"


def test_the_flow_through_units_goes_by_the_rule_both_ways() -> None:
    """From the score down to the units, and from the units, each times what it carries, down to the input."""
    net, x = worlds.built(lambda: Written(F.relu)), noise(2, 2, 9, 9)
    a = net.first(x)
    b = net.second(torch.where(a > 0, a, 0.0))
    c = net.third(torch.where(b > 0, b, 0.0))
    arriving = guided(net.last.weight[1].reshape(1, 4, 3, 3).expand_as(c), c)
    arriving = guided(transposed(arriving, net.third.weight, b), b)
    flow = torch.zeros_like(b)
    flow[:, 2] = arriving[:, 2]
    expected = transposed(guided(transposed(flow, net.second.weight, a), a), net.first.weight, x)
    close(ask(net, x, GUIDED, inf.Through(2, "second", inf.Class(1))), expected)


# A rule of one's own


def layer_matrix(layer: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """A linear layer as a matrix and a bias, column by column: what it makes of each unit vector."""
    size = torch.Size(shape).numel()
    with torch.no_grad():
        zero = layer(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
        basis = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
        return (layer(basis).flatten(1) - zero).T, zero


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("epsilon", [1e-9, 0.3])
def test_epsilon_lrp_in_a_file_of_its_own_is_the_matrix_formula(epsilon: float, inplace: bool) -> None:
    net = worlds.built(
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 2, stride=2), nn.ReLU(inplace), nn.Flatten(), nn.Linear(12, 5), nn.ReLU(inplace),
            nn.Linear(5, 3),
        )
    )  # fmt: skip
    x = noise(1, 2, 5, 4)
    layers = [layer_matrix(net[0], (2, 5, 4)), layer_matrix(net[3], (12,)), layer_matrix(net[5], (5,))]
    given, z = [x.flatten()], []
    for matrix, bias in layers:
        z.append(matrix @ given[-1] + bias)
        given.append(z[-1].clamp(min=0))
    relevance = torch.zeros(3, dtype=torch.float64)
    relevance[2] = z[-1][2]
    for (matrix, _), a, out in zip(layers[::-1], given[-2::-1], z[::-1], strict=True):
        share = relevance / (out + epsilon * torch.where(out < 0, -1.0, 1.0))
        relevance = torch.stack([a[j] * sum(matrix[i, j] * share[i] for i in range(len(out))) for j in range(len(a))])
    a = inf.influence(
        net, "INPUT", inf.Energy([(2,)], "OUTPUT"), inf.Point(x), inf.Ruled(inf.gradient, Epsilon(epsilon))
    )
    close(a.values.flatten(), relevance)
    assert a.question.text["measure"] == f"Ruled(gradient, tests.epsilon:Epsilon({epsilon}))"


def test_epsilon_lrp_conserves_the_score_of_a_net_without_biases() -> None:
    net = worlds.built(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3, bias=False)
        )
    )
    x = noise(3, 2, 6, 6)
    relevance = ask(net, x, inf.Ruled(inf.gradient, Epsilon(1e-12)), inf.Energy([(1,)], "OUTPUT"))
    # ε / z is below 1e-8 at every unit.
    torch.testing.assert_close(relevance.sum((1, 2, 3)), net(x)[:, 1].detach(), rtol=1e-6, atol=1e-8)


def test_epsilon_lrp_refuses_sums_that_it_would_count_twice() -> None:
    with pytest.raises(NetError, match=re.escape("tests.epsilon:Epsilon(0.1) does not know Mean")):
        ask(worlds.relu_conv(), noise(1, 2, 5, 5), inf.Ruled(inf.gradient, Epsilon(0.1)))
    net = worlds.built(lambda: nn.Sequential(worlds.Formula(lambda x: x + F.relu(x)), nn.Linear(3, 2)))
    with pytest.raises(NetError, match=re.escape("tests.epsilon:Epsilon(0.1) does not know Add, which this net uses")):
        ask(net, noise(1, 3), inf.Ruled(inf.gradient, Epsilon(0.1)))


@dataclass(frozen=True, repr=False, eq=False)
class Rectified(inf.BackwardRule):
    """A DeconvNet that sends what arrives at other activations through a ReLU, too, as they stand."""

    others = frozenset({F.gelu, F.elu})

    def relu(self, arriving: Tensor, activation: Tensor) -> Tensor:
        return deconv(arriving)

    def other(self, step: inf.Step, arriving: Tensor) -> Tensor:
        return deconv(arriving)


@pytest.mark.parametrize("make", [nn.GELU, nn.ELU, lambda: nn.ELU(inplace=True), nn.ReLU])
def test_a_rule_may_take_over_another_activation(make: Callable[[], nn.Module]) -> None:
    net, x = worlds.built(lambda: nn.Sequential(nn.Linear(3, 6), make(), nn.Linear(6, 2))), noise(4, 3)
    expected = deconv(net[2].weight[1]) @ net[0].weight
    close(ask(net, x, inf.Ruled(inf.gradient, Rectified())), expected.expand(4, 3))


@dataclass(frozen=True, repr=False, eq=False)
class Plain(inf.BackwardRule):
    """The plain gradient, by way of a rule."""

    others = frozenset({F.linear, F.conv2d, F.max_pool2d})

    def relu(self, arriving: Tensor, activation: Tensor) -> Tensor:
        return arriving * (activation > 0)


def test_a_rule_that_is_the_gradient_gives_the_gradient() -> None:
    for net, x in ((small(), noise(2, 2, 20, 17)), (worlds.built(lambda: Written(F.relu_)), noise(2, 2, 9, 9))):
        of = inf.Energy(None, "OUTPUT")
        close(ask(net, x, inf.Ruled(inf.gradient, Plain()), of), inf.saliency(net, x, of).values)


@dataclass(frozen=True, repr=False, eq=False)
class Crooked(inf.BackwardRule):
    """A rule that hands down the wrong shape."""

    def relu(self, arriving: Tensor, activation: Tensor) -> Tensor:
        return arriving.sum(0)


def test_a_rule_must_hand_down_what_the_operation_was_given() -> None:
    text = r"^The rule tests\.unit\.test_deconvnet:Crooked\(\) hands down float64 \[6\] to what is float64 \[4, 6\]: it"
    with pytest.raises(QuestionError, match=text.replace(r"tests\.unit\.", r"[\w.]*")):
        ask(worlds.built(lambda: nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))), noise(4, 3),
            inf.Ruled(inf.gradient, Crooked()))  # fmt: skip


# Refused, by name


class Own(torch.autograd.Function):
    """A ReLU with a backward of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class Recurrent(nn.Module):
    """A recurrent net of ReLUs, which run inside one of torch's functions."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.RNN(6, 6, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0]


def scripted(relu: Callable[[Tensor], Tensor]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own compiler deprecated
        return torch.jit.script(relu)


def rectified(x: Tensor) -> Tensor:
    return torch.relu(x)


KNOWS = r" knows ReLUs: nn\.ReLU\(\), F\.relu\(x\), x\.clamp\(min=0\)\. The plain gradient would be taken unseen\."
UNSEEN = r"cannot reach the ReLUs in it\. The plain gradient would be taken unseen\. Put the module there as it was"
REFUSED: dict[str, tuple[Any, str]] = {
    "GELU": (nn.GELU(), r"^Guided\(\) does not know Gelu \(module '1'\), which this net uses on the way: .* Ask"),
    "SiLU": (nn.SiLU(), r"does not know Silu \(module '1'\)"),
    "F.silu": (F.silu, r"does not know Silu, which"),
    "sigmoid": (torch.sigmoid, r"does not know Sigmoid"),
    "a gate": (lambda x: x * torch.sigmoid(x), r"does not know Sigmoid"),
    "tanh": (nn.Tanh(), r"does not know Tanh \(module '1'\)"),
    "softmax": (nn.Softmax(1), r"does not know Softmax \(module '1'\)"),
    "softplus": (F.softplus, r"does not know Softplus"),
    "ELU": (nn.ELU(), r"does not know Elu \(module '1'\)"),
    "SELU": (nn.SELU(), r"does not know Elu"),
    "leaky ReLU": (nn.LeakyReLU(), r"does not know LeakyRelu \(module '1'\)"),
    "PReLU": (nn.PReLU(), r"does not know PreluKernel"),
    "hardswish": (nn.Hardswish(), r"does not know Hardswish \(module '1'\)"),
    "sine": (torch.sin, r"does not know Sin"),
    "ReLU6": (nn.ReLU6(), r"^This net cuts values off by Hardtanh \(module '1'\), and Guided\(\)" + KNOWS),
    "F.relu6": (F.relu6, r"^This net cuts values off by Hardtanh, and Guided\(\)" + KNOWS),
    "hardtanh": (nn.Hardtanh(), r"cuts values off by Hardtanh \(module '1'\)"),
    "threshold": (nn.Threshold(0.0, 0.0), r"cuts values off by Threshold \(module '1'\)"),
    "clamp on both sides": (lambda x: x.clamp(0, 6), r"cuts values off by Clamp, "),
    "clamp elsewhere": (lambda x: x.clamp(min=1e-3), r"cuts values off by Clamp, "),
    "clamp_min elsewhere": (lambda x: x.clamp_min(0.5), r"cuts values off by ClampMin, "),
    "clamp_max": (lambda x: x.clamp_max(0), r"cuts values off by ClampMax, "),
    "clamp by a tensor": (lambda x: x.clamp(min=torch.zeros(())), r"cuts values off by Clamp, "),
    "maximum": (lambda x: torch.maximum(x, torch.zeros(())), r"cuts values off by Maximum, "),
    "max of two": (lambda x: torch.max(x, torch.zeros_like(x)), r"cuts values off by Maximum, "),
    "fmax": (lambda x: torch.fmax(x, torch.zeros_like(x)), r"cuts values off by Fmax, "),
    "where": (lambda x: torch.where(x > 0, x, 0.0), r"cuts values off by Where, "),
    "masked_fill": (lambda x: x.masked_fill(x < 0, 0), r"cuts values off by MaskedFill, "),
    "index_put": (lambda x: x.index_put((x < 0,), x.new_zeros(())), r"cuts values off by IndexPut, "),
    "absolute value": (lambda x: (x + x.abs()) / 2, r"cuts values off by Abs, "),
    "x times its sign": (lambda x: x * (x > 0), r"cuts values off by a product with zeros and ones, "),
    "sign times x, as numbers": (lambda x: (x > 0).to(x) * x, r"cuts values off by a product with zeros and ones, "),
    "a function of one's own": (Own.apply, r"^Part of this net is .* of its own \(Own\): Guided\(\) " + UNSEEN),
    "aten": (
        torch.ops.aten.relu,
        r"^A ReLU of this net runs where Guided\(\) does not reach it: .* Write it as nn\.ReLU\(\) or F\.relu\(x\)\.$",
    ),
    "inside torch's recurrent net": (Recurrent(), r"^A ReLU of this net runs where"),
}  # fmt: skip


def between(activation: Any) -> nn.Sequential:
    """linear, activation, linear."""
    module = activation if isinstance(activation, nn.Module) else worlds.Formula(activation)
    return worlds.built(lambda: nn.Sequential(nn.Linear(3, 6), module, nn.Linear(6, 2)))


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused_by_name(name: str) -> None:
    activation, text = REFUSED[name]
    net, x = between(activation), noise(4, 3)
    with pytest.raises(NetError, match=text):
        ask(net, x)
    with pytest.raises(NetError, match=text.replace("Guided", "Deconvnet")):
        inf.deconvnet(net, x, "2")
    # Without a rule it is a question like any other; and what the cut stands behind, is not on the way.
    inf.saliency(net, x, inf.Class(1))
    inf.influence(net, "1", inf.Class(1), inf.Point(x), GUIDED)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_scripted_and_traced_parts_are_refused() -> None:
    x = noise(4, 3)
    traced = torch.jit.trace(nn.ReLU().eval(), torch.ones(1, 6))
    for module in (scripted(nn.ReLU().eval()), traced):
        with pytest.raises(
            NetError, match=r"^Module '1' is scripted or traced \(torch\.jit\): Guided\(\) cannot reach"
        ):
            ask(between(module), x)
    net = between(scripted(rectified))
    for _ in range(4):  # torch looks at scripted code for two runs, and changes it for the third
        with pytest.raises(NetError, match=r"^(A ReLU of this net runs where|Part of this net is compiled, scripted)"):
            ask(net, x)


def test_checkpoints_that_hide_their_graph_are_refused() -> None:
    with pytest.raises(NetError, match=r"^Part of this net is .* a backward of its own \(CheckpointFunction\)"):
        ask(between(lambda x: checkpoint(F.relu, x, use_reentrant=True)), noise(4, 3))


# What torch.compile looks at while it traces makes torch warn.
COMPILES = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning", "ignore:.*Function.*not be")


@COMPILES
@pytest.mark.parametrize("compiled", ["in place", "function"])
def test_compiled_parts_that_keep_their_backward_are_refused(compiled: str) -> None:
    torch.compiler.reset()
    net, x = (
        between(nn.ReLU() if compiled == "in place" else torch.compile(rectified, backend="aot_eager")),
        noise(4, 3),
    )
    if compiled == "in place":
        net[1].compile(backend="aot_eager")
    with pytest.raises(NetError, match=r"^Part of this net is compiled, .*: Guided\(\) " + UNSEEN):
        ask(net, x)
    torch.compiler.reset()


@COMPILES
def test_compiled_nets_that_can_be_unwrapped_give_the_same_picture() -> None:
    torch.compiler.reset()
    plain, x = between(nn.ReLU()), noise(4, 3)
    expected = ask(plain, x)
    whole = torch.compile(plain, backend="eager")
    whole(x)
    assert torch.equal(ask(whole, x), expected)
    part = copy.deepcopy(plain)
    part[1] = torch.compile(part[1], backend="eager")
    part(x)
    assert torch.equal(ask(part, x), expected)
    torch.compiler.reset()


def test_other_ways_in_which_torch_runs_a_net_give_the_same_picture() -> None:
    net, x = worlds.built(lambda: Written(F.relu)), noise(2, 2, 9, 9)
    expected = net.back(x, GUIDED, 1)
    close(ask(torch.fx.symbolic_trace(net), x), expected)
    close(ask(nn.DataParallel(net), x), expected)
    close(ask(worlds.Formula(lambda x: checkpoint(net, x, use_reentrant=False)).eval(), x), expected)
    with torch.no_grad():
        close(ask(net, x), expected)
    with torch.inference_mode():
        close(ask(net, x.clone()), expected)


IMAGE = noise(1, 2, 20, 17)
WORDS: dict[str, tuple[Callable[[], Any], str]] = {
    "a path": (
        lambda: inf.influence(small(), "INPUT", inf.Energy(None, "8"), inf.Line(0 * IMAGE, IMAGE), DECONVNET),
        r"^By Deconvnet\(\) slopes are no gradients, and nothing adds up along a path\. Ask at points: over=Point",
    ),
    "a path over data": (
        lambda: inf.influence(
            small(), "INPUT", inf.Energy(None, "8"), inf.Line(0 * IMAGE, inf.Dataset([(IMAGE, [0])])), GUIDED
        ),
        r"^By Guided\(\) slopes are no gradients",
    ),
    "contribution": (
        lambda: ask(between(nn.ReLU()), noise(1, 3), inf.Ruled(inf.contribution, inf.Guided())),
        r"^This measure needs a path",
    ),
    "no rule": (
        lambda: inf.Ruled(inf.gradient, "guided"),
        r"^Ruled\(\.\.\., 'guided'\) has no backward rule\. Type one: Ruled\(gradient, Guided\(\)\), or Dec",
    ),
    "a rule's class": (lambda: inf.Ruled(inf.gradient, inf.Guided), r"has no backward rule"),
    "no measure": (lambda: inf.Ruled("gradient", inf.Guided()), r"^Ruled\('gradient', \.\.\.\) has no measure\."),
    "a rule in a rule": (lambda: inf.Ruled(GUIDED, inf.Guided()), r"^Ruled\(Ruled\(gradient, Guided\(\)\), \.\.\.\)"),
    "units that are none": (
        lambda: inf.Energy("all", "conv"),
        r"^Energy\('all', \.\.\.\): units are channels, 52 or \[52, 76\], neurons, \[\(52, 7, 7\)\], a mask, or None",
    ),
    "units out of range": (
        lambda: inf.deconvnet(small(), noise(1, 2, 20, 17), "0", 7),
        r"^Energy\(7, cut='0'\): unit 7 is out of range: 0 has neurons of shape \[4, 20, 17\]\.$",
    ),
    "a mask of another shape": (
        lambda: inf.deconvnet(small(), noise(1, 2, 20, 17), "0", torch.ones(3)), r"the mask is float32 \[3\], and 0 has"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_words_that_do_not_fit_are_lessons(name: str) -> None:
    call, text = WORDS[name]
    with pytest.raises(QuestionError, match=text):
        call()


# Never the plain gradient, unseen


def test_a_spelling_that_the_rule_misses_is_refused_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant of every framework that hooks modules alone: it sees no functional ReLU. The graph tells on it."""
    net, x = worlds.built(lambda: Written(F.relu)), noise(2, 2, 9, 9)
    expected, plain = net.back(x, GUIDED, 1), inf.saliency(net, x, inf.Class(1)).values
    monkeypatch.setattr(rules, "_overwrites", lambda *call: None)
    with pytest.raises(NetError, match=r"^A ReLU of this net runs where Guided\(\) does not reach it"):
        ask(net, x)
    # And without that second look, the tests above would see it.
    monkeypatch.setattr("influent.probe.check_ruled", lambda *look: None)
    assert torch.equal(ask(net, x), plain)
    assert apart(expected, plain)


# The net, and torch, as they were


class Failing(nn.Module):
    """A net that fails behind its first ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        F.relu(self.first(x))
        raise ArithmeticError("behind the ReLU")


def snapshot(net: nn.Module) -> dict[str, Any]:
    hooks = {
        f"{n}.{k}": len(v) for n, m in net.named_modules() for k, v in vars(m).items() if k.endswith("_hooks") and v
    }
    asking = {n: (p.requires_grad, p.grad is None) for n, p in net.named_parameters()}
    return {"hooks": hooks, "asking": asking, "attributes": {n: sorted(vars(m)) for n, m in net.named_modules()}}


def plain_gradient(net: nn.Module, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(net(leaf)[:, 1].sum(), leaf)[0]


@pytest.mark.parametrize("spelling", ["nn.ReLU", "nn.ReLU in place", "F.relu", "x.clamp_(min=0)"])
def test_nothing_is_left_of_a_rule(spelling: str) -> None:
    net, x = worlds.built(lambda: Written(SPELLED[spelling])), noise(2, 2, 9, 9)
    before, kept, weights = plain_gradient(net, x), x.clone(), copy.deepcopy(net.state_dict())
    state, saliency = snapshot(net), inf.saliency(net, x, inf.Class(1)).values
    ask(net, x)
    inf.deconvnet(net, x, "second", [1])
    assert torch.equal(plain_gradient(net, x), before)
    assert torch.equal(inf.saliency(net, x, inf.Class(1)).values, saliency)
    assert torch.equal(x, kept)
    assert snapshot(net) == state
    assert all(torch.equal(w, weights[n]) for n, w in net.state_dict().items())
    assert type(F.relu(x.requires_grad_()).grad_fn).__name__ == "ReluBackward0"


def test_nothing_is_left_of_a_rule_after_an_error() -> None:
    net, x = worlds.built(Failing), noise(2, 3)
    state = snapshot(net)
    with pytest.raises(inf.InputError, match="behind the ReLU"):
        ask(net, x)
    with pytest.raises(NetError, match="Gelu"):
        ask(between(nn.GELU()), x)

    def fails(e: inf.Evidence) -> Tensor:
        raise ArithmeticError("a measure that fails")

    with pytest.raises(ArithmeticError, match="a measure that fails"):
        ask(between(nn.ReLU()), x, inf.Ruled(fails, inf.Guided()))
    assert snapshot(net) == state
    assert type(F.relu(x.requires_grad_()).grad_fn).__name__ == "ReluBackward0"


def test_a_net_in_training_mode_is_refused_as_elsewhere() -> None:
    with pytest.raises(NetError, match=r"training mode"):
        ask(between(nn.ReLU()).train(), noise(2, 3))


def test_other_threads_keep_their_gradients() -> None:
    """The same net, asked with a rule and without by two threads at once."""
    net, x = worlds.built(lambda: Written(F.relu)), noise(2, 2, 9, 9)
    expected = {True: net.back(x, GUIDED, 1), False: inf.saliency(net, x, inf.Class(1)).values}
    wrong: list[bool] = []

    def asks(ruled: bool) -> None:
        for _ in range(10):
            found = ask(net, x, GUIDED if ruled else inf.gradient)
            if not torch.allclose(found, expected[ruled], **EXACT):
                wrong.append(ruled)

    threads = [threading.Thread(target=asks, args=(ruled,)) for ruled in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
