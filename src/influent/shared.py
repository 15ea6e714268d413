"""Units that labels share: high conductance on inputs of different predicted classes, and what else fires them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .ask import influence
from .cut import OUTPUT, Cut
from .distributions import Line, Point
from .errors import InputError, QuestionError
from .measures import activation, contribution
from .nets import Net, as_net
from .quantities import Class, Predicted

Progress = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Look:
    """One input as the units see it: the predicted class, and two vectors `[unit]` by cut.

    - `share`: conductance of the predicted class, as a share of F(x) − F(x′); empty where it was not asked;
    - `fired`: the activation, its mean over the unit's positions;
    - `gap`: the completeness gap as a share of F(x) − F(x′), at full cuts.
    """

    name: str
    label: int
    probability: float
    fired: Mapping[Cut, Tensor]
    share: Mapping[Cut, Tensor] = field(default_factory=dict)
    gap: Mapping[Cut, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SharedUnit:
    """A unit in the first few of inputs of several labels.

    `members`, highest share first, have it there: their `labels`, in that order, their mean `share`, and what part of
    all inputs they are, `among`. A unit with `among` near 1 serves everything, and says nothing about these labels.
    `outside` are the inputs beside them that fire it most, first the strongest.
    """

    cut: Cut
    unit: int
    members: tuple[Look, ...]
    labels: tuple[int, ...]
    share: float
    among: float
    outside: tuple[Look, ...]


def glance(
    net: Net | nn.Module, x: Tensor, at: Sequence[Cut], name: str = "", progress: Progress | None = None
) -> Look:
    """Prediction and mean activations of one input `x [1, *shape]`: one run of the net forward.

    Errors: `QuestionError` for cuts without units ("conv1/channel" has them) and nets without classes.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 3)).eval()
    >>> glance(net, torch.zeros(1, 1, 2, 2), [Cut("0/channel")]).fired[Cut("0/channel")].shape
    torch.Size([2])
    """
    for cut in at:
        if cut.units is None:
            raise QuestionError(f"{cut.text!r} names no units that inputs could share. Type '{cut.text}/channel'.")
    places = dict.fromkeys([*at, *(cut.place for cut in at), OUTPUT])
    found = influence(as_net(net), list(places), Predicted(), Point(x), activation, progress=progress)
    p = torch.softmax(found[OUTPUT].values[0].double(), 0)
    fired = {cut: found[cut].values[0] * len(found[cut].values[0]) / found[cut.place].values[0].numel() for cut in at}
    return Look(name, int(p.argmax()), float(p.max()), fired)


def look(
    net: Net | nn.Module, x: Tensor, at: Sequence[Cut], baseline: Any = "black", n: int = 33, name: str = "",
    chunk: int = 16, progress: Progress | None = None,
) -> Look:  # fmt: skip
    """A `glance`, and each unit's conductance of the predicted class, as a share of the score's change.

    Errors: `InputError` where the score does not change on the path; `QuestionError` as `glance` and `influence`.
    Source: Dhamdhere et al. 2018, section 5.1.
    """
    seen = glance(net, x, at, name, progress)
    cuts = list(dict.fromkeys([*at, OUTPUT]))
    found = influence(
        as_net(net), cuts, Class(seen.label), Line(baseline, x, n), contribution, chunk=chunk, progress=progress
    )
    change = found[OUTPUT].gap.change[0]
    if not change:
        raise InputError(f"{name or 'This input'}: the predicted score does not change from the baseline to it.")
    share = {cut: found[cut].values[0] / change for cut in at}
    gap = {cut: float(found[cut].gap.relative[0]) for cut in at if found[cut].gap is not None}
    return Look(name, seen.label, seen.probability, seen.fired, share, gap)


def first(values: Tensor, count: int) -> list[int]:
    """The units of the highest values `[unit]`, best first; of equal ones, the lower number first.

    >>> first(torch.tensor([1.0, 3.0, 3.0]), 2)
    [1, 2]
    """
    return values.sort(descending=True, stable=True).indices[:count].tolist()


def in_common(tops: Sequence[Sequence[int]], labels: Sequence[int]) -> dict[int, list[int]]:
    """The rows of `tops` that each unit is in, for units in those of two labels or more; the lower unit first.

    >>> in_common([[5, 7], [7, 2], [5, 1]], labels=[0, 1, 0])
    {7: [0, 1]}
    """
    found = {
        unit: [k for k, top in enumerate(tops) if unit in top] for unit in sorted({u for top in tops for u in top})
    }
    return {unit: rows for unit, rows in found.items() if len({labels[k] for k in rows}) > 1}


def shared_units(
    looks: Sequence[Look], outside: Sequence[Look] | None = None, top: int = 3, most: int = 5
) -> tuple[SharedUnit, ...]:
    """Units among the `top` positive shares of inputs of two predicted classes or more.

    Those of most labels come first, of as many those with the highest mean share. With each, up to `most` inputs that
    fire it most: of `outside`, or of `looks` but for those that have it among their first. Errors: `InputError` for
    fewer than two inputs, and where all have the same predicted class.

    >>> cut = Cut("conv1/channel")
    >>> def seen(label, *share):
    ...     return Look("", label, 1.0, {cut: torch.zeros(2)}, {cut: torch.tensor(share)})
    >>> [(s.unit, s.labels) for s in shared_units([seen(0, 0.1, 0.8), seen(3, 0.2, 0.9)], top=1)]
    [(1, (3, 0))]
    """
    if len(looks) < 2:
        raise InputError(f"{len(looks)} photo(s) could be read, and sharing takes two or more. Add photos.")
    labels = [seen.label for seen in looks]
    if len(set(labels)) < 2:
        raise InputError(
            f"The net gives all {len(looks)} photos the same class, and units are shared by different ones. Add photos "
            "that it takes for something else."
        )
    found = []
    for cut in looks[0].share:
        tops = [[u for u in first(seen.share[cut], top) if seen.share[cut][u] > 0] for seen in looks]
        for unit, rows in in_common(tops, labels).items():
            rows = sorted(rows, key=lambda k: -float(looks[k].share[cut][unit]))
            others = [seen for k, seen in enumerate(looks) if k not in rows] if outside is None else outside
            fires = sorted(others, key=lambda seen: -float(seen.fired[cut][unit]))
            mean = sum(float(looks[k].share[cut][unit]) for k in rows) / len(rows)
            members, own = tuple(looks[k] for k in rows), tuple(dict.fromkeys(labels[k] for k in rows))
            found.append(SharedUnit(cut, unit, members, own, mean, len(rows) / len(looks), tuple(fires[:most])))
    return tuple(sorted(found, key=lambda s: (-len(s.labels), -s.share)))


def where(net: Net | nn.Module, x: Tensor, units: Sequence[tuple[Cut, int]]) -> list[Tensor | None]:
    """Where each unit fires on one input: its activation `[row, column]`, or None where it has no such positions.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 3)).eval()
    >>> where(net, torch.zeros(1, 1, 2, 2), [(Cut("0/channel"), 1)])[0].shape
    torch.Size([2, 2])
    """
    places = list(dict.fromkeys(cut.place for cut, _ in units))
    found = influence(as_net(net), places, Predicted(), Point(x), activation)
    maps: list[Tensor | None] = []
    for cut, unit in units:
        a = found[cut.place]
        names = a.axes or ()
        one = a.values[0].select(names.index(cut.units), unit) if cut.units in names else None
        maps.append(one if one is not None and [n for n in names if n != cut.units] == ["row", "column"] else None)
    return maps
