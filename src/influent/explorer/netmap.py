"""The map of a net: where it can be asked, what of it is drawn, and how many classes it tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from influent.ask import influence
from influent.cut import OUTPUT, Cut
from influent.distributions import Point
from influent.errors import InfluentError, QuestionError
from influent.measures import activation
from influent.nets import Net
from influent.places import crossings, middle, transformer
from influent.probe import CutInfo, activations, cuts
from influent.quantities import Unit
from influent.zoo.sentences import SentenceEncoder


@dataclass(frozen=True)
class Place:
    """Where the net can be asked: a cut that counts units, how many there are, and what runs there."""

    cut: Cut
    units: int
    kind: str
    shape: tuple[int, ...]
    drawn: bool = False


def places(net: Net, x: Tensor) -> dict[str, Place]:
    """All places with channels that run once; of those that every path crosses some are drawn."""
    every = cuts(net, x)
    drawn = outlines([place.name for place in crossings(net, x, every)])
    return {c.name: found for c in every if (found := _place(c, c.name in drawn)) is not None}


def outlines(names: Sequence[str], few: int = 6) -> set[str]:
    """The outermost of some places; where these are few, what is inside of the largest in its stead, again and again.

    >>> sorted(outlines(["body.0", "body.1", "body", "head"]))
    ['body.0', 'body.1', 'head']
    """
    inside = {name: [other for other in names if other.startswith(f"{name}.")] for name in names}
    found = {name for name in names if not any(name in others for others in inside.values())}
    while len(found) < few and any(inside[name] for name in found):
        largest = max(found, key=lambda name: (len(inside[name]), name))
        own = inside[largest]
        found = (found - {largest}) | {name for name in own if not any(name in inside[other] for other in own)}
    return found


def _place(c: CutInfo, drawn: bool) -> Place | None:
    if c.calls != 1 or c.shape is None or not c.axes or "channel" not in c.axes:
        return None
    units = c.shape[1 + c.axes.index("channel")]
    return Place(Cut(f"{c.name}/channel"), units, c.kind, c.shape[1:], drawn)


def places_of_texts(net: Net, x: Any) -> dict[str, Place]:
    """The heads and neurons of a transformer; of other nets that read texts, the places with channels."""
    every = cuts(net, x)
    try:
        found = transformer(net)
    except QuestionError:
        found_places = {c.name: _place(c, c.axes == ("channel",)) for c in every}
        return {name: place for name, place in found_places.items() if place is not None}
    named = [Cut(text) for text in (*found.heads, *found.neurons)]
    answers = influence(net, named, Unit(0, named[0]), Point(x), activation)
    kinds = {c.name: c.kind for c in every}
    return {
        cut.text: Place(cut, answers[cut].values.shape[-1], kinds.get(cut.name, ""), (answers[cut].values.shape[-1],),
                        cut.units == "head")
        for cut in named
    }  # fmt: skip


def layer(net: Net, x: Any, known: dict[str, Place], reads_texts: bool) -> str | None:
    """The place that is asked about where none is named."""
    if net.layer is not None:
        wanted = (Cut(net.layer).place.text, net.layer)
        return next((name for name in known if name in wanted), None)
    if reads_texts:
        return None
    try:
        return middle(net, x).place.text
    except QuestionError:
        return next(iter(known), None)


def outputs(net: Net, x: Any) -> int:
    """How many classes the net tells; 0 for one whose output is something else."""
    try:
        y = activations(net, OUTPUT, x)
    except InfluentError:
        return 0
    return y.shape[1] if y.dim() == 2 and not isinstance(net.module, SentenceEncoder) else 0
