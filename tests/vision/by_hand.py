"""The same answers by plain torch: a leaf in place of a module's output, one point at a time. Only `line` is ours."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import influent as inf
from tests.vision.architectures import Row
from tests.worlds import noise

BATCH, STEP = 2, 0.01
# Ours and the loop do the same in another order, points side by side there and one by one here: an activation then errs
# by an eps or a few of its size in each of a hundred layers, up and down. 1e-10 leaves a factor of thousands for nets
# that make errors grow; a wrong row, weight or place is off by more than 1e-3.
AGREE = 1e-10


def settled(net: nn.Module, run: Callable[[nn.Module], Any]) -> nn.Module:
    """The net with random weights under which every part of it counts, in double precision, in evaluation mode.

    Libraries' own random weights leave outputs of 1e-10 (mobilenets), layer scales of 1e-6 (ConvNeXt) or heads of 0
    (ViT) or of a branch's last norm (timm's resnets). So a layer's weights have variance 1 / inputs, 2 / inputs for
    convolutions; a layer's scale is ½; and batch norms scale by 1 and know the statistics of what `run` shows them.
    """
    net = net.double().eval()
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for m in net.modules():
        if isinstance(m, nn.Linear | nn.Conv2d):
            nn.init.normal_(m.weight, std=((1 + isinstance(m, nn.Conv2d)) / m.weight[0].numel()) ** 0.5)
    for name, weight in net.named_parameters():
        if name.endswith(("layer_scale", "gamma")):
            nn.init.constant_(weight, 0.5)
    for norm in norms:
        nn.init.ones_(norm.weight)
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        run(net)
    return net.eval()


@contextmanager
def swapped(net: nn.Module, place: str, new: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """For a while, `new(y)` in place of a module's output y: `"block#2"`, `"attention[0]"`, `"body[out]"`."""
    name, call, element = re.fullmatch(r"([^#\[]+)(?:#(\d))?(?:\[(\w+)\])?", place).groups()
    calls = itertools.count(1)

    def hook(module: nn.Module, args: Any, out: Any) -> Any:
        if next(calls) != int(call or 1):
            return out
        if element is None:
            return new(out)
        if isinstance(out, tuple):
            return tuple(new(y) if k == int(element) else y for k, y in enumerate(out))
        return {**out, element: new(out[element])}

    handle = net.get_submodule(name).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True, eq=False)
class Built:
    """A net of the matrix, and a path that it is asked about: from `start` to `end [2, *shape]`, fed at `row.feed`."""

    row: Row
    net: nn.Module
    plain: nn.Module
    start: Tensor
    end: Tensor
    state: dict[str, Any]

    def given(self, subjects: int = BATCH) -> Any:
        """What goes beside the points of the first subjects, or None."""
        return {k: v[:subjects] if isinstance(v, Tensor) else v for k, v in self.row.given.items()} or None

    def inputs(self, subjects: int = BATCH) -> Any:
        """What the net is called with when a path runs inside it."""
        if self.row.word:
            return {self.row.word: self.end[:subjects], **self.given(subjects)}
        return self.given(subjects) or self.end[:subjects]

    def line(self, n: int, rule: str, subjects: int = BATCH) -> inf.Line:
        """The paths of the first subjects."""
        ends = self.start[:subjects], self.end[:subjects]
        return inf.Line(*ends, n, rule, cut=self.row.feed, given=self.given(subjects))

    def value(self, point: Tensor, subject: int, at: str | None = None) -> Tensor:
        """F, `[1]`, with one point `[1, *shape]` of a subject's path fed at `at` (where the row says, if not given)."""
        given = {k: v[subject : subject + 1] if isinstance(v, Tensor) else v for k, v in self.row.given.items()}
        if at in (None, self.row.feed):
            return self.row.value(run(self.row, self.plain, point, given))
        with swapped(self.plain, at, lambda y: point.clone()):
            return self.row.value(run(self.row, self.plain, self.end[subject : subject + 1], given))

    def number(self, point: Tensor, subject: int, at: str | None = None) -> float:
        """F as a number."""
        with torch.no_grad():
            return float(self.value(point, subject, at))

    def seen(self, place: str, point: Tensor, subject: int) -> Tensor:
        """The activation at a place."""
        kept: list[Tensor] = []
        with torch.no_grad(), swapped(self.plain, place, lambda y: kept.append(y.clone()) or y):
            self.value(point, subject)
        return kept[0]

    def slope(self, place: str, point: Tensor, subject: int) -> tuple[Tensor, Tensor, float]:
        """The activation y at a place, ∂F/∂y and F, at one point: y is made a leaf, and given back to the net."""
        leaf = self.seen(place, point, subject).requires_grad_()
        with swapped(self.plain, place, lambda y: leaf.clone()):
            value = self.value(point, subject)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
        return leaf.detach(), slope, float(value.detach())

    def crossed(self, place: str) -> bool:
        """Whether all paths cross a place: with y held fast there, the end of the path gives what its start gives."""
        if place == self.row.feed:
            return True
        held = self.seen(place, self.start[:1], 0)
        values = []
        for point in (self.start[:1], self.end[:1]):
            with swapped(self.plain, place, lambda y: held.clone()):
                values.append(self.number(point, 0))
        return values[0] == values[1]


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, in units of the largest number."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    assert float(theirs.abs().max()) > 0
    return float((ours - theirs).abs().max() / theirs.abs().max())


def run(row: Row, net: nn.Module, point: Tensor, given: dict[str, Any]) -> Any:
    """The net's own outputs at a point that is fed at `row.feed`, with `given` beside it."""
    if row.feed == "INPUT":
        return net(point.clone(), **given)
    with swapped(net, row.feed, lambda y: point.clone()):
        return net(**given)


def snapshot(net: nn.Module) -> dict[str, Any]:
    """What a question could disturb in a net, but for its weights: flags, hooks, gradients; and torch's switches."""
    hooks = {
        f"{name}.{kind}": len(held)
        for name, m in net.named_modules()
        for kind, held in vars(m).items()
        if kind.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")) and held is not None
    }
    return {
        "asking": {name: (p.requires_grad, p.grad is None) for name, p in net.named_parameters()},
        "hooks": hooks,
        "attributes": {name: (m.training, sorted(vars(m))) for name, m in net.named_modules()},
        "globals": (
            torch.is_grad_enabled(), torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.enabled,
            torch.backends.mkldnn.enabled, torch.get_default_dtype(),
        ),
    }  # fmt: skip


def drawn(count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Inputs `[count, *shape]` of size 1: noise; images are noise of every size, from the whole picture to a pixel."""
    if len(shape) < 3:
        return noise(count, *shape, seed=seed)
    sizes = [2**k for k in range(6)]
    layers = [F.interpolate(noise(count, 3, n, n, seed=seed + n), shape[1:], mode="bilinear") for n in sizes]
    return sum(layers) / len(sizes) ** 0.5


def build(row: Row, vision: Any) -> Built:
    """The net of a row, settled on noise, and its path between two inputs of noise."""
    start = drawn(BATCH, row.shape, 100)
    end = start + STEP * drawn(BATCH, row.shape, 200)
    shown = torch.cat([start, end, drawn(12, row.shape, 300)])
    given = {k: torch.cat([v] * 8) if isinstance(v, Tensor) else v for k, v in row.given.items()}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = settled(row.make(vision), lambda net: run(row, net, shown, given))
    net = row.wrap(plain)
    if net is not plain:
        net(end)  # compiled where it compiles
    return Built(row, net, plain, start, end, snapshot(plain) | {"weights": copied(plain)})


def copied(net: nn.Module) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in net.state_dict().items()}
