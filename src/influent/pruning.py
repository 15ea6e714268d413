"""Channels really removed: smaller layers before and after a cut, where that is exact. docs/why/015 says where."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from .axes import declared_axes
from .errors import CutError, QuestionError
from .kernels import check_state
from .mask import Mask
from .nets import Net, as_net
from .traced import PLAIN, Layer, Traced, is_depthwise, is_mean, is_size, parts_of


@dataclass
class _Change:
    """What one layer keeps: which of its outputs, `out`, and inputs, `into`; inputs that are `dead` weigh nothing."""

    out: Tensor | None = None
    into: Tensor | None = None
    dead: Tensor | None = None


@dataclass
class _Flow:
    """Channels after the cut: which are still there, which of these are 0 in the masked net, and whether flattened."""

    there: Tensor
    dead: Tensor
    flat: bool = False


def prune(net: Net | nn.Module, mask: Mask) -> nn.Module:
    """g(h(x) ⊙ M) as a copy of the net with smaller layers: the silenced channels are computed nowhere.

    The convolutions (or linear layers) that make the channels lose outputs, those that take them lose inputs, through
    ReLU, pooling, dropout, concatenation, flattening, batch norms before the cut and depthwise convolutions; names stay
    as they are. A layer that would lose all its outputs keeps one, which weighs nothing afterwards. It is a function of
    its own beside `compress`, because it needs no input and can be refused: what is not exact is. Errors:
    `QuestionError` for a mask that does not put channels to zero; `CutError` where removing changes more than masking
    does, by the layer's name; `NetError` where torch.fx cannot trace the net.
    Source: slice compression, Leino et al. 2018, section 3.3.1.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3)).eval()
    >>> prune(net, Mask("1/channel", [0, 5, 6]))
    Sequential(
      (0): Conv2d(3, 3, kernel_size=(3, 3), stride=(1, 1))
      (1): ReLU()
      (2): Conv2d(3, 2, kernel_size=(3, 3), stride=(1, 1))
    )
    """
    net = as_net(net)
    check_state(net.module)
    if mask.fill != "zero" or mask.at.units != "channel":
        raise QuestionError(
            f"{mask.at.text!r} with fill={mask.fill!r}: only whole channels that are put to zero can be removed, "
            f'Mask("{mask.at.place.text}/channel", ...). {PLAIN}'
        )
    changes = _Removal(Traced(net, mask.at.place), mask).changes
    made = copy.deepcopy(net.module)
    for name, change in changes.items():
        _shrink(made.get_submodule(name), change)
    return made


class _Removal:
    """What each layer loses, `changes` by its name: from the layers that make the channels to those that take them."""

    def __init__(self, traced: Traced, mask: Mask) -> None:
        self.traced, self.start, self.changes = traced, traced.start, dict[str, _Change]()
        widths = traced.made_of(self.start)
        total = sum(widths)
        if wrong := [unit for unit in mask.units if not isinstance(unit, int) or unit >= total]:
            raise QuestionError(
                f"This mask names unit {wrong[0]}, and {mask.at.text} has {total} units, counted from 0."
            )
        self.picture = traced.is_picture(self.start)
        names = declared_axes(mask.at, traced.net.axes)
        if names is not None and names[0 if self.picture else -1] != "channel":
            raise CutError(
                f"{mask.at.text!r}: the layers here count channels elsewhere than declared, {names}. {PLAIN}"
            )
        kept = torch.full((total,), not mask.keep)
        kept[torch.tensor(mask.units)] = mask.keep
        there = kept.clone()
        for part in torch.arange(total).split(widths):
            # No layer of torch's gives no channels at all.
            there[part[0]] |= not bool(there[part].any())
        self._before(self.start, there)
        self._after(_Flow(there, there & ~kept))

    def _before(self, node: fx.Node, there: Tensor) -> None:
        """Layers that make the channels make only those that are there."""
        if node is not self.start and len(node.users) > 1:
            raise self.traced.refusal(node, "is also used beside the cut, where its channels are needed")
        found, sources = self.traced.layer(node), parts_of(node)
        if found is not None:
            self._change(node, found).out = there
            if not isinstance(found[1], nn.BatchNorm2d) and not is_depthwise(found[1]):
                if isinstance(found[1], nn.Conv2d) and found[1].groups > 1:
                    raise self.traced.refusal(node, f"makes its channels in {found[1].groups} groups")
                return
        elif sources is None and not (self.traced.is_each(node) or self.traced.is_pool(node)):
            raise self.traced.refusal(node)
        sources = node.all_input_nodes[:1] if sources is None else sources
        if len(set(sources)) < len(sources) or (len(sources) > 1 and not self.picture):
            raise self.traced.refusal(node, "takes the same channels twice, or not side by side")
        for source, part in zip(sources, there.split([sum(self.traced.made_of(s)) for s in sources]), strict=True):
            self._before(source, part)

    def _after(self, start: _Flow) -> None:
        """Layers that take the channels take only those that are there."""
        flows, traced, nodes = {self.start: start}, self.traced, self.traced.nodes
        for node in nodes[nodes.index(self.start) + 1 :]:
            given = [n for n in node.all_input_nodes if n in flows]
            if not given or is_size(node):
                continue
            flow = flows[given[0]]
            if found := traced.layer(node):
                if self._taken(node, found, flow):
                    flows[node] = flow
            elif traced.is_each(node):
                if at_zero := traced.value_at_zero(node):
                    raise traced.refusal(node, f"makes {at_zero:g} of 0")
                flows[node] = flow
            elif self.picture and not flow.flat and traced.is_pool(node):
                flows[node] = _Flow(flow.there, flow.dead, is_mean(node) and not node.kwargs.get("keepdim"))
            elif self.picture and traced.is_flatten(node):
                flows[node] = _Flow(flow.there, flow.dead, flat=True)
            elif self.picture and parts_of(node):
                flows[node] = self._side_by_side(node, flows)
            else:
                raise traced.refusal(node)

    def _taken(self, node: fx.Node, found: tuple[str, Layer], flow: _Flow) -> bool:
        """One layer takes fewer channels; whether they go on behind it, each by itself."""
        name, layer = found
        if isinstance(layer, nn.BatchNorm2d):
            raise self.traced.refusal(node, "shifts channels that are 0", f"Cut after it, at {name!r}.")
        if is_depthwise(layer):
            if layer.bias is not None:
                raise self.traced.refusal(node, "adds its bias to channels that are 0", f"Cut after it, at {name!r}.")
            self._change(node, found).out = flow.there
            return True
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            raise self.traced.refusal(node, f"takes its channels in {layer.groups} groups")
        width = layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features
        each, rest = divmod(width, len(flow.there))
        fits = isinstance(layer, nn.Conv2d) == (self.picture and not flow.flat)
        if not fits or rest or (each > 1 and not flow.flat):
            raise self.traced.refusal(node, "takes something else than these channels")
        change = self._change(node, found)
        change.into, change.dead = flow.there.repeat_interleave(each), flow.dead.repeat_interleave(each)
        return False

    def _side_by_side(self, node: fx.Node, flows: dict[fx.Node, _Flow]) -> _Flow:
        """A concatenation: channels that do not come from the cut are all there."""
        parts = []
        for source in parts_of(node) or ():
            whole = None if source in flows else torch.ones(sum(self.traced.made_of(source)), dtype=torch.bool)
            parts.append(flows[source] if whole is None else _Flow(whole, ~whole))
        if any(part.flat for part in parts):
            raise self.traced.refusal(node, "joins what is flattened")
        return _Flow(torch.cat([p.there for p in parts]), torch.cat([p.dead for p in parts]))

    def _change(self, node: fx.Node, found: tuple[str, Layer]) -> _Change:
        """The change of a layer that runs once in a pass."""
        same = [n for n in self.traced.nodes if (other := self.traced.layer(n)) and other[1] is found[1]]
        if len(same) > 1:
            raise self.traced.refusal(node, f"runs {len(same)} times in one pass, with other channels")
        return self.changes.setdefault(found[0], _Change())


def _shrink(layer: nn.Module, change: _Change) -> None:
    """The layer, in its place, with fewer channels."""
    with torch.no_grad():
        for name, tensor in _tensors(layer):
            new = tensor.detach().clone()
            if change.into is not None and name == "weight":
                new[:, change.dead] = 0
                new = new[:, change.into]
            if change.out is not None:
                new = new[change.out]
            if tensor.dim() == 4 and not tensor.is_contiguous():
                new = new.contiguous(memory_format=torch.channels_last)
            if isinstance(tensor, nn.Parameter):
                new = nn.Parameter(new, requires_grad=tensor.requires_grad)
            setattr(layer, name, new)
    out = None if change.out is None else int(change.out.sum())
    into = None if change.into is None else int(change.into.sum())
    depthwise = is_depthwise(layer)
    names = {"out_channels": out, "out_features": out, "num_features": out, "in_channels": into, "in_features": into}
    names |= {"in_channels": out, "groups": out} if depthwise else {}
    for name, size in names.items():
        if size is not None and hasattr(layer, name):
            setattr(layer, name, size)


def _tensors(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors with a row a channel: weights and biases, and what a norm has measured."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        if getattr(layer, name, None) is not None:
            yield name, getattr(layer, name)
