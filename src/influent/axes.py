"""Which axis of an activation counts channels, tokens, rows and columns, and where heads lie side by side in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from .cut import Cut, find_module

_FIRST = (
    nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd, nn.LocalResponseNorm, nn.Upsample, nn.PixelShuffle,
    nn.modules.dropout.Dropout2d,
)  # fmt: skip
_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.MultiheadAttention, nn.RNNBase)
_WIDTHS = ("out_channels", "num_features", "num_channels", "out_features", "embedding_dim", "embed_dim")
_INPUT_WIDTHS = ("in_channels", "num_features", "num_channels", "in_features", "embed_dim", "input_size")
# Modules that leave every number where it is.
_SAME_SHAPE = ("torch.nn.modules.activation", "torch.nn.modules.dropout")
# The module at the end of an attention, which mixes what its heads give: BERT, GPT, DistilBERT, T5, timm and others.
_MIXERS = ("dense", "c_proj", "out_lin", "o", "o_proj", "out_proj", "proj")
_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")
_NAMES = {
    (2, 1): ("channel",),
    (3, 1): ("channel", "position"),
    (3, 2): ("token", "channel"),
    (4, 1): ("channel", "row", "column"),
    (4, 3): ("row", "column", "channel"),
    (5, 1): ("channel", "depth", "row", "column"),
    (5, 4): ("depth", "row", "column", "channel"),
}


@dataclass(frozen=True)
class Layer:
    """How a layer counts channels: `first` or last, how many, in activations of `dims` dimensions (0 where any)."""

    first: bool
    width: int
    dims: int


@dataclass(frozen=True)
class Channels:
    """What is known of the channels at a place: the layers that decide there, weighed against an activation's shape.

    `own` says that the layers are the module's own, or inside it, and not around it; `turned`, that a module which is
    not known stands behind them, and may have moved the channels.
    """

    layers: frozenset[Layer]
    own: bool = False
    turned: bool = False

    def dim(self, shape: Sequence[int]) -> int | None:
        """The dimension of `[point, *neuron]` that counts channels, or None where it is not known.

        The dimension as wide as a layer makes it; where both are, the one where that layer counts. What is made of
        nothing but convolutions and their like gives pictures with channels first, as wide as they may be: branches are
        concatenated, and a picture may have as many columns as a layer has channels.

        >>> Channels(frozenset({Layer(first=True, width=8, dims=4)})).dim((1, 49, 8))
        2
        """
        last = len(shape) - 1
        if len(shape) < 3 or (len(shape) > 3 and all(size == 1 for size in shape[2:])):
            return 1
        if self.turned and shape[1] == shape[last]:
            return None
        wide = {d for d in (1, last) if any(layer.width == shape[d] for layer in self.layers)}
        pictures = bool(self.layers) and all(a.first and a.dims in (0, len(shape)) for a in self.layers)
        moved = wide == {last} and shape[1] == shape[2] != shape[last]
        if pictures and not moved and (self.own or shape[-1] == shape[-2]):
            return 1
        if len(wide) == 2:
            # A layer says where it counts only in activations of its own kind, not in tokens made of a picture.
            known = [a for a in self.layers if a.dims in (0, len(shape))]
            wide = {1 if a.first else last for a in known if a.width == shape[1 if a.first else last]}
        if not wide and pictures:
            return 1
        return wide.pop() if len(wide) == 1 else None


def channels_at(root: nn.Module, cut: Cut) -> Channels:
    """What is known of the channels at a cut.

    A module that counts channels itself decides; else what is inside it; else the nearest module before it in the same
    `Sequential`; else the same of the module around it.
    """
    if cut.name == "INPUT":
        return Channels(frozenset(), own=True)
    module = find_module(root, cut)
    if layer := layer_of(module, cut.is_input_side):
        return Channels(frozenset({layer}), own=True)
    modules = dict(root.named_modules(remove_duplicate=False))
    name = "" if cut.name == "OUTPUT" else cut.name
    if found := _inside(modules[name], cut.is_input_side):
        return Channels(found, own=True)
    while name and not found:
        name, _, leaf = name.rpartition(".")
        if isinstance(parent := modules[name], nn.Sequential):
            before = list(parent._modules)[: list(parent._modules).index(leaf)]
            siblings = (modules[f"{name}.{sibling}".lstrip(".")] for sibling in reversed(before))
            found = next(filter(None, map(_inside, siblings)), found)
        found = found or _inside(modules[name])
    same = cut.is_input_side or isinstance(module, nn.Identity) or type(module).__module__ in _SAME_SHAPE
    return Channels(found, turned=not same)


def _inside(module: nn.Module, input_side: bool = False) -> frozenset[Layer]:
    return frozenset(layer for inner in module.modules() if (layer := layer_of(inner, input_side)))


def layer_of(module: nn.Module, input_side: bool = False) -> Layer | None:
    """How a layer counts channels, if it is one that does: of what it gives, or of what it takes."""
    named = type(module).__name__ == "Conv1D" and isinstance(getattr(module, "weight", None), Tensor)
    if not (named or isinstance(module, (*_FIRST, *_LAST))) or (input_side and isinstance(module, nn.Embedding)):
        return None
    if isinstance(module, nn.RNNBase) and not input_side:
        return Layer(False, (module.proj_size or module.hidden_size) * (1 + module.bidirectional), 3)
    shape = getattr(module, "normalized_shape", None)
    names = _INPUT_WIDTHS if input_side else _WIDTHS
    width = shape[-1] if shape else next((int(getattr(module, name)) for name in names if hasattr(module, name)), 0)
    name = type(module).__name__
    if named:  # transformers' linear layer with its weights the other way round
        return Layer(False, int(next(module.parameters()).shape[0 if input_side else 1]), 0)
    # A norm over the last axis that is called 2d turns the picture around and back: ConvNeXt's LayerNorm2d.
    dims = next((d + 2 for d in (1, 2, 3) if name.endswith(f"{d}d")), 0)
    first = isinstance(module, _FIRST) or dims > 0
    return Layer(first, width, 0 if isinstance(module, nn.BatchNorm1d) else dims)


def declared_axes(cut: Cut, declared: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    """The names that are declared for a cut: by its own text, or by a pattern that ends in `*`.

    >>> declared_axes(Cut("features.3"), {"features.*": ("row", "column", "channel")})
    ('row', 'column', 'channel')
    """
    found = _declared(cut, declared)
    return None if found is None else tuple(name for name in found if not name.startswith("head*"))


def _declared(cut: Cut, declared: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    place = cut.place.text
    for pattern, names in declared.items():
        if place == pattern or (pattern.endswith("*") and place.startswith(pattern[:-1])):
            return tuple(names)
    return None


def axis_names(
    root: nn.Module, cut: Cut, shape: Sequence[int], declared: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...] | None:
    """The names of the neuron axes at a cut, the point left out: `("channel", "row", "column")`, or None.

    `shape` is the activation's, `[point, *neuron]`; `declared` maps cut texts, or patterns that end in `*`, to names,
    and comes first.

    >>> axis_names(nn.Sequential(nn.Conv2d(3, 8, 3)), Cut("0"), (1, 8, 5, 5), {})
    ('channel', 'row', 'column')
    """
    names = declared_axes(cut, declared)
    if names is not None and len(names) == len(shape) - 1:
        return names
    # Pictures and volumes come in with channels first; a net that wants them last says so in its axes.
    picture = cut.name == "INPUT" and len(shape) in (4, 5)
    channel = 1 if picture else channels_at(root, cut).dim(shape)
    return None if channel is None else _NAMES.get((len(shape), channel))


@dataclass(frozen=True)
class Axis:
    """The dimension `dim` of activations `[point, *neuron]` that counts units; or in which `heads` lie side by side.

    >>> Axis(2, heads=4).apart(torch.zeros(1, 5, 12)).shape
    torch.Size([1, 5, 4, 3])
    """

    dim: int
    heads: int = 0

    def apart(self, y: Tensor) -> Tensor:
        """A view of activations in which units have a dimension of their own, `dim`."""
        return y.unflatten(self.dim, (self.heads, -1)) if self.heads else y


def unit_axis(root: nn.Module, cut: Cut, shape: Sequence[int], declared: Mapping[str, tuple[str, ...]]) -> Axis | None:
    """The axis that counts the units which a cut names, `"conv1/channel"`, `"attention.o_proj:in/head"`.

    None where it names none, or where the axis is not known. How many heads there are is declared,
    `axes={"mix:in": ("token", "head*12", "channel")}`, or known from the attention around the module that mixes them.

    >>> unit_axis(nn.Sequential(nn.Conv2d(3, 8, 3)), Cut("0/channel"), (1, 8, 5, 5), {})
    Axis(dim=1, heads=0)
    """
    names = axis_names(root, cut, shape, declared)
    if names is None or cut.units is None:
        return None
    if cut.units in names:
        return Axis(names.index(cut.units) + 1)
    if cut.units != "head" or "channel" not in names:
        return None
    dim = names.index("channel") + 1
    heads = heads_at(root, cut, shape[dim], declared)
    return Axis(dim, heads) if heads and shape[dim] % heads == 0 else None


def heads_at(root: nn.Module, cut: Cut, width: int, declared: Mapping[str, tuple[str, ...]]) -> int:
    """How many heads lie side by side in the channels at a cut; 0 where that is not known."""
    for word in _declared(cut, declared) or ():
        if word.startswith("head*"):
            return int(word[5:])
    if not cut.is_input_side or cut.name.rpartition(".")[2] not in _MIXERS or "att" not in cut.name.lower():
        return 0
    name = cut.name
    for _ in range(2):
        name = name.rpartition(".")[0]
        around = root.get_submodule(name)
        for module in (around, *around.children()):
            own = (module, getattr(module, "config", None))
            heads = next((n for m in own for key in _HEADS if isinstance(n := getattr(m, key, None), int)), 0)
            if heads and width % heads == 0:
                return heads
    return 0
