"""DeconvNet and guided backpropagation on nets as they are: SqueezeNet beside its explicit deconvolutional net, and
torchvision's beside hooks on the nodes of torch's graph, which is another way to the same pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import influent as inf
from influent.errors import NetError
from tests.oracles import deconv, guided, transposed, unpooled
from tests.vision.architectures import ROWS
from tests.vision.by_hand import AGREE, build, copied, relative, snapshot
from tests.worlds import noise

WEIGHTS = Path(os.environ.get("INFLUENT_DATA", "")) / "squeezenet-1.1" / "squeezenet_v1.1.safetensors"
needs_squeezenet = pytest.mark.skipif(
    "INFLUENT_DATA" not in os.environ or not WEIGHTS.is_file(),
    reason="INFLUENT_DATA names no folder with squeezenet-1.1/squeezenet_v1.1.safetensors",
)
RULES = {"deconvnet": inf.deconvnet, "guided": inf.guided_backpropagation}


class Forward:
    """SqueezeNet up to fire3, from its weights alone, with everything that the way back needs."""

    def __init__(self, weights: dict[str, Tensor], x: Tensor) -> None:
        self.weights, self.before = weights, dict[str, Tensor]()
        self.x, self.kept = x, self.conv("conv1", x, stride=2)
        self.pooled, self.switches = F.max_pool2d(self.kept, 3, 2, ceil_mode=True, return_indices=True)
        self.fire2 = self.fire("fire2", self.pooled)
        self.fire3 = self.fire("fire3", self.fire2)

    def conv(self, name: str, x: Tensor, **settings: int) -> Tensor:
        y = F.conv2d(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], **settings)
        self.before[name] = y
        return torch.where(y > 0, y, 0.0)

    def fire(self, name: str, x: Tensor) -> Tensor:
        small = self.conv(f"{name}.squeeze1x1", x)
        return torch.cat(
            [self.conv(f"{name}.expand1x1", small), self.conv(f"{name}.expand3x3", small, padding=1)], 1
        )  # fmt: skip

    def back(self, arriving: Tensor, relu: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Transposed filters, a ReLU's rule before each, and unpooling: from fire3 to the input."""

        def up(name: str, arriving: Tensor, given: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
            ruled = relu(arriving, self.before[name])
            return transposed(ruled, self.weights[f"{name}.weight"], given, stride, padding)

        for name, given in (("fire3", self.fire2), ("fire2", self.pooled)):
            small = self.before[f"{name}.squeeze1x1"]
            ones, threes = arriving.chunk(2, 1)
            inside = up(f"{name}.expand1x1", ones, small) + up(f"{name}.expand3x3", threes, small, padding=1)
            arriving = up(f"{name}.squeeze1x1", inside, given)
        return up("conv1", unpooled(arriving, self.switches, self.kept), self.x, stride=2)


@needs_squeezenet
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [(67, 67), (66, 61), (63, 64)])
def test_squeezenets_first_blocks_are_their_explicit_deconvolutional_net(size: tuple[int, int], rule: str) -> None:
    """Pooled sizes are rounded up, so that windows are cut off at the edge; strides leave a row of pixels over."""
    net = inf.zoo.squeezenet().module.double()
    x, chosen = 60 * noise(2, 3, *size, seed=1), [3, 17, 70, 101]
    forward = Forward(net.state_dict(), x)
    start = torch.zeros_like(forward.fire3)
    start[:, chosen] = forward.fire3[:, chosen]
    assert float(start.abs().amax((1, 2, 3)).min()) > 0
    expected = forward.back(start, (lambda r, before: deconv(r)) if rule == "deconvnet" else guided)
    found = RULES[rule](net, x, "fire3", chosen).values
    assert relative(found, expected) < 1e-12
    assert relative(inf.influence(net, "INPUT", inf.Energy(chosen, "fire3"), inf.Point(x)).values, expected) > 0.1
    whole = forward.back(forward.fire3, (lambda r, before: deconv(r)) if rule == "deconvnet" else guided)
    assert relative(RULES[rule](net, x, "fire3").values, whole) < 1e-12


@needs_squeezenet
@pytest.mark.parametrize("rule", [inf.Deconvnet(), inf.Guided()], ids=repr)
def test_rules_are_not_linear(rule: inf.BackwardRule) -> None:
    """SqueezeNet's scores are means of a ReLU: what arrives there for a class that is taken away is cut off."""
    net, x = inf.zoo.squeezenet().module.double(), 60 * noise(1, 3, 67, 67, seed=1)
    a, b = inf.Class(281), inf.Class(817)
    found = inf.influence(net, "INPUT", [a, a - b, b], inf.Point(x), inf.Ruled(inf.gradient, rule))
    assert float(found[a].values.abs().max()) > 0
    assert torch.equal(found[a - b].values, found[a].values)


def by_hooks(net: Any, x: Tensor, layer: str, channels: list[int], rule: str) -> Tensor:
    """The same picture by hooks on every ReLU in torch's graph, which see it however it was written."""
    seen: list[Tensor] = []
    handle = net.get_submodule(layer).register_forward_hook(lambda m, args, y: seen.append(y.clone()))
    leaf = x.clone().requires_grad_()
    try:
        net(leaf.clone())
    finally:
        handle.remove()
    seed = torch.zeros_like(seen[0])
    seed[:, channels] = seen[0].detach()[:, channels]
    stack, met = [seen[0].grad_fn], set()
    while stack:
        node = stack.pop()
        if node is not None and node not in met:
            met.add(node)
            stack += [after for after, _ in node.next_functions]
    for node in met:
        if node.name().startswith("ReluBackward"):
            # What arrives is masked by the activation in torch's own gradient.
            node.register_hook(lambda plain, arriving: (deconv(arriving[0] if rule == "deconvnet" else plain[0]),))
    return torch.autograd.grad(seen[0], leaf, seed)[0]


KINDS = {
    "resnet18": "layer2.1.bn2", "vgg11": "features.8", "googlenet": "inception4a", "densenet121":
    "features.denseblock2.denselayer3.conv1", "inception_v3": "Mixed_5b", "shufflenet_v2": "stage3", "U-Net": "join.2",
    "functional ReLU": "stage2", "dictionary of features": "layer3.0.bn2",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_torchvisions_nets_give_the_pictures_that_hooks_on_the_graph_give(kind: str, vision: Any) -> None:
    built, layer = build(ROWS[kind], vision), KINDS[kind]
    channels = [0, 2, 5]
    for rule, method in RULES.items():
        expected = by_hooks(built.net, built.end, layer, channels, rule)
        found = method(built.net, built.end, layer, channels)
        assert relative(found.values, expected) < AGREE
        of = inf.Energy(channels, layer)
        assert relative(inf.influence(built.net, "INPUT", of, inf.Point(built.end)).values, expected) > 0.1
    now, weights = snapshot(built.plain), copied(built.plain)
    assert {key for key in now if now[key] != built.state[key]} == set()
    assert all(torch.equal(weights[name], before) for name, before in built.state["weights"].items())


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        ("mobilenet_v3_small", "Hardswish"), ("efficientnet_b0", "Silu"), ("regnet_y_400mf", "Sigmoid"),
        ("vision transformer", "Gelu|Softmax|ScaledDotProduct"), ("convnext_tiny", "Gelu"),
        ("timm efficientnet_lite0", "Hardtanh"),
    ],
)  # fmt: skip
def test_nets_of_other_activations_are_refused_by_name(kind: str, operation: str, vision: Any) -> None:
    built = build(ROWS[kind], vision)
    with pytest.raises(NetError, match=rf"({operation})\w*( \(module|, which|, and)"):
        inf.deconvnet(built.net, built.end, ROWS[kind].later)
