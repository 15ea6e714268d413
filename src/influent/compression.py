"""Masked nets as plain modules, without hooks: the mask becomes a layer. `prune` (pruning.py) takes channels out."""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from .containers import pick, put
from .cut import Cut, find_module
from .errors import CutError, QuestionError
from .mask import Mask
from .nets import Net, as_net
from .probe import activations


class Silent(nn.Module):
    """y where kept, the filling elsewhere: activations `[point, *neuron] → [point, *neuron]`.

    >>> Silent(torch.tensor([True, False]), torch.zeros(1, 1))(torch.ones(2, 2))
    tensor([[1., 0.],
            [1., 0.]])
    """

    def __init__(self, kept: Tensor, filling: Tensor) -> None:
        super().__init__()
        self.kept, self.filling = nn.Buffer(kept), nn.Buffer(filling)

    def forward(self, y: Tensor) -> Tensor:
        return torch.where(self.kept, y, self.filling.to(y.dtype))


class Silenced(nn.Module):
    """A module that takes or gives more than one tensor, with units silenced at the cut."""

    def __init__(self, inside: nn.Module, silent: Silent, cut: Cut) -> None:
        super().__init__()
        self.inside, self.silent, self.cut = inside, silent, cut

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.cut.is_input_side:
            return self.inside(self._silenced(args[0]), *args[1:], **kwargs)
        return self._silenced(self.inside(*args, **kwargs))

    def _silenced(self, value: Any) -> Any:
        way, y = pick(value, self.cut.element, self.cut)
        return put(value, way, self.silent(y))


def compress(net: Net | nn.Module, mask: Mask, x: Any, mean: Tensor | None = None) -> nn.Module:
    """g(h(x) ⊙ M) as a plain module: a copy of the net in which the mask is a layer, to be saved, scripted or shipped.

    `x` is any input of the net, which shows the shape at the cut (single neurons are of that shape, later too); `mean
    [*neuron]` goes with `fill="mean"`. Nothing is removed: `prune` does that, where it can. Errors: `QuestionError` for
    `fill="resample"`, which is no function of one input; `CutError` for a module that runs several times; as `Mask`.
    Source: slice compression, Leino et al. 2018, section 3.3.1.

    >>> net, x = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval(), torch.ones(1, 2)
    >>> y = compress(net, Mask("1/channel", [0, 1, 2], keep=False), x)(x)
    >>> torch.equal(y[0], net[2].bias)
    True
    """
    net, place = as_net(net), mask.at.place
    if mask.fill == "resample":
        raise QuestionError(
            "fill='resample' takes activations of other inputs, which a plain module has not. Use 'zero' or 'mean'."
        )
    if place.name == "INPUT" and not isinstance(x, Tensor):
        raise CutError("The inputs of a net that takes several cannot be masked in a module. Cut inside the net.")
    h = activations(net, place, x)
    if place.call is not None:
        _check_runs_once(net, place, x)
    silent = Silent(mask.kept(net, h), mask.filling(h[:1], mean).clone())
    made = copy.deepcopy(net.module)
    target = find_module(made, place)
    wrapped = _wrapped(target, silent, place, isinstance(_parent(made, place), nn.Sequential))
    if target is made:
        return wrapped.train(made.training)
    for parent in list(made.modules()):
        for leaf, child in list(parent._modules.items()):  # named_children leaves out second names
            if child is target and parent is not wrapped:
                parent.add_module(leaf, wrapped)
    return made


def _check_runs_once(net: Net, place: Cut, x: Any) -> None:
    try:
        activations(net, Cut(place.text.replace(f"#{place.call}", "")), x)
    except CutError:
        raise CutError(
            f"{place.name!r} runs several times in one pass, and a plain module cannot tell one call from another. Cut "
            "at a module beside it that runs once; prune(net, mask) and Expert can tell them."
        ) from None


def _parent(root: nn.Module, place: Cut) -> nn.Module:
    return root.get_submodule(place.name.rpartition(".")[0])


def _wrapped(target: nn.Module, silent: Silent, place: Cut, in_chain: bool) -> nn.Module:
    """The module and the mask in a row, where one tensor goes in and one comes out; else a module for all cases.

    Only the first can be scripted.
    """
    if place.name == "INPUT":
        return nn.Sequential(OrderedDict(silent=silent, inside=target))
    one = in_chain or len(inspect.signature(target.forward).parameters) == 1
    if not one or place.element or isinstance(target, nn.RNNBase):
        return Silenced(target, silent, place)
    order = {"silent": silent, "inside": target} if place.is_input_side else {"inside": target, "silent": silent}
    return nn.Sequential(OrderedDict(order))
