"""Where to look in a net that one does not know: the places that every path crosses, and a middle one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .axes import heads_at, layer_of
from .cut import INPUT, OUTPUT, Cut, as_cut
from .errors import QuestionError
from .nets import Net, as_net
from .probe import CutInfo, Probe, cuts


def trunk(net: Net, x: Tensor) -> list[CutInfo]:
    """The places that every path from the input to the output crosses, in the order in which they run.

    Places count that run once and whose channels are known; modules made of others (blocks), where there are any such
    places, and single layers else. `x [1, *shape]`. Contributions at each of them add up to F(x) − F(x′).

    >>> net = Net(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(72, 2)).eval())
    >>> [place.name for place in trunk(net, torch.zeros(1, 3, 5, 5))]
    ['0', '1', '2']
    """
    return _crossed(net, x, cuts(net, x))


def _crossed(net: Net, x: Tensor, every: list[CutInfo]) -> list[CutInfo]:
    crossed = crossings(net, x, every)
    return [c for c in crossed if any(net.module.get_submodule(c.name).children())] or crossed


def crossings(net: Net, x: Tensor, every: list[CutInfo]) -> list[CutInfo]:
    """Of `every` place of a net, `cuts(net, x)`, those that every path crosses, blocks and what is inside of them.

    Places count that run once and whose channels are known.

    >>> net = Net(nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), nn.Flatten(), nn.Linear(72, 2)).eval())
    >>> [place.name for place in crossings(net, torch.zeros(1, 3, 5, 5), cuts(net, torch.zeros(1, 3, 5, 5)))]
    ['0.0', '0.1', '0', '1', '2']
    """
    places = [c for c in every if c.calls == 1 and c.axes and "channel" in c.axes]
    if not places:
        return []
    with Probe(net, [Cut(c.name) for c in places], [OUTPUT], INPUT, None, 1) as probe:
        row = torch.zeros(1, dtype=torch.long)
        full = probe.full(x, row, lambda done: [done.read[OUTPUT].flatten(1).sum(1)])
    return [c for c in places if full[Cut(c.name)][0]]


def middle(net: Net, x: Tensor) -> Cut:
    """The channels of a middle layer: of the trunk's places whose channels have positions, the one nearest two thirds.

    Two thirds of the way in the order in which modules run. Errors: `QuestionError` where there is none.
    """
    every = cuts(net, x)
    places = [c for c in _crossed(net, x, every) if len(c.axes or ()) > 1]
    if not places:
        raise QuestionError(
            "No middle layer of this net is known to have channels: say which units, --at LAYER/channel (at= in "
            "Python). `influent cuts` lists the places; inf.Net(module, axes=...) names their axes."
        )
    found = min(places, key=lambda c: abs(every.index(c) - 2 / 3 * len(every)))
    return Cut(f"{found.name}/channel")


def units_at(net: Net, at: str | None, x: Tensor) -> list[Cut]:
    """The layers that a text names, between commas, with channels as units where it names none.

    Without a text the net's own layer, or its middle one. Errors: `QuestionError` as `middle`.
    """
    text = at or net.layer
    cuts = [as_cut(place) for place in text.split(",")] if text else [middle(net, x)]
    return [cut if cut.units else Cut(f"{cut.text}/channel") for cut in cuts]


@dataclass(frozen=True)
class Transformer:
    """Where a transformer can be asked, as texts of cuts, in the order of its layers.

    - `residual`: the stream behind each layer, all its neurons; `"…/token"` and `"…/channel"` sum them;
    - `heads`: what each attention's heads give, before they are mixed, a head a unit;
    - `neurons`: each layer's MLP neurons, behind their activation function, a neuron a unit.
    """

    residual: tuple[str, ...]
    heads: tuple[str, ...]
    neurons: tuple[str, ...]


# The last module of an MLP by the end of its name: BERT, GPT, DistilBERT, Llama, BART, T5 and others.
_LAST_OF_MLP = (
    "output.dense", "mlp.c_proj", "lin2", "down_proj", "fc2", "wo", "dense_4h_to_h", "fc_out", "feed_forward.w2",
)  # fmt: skip


def transformer(net: Net | nn.Module) -> Transformer:
    """The places of a transformer: its residual stream, its heads, its MLP neurons, known by the names of its modules.

    Errors: `QuestionError` where it has none that are known.

    >>> from transformers import BertConfig, BertModel
    >>> transformer(BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2))).heads
    ('encoder.layer.0.attention.output.dense:in/head',)
    """
    root = as_net(net).module
    layers: dict[str, None] = {}
    heads: list[str] = []
    neurons: list[str] = []
    for name, module in root.named_modules():
        width, layer = _width_in(module), _layer_around(root, name)
        if width and layer and heads_at(root, Cut(f"{name}:in"), width, {}):
            heads.append(f"{name}:in/head")
            layers[layer] = None
        elif width and "att" not in name.lower() and name.endswith(_LAST_OF_MLP) and layer:
            neurons.append(f"{name}:in/channel")
    if not heads:
        raise QuestionError(
            "No attention of this net is known by the names of its modules: say which units, at=. `influent cuts` "
            "lists the places; inf.Net(module, axes={'PLACE:in': ('token', 'head*12', 'channel')}) names heads."
        )
    inside = tuple(f"{layer}." for layer in layers)
    residual = tuple(f"{layer}[0]" if _gives_several(root.get_submodule(layer)) else layer for layer in layers)
    return Transformer(residual, tuple(heads), tuple(n for n in neurons if n.startswith(inside)))


def _gives_several(layer: nn.Module) -> bool:
    """Whether a layer gives its stream with other tensors behind it: those of T5 and its kin, a list of sublayers."""
    return isinstance(getattr(layer, "layer", None), nn.ModuleList)


def _width_in(module: nn.Module) -> int:
    """How many channels a linear layer takes; 0 for other modules."""
    layer = layer_of(module, input_side=True)
    return layer.width if layer is not None and not list(module.children()) else 0


def _layer_around(root: nn.Module, name: str) -> str:
    """The layer that a module is in: the nearest of a list of modules of one kind, or nothing."""
    while name:
        above = name.rpartition(".")[0]
        around = root.get_submodule(above)
        if isinstance(around, nn.ModuleList | nn.Sequential) and len({type(m) for m in around}) == 1:
            return name
        name = above
    return ""
