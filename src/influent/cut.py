"""Places in a net: `Cut("inception_4c")`, `INPUT`, `OUTPUT["logits"]`.

A cut is text, so that it can be typed, stored and compared::

    inception_4c            the output of a module
    inception_4c:in         its (first) input
    lstm#2                  its second call in one pass
    block[0], OUT[logits]   an element of a tuple or dictionary
    inception_4c/channel    its units, grouped: neurons summed over all other axes
    INPUT, OUTPUT           the two sides of the net itself
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from .errors import CutError, nearest

_FORM = re.compile(
    r"(?P<name>[^:#\[\]/]+)(?P<side>:in)?(?:#(?P<call>[1-9]\d*))?(?P<element>(?:\[[^\]]+\])*)(?:/(?P<units>\w+))?"
)


@dataclass(frozen=True, repr=False)
class Cut:
    """A place in a net, as text.

    Errors: `CutError` where the text is not of the form `name[:in][#call][element][/units]`.
    Source: the slice ⟨g, h⟩ of Leino et al. 2018, section 2.3.

    >>> Cut("lstm:in#2[0]/channel").name, Cut("lstm#2[0]").call, Cut("lstm#2[0]").element
    ('lstm', 2, (0,))
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not _FORM.fullmatch(self.text):
            raise CutError(
                f"{self.text!r} is not a place in a net. Type a module's name, and behind it what is needed of "
                "':in', '#2' (second call), '[0]' (element of a tuple), '/channel' (grouped units), "
                'in this order: "lstm:in#2[0]/channel".'
            )

    def __repr__(self) -> str:
        return repr(self.text)

    def __getitem__(self, key: int | str) -> Cut:
        """The cut at one element of a tuple or dictionary."""
        head, _, units = self.text.partition("/")
        return Cut(f"{head}[{key}]" + (f"/{units}" if units else ""))

    # Subscripts would make a cut look like a sequence without an end.
    __iter__ = None

    def _part(self, part: str) -> str | None:
        found = _FORM.fullmatch(self.text)
        return found[part] if found else None

    @property
    def name(self) -> str:
        """The module's name, `INPUT` or `OUTPUT`."""
        return self._part("name") or ""

    @property
    def is_input_side(self) -> bool:
        """Whether the module's input is meant, not its output."""
        return self._part("side") == ":in"

    @property
    def call(self) -> int | None:
        """Which call of the module in one pass, from 1, or None where it runs once."""
        call = self._part("call")
        return int(call) if call else None

    @property
    def element(self) -> tuple[int | str, ...]:
        """The way to an element of a tuple or dictionary."""
        keys = re.findall(r"\[([^\]]+)\]", self._part("element") or "")
        return tuple(int(k) if k.lstrip("-").isdigit() else k for k in keys)

    @property
    def units(self) -> str | None:
        """The axis that counts units, or None for single neurons."""
        return self._part("units")

    @property
    def place(self) -> Cut:
        """The same place with single neurons as units."""
        return Cut(self.text.partition("/")[0])


INPUT = Cut("INPUT")
OUTPUT = Cut("OUTPUT")


def as_cut(place: Cut | str) -> Cut:
    """A cut from a cut or its text."""
    return place if isinstance(place, Cut) else Cut(place)


def find_module(root: nn.Module, cut: Cut) -> nn.Module:
    """The module that a cut names.

    Errors: `CutError` with the nearest names; for modules whose hooks never run, the cut that works.
    """
    if cut.name in ("INPUT", "OUTPUT"):
        return root
    modules = dict(root.named_modules(remove_duplicate=False))
    if cut.name not in modules or cut.name == "":
        top = [name for name, _ in root.named_children()]
        raise CutError(
            f"This net has no module {cut.name!r}.{nearest(cut.name, modules)} Its top level is "
            f"{', '.join(top) or 'empty: only INPUT and OUTPUT can be cut'}. inf.cuts(net, x) lists all."
        )
    parent_name, _, leaf = cut.name.rpartition(".")
    if leaf == "out_proj" and isinstance(modules.get(parent_name), nn.MultiheadAttention):
        raise CutError(
            f"{cut.name!r} never runs as a module: torch's MultiheadAttention uses its weights directly. "
            f'Cut after the attention, at "{parent_name}[0]".'
        )
    return modules[cut.name]


_FIRST = (
    nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd, nn.LocalResponseNorm, nn.Upsample, nn.PixelShuffle,
    nn.modules.dropout.Dropout2d,
)  # fmt: skip
_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.MultiheadAttention, nn.RNNBase)


def _kinds(module: nn.Module) -> set[int]:
    """Where the modules inside count channels: 1 (after the point), -1 (last)."""
    found = set()
    for inner in module.modules():
        if isinstance(inner, _FIRST):
            found.add(1)
        elif isinstance(inner, _LAST):
            found.add(-1)
    return found


def channel_dim(root: nn.Module, cut: Cut, dims: int) -> int | None:
    """The dimension of `[point, *neuron]` that counts channels, or None where it is not known.

    A module that counts channels itself decides (convolution: 1, linear: last); else what is inside it, where that
    agrees; else the nearest module before it in the same `Sequential`; else the same of the module around it.
    """
    if dims == 2:
        return 1
    if cut.name == "INPUT":
        return 1 if dims >= 4 else None
    if isinstance(module := find_module(root, cut), (*_FIRST, *_LAST)):
        return 1 if isinstance(module, _FIRST) else -1
    modules = dict(root.named_modules(remove_duplicate=False))
    name = "" if cut.name == "OUTPUT" else cut.name
    while True:
        kinds = _kinds(modules[name])
        if kinds or not name:
            return kinds.pop() if len(kinds) == 1 else None
        name, _, leaf = name.rpartition(".")
        if isinstance(parent := modules[name], nn.Sequential):
            before = list(parent._modules)[: list(parent._modules).index(leaf)]
            for sibling in reversed(before):
                kinds = _kinds(parent._modules[sibling] or nn.Identity())
                if kinds:
                    return kinds.pop() if len(kinds) == 1 else None


def declared_axes(cut: Cut, declared: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    """The names that are declared for a cut: by its own text, or by a pattern that ends in `*`.

    >>> declared_axes(Cut("features.3"), {"features.*": ("row", "column", "channel")})
    ('row', 'column', 'channel')
    """
    place = cut.place.text
    for pattern, names in declared.items():
        if place == pattern or (pattern.endswith("*") and place.startswith(pattern[:-1])):
            return tuple(names)
    return None


_NAMES = {
    (2, 1): ("channel",),
    (3, 1): ("channel", "position"),
    (3, -1): ("token", "channel"),
    (4, 1): ("channel", "row", "column"),
    (4, -1): ("row", "column", "channel"),
    (5, 1): ("channel", "depth", "row", "column"),
    (5, -1): ("depth", "row", "column", "channel"),
}


def axis_names(root: nn.Module, cut: Cut, dims: int, declared: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    """The names of the neuron axes at a cut, the point left out: `("channel", "row", "column")`, or None.

    `declared` maps cut texts, or patterns that end in `*`, to names, and comes first.

    >>> axis_names(nn.Sequential(nn.Conv2d(3, 8, 3)), Cut("0"), 4, {})
    ('channel', 'row', 'column')
    """
    names = declared_axes(cut, declared)
    if names is not None and len(names) == dims - 1:
        return names
    channel = channel_dim(root, cut, dims)
    return None if channel is None else _NAMES.get((dims, channel))
