"""Counts, never times: how many samples a question sends through the net, seen from outside the net."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import influent as inf
from benchmarks.workload import Samples, counted, floor

NINE = [str(k) for k in range(1, 18, 2)]


@pytest.fixture
def net() -> nn.Module:
    """Nine hidden layers of three units, with a kink after each."""
    torch.manual_seed(0)
    layers = [layer for _ in range(9) for layer in (nn.Linear(3, 3), nn.Softplus())]
    return nn.Sequential(*layers, nn.Linear(3, 2)).double().eval().requires_grad_(False)


def photos(count: int) -> Tensor:
    return torch.linspace(-1, 1, 3 * count, dtype=torch.float64).reshape(count, 3)


def samples(net: nn.Module, at: str | list[str], over: inf.Distribution, measure: object = inf.gradient) -> Samples:
    """What went through the net, after a look at whether the result says the same."""
    with counted(net) as seen:
        found = inf.influence(net, at=at, of=inf.Class(1), over=over, measure=measure, chunk=4)
    for a in found.values() if isinstance(found, dict) else [found]:
        assert (a.cost.forward, a.cost.backward) == (seen.forward, seen.backward)
    return seen


def test_point_costs_one_pass_forward_and_one_back_for_each_photo(net: nn.Module) -> None:
    assert samples(net, "9", inf.Point(photos(5))) == Samples(forward=5, backward=5)


def test_point_costs_as_much_as_the_floor(net: nn.Module) -> None:
    with counted(net) as least:
        floor(net, "9", photos(5), 1, chunk=4)
    assert samples(net, "9", inf.Point(photos(5))) == least


@pytest.mark.parametrize("rule", ["uniform", "graded", "adaptive"])
def test_a_path_costs_its_points_and_one_look_at_the_cut(net: nn.Module, rule: str) -> None:
    over = inf.Line(photos(1) * 0, photos(1), n=9, rule=rule)
    # One more sample goes forward, taped but never back, to see whether the cut is full.
    assert samples(net, "9", over, inf.contribution) == Samples(forward=9 + 1, backward=9)


def test_gradients_on_a_static_path_cost_no_more_than_contributions(net: nn.Module) -> None:
    seen = samples(net, "9", inf.Line(photos(1) * 0, photos(1), n=9, rule="uniform"))
    assert seen.backward == 9
    assert 9 <= seen.forward <= 9 + 1


@pytest.mark.parametrize("measure", [inf.gradient, inf.contribution])
@pytest.mark.parametrize("rule", ["uniform", "graded", "adaptive"])
def test_nine_cuts_cost_as_many_samples_as_one(net: nn.Module, rule: str, measure: object) -> None:
    over = inf.Line(photos(2)[:1], photos(2)[1:], n=17, rule=rule)
    assert samples(net, NINE, over, measure) == samples(net, NINE[0], over, measure)


def test_nine_cuts_at_a_point_cost_as_many_samples_as_one(net: nn.Module) -> None:
    assert samples(net, NINE, inf.Point(photos(5))) == samples(net, NINE[0], inf.Point(photos(5)))


def test_more_measures_cost_no_more_samples(net: nn.Module) -> None:
    over = inf.Line(photos(1) * 0, photos(1), n=9, rule="graded")
    with counted(net) as seen:
        inf.influence(net, at="9", of=inf.Class(1), over=over, measure=[inf.gradient, inf.contribution])
    assert seen == samples(net, "9", over, inf.contribution)


def test_more_quantities_cost_passes_back_but_none_forward(net: nn.Module) -> None:
    with counted(net) as seen:
        inf.influence(net, at="9", of=[inf.Class(0), inf.Class(1)], over=inf.Point(photos(5)))
    assert seen == Samples(forward=5, backward=10)
