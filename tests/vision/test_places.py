"""Every place of a net: what `inf.cuts` lists can be cut, on both sides of each module, or is refused with a lesson.

One sweep at all places beside one pass of plain torch, whose hooks keep a copy of everything that goes by.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import influent as inf
from tests.vision.architectures import ROWS
from tests.vision.by_hand import AGREE, Built, build, relative

NETS = ["resnet18", "inception_v3", "densenet121", "vision transformer", "swin_t", "timm vit_tiny"]


@dataclass(frozen=True)
class Everything:
    """By place, `"block:in#1[0]"`: the activation, and ∂F/∂activation or None where F does not depend on it."""

    built: Built
    calls: dict[str, int]
    seen: dict[str, Tensor]
    slopes: dict[str, Tensor | None]
    x: Tensor

    def cut(self, place: str) -> str:
        """The place as one types it: without the call, where there is only one."""
        name = place.partition("#")[0].removesuffix(":in")
        return place if self.calls[name] > 1 else place.replace("#1", "", 1)


def kept_aside(place: str, value: Any, seen: dict[str, Tensor]) -> Any:
    """A copy of each tensor in `value`, kept; and `value` made of copies of these, which the net may overwrite."""
    if isinstance(value, Tensor):
        seen[place] = value.clone()
        return seen[place].clone()
    if isinstance(value, tuple | list):
        return type(value)(kept_aside(f"{place}[{k}]", v, seen) for k, v in enumerate(value))
    return value


def watch(name: str, module: nn.Module, seen: dict[str, Tensor], calls: dict[str, int]) -> Iterator[Any]:
    """Hooks on both sides of one module."""
    into, out = itertools.count(1), itertools.count(1)

    def before(module: nn.Module, args: tuple[Any, ...]) -> Any:
        return (kept_aside(f"{name}:in#{next(into)}", args[0], seen), *args[1:])

    def after(module: nn.Module, args: Any, output: Any) -> Any:
        calls[name] = calls.get(name, 0) + 1
        return kept_aside(f"{name}#{next(out)}", output, seen)

    yield module.register_forward_pre_hook(before)
    yield module.register_forward_hook(after)


@pytest.fixture(scope="module", params=NETS)
def everything(request: pytest.FixtureRequest, vision: Any) -> Everything:
    built = build(ROWS[request.param], vision)
    x, seen, calls = built.end.clone().requires_grad_(), {}, {}
    with ExitStack() as stack:
        for name, module in built.net.named_modules():
            for handle in watch(name, module, seen, calls) if name else ():
                stack.callback(handle.remove)
        value = built.row.value(built.net(x))
    slopes = torch.autograd.grad(value.sum(), list(seen.values()), allow_unused=True, retain_graph=True)
    return Everything(built, calls, seen, dict(zip(seen, slopes, strict=True)), x)


def test_the_places_are_those_that_run(everything):
    listed = inf.cuts(everything.built.net, everything.built.end)
    assert {c.name: c.calls for c in listed} == everything.calls
    whole = {c.name: c.shape for c in listed if c.shape is not None}
    for name, shape in whole.items():
        last = f"{name}#{everything.calls[name]}"
        assert shape == everything.seen.get(last, everything.seen.get(f"{last}[0]")).shape


def test_at_every_place_activation_and_gradient_are_those_of_plain_torch(everything):
    places = {everything.cut(place): place for place, slope in everything.slopes.items() if slope is not None}
    point = inf.Point(everything.built.end)
    found = inf.influence(everything.built.net, list(places), inf.Class(1), point, [inf.activation, inf.gradient])
    assert len(found) > 100
    for cut, place in places.items():
        assert relative(found[cut][inf.activation].values, everything.seen[place].detach()) < AGREE, cut
        assert relative(found[cut][inf.gradient].values, everything.slopes[place]) < AGREE, cut


def test_what_runs_again_and_again_needs_its_call(everything):
    many = [name for name, calls in everything.calls.items() if calls > 1]
    assert bool(many) == (everything.built.row in (ROWS["resnet18"], ROWS["swin_t"]))
    for name in many:
        for cut in (name, f"{name}:in"):
            with pytest.raises(inf.CutError, match=f'"{cut}#1"'):
                ask(everything, cut)


def test_what_never_runs_is_refused_with_a_way_out(everything):
    built = everything.built
    idle = [name for name, _ in built.net.named_modules() if name and name not in everything.calls]
    for name in idle:
        with pytest.raises(inf.CutError, match=r"never (ran|runs)[^:]*: .*[Cc]ut (after|at a module around)"):
            ask(everything, name)


def test_what_leads_nowhere_is_refused(everything):
    dead = [everything.cut(place) for place, slope in everything.slopes.items() if slope is None]
    for cut in dead:
        with pytest.raises(inf.QuestionError, match=f"does not depend on '{cut}'"):
            ask(everything, cut)


def test_of_several_tensors_one_must_be_named(everything):
    pairs = [place for place in everything.seen if place.endswith("[1]")]
    assert bool(pairs) == (everything.built.row is ROWS["densenet121"])
    for place in pairs[::10]:
        cut = everything.cut(place).removesuffix("[1]")
        with pytest.raises(
            inf.CutError, match=rf"takes a list, not one tensor\. Name an element: {cut}\[0\], {cut}\[1\]"
        ):
            ask(everything, cut)


def ask(everything: Everything, cut: str) -> inf.Attribution:
    return inf.influence(everything.built.net, cut, inf.Class(1), inf.Point(everything.built.end))


# Channels, as the nets' authors lay them out: last in tokens, and in Swin's pictures; first in all other pictures, and
# where these nets still are, or are again, convolution nets.
LAST = ("vision transformer", "swin_t", "timm vit_tiny")
FIRST = (
    "conv_proj", "patch_embed.proj", "patch_embed:in", "features:in", "features.0:in", "features.0.0",
    "features.0.1:in", "avgpool", "flatten:in",
)  # fmt: skip


def test_a_unit_at_any_place_is_a_channel_there_or_is_refused_never_another(everything, request):
    net = request.node.callspec.params["everything"]
    places = list(everything.seen)[:: 1 + len(everything.seen) // 25]
    refused = set()
    for place in places:
        cut, y = everything.cut(place), everything.seen[place]
        last = net in LAST and not cut.startswith(FIRST) and cut != "permute"
        channels = y.movedim(y.dim() - 1 if last else 1, 0).flatten(1).sum(1)
        k = int(channels.abs().argmax())
        (slope,) = torch.autograd.grad(channels[k], everything.x, retain_graph=True)
        try:
            a = inf.influence(everything.built.net, "INPUT", inf.Unit(k, cut), inf.Point(everything.built.end))
        except inf.QuestionError as error:
            assert "counts channels is not known" in str(error), cut
            refused.add(cut)
        else:
            assert relative(a.values, slope) < AGREE, cut
    assert len(refused) < len(places) / 4
    assert not {cut for cut in refused if ":in" not in cut and "q_norm" not in cut and "k_norm" not in cut}
