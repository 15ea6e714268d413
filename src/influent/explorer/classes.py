"""A class's page: its essence, the grid of one image, and what experts of it reach."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from influent.attribution import Attribution
from influent.counting import Evaluation, evaluate
from influent.dataset import Dataset
from influent.errors import InputError, QuestionError
from influent.essences import Essence
from influent.experts import Grid, chosen
from influent.mask import Mask
from influent.selection import selected
from influent.views.essence import COLUMNS, unit_rows
from influent.views.experts import maps
from influent.views.explanation import named_class
from influent.views.grid import grid

from .answers import fired, part
from .asks import OneClass
from .desk import Desk
from .gather import Gathered, taken
from .netmap import Place
from .plan import Event

TOP, PICTURED, BEST, CHOOSE, TEST, PART = 10, 3, 6, 64, 96, 16
"""Units in the table, of these with pictures, pictures each; images that choose, that test (and as many), a step."""
COUNTS = (1, 5, 20, 50, 100)


def gathered_class(desk: Desk, place: Place, index: int) -> Generator[Event, None, Gathered]:
    """Look at the images that choose a class's units, one half of those in the data, so many at most."""
    seen, wanted = desk.seen(place), chooses(desk, index)
    if not wanted:
        raise QuestionError(f"There is no image of {desk.net.label(index)} in these data.")
    for done in seen.look(desk.net, desk.images, desk.classes, wanted, desk.progress):
        yield {"event": "progress", "points": done, "of": len(wanted), "unit": "images of the class"}
    return copy.copy(seen)  # as it is now: rows that others' questions add or forget are not its own


def chooses(desk: Desk, index: int) -> list[int]:
    """The images that choose a class's units, by their numbers."""
    return desk.files_of(index, 0)[:CHOOSE]


def choosing(desk: Desk, seen: Gathered, index: int) -> tuple[Attribution, Attribution]:
    """Mean influence and activation of a class over these images. Errors: `InputError` where none can be read."""
    found = seen.of_class(index, desk.net, {*chooses(desk, index)})
    if found is None:
        raise InputError(f"No image of {desk.net.label(index)} could be read.")
    return found


def class_page(desk: Desk, ask: OneClass) -> Iterator[Event]:
    """All that is known of a class, in steps."""
    at, place = desk.place(ask.at)
    index = desk.check_class(ask.index)
    name = desk.net.label(index)
    yield part("head", "class", at=at, index=index, images=len(desk.of_class.get(index, [])))
    seen = yield from gathered_class(desk, place, index)
    rows = seen.rows(index, {*chooses(desk, index)})
    made = Essence(*choosing(desk, seen, index), TOP)
    hits = sum(seen.said[row] == index for row in rows)
    units = [unit.index[0] for unit in made.ranked[name]]
    table = list(zip(units, unit_rows(made, 0), strict=True))
    yield part(
        "essence", "essence", at=at, index=index, columns=COLUMNS, rows=table, summary=made.summary(0), seen=len(rows),
        hits=hits, at_first=units[:5], name=name,
    )  # fmt: skip
    groups = []
    for unit, row in table[:PICTURED]:
        groups.append((unit, row[0], _pictures(desk, seen, place, unit, rows)))
        yield part("pictures", "pictures", at=at, groups=groups)
    if seen.influence is not None and place.units <= 4096:
        typical = max(rows, key=lambda row: (seen.said[row] == index, seen.sure[row]))
        one = taken(seen.influence, [typical], desk.net)
        title = f"{Path(str(one.instances[0])).name}, in the order of {name}"
        yield part("grid", "gridded", svg=grid(one, made.influence, title).svg(), name=name)


def _pictures(desk: Desk, seen: Gathered, place: Place, unit: int, rows: Sequence[int]) -> list[dict[str, Any]]:
    """The images of a class that fire a unit most, dimmed where it is silent."""
    if seen.activation is None:
        return []
    values = seen.activation.values[:, unit]
    best = sorted(rows, key=lambda row: -float(values[row]))[:BEST]
    return [
        fired(
            desk, f"data-{seen.numbers[row]}", place, unit, float(values[row]),
            f"said: {desk.net.label(seen.said[row])}",
        )
        for row in best
    ]  # fmt: skip


def kept_alone(place: Place, units: Sequence[int]) -> Mask:
    """The mask that keeps these units alone; none of them: all are silenced."""
    return Mask(place.cut, units) if units else Mask(place.cut, range(place.units), False)


def testing(desk: Desk, index: int | None) -> list[list[int]]:
    """Images that chose nothing, in parts: of a class as many as of all others, mixed; or all that are there."""
    every = desk.files_of(None, 1)
    if index is None:
        wanted = every[: desk.plan.images]
    else:
        own, all_own = desk.files_of(index, 1)[:TEST], {*desk.of_class[index]}
        others = [k for k in every if k not in all_own][: len(own)]
        wanted = sorted([*own, *others])
    return [wanted[k : k + PART] for k in range(0, len(wanted), PART)]


def experts(desk: Desk, ask: OneClass) -> Iterator[Event]:
    """Recall and precision of the experts of a class for all α and β, as images go by.

    Source: Leino et al. 2018, figure 5.
    """
    at, place = desk.place(ask.at)
    index = desk.check_class(ask.index)
    seen = yield from gathered_class(desk, place, index)
    influence, _ = choosing(desk, seen, index)
    of = named_class(desk.net, index)
    values = influence.values[0]
    alphas = [a for a in COUNTS if a <= int((values > 0).sum())] or [0]
    betas = [0, *(b for b in COUNTS[:3] if b <= int((values < 0).sum()))]
    units = tuple(tuple(chosen(influence, a, b) for b in betas) for a in alphas)
    masks = [kept_alone(place, cell) for row in units for cell in row]
    total: Evaluation | None = None
    parts, done = testing(desk, index), 0
    for numbers in parts:
        data = Dataset(selected(desk.images, numbers))
        found = evaluate(desk.net, data, masks, [of] * len(masks), progress=desk.progress)
        total, done = found if total is None else total + found, done + len(numbers)
        counts = total.masked.reshape(len(alphas), len(betas))
        made = Grid(place.cut, of, tuple(alphas), tuple(betas), units, counts, total.original[0], size=place.units)
        yield part(
            "experts", "expertmap", maps=[m.svg() for m in maps(made, None)], name=desk.net.label(index), done=done,
            of=sum(map(len, parts)), at=at, index=index, recall=float(made.original.recall),
            precision=float(made.original.precision),
        )  # fmt: skip
