"""The probe: every way in which a hook can see the wrong thing, and the net that must not notice it was watched."""

from __future__ import annotations

import copy
import re
import threading
import warnings
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from influent import (
    INPUT,
    OUTPUT,
    Class,
    Gaussian,
    Line,
    Net,
    Point,
    Predicted,
    Unit,
    activation,
    activations,
    contribution,
    cuts,
    gradient,
    gradient_times_activation,
    influence,
)
from influent.cut import Cut
from influent.errors import CutError, InfluentWarning, InputError, NetError, QuestionError
from influent.probe import Probe

torch.set_num_threads(1)

# torch compiles its own forward-mode formulas, once, with a tool of its own that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

# Everything below is computed in float64 from numbers of size one by at most a few hundred operations, in another
# order than the oracle's: 1e-12 is a thousand roundings of 2e-16 and far below any wrong formula.
EXACT = {"rtol": 0.0, "atol": 1e-12}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def filled(net: nn.Module, seed: int = 0) -> nn.Module:
    """The net in float64 and eval mode, its weights drawn from a fixed generator."""
    dice = torch.Generator().manual_seed(seed)
    net = net.double().eval()
    for weight in net.parameters():
        weight.data = torch.randn(weight.shape, dtype=torch.float64, generator=dice) / weight[0].numel() ** 0.5
    return net


def mlp(inplace: bool = False) -> nn.Sequential:
    return filled(nn.Sequential(nn.Linear(3, 6), nn.ReLU(inplace=inplace), nn.Linear(6, 4)))


def hooks_left(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in net.modules())


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, **EXACT)


# In-place operations


def test_in_place_relu_after_the_layer_corrupts_neither_activation_nor_slope() -> None:
    net, x = mlp(inplace=True), draw(5, 3)
    before = x @ net[0].weight.T + net[0].bias
    assert bool((before < 0).any())  # else the ReLU changes nothing, and nothing is tested
    found = influence(net, "0", Class(2), Point(x), [activation, gradient])
    close(found[activation].values, before.detach())
    close(found[gradient].values, (net[2].weight[2] * (before > 0)).detach())


class ScalesItsInput(nn.Module):
    """tanh(W (2x + 1)), the affine part done in place on the caller's own tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.curve, self.b = nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.curve(self.a(x.mul_(2).add_(1))))


@pytest.mark.parametrize("over", [Point, lambda x: Gaussian(x, 1e-9, 2), lambda x: Line(0.5 * x, x, n=5)])
def test_in_place_operation_on_the_input_changes_neither_answer_nor_photo(over: Callable[[Tensor], Any]) -> None:
    net, x = filled(ScalesItsInput()), draw(2, 3)
    kept = x.clone()
    values = influence(net, INPUT, Class(1), over(x), activation).values
    assert torch.equal(x, kept)
    if isinstance(over(x), Line):
        kept = 0.75 * kept  # the mean of a path from x/2 to x
    # The ball's own radius, 1e-9, times the largest of a few draws.
    torch.testing.assert_close(values, kept, rtol=0, atol=1e-8)


def test_in_place_operation_on_the_input_gives_the_slope_of_the_whole_net() -> None:
    net, x = filled(ScalesItsInput()), draw(2, 3)
    y = torch.tanh((2 * x + 1) @ net.a.weight.T + net.a.bias)
    expected = 2 * ((1 - y**2) * net.b.weight[1]) @ net.a.weight
    close(influence(net, INPUT, Class(1), Point(x)).values, expected.detach())


def test_exact_velocities_are_taken_at_the_points_themselves_where_the_net_overwrites_them() -> None:
    net, x = filled(ScalesItsInput()), draw(1, 3)
    a = influence(net, "curve", Class(1), Line(0 * x, x, n=20, rule="gauss"), contribution)
    nodes, weights = torch.linspace(0, 1, 20_001, dtype=torch.float64), torch.full((20_001, 1), 1 / 20_000).double()
    weights[[0, -1]] /= 2
    w = net.a.weight.detach()
    y = torch.tanh((2 * nodes[:, None] * x + 1) @ w.T + net.a.bias.detach())
    expected = (weights * net.b.weight[1].detach() * (1 - y**2) * (2 * x @ w.T)).sum(0, keepdim=True)
    # The oracle is a trapezoid of step 5e-5: its error is below step² · |f''| ≈ 2.5e-9 · 10.
    torch.testing.assert_close(a.values, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("ask", [lambda net, x: activations(net, "a", x), lambda net, x: cuts(net, x)])
def test_looking_at_a_net_leaves_the_input_as_it_was(ask: Callable[..., Any]) -> None:
    net, x = filled(ScalesItsInput()), draw(2, 3)
    kept = x.clone()
    ask(net, x)
    assert torch.equal(x, kept)


def test_inputs_beside_the_path_stay_as_they_were() -> None:
    net, beside = filled(ScalesItsInput()), draw(1, 3)
    kept = beside.clone()
    influence(net, "a", Class(0), Point(draw(2, 4), cut="a", given=beside))
    assert torch.equal(beside, kept)


def test_feeding_a_layer_before_an_in_place_relu_leaves_the_fed_tensor_as_it_was() -> None:
    net, x = mlp(inplace=True), draw(1, 3)
    y = activations(net, "0", x)
    kept = y.clone()
    influence(net, "0", Class(0), Line(-y, y, n=5, cut="0", given=x), contribution)
    influence(net, "2", Class(0), Point(y, cut="0", given=x))
    assert torch.equal(y, kept)


# Modules that run twice, or never


class Twice(nn.Module):
    """W relu(W x + b) + b: one layer, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.idle = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.relu(self.layer(x)))


def test_a_module_that_runs_twice_needs_its_call() -> None:
    with pytest.raises(CutError, match=r"'layer' runs more than once in one pass\. Say which call: \"layer#1\""):
        influence(filled(Twice()), "layer", Class(0), Point(draw(1, 3)))


def test_each_call_of_a_module_has_its_own_slope_and_activation() -> None:
    net, x = filled(Twice()), draw(4, 3)
    w, b = net.layer.weight.detach(), net.layer.bias.detach()
    first = x @ w.T + b
    found = influence(
        net, ["layer#1", "layer#2", "layer:in#1", "layer:in#2"], Class(1), Point(x), [gradient, activation]
    )
    close(found["layer#1"][activation].values, first)
    close(found["layer#1"][gradient].values, w[1] * (first > 0))
    close(found["layer#2"][activation].values, first.relu() @ w.T + b)
    close(found["layer#2"][gradient].values, torch.tensor([0.0, 1.0, 0.0]).double().expand(4, 3))
    close(found["layer:in#1"][activation].values, x)
    close(found["layer:in#1"][gradient].values, (w[1] * (first > 0)) @ w)
    close(found["layer:in#2"][activation].values, first.relu())
    close(found["layer:in#2"][gradient].values, w[1].expand(4, 3))


def test_a_call_that_does_not_happen_is_an_error() -> None:
    with pytest.raises(CutError, match=r"'layer#3': 'layer' runs 2 times in one pass, not 3\."):
        influence(filled(Twice()), "layer#3", Class(0), Point(draw(1, 3)))


def test_a_module_that_never_runs_is_an_error() -> None:
    with pytest.raises(CutError, match=r"'idle' never ran\. .*inf\.cuts\(net, x\) lists those that run\."):
        influence(filled(Twice()), "idle", Class(0), Point(draw(1, 3)))


def test_a_module_whose_forward_is_called_directly_never_runs() -> None:
    class Direct(Twice):
        def forward(self, x: Tensor) -> Tensor:
            return self.idle(self.layer.forward(x))

    with pytest.raises(CutError, match="'layer' never ran"):
        influence(filled(Direct()), "layer", Class(0), Point(draw(1, 3)))


# Elements of what modules give


Pair = namedtuple("Pair", "left right")


@dataclass
class Record:
    left: Tensor
    right: Tensor


@dataclass(frozen=True)
class FrozenRecord:
    left: Tensor
    right: Tensor


class Packs(nn.Module):
    def __init__(self, make: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(x + 1, x * 3)


class Unpacks(nn.Module):
    """2 (x + 1) + 5 (3 x), through a container that the inner module gives."""

    def __init__(self, make: Callable[[Tensor, Tensor], Any], take: Callable[[Any], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.pack, self.take = Packs(make), take

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.take(self.pack(x))
        return 2 * left + 5 * right


def by_name(packed: Any) -> tuple[Tensor, Tensor]:
    return packed.left, packed.right


def model_output(left: Tensor, right: Tensor) -> Any:
    outputs = pytest.importorskip("transformers.modeling_outputs", reason="transformers is not installed")
    return outputs.BaseModelOutputWithPast(last_hidden_state=left, past_key_values=right)


CONTAINERS = {
    "tuple": (lambda a, b: (a, b), tuple, "[0]", "[1]"),
    "negative index": (lambda a, b: (a, b), tuple, "[-2]", "[-1]"),
    "list": (lambda a, b: [a, b], tuple, "[0]", "[1]"),
    "nested tuple": (lambda a, b: ((a,), [0, (b, None)]), lambda p: (p[0][0], p[1][1][0]), "[0][0]", "[1][1][0]"),
    "named tuple by place": (Pair, by_name, "[0]", "[1]"),
    "named tuple by name": (Pair, by_name, "[left]", "[right]"),
    "dict": (lambda a, b: {"left": a, "right": b}, lambda p: (p["left"], p["right"]), "[left]", "[right]"),
    "dict of lists": (lambda a, b: {"all": [a, b]}, lambda p: tuple(p["all"]), "[all][0]", "[all][1]"),
    "dataclass": (Record, by_name, "[left]", "[right]"),
    "frozen dataclass": (FrozenRecord, by_name, "[left]", "[right]"),
    "ModelOutput": (
        model_output, lambda p: (p.last_hidden_state, p["past_key_values"]), "[last_hidden_state]", "[past_key_values]",
    ),
    "torch.return_types": (
        lambda a, b: torch.return_types.max((a, b)), lambda p: (p.values, p.indices), "[0]", "[1]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTAINERS)
def test_an_element_of_a_container_is_watched_and_the_container_passed_on(name: str) -> None:
    make, take, left, right = CONTAINERS[name]
    net, x = Unpacks(make, take).eval(), draw(2, 3)
    measures = [gradient, activation]
    found = influence(net, [f"pack{left}", f"pack{right}"], lambda y: y[:, 0], Point(x), measures)
    one = torch.tensor([1.0, 0.0, 0.0]).double().expand(2, 3)
    close(found[f"pack{left}"][gradient].values, 2 * one)
    close(found[f"pack{right}"][gradient].values, 5 * one)
    close(found[f"pack{left}"][activation].values, x + 1)
    close(found[f"pack{right}"][activation].values, 3 * x)


@pytest.mark.parametrize(("make", "keys"), [(lambda a: (a, a), (0, 1)), (lambda a: Pair(a, a), ("left", "right"))])
def test_of_one_tensor_given_twice_each_is_an_element_of_its_own(
    make: Callable[..., Any], keys: tuple[Any, Any]
) -> None:
    net, x = Unpacks(lambda a, b: make(a), tuple).eval(), draw(1, 3)
    found = influence(net, [f"pack[{key}]" for key in keys], lambda y: y[:, 0], Point(x))
    one = torch.tensor([[1.0, 0.0, 0.0]]).double()
    close(found[f"pack[{keys[0]}]"].values, 2 * one)
    close(found[f"pack[{keys[1]}]"].values, 5 * one)


@pytest.mark.parametrize("name", [n for n in CONTAINERS if n not in ("named tuple by place", "negative index")])
def test_a_path_is_fed_into_an_element_of_a_container(name: str) -> None:
    make, take, left, right = CONTAINERS[name]
    net, x, y = Unpacks(make, take).eval(), draw(1, 3), draw(1, 3, seed=1)
    a = influence(net, OUTPUT, Class(0), Point(y, cut=f"pack{left}", given=x), activation)
    close(a.values, 2 * y + 15 * x)
    a = influence(net, OUTPUT, Class(0), Point(y, cut=f"pack{right}", given=x), activation)
    close(a.values, 2 * (x + 1) + 5 * y)


@pytest.mark.parametrize(
    "make",
    [
        lambda a, b: (a,),
        lambda a, b: [a, None],
        lambda a, b: {"hidden": a, "count": 3, "ids": torch.zeros(2, dtype=torch.long)},
        lambda a, b: {"logits": a, "hidden": b},
        lambda a, b: Record(a, None),
        lambda a, b: (a, (b, b)),
    ],
)
def test_the_only_tensor_or_the_logits_are_picked_without_being_named(make: Callable[..., Any]) -> None:
    net, x = Packs(make).eval(), draw(2, 3)
    close(influence(net, INPUT, Class(1), Point(x)).values, torch.tensor([0.0, 1.0, 0.0]).double().expand(2, 3))
    close(activations(net, OUTPUT, x), x + 1)


def test_a_container_of_several_tensors_lists_its_elements() -> None:
    with pytest.raises(CutError, match=r"'pack' gives a tuple, not one tensor\. Name an element: pack\[0\], pack\[1\]"):
        influence(Unpacks(lambda a, b: (a, b), tuple).eval(), "pack", Class(0), Point(draw(1, 3)))


def test_an_element_that_is_not_there_lists_those_that_are() -> None:
    net = Unpacks(*CONTAINERS["dict"][:2]).eval()
    with pytest.raises(
        CutError, match=r"'pack\[mid\]': pack has no element 'mid'\. Name an element: pack\[left\], pack\[right\]"
    ):
        influence(net, "pack[mid]", Class(0), Point(draw(1, 3)))


def test_an_element_of_a_plain_tensor_is_refused_by_name() -> None:
    # Indexing the tensor itself would watch the first *input* of the batch and call it a layer.
    with pytest.raises(CutError, match=r"'0\[0\]'"):
        influence(mlp(), "0[0]", Class(0), Point(draw(2, 3)))


# The two sides of the net


class Speaks(nn.Module):
    """A net that speaks in keywords and dictionaries: logits = scale · (W pixels) + W extra."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Linear(3, 4, bias=False)

    def forward(self, pixels: Tensor, *, scale: Tensor | float = 1.0, extra: Tensor | None = None) -> dict[str, Any]:
        hidden = self.w(pixels) * scale
        return {"hidden": hidden, "logits": hidden if extra is None else hidden + self.w(extra)}


@pytest.mark.parametrize("side", [OUTPUT, OUTPUT["logits"], "OUTPUT", "OUTPUT[logits]"])
@pytest.mark.parametrize("cut", ["INPUT", "INPUT[pixels]"])
def test_dictionaries_give_their_logits_and_inputs_have_names(side: Any, cut: str) -> None:
    net, x = filled(Speaks()), draw(2, 3)
    values = influence(net, cut, Class(2, cut=side), Point(x, cut=cut)).values
    close(values, net.w.weight[2].detach().expand(2, 3))


def test_another_element_of_the_output_is_read_by_name() -> None:
    net, x, extra = filled(Speaks()), draw(1, 3), draw(1, 3, seed=1)
    over = Point(x, cut=INPUT["pixels"], given={"extra": extra})
    found = influence(net, ["INPUT[pixels]", "INPUT[extra]"], [Class(1), Class(1, cut="OUTPUT[logits]")], over)
    w = net.w.weight[1:2].detach()
    for of in found["INPUT[extra]"]:
        close(found["INPUT[extra]"][of].values, w)
        close(found["INPUT[pixels]"][of].values, w)
    with pytest.raises(QuestionError, match=r"does not depend on 'INPUT\[extra\]'"):
        influence(net, "INPUT[extra]", Class(1, cut="OUTPUT[hidden]"), over)


class TakesABatch(nn.Module):
    """W image + bias, called with one dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Linear(3, 4, bias=False)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.w(batch["image"]) + batch["bias"][:, None]


@pytest.mark.parametrize("way", ["INPUT[0]", "INPUT[batch]"])
def test_a_net_that_takes_one_dictionary_is_fed_at_an_element_of_it(way: str) -> None:
    net, x = filled(TakesABatch()), draw(2, 3)
    batch = {"image": draw(2, 3, seed=1), "bias": draw(2, seed=2)}
    given = (batch,) if way == "INPUT[0]" else {"batch": batch}
    found = influence(net, [f"{way}[image]", OUTPUT], Class(1), Point(x, cut=f"{way}[image]", given=given), activation)
    close(found[f"{way}[image]"].values, x)
    close(found[OUTPUT].values, (x @ net.w.weight.T + batch["bias"][:, None]).detach())
    a = influence(net, f"{way}[bias]", Class(1), Line(0 * x, x, n=3, cut=f"{way}[image]", given=given), contribution)
    assert a.note == "not a full cut"
    with pytest.raises(
        CutError, match=re.escape(f"{way} has no element 'photo'. Name an element: {way}[image], {way}[bias].")
    ):
        influence(net, f"{way}[photo]", Class(1), Point(x, cut=f"{way}[image]", given=given))


def test_the_elements_of_the_first_input_are_listed_by_their_whole_names() -> None:
    batch = {"image": draw(2, 3), "bias": draw(2)}
    with pytest.raises(
        CutError, match=r"'INPUT' gives a dict, not one tensor\. Name an element: INPUT\[0\]\[image\], "
    ):
        activations(filled(TakesABatch()), INPUT, (batch,))


def test_positional_inputs_beside_the_explained_one_keep_their_places() -> None:
    class Three(nn.Module):
        def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
            return a + 10 * b + 100 * c

    net, (a, b, c) = Three().eval(), (draw(2, 3, seed=k) for k in range(3))
    for place, point, given in [("INPUT", a, (b, c)), ("INPUT[1]", b, (a, c)), ("INPUT[2]", c, [a, b])]:
        over = Point(point, cut=place, given=given)
        found = influence(net, ["INPUT", "INPUT[1]", "INPUT[2]"], Class(0), over, [gradient, activation])
        for k, (cut, x) in enumerate(zip(["INPUT", "INPUT[1]", "INPUT[2]"], (a, b, c), strict=True)):
            close(found[cut][activation].values, x)
            close(found[cut][gradient].values, 10.0**k * torch.tensor([1.0, 0.0, 0.0]).double().expand(2, 3))


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_inputs_beside_the_points_are_indexed_by_the_subject_of_each_point(chunk: int) -> None:
    net, x = filled(Speaks()), draw(3, 3)
    scale = torch.tensor([[2.0], [3.0], [5.0]]).double()
    one_for_all = torch.tensor([[7.0, 7.0, 7.0]]).double()  # one row for three inputs: passed as it is
    given = {"scale": scale, "extra": one_for_all}
    for over in (
        Line(0 * x, x, n=4, rule="uniform", cut="INPUT[pixels]", given=given),
        Line(0 * x, x, n=9, cut="INPUT[pixels]", given=given),
        Line(0 * x, x, n=3, rule="gauss", cut="INPUT[pixels]", given=given),
        Gaussian(x, 0.5, 3, cut="INPUT[pixels]", given=given),
        Point(x, cut="INPUT[pixels]", given=given),
    ):
        close(influence(net, "INPUT[pixels]", Class(1), over, chunk=chunk).values, scale * net.w.weight[1].detach())


def test_a_path_inside_the_net_runs_on_the_given_inputs() -> None:
    net, x = mlp(), draw(2, 3)
    y = activations(net, "0", x)
    close(y, (x @ net[0].weight.T + net[0].bias).detach())
    a = influence(net, "0", Class(1), Line(-y, y, n=3, rule="uniform", cut="0", given=x), contribution)
    # relu has slope 1 on one half of each path, 0 on the other, 1 at one of the three points' ends: by hand,
    # ∫ w·1[αy>0]·2y dα with trapezoid weights ¼, ½, ¼ is w·2y·(¼ for y>0 at its end, ¼ for y<0 at its start).
    close(a.values, (net[2].weight[1] * 2 * y * 0.25).detach())
    assert a.gap is not None
    close(a.gap.change, ((y.relu() - (-y).relu()) @ net[2].weight[1]).detach())


# Wrapped, compiled, traced and quantised nets


@pytest.fixture
def compiling() -> Iterator[None]:
    """torch's own deprecations while it compiles are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.compiler.reset()


@pytest.mark.usefixtures("compiling")
def test_a_compiled_net_answers_as_the_plain_one_and_stays_compiled() -> None:
    net, x = mlp(), draw(2, 3)
    fast = torch.compile(net, backend="eager")
    expected = fast(x)
    for cut in ("0", INPUT, "1"):
        close(influence(fast, cut, Class(1), Point(x)).values, influence(net, cut, Class(1), Point(x)).values)
    assert torch.equal(fast(x), expected)
    assert hooks_left(net) == 0


@pytest.mark.usefixtures("compiling")
@pytest.mark.parametrize("warm", [True, False], ids=["run before", "not run before"])
def test_inside_a_compiled_submodule_every_hook_fires(warm: bool) -> None:
    plain, x = mlp(), draw(2, 3)
    net = nn.Sequential(torch.compile(nn.Sequential(plain[0], plain[1]), backend="eager"), plain[2]).eval()
    if warm:
        net(x)
    found = influence(net, ["0", "0._orig_mod.0"], Class(1), Point(x))
    close(found["0"].values, influence(plain, "1", Class(1), Point(x)).values)
    close(found["0._orig_mod.0"].values, influence(plain, "0", Class(1), Point(x)).values)


@pytest.mark.usefixtures("compiling")
def test_a_module_compiled_in_place_answers_as_the_plain_one() -> None:
    plain, x = mlp(), draw(2, 3)
    net = nn.Sequential(nn.Sequential(copy.deepcopy(plain[0]), nn.ReLU()), copy.deepcopy(plain[2])).eval()
    net[0].compile(backend="eager")
    net(x)
    close(influence(net, "0.0", Class(1), Point(x)).values, influence(plain, "0", Class(1), Point(x)).values)


def test_data_parallel_is_unwrapped() -> None:
    net, x = mlp(), draw(2, 3)
    wrapped = nn.DataParallel(net)
    close(influence(wrapped, "0", Class(1), Point(x)).values, influence(net, "0", Class(1), Point(x)).values)


def test_a_traced_net_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own tracer deprecated
        traced = torch.jit.trace(mlp(), draw(1, 3))
    with pytest.raises(
        NetError, match=r"traced or scripted \(torch\.jit\): no hook runs inside it\. Pass the original"
    ):
        influence(traced, "0", Class(0), Point(draw(1, 3)))


def test_a_scripted_part_is_walked_around() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own compiler deprecated
        net, plain, x = mlp(), mlp(), draw(2, 3)
        net[1] = torch.jit.script(net[1])
    close(influence(net, "0", Class(0), Point(x)).values, influence(plain, "0", Class(0), Point(x)).values)
    assert [c.name for c in cuts(net, x)] == ["0", "2"]
    for cut in ("1", "1:in"):
        with pytest.raises(
            CutError, match=rf"'{cut}' is scripted \(torch\.jit\.script\): no hook runs there\. Cut around it"
        ):
            influence(net, cut, Class(0), Point(x))


@pytest.mark.usefixtures("compiling")
def test_an_exported_net_is_refused_by_name() -> None:
    x = draw(1, 3)
    with pytest.raises(
        NetError, match=r"exported \(torch\.export\): .*it has no eval\(\)\. Pass the original module\."
    ):
        influence(torch.export.export(mlp(), (x,)).module(), INPUT, Class(0), Point(x))


def test_a_norm_of_the_batch_itself_is_refused() -> None:
    norm = nn.BatchNorm1d(6, track_running_stats=False)
    net = filled(nn.Sequential(nn.Linear(3, 6), norm, nn.Linear(6, 2)))
    with pytest.raises(NetError, match=r"Module '1' keeps no running statistics: .*track_running_stats=True\."):
        influence(net, "0", Class(0), Point(draw(2, 3)))


class Checkpointed(nn.Module):
    """last(middle(first(x))), the middle computed again for the gradient, if `again`."""

    def __init__(self, again: bool) -> None:
        super().__init__()
        self.first, self.last, self.again = nn.Linear(3, 4), nn.Linear(4, 2), again
        self.middle = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.last(checkpoint(self.middle, y, use_reentrant=False) if self.again else self.middle(y))


def test_around_a_checkpointed_part_the_answers_are_the_plain_ones_and_inside_it_is_refused() -> None:
    x = draw(2, 3)
    places = ["INPUT", "first", "middle"]
    found, plain = (influence(filled(Checkpointed(again)), places, Class(1), Point(x)) for again in (True, False))
    for cut in places:
        close(found[cut].values, plain[cut].values)
    for cut in ("middle.0", "middle.1:in", "middle.0#1"):
        with pytest.raises(
            CutError, match=rf"'{cut}' runs again when the pass is over: .*set_grad_checkpointing\(False\)"
        ):
            influence(filled(Checkpointed(True)), cut, Class(1), Point(x))


def test_a_dynamically_quantised_net_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated in favour of another package
        small = torch.ao.quantization.quantize_dynamic(mlp().float(), {nn.Linear}).eval()
    with pytest.raises(
        NetError, match=r"Module '0' is quantised \(Linear\): it has no gradient\. Explain the net as it"
    ):
        influence(small, "0", Class(0), Point(draw(1, 3).float()))


@pytest.mark.parametrize("spoil", [lambda net: net.train(), lambda net: net[1].train()])
def test_training_mode_is_refused_wherever_it_hides(spoil: Callable[[nn.Module], Any]) -> None:
    net = mlp()
    spoil(net)
    with pytest.raises(NetError, match=r"is in training mode: .* Type net\.eval\(\) first\."):
        influence(net, "0", Class(0), Point(draw(1, 3)))
    with pytest.raises(NetError, match="training mode"):
        cuts(net, draw(1, 3))


# Attention and recurrent nets


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.att, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.att(x, x, x, need_weights=False)[0].mean(1))


def test_the_output_projection_of_attention_is_refused_with_the_cut_that_works() -> None:
    net, x = filled(Attends()), draw(2, 5, 4)
    with pytest.raises(
        CutError, match=r"'att\.out_proj' never runs as a module.*Cut after the attention, at \"att\[0\]\""
    ):
        influence(net, "att.out_proj", Class(0), Point(x))
    # The mean over five tokens, then a linear head: each token's slope is a fifth of the head's row.
    close(influence(net, "att[0]", Class(0), Point(x)).values, net.head.weight[0].detach().expand(2, 5, 4) / 5)


def test_the_fused_path_of_encoder_layers_hides_no_module_and_comes_back() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.0), 2)
    net, x = filled(nn.Sequential(encoder, nn.Flatten(), nn.Linear(20, 3))), draw(2, 5, 4)
    assert torch.backends.mha.get_fastpath_enabled()
    inner = ["0.layers.0.linear1", "0.layers.1.self_attn", "0.layers.1.norm2", "0.layers.0"]
    found = influence(net, inner, Class(1), Point(x))
    assert torch.backends.mha.get_fastpath_enabled()
    middle = activations(net, "0.layers.0", x).requires_grad_()
    layer = copy.deepcopy(encoder.layers[1])
    attended = layer.norm1(middle + layer.self_attn(middle, middle, middle)[0])
    after = layer.norm2(attended + layer.linear2(torch.relu(layer.linear1(attended))))
    expected = torch.autograd.grad(net[2](after.flatten(1))[:, 1].sum(), middle)[0]
    close(found["0.layers.0"].values, expected)
    close(found["0.layers.1.norm2"].values, net[2].weight[1].detach().reshape(1, 5, 4).expand(2, 5, 4))


class Reads(nn.Module):
    def __init__(self, layers: int = 1) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, layers, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, (h, c) = self.lstm(x)
        return self.head(y[:, -1] + 10 * h[-1] + 100 * c[-1])


def test_every_output_of_a_recurrent_layer_can_be_watched_in_eval_mode() -> None:
    net, x = filled(Reads()), draw(1, 5, 3)
    found = influence(net, ["lstm", "lstm[0]", "lstm[1][0]", "lstm[1][1]", INPUT], Class(1), Point(x))
    head = net.head.weight[1].detach()
    last = torch.zeros(1, 5, 4).double()
    last[0, -1] = head
    close(found["lstm"].values, last)  # the one tensor among (y, (h, c))
    close(found["lstm[0]"].values, last)
    close(found["lstm[1][0]"].values, 10 * head.reshape(1, 1, 4))
    close(found["lstm[1][1]"].values, 100 * head.reshape(1, 1, 4))
    leaf = x.clone().requires_grad_()
    close(found[INPUT].values, torch.autograd.grad(net(leaf)[:, 1].sum(), leaf)[0])


@pytest.mark.parametrize(
    "over", [Point, lambda x: Line(0 * x, x, n=5, rule="uniform"), lambda x: Line(0 * x, x, n=9)],
    ids=["Point", "uniform", "adaptive"],
)  # fmt: skip
def test_a_cut_whose_first_dimension_is_no_batch_is_refused(over: Callable[[Tensor], Any]) -> None:
    class Flattens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x.reshape(-1, 3)).reshape(len(x), -1)

    with pytest.raises((CutError, QuestionError), match=r"first dimension|with 2 points"):
        influence(filled(Flattens()), "a", Class(0), over(draw(2, 2, 3)), [contribution, gradient][over is Point])


def test_the_state_of_a_recurrent_layer_is_not_taken_for_a_batch_of_its_layers() -> None:
    # h_n is [layer, batch, hidden]: two layers and two inputs look like a batch, and layers would pass for inputs.
    net, x = filled(Reads(layers=2)), draw(2, 5, 3)
    with pytest.raises((CutError, QuestionError), match=r"lstm\[1\]\[0\]"):
        influence(net, "lstm[1][0]", Class(1), Point(x))


# What the net notices: nothing


class Watches(nn.Module):
    """The identity; notes whether what passes is taped, and refuses to be gone back through."""

    def __init__(self) -> None:
        super().__init__()
        self.taped: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.taped.append(x.requires_grad)
        return NoWayBack.apply(x)


class NoWayBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        raise RuntimeError("went below the cut")


@pytest.mark.parametrize("over", [Point, lambda x: Gaussian(x, 0.1, 3)])
def test_nothing_below_the_earliest_watched_cut_is_taped(over: Callable[[Tensor], Any]) -> None:
    plain, x = mlp(), draw(2, 3)
    net = nn.Sequential(Watches(), plain[0], Watches(), plain[1], plain[2]).eval()
    influence(net, ["3", "4"], Class(1), over(x))
    assert net[0].taped and net[2].taped
    assert not any(net[0].taped + net[2].taped)


def test_tensors_saved_for_the_way_back_are_those_above_the_cut_only() -> None:
    net, x = filled(nn.Sequential(*[nn.Tanh() for _ in range(6)], nn.Linear(3, 2))), draw(2, 3)
    saved: list[Tensor] = []

    def pack(y: Tensor) -> Tensor:
        saved.append(y)
        return y

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda y: y):
        influence(net, "3", Class(1), Point(x))
    # Above "3": tanh 4 and tanh 5 save their outputs, the linear layer its weight; below: nothing.
    floats = [y for y in saved if y.is_floating_point() and y.shape == x.shape]
    assert len(floats) == 2
    close(floats[-1].detach(), net[:6](x))


def test_results_are_detached_and_the_weights_ask_for_gradients_again() -> None:
    net, x = mlp(), draw(2, 3).requires_grad_()
    net[0].weight.requires_grad_(False)
    net[2].weight.grad = torch.ones_like(net[2].weight)
    asked = {name: p.requires_grad for name, p in net.named_parameters()}
    state, out = copy.deepcopy(net.state_dict()), net(x.detach())
    for over in (Point(x), Line(0 * x, x, n=9), Line(0 * x, x, n=3, rule="gauss"), Gaussian(x, 0.1, 3)):
        a = influence(net, "0", Predicted(), over)
        for tensor in (a.values, a.residual, a.stderr, a.gap and a.gap.signed, a.gap and a.gap.change):
            assert tensor is None or not tensor.requires_grad
    assert {name: p.requires_grad for name, p in net.named_parameters()} == asked
    assert torch.equal(net[2].weight.grad, torch.ones_like(net[2].weight))
    assert all(p.grad is None for name, p in net.named_parameters() if name != "2.weight")
    assert x.grad is None and x.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(state.values(), net.state_dict().values(), strict=True))
    assert torch.equal(net(x.detach()), out)
    assert hooks_left(net) == 0


@contextmanager
def _as_user(mode: str) -> Iterator[None]:
    with {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode, "enable_grad": torch.enable_grad}[mode]():
        yield


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode", "enable_grad"])
@pytest.mark.parametrize("rule", ["Point", "adaptive", "uniform", "gauss"])
def test_the_answer_is_the_same_under_the_callers_grad_mode(mode: str, rule: str) -> None:
    net, x = mlp(), draw(2, 3)
    over = Point(x) if rule == "Point" else Line(0 * x, x, n=9, rule=rule)
    expected = influence(net, "0", Class(1), over).values
    with _as_user(mode):
        found = influence(net, "0", Class(1), over).values
    assert torch.equal(found, expected)


def test_an_input_made_in_inference_mode_can_be_explained() -> None:
    net, x = mlp(), draw(1, 3)
    with torch.inference_mode():
        frozen = x.clone()
    for over in (Point, lambda y: Line(0 * x, y, n=5)):
        close(influence(net, INPUT, Class(1), over(frozen)).values, influence(net, INPUT, Class(1), over(x)).values)


class Breaks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyError("broken"), AttributeError("broken")], ids=repr)
def test_an_error_in_the_net_is_told_with_what_was_fed_and_leaves_the_net_clean(error: Exception) -> None:
    net, x = nn.Sequential(*mlp(), Breaks()).eval(), draw(2, 3)
    net[3].error = error
    with pytest.raises(InputError, match=r"The net failed on float64 \[2, 3\] fed at INPUT: .*broken"):
        influence(net, ["0", "2"], Class(0), Point(x))
    assert hooks_left(net) == 0
    assert all(p.requires_grad for p in net.parameters())
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_interruption_leaves_the_net_clean() -> None:
    net, x = nn.Sequential(*mlp(), Breaks()).eval(), draw(2, 3)
    net[3].error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        influence(net, ["0", "2"], Class(0), Point(x))
    assert hooks_left(net) == 0
    assert all(p.requires_grad for p in net.parameters())


def test_hooks_of_the_user_are_kept_and_seen() -> None:
    net, x = mlp(), draw(2, 3)
    net[0].register_forward_hook(lambda module, args, y: 2 * y)
    a = influence(net, "0", Class(1), Point(x), activation)
    close(a.values, 2 * (x @ net[0].weight.T + net[0].bias).detach())
    assert hooks_left(net) == 1


# Threads


def test_two_threads_on_one_net_answer_as_each_alone() -> None:
    net, x = mlp(), draw(4, 3)
    jobs: list[tuple[Any, ...]] = [
        ("0", Class(1), Point(x), gradient),
        ("1", Class(2), Line(0 * x, x, n=17), contribution),
        (INPUT, Predicted(), Gaussian(x, 0.2, 4), gradient),
    ]
    alone = [influence(net, *job).values for job in jobs]
    wrong: list[Any] = []
    together = threading.Barrier(len(jobs))

    def work(k: int) -> None:
        together.wait()
        try:
            wrong.extend(k for _ in range(10) if not torch.equal(influence(net, *jobs[k]).values, alone[k]))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert hooks_left(net) == 0
    assert all(p.requires_grad for p in net.parameters())


def test_probes_on_two_nets_that_overlap_leave_torch_as_it_was() -> None:
    """The first to finish must not switch fused kernels on under the second, nor the second leave them off."""
    mha, x = torch.backends.mha, draw(1, 3)
    probes = [Probe(Net(mlp()), [], [], None, x, -1) for _ in range(2)]
    assert mha.get_fastpath_enabled()
    try:
        probes[0].__enter__()
        probes[1].__enter__()
        probes[0].__exit__(None, None, None)
        assert not mha.get_fastpath_enabled()
        probes[1].__exit__(None, None, None)
        assert mha.get_fastpath_enabled()
    finally:
        mha.set_fastpath_enabled(True)


# Types of numbers


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_short_floats_are_answered_with_a_warning(dtype: torch.dtype) -> None:
    net = mlp().to(dtype)
    with pytest.warns(
        InfluentWarning, match=r"float16 is coarse: gradients 54 % off were measured\. Use net\.float\(\)"
    ):
        a = influence(net, "1", Class(1), Point(draw(1, 3)))
    # The slope above the last ReLU is a row of the weights, which needs no arithmetic even in a short float.
    assert torch.equal(a.values[0].to(dtype), net[2].weight[1].detach())


def test_the_input_takes_the_type_of_the_weights() -> None:
    net, x = mlp(), draw(2, 3)
    assert influence(net, INPUT, Class(0), Point(x.float())).values.dtype == torch.float64
    assert influence(mlp().float(), INPUT, Class(0), Point(x)).values.dtype == torch.float32


def test_whole_numbers_go_into_an_embedding_and_are_explained_behind_it() -> None:
    net = filled(nn.Sequential(nn.Embedding(9, 2), nn.Flatten(), nn.Linear(6, 3)))
    ids = torch.tensor([[1, 2, 8], [0, 0, 3]])
    found = influence(net, "0", Class(1), Point(ids), [gradient, activation])
    close(found[gradient].values, net[2].weight[1].detach().reshape(1, 3, 2).expand(2, 3, 2))
    close(found[activation].values, net[0].weight.detach()[ids])
    with pytest.raises(
        CutError, match=r"'INPUT' gives int64 \[2, 3\]: whole numbers have no gradient\. Cut at the embed"
    ):
        influence(net, INPUT, Class(1), Point(ids))
    words = net[0].weight.detach()[ids]
    a = influence(net, "0", Class(1), Line(0 * words, words, n=2, cut="0", given=ids), contribution)
    close(a.values, words * net[2].weight[1].detach().reshape(1, 3, 2))


# Exact velocities


class Attention(nn.Module):
    """torch's fused attention, which has no forward mode of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, 2 * x, x.flip(-1))


class First(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0]


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "convolution": (nn.Conv2d(2, 3, 3, padding=1, stride=2), (2, 6, 6)),
    "transposed convolution": (nn.ConvTranspose2d(2, 3, 3), (2, 4, 4)),
    "max pooling": (nn.MaxPool2d(2), (2, 6, 6)),
    "average pooling": (nn.AvgPool2d(2), (2, 6, 6)),
    "adaptive pooling": (nn.AdaptiveAvgPool2d(2), (2, 6, 6)),
    "response norm": (nn.LocalResponseNorm(3), (4, 3, 3)),
    "batch norm": (nn.BatchNorm2d(2), (2, 4, 4)),
    "group norm": (nn.GroupNorm(2, 4), (4, 3, 3)),
    "layer norm": (nn.LayerNorm(5), (3, 5)),
    "RMS norm": (nn.RMSNorm(5), (3, 5)),
    "ReLU": (nn.ReLU(), (7,)),
    "GELU": (nn.GELU(), (7,)),
    "tanh GELU": (nn.GELU("tanh"), (7,)),
    "SiLU": (nn.SiLU(), (7,)),
    "softmax": (nn.Softmax(-1), (3, 5)),
    "log softmax": (nn.LogSoftmax(-1), (7,)),
    "LSTM": (First(nn.LSTM(3, 4, batch_first=True)), (5, 3)),
    "GRU": (First(nn.GRU(3, 4, batch_first=True)), (5, 3)),
    "fused attention": (Attention(), (2, 4, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_exact_velocities_are_central_differences(name: str) -> None:
    layer, shape = LAYERS[name]
    with torch.no_grad():
        layer = filled(copy.deepcopy(layer)) if any(True for _ in layer.parameters()) else layer.double().eval()
    net = nn.Sequential(layer, nn.Flatten()).eval()
    x, speed, step = draw(2, *shape), draw(2, *shape, seed=1), 1e-5
    with Probe(Net(net), [Cut("0")], [], INPUT, None, 2) as probe:
        found = probe.rates(x, speed, torch.arange(2))[Cut("0")]
    with torch.no_grad():
        expected = (layer(x + step * speed) - layer(x - step * speed)) / (2 * step)
    # Truncation is step² |y'''| / 6 ≈ 1e-10 and rounding 1e-16 / step = 1e-11, both times a modest constant.
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-8)
    assert bool((found != 0).any())


@pytest.mark.parametrize("name", ["LSTM", "fused attention", "convolution"])
def test_exact_velocities_exist_in_single_precision_too(name: str) -> None:
    layer, shape = LAYERS[name]
    net = nn.Sequential(copy.deepcopy(layer), nn.Flatten()).float().eval()
    x = draw(1, *shape).float()
    a = influence(net, "0", Class(0), Line(0 * x, x, n=8, rule="gauss"), contribution)
    assert a.gap is not None
    # The integrand is smooth: eight Gauss nodes leave rounding, 1e-7 per term, of a few hundred terms of size one.
    assert float(a.gap.absolute.max()) < 1e-4


# Full cuts


class Residual(nn.Module):
    """x + branch(x), twice, then a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Block(), Block()
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x)))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.skip = nn.Linear(3, 5), nn.Linear(5, 3), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.down(torch.tanh(self.up(x)))


@pytest.mark.parametrize("rule", ["adaptive", "uniform", "gauss"])
@pytest.mark.parametrize(
    ("cut", "full"),
    [
        ("INPUT", True), ("first", True), ("second", True), ("second:in", True), ("OUTPUT", True), ("head:in", True),
        ("first.up", False), ("first.down", False), ("second.down", False), ("second.up:in", False),
        ("first.skip", False), ("second.skip", False),
    ],
)  # fmt: skip
def test_a_cut_is_full_where_every_path_from_the_input_crosses_it(cut: str, full: bool, rule: str) -> None:
    net, x = filled(Residual()), draw(2, 3)
    a = influence(net, cut, Class(1), Line(0 * x, x, n=9, rule=rule), contribution)
    assert (a.gap is not None) == full
    assert a.note == ("" if full else "not a full cut")
    if a.gap is not None:
        # Completeness: the sum of the units is F(x) − F(0), which the net itself says; the quadrature's own
        # error on two tanh layers at nine points is a few per cent at most.
        with torch.no_grad():
            change = (net(x) - net(0 * x))[:, 1]
        close(a.gap.change, change)
        torch.testing.assert_close(a.values.sum(1), change, rtol=0.05, atol=0.02)


@pytest.mark.parametrize(
    ("unit", "cut", "full"),
    [
        ("first.down", "first.up", True),  # below an inner unit, the branch alone leads to it
        ("first.down", "first.skip", None),  # the other branch does not lead to it at all
        ("first", "first.up", False),
        ("second.up", "first", True),
        ("second.up", "first.down", False),
        ("second.down", "second.up", True),
        ("second.down", "first.skip", False),
    ],
)
def test_whether_a_cut_is_full_depends_on_the_unit_that_is_explained(unit: str, cut: str, full: bool | None) -> None:
    net, x = filled(Residual()), draw(1, 3)
    over = Line(0 * x, x, n=9)
    if full is None:
        with pytest.raises(QuestionError, match=r"does not depend on 'first\.skip'"):
            influence(net, cut, Unit(1, unit), over, contribution)
        return
    a = influence(net, cut, Unit(1, unit), over, contribution)
    assert (a.gap is not None) == full


def test_a_sum_of_quantities_is_full_only_where_all_its_terms_are() -> None:
    net, x = filled(Residual()), draw(1, 3)
    of = [Unit(1, "first.down"), Class(0), Unit(1, "first.down") + Class(0)]
    found = influence(net, "first.up", of, Line(0 * x, x, n=9), contribution)
    assert [found[q].gap is not None for q in of] == [True, False, False]


def test_two_branches_together_lead_to_the_output_but_neither_is_full() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.join = nn.Linear(3, 2), nn.Linear(3, 2), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.join(torch.tanh(self.left(x)) * self.right(x))

    net, x = filled(Fork()), draw(1, 3)
    found = influence(net, ["left", "right", "join"], Class(0), Line(0 * x, x, n=9), contribution)
    assert [found[cut].note for cut in ("left", "right", "join")] == ["not a full cut", "not a full cut", ""]


# Many at once


def test_many_cuts_quantities_and_measures_from_one_sweep_are_those_asked_one_by_one() -> None:
    net, x = filled(Residual()), draw(2, 3)
    at, of = ["INPUT", "first", "second.up"], [Class(0), Unit(2, "second"), Class(1) - 0.5 * Class(0)]
    measures = [gradient, activation, gradient_times_activation]
    together = influence(net, at, of, Point(x), measures)
    for cut in at:
        for q in of:
            for m in measures:
                close(together[cut][q][m].values, influence(net, cut, q, Point(x), m).values)


def test_cuts_lists_what_runs_in_the_order_in_which_it_runs() -> None:
    infos = cuts(filled(Twice()), draw(2, 3))
    assert [(c.name, c.kind, c.shape, c.calls) for c in infos] == [("layer", "Linear", (2, 3), 2)]
    names = [c.name for c in cuts(filled(Residual()), draw(1, 3))]
    assert names[:4] == ["first.skip", "first.up", "first.down", "first"]
    assert "runs 2 times: say layer#1" in str(infos[0])
