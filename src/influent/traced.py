"""A net as torch.fx follows it: which layers make the channels at a cut, and what each step does with channels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from .cut import Cut, find_module
from .errors import CutError, NetError
from .nets import Net

# What treats every number by itself: whether 0 stays 0 is asked of each.
_EACH = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.Identity, nn.Dropout, nn.Dropout2d,
)  # fmt: skip
_EACH_FUNCTIONS: tuple[Any, ...] = (
    F.relu, torch.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.hardswish, F.hardtanh, torch.tanh,
    torch.sigmoid, F.dropout, "relu", "relu_", "tanh", "sigmoid", "contiguous", "clone",
)  # fmt: skip
# What treats every channel by itself, and keeps one that is 0.
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.ZeroPad2d)
_POOL_FUNCTIONS: tuple[Any, ...] = (F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d)
_JOINS = ("add", "iadd", "mul", "imul", "sub", "add_", "mul_")
PLAIN = "compress(net, mask, x) masks the net without removing anything."
ADVICE = "Cut where a convolution's channels go through ReLU, pooling or concatenation into the next convolution."

Layer = nn.Conv2d | nn.Linear | nn.BatchNorm2d


class _Tracer(fx.Tracer):
    """Follows a net, torch's layers left whole, and notes where the cut is."""

    def __init__(self, cut: Cut, target: nn.Module) -> None:
        super().__init__()
        self.cut, self.target, self.found = cut, target, list[tuple[fx.Node, set[fx.Node], set[fx.Node]]]()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        given = next(iter((*args, *kwargs.values())), None)
        before = set(given.node.users) if isinstance(given, fx.Proxy) else set()
        known = set(self.graph.nodes) if m is self.target else set()
        output = super().call_module(m, forward, args, kwargs)
        side = given if self.cut.is_input_side else output
        if m is self.target and isinstance(side, fx.Proxy):
            # What takes the same tensor, but is not behind the cut: before the call, or, of an input, after it; and a
            # module that gives what it took makes no tensor of its own.
            users, same = set(side.node.users), {side.node} & known
            beside = before if self.cut.is_input_side else users | same
            self.found.append((side.node, beside, users))
        return output


class Traced:
    """A net's `nodes`, in the order in which they run, and the one at the cut, `start`.

    Errors: `NetError` where torch.fx cannot follow the net; `CutError` where the cut is not one tensor inside it.

    >>> traced = Traced(Net(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())), Cut("1"))
    >>> traced.made_of(traced.start), traced.is_picture(traced.start)
    ([8], True)
    """

    def __init__(self, net: Net, cut: Cut) -> None:
        self.net, self.cut = net, cut
        self.modules = dict(net.module.named_modules(remove_duplicate=False))
        tracer = _Tracer(cut, find_module(net.module, cut))
        try:
            self.nodes = list(tracer.trace(net.module).nodes)
        except Exception as error:
            raise NetError(f"This net cannot be traced (torch.fx), so nothing is removed: {error} {PLAIN}") from error
        hooked = next((n for n, m in self.modules.items() if m._forward_hooks or m._forward_pre_hooks), None)
        if hooked is not None:
            raise NetError(f"Module {hooked!r} has hooks, which a trace does not see. Remove them first. {PLAIN}")
        found, number = tracer.found, cut.call or 1
        if not found or cut.element or cut.name in ("INPUT", "OUTPUT"):
            raise CutError(f"{cut.text!r} is not the one tensor that a module inside the net gives. {ADVICE}")
        if number > len(found) or (cut.call is None and len(found) > 1):
            times = f"{len(found)} time{'s' * (len(found) > 1)}"
            raise CutError(f'{cut.text!r} runs {times} in one pass. Say which call: "{cut.name}#1".')
        self.start, beside, inside = found[number - 1]
        if beside or (cut.is_input_side and set(self.start.users) - inside):
            raise self.refusal(self.start, "is also used beside the cut, where its channels are needed")

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that a node runs, if it is one."""
        return self.modules[str(node.target)] if node.op == "call_module" else None

    def layer(self, node: fx.Node) -> tuple[str, Layer] | None:
        """The layer that a node runs, and its name: one of torch's own, or weights that go into torch's function."""
        name, args = str(node.target), node.args
        if node.op != "call_module":
            weight = args[1] if node.target in (F.conv2d, F.linear, torch.conv2d) and len(args) > 1 else None
            name = str(getattr(weight, "target", "")).removesuffix(".weight")
            rest = [str(arg.target) for arg in args[2:] if isinstance(arg, fx.Node)]
            if rest not in ([], [f"{name}.bias"]) or getattr(weight, "op", "") != "get_attr":
                return None
        layer = self.modules.get(name)
        if not isinstance(layer, Layer) or "weight" not in layer._parameters:
            return None
        own = any(type(layer).forward is kind.forward for kind in (nn.Conv2d, nn.Linear, nn.BatchNorm2d))
        return (name, layer) if own or node.op != "call_module" else None

    def is_each(self, node: fx.Node) -> bool:
        """Whether a node treats every number by itself."""
        return type(self.module(node)) in _EACH or node.target in _EACH_FUNCTIONS

    def is_pool(self, node: fx.Node) -> bool:
        """Whether a node treats every channel by itself, and one that is 0 stays 0."""
        return type(self.module(node)) in _POOLS or node.target in _POOL_FUNCTIONS or is_mean(node)

    def is_flatten(self, node: fx.Node) -> bool:
        """All but the point's dimension in one: `flatten(1)`, `view(x.size(0), -1)`."""
        module, args = self.module(node), node.args
        if isinstance(module, nn.Flatten):
            return (module.start_dim, module.end_dim) == (1, -1)
        if node.target in (torch.flatten, "flatten"):
            return (args[1:] or (node.kwargs.get("start_dim"),)) == (1,) and "end_dim" not in node.kwargs
        return node.target in ("view", "reshape") and args[2:] == (-1,) and isinstance(args[1], fx.Node)

    def value_at_zero(self, node: fx.Node) -> float:
        """What a node that treats every number by itself makes of 0."""
        zero, module, function = torch.zeros(1), self.module(node), node.target
        if module is not None:
            return float(copy.deepcopy(module).float()(zero))
        if isinstance(function, str):
            return float(getattr(zero, function)())
        return float(function(zero, *node.args[1:], **{k: v for k, v in node.kwargs.items() if k != "input"}))

    def is_picture(self, node: fx.Node) -> bool:
        """Whether channels come first, as convolutions count them, and not last, as linear layers do."""
        found = self.layer(node)
        if found is not None and not isinstance(found[1], nn.BatchNorm2d):
            return isinstance(found[1], nn.Conv2d)
        return self.is_picture((parts_of(node) or node.all_input_nodes)[0])

    def made_of(self, node: fx.Node) -> list[int]:
        """The widths of the layers whose channels stand side by side at a node."""
        layer = (self.layer(node) or ("", None))[1]
        if isinstance(layer, nn.Linear):
            return [layer.out_features]
        if isinstance(layer, nn.Conv2d) and not is_depthwise(layer):
            return [layer.out_channels]
        sources = parts_of(node)
        if sources is None:
            through = layer or self.is_each(node) or self.is_pool(node)
            if not through and not isinstance(self.module(node), nn.LocalResponseNorm):
                raise self.refusal(node)
            sources = node.all_input_nodes[:1]
        return [width for source in sources for width in self.made_of(source)]

    def refusal(self, node: fx.Node, why: str = "", advice: str = ADVICE) -> CutError:
        """The lesson at a node where removing channels is not the same as masking them."""
        found, name = self.layer(node), getattr(node.target, "__name__", str(node.target))
        spelled = repr(found[0] if found else name) if found or node.op == "call_module" else f"{name}() ({node.name})"
        if node.op == "output":
            spelled, why, advice = "the net's output", "is what would change in size", "Cut before the last layer."
        elif not why and isinstance(self.module(node), nn.LocalResponseNorm | nn.GroupNorm | nn.LayerNorm):
            why, advice = "looks at other channels, too", "Cut after the next convolution and its ReLU."
        elif not why and name in _JOINS:
            why = "joins channels with others (a residual sum, or a gate)"
            advice = "Cut inside the block, before its last layer."
        why = why or "is not known to treat channels by themselves"
        return CutError(f"{self.cut.text!r} cannot be pruned: {spelled} {why}. {advice} {PLAIN}")


def parts_of(node: fx.Node) -> Sequence[fx.Node] | None:
    """What a concatenation of channels puts side by side; None for any other node."""
    if node.target not in (torch.cat, torch.concat):
        return None
    parts = node.args[0] if node.args else node.kwargs.get("tensors")
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
    nodes = [p for p in parts if isinstance(p, fx.Node)] if isinstance(parts, list | tuple) else []
    return nodes if nodes and dim == 1 else None


def is_depthwise(layer: nn.Module | None) -> bool:
    """Whether a convolution makes each channel of one channel."""
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels == layer.out_channels


def is_mean(node: fx.Node) -> bool:
    """Whether a node is a mean over rows and columns."""
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    plane = isinstance(dims, list | tuple) and sorted(d % 4 for d in dims if isinstance(d, int)) == [2, 3]
    return plane and node.target in ("mean", torch.mean)


def is_size(node: fx.Node) -> bool:
    """Whether a node takes the number of points, and nothing else, of a tensor."""
    if node.target == "size":
        return node.args[1:] == (0,)
    asked = node.target is getattr and node.args[1:] == ("shape",)
    return asked and all(user.args[1:] == (0,) for user in node.users)
