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
