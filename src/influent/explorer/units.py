"""A unit's page: its best images, what drives it there, the classes whose essence it is in, its influence's spread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from influent.ask import influence
from influent.attribution import Attribution
from influent.cut import INPUT, Cut
from influent.distributions import Line, Point
from influent.errors import InputError
from influent.measures import activation, contribution
from influent.quantities import Unit
from influent.shared import where
from influent.text import Text
from influent.views.figure import Cell
from influent.views.histogram import Histogram
from influent.views.overlay import overlay, scaled_pixels
from influent.views.sentence import Sentence
from influent.views.shared import lit
from influent.views.units import as_picture, in_rgb, pixels_path, pixels_way

from .answers import SIDE, fired, part, subject
from .asks import Name, OneUnit
from .desk import Desk, Held
from .gather import Gathered
from .netmap import Place
from .plan import Event

BEST, DRIVEN, FIRST, POINTS = 8, 3, 20, 33
"""Best images shown, of these with their pixels; ranks that make an essence; points of a path to a unit's pixels."""


def rename(desk: Desk, ask: Name) -> Iterator[Event]:
    """Give a unit a name, in the file of nicknames, too. Errors: `QuestionError`, `StoreError`."""
    _, place = desk.unit(ask.at, ask.unit)
    name = " ".join(ask.name.split())
    desk.call(place, ask.unit, name)
    yield {"event": "note", "message": f"Kept in {desk.plan.nicknames.name}." if name else "The name is taken away."}


def unit_page(desk: Desk, ask: OneUnit) -> Iterator[Event]:
    """All that is known of a unit, in steps: what is quickly known first. Errors as `influence`."""
    at, place = desk.unit(ask.at, ask.unit)
    head = {
        "at": at, "unit": ask.unit, "of": place.units, "kind": place.kind, "shape": " × ".join(map(str, place.shape)),
        "axis": place.cut.units, "nickname": desk.nickname(place, ask.unit), "file": desk.plan.nicknames.name,
        "before": desk.before(at), "typed": f"inf.Unit({ask.unit}, {place.cut.place.text!r})",
    }  # fmt: skip
    yield part("head", "unit", **head)
    if desk.reads_texts:
        if ask.text:
            yield _reading(desk, ask, place)
        return
    if ask.photo is not None:
        held = desk.photo(ask.photo)
        yield part("here", "driven", title="What drives it on this photo", cards=[_driven(desk, held, place, ask.unit)])
    if desk.folder is None:
        yield part("data", "nodata")
    else:
        yield from _in_data(desk, place, at, ask.unit)
    yield from _outside(desk, at, place, ask.unit)


def _reading(desk: Desk, ask: OneUnit, place: Place) -> Event:
    """The words of a text that drive a unit."""
    text = subject(desk, ask)
    if not isinstance(text, Text):
        raise InputError("Type a text first.")
    of = Unit(ask.unit, place.cut) if place.cut.units == "head" else Unit(ask.unit, place.cut.place)
    words = Cut(f"{desk.net.embedding}/token")
    a = influence(desk.net, words, of, Line(None, text, n=65), contribution, progress=desk.progress)
    sentence = Sentence(text.texts[0], text.pieces(a.values))
    return part("here", "words", sentence=sentence.html(), summary=a.summary(), largest=sentence.largest)


def _driven(desk: Desk, held: Held, place: Place, unit: int) -> dict[str, Any]:
    """What drives a unit at the pixels of a photo. Source: Leino et al. 2018, section 3.1."""
    net, x, of = desk.net, held.x, Unit(unit, place.cut.place)
    over, measure = pixels_path(net, x, None, POINTS, 0)
    a = influence(net, INPUT, of, over, measure, progress=desk.progress)
    values, photo = in_rgb(net, a.values), as_picture(net, x)
    pictures = [
        ("where it fires", lit(net, x, where(net, x, [(place.cut, unit)])[0])),
        ("its pixels", scaled_pixels(values, photo, 1.5)),
        ("for and against", overlay(values, photo)),
    ]
    way = f"{pixels_way(net, x, None)}{f', {POINTS} points from {net.baseline}' if isinstance(over, Line) else ''}"
    pixels = [(word, Cell(p, "").jpeg(SIDE)) for word, p in pictures]
    return {"name": held.name, "pictures": pixels, "way": way, "summary": a.summary()}


def _in_data(desk: Desk, place: Place, at: str, unit: int) -> Iterator[Event]:
    seen, folder = desk.seen(place), desk.images
    wanted = range(min(desk.plan.images, len(folder.files)))
    shown = 0
    if len(seen):
        shown = len(seen)
        yield _data(desk, seen, place, at, unit)
    for _ in seen.look(desk.net, folder, desk.classes, wanted, desk.progress):
        if len(seen) >= 2 * shown:
            shown = len(seen)
            yield _data(desk, seen, place, at, unit)
        else:
            yield {"event": "progress", "points": len(seen), "of": len(wanted), "unit": "images"}
    if len(seen) != shown:
        yield _data(desk, seen, place, at, unit)
    cards = []
    for number in [seen.numbers[row] for row in _best(seen, unit)[:DRIVEN]]:
        cards.append(_driven(desk, desk.photo(f"data-{number}"), place, unit))
        yield part("driven", "driven", title="What drives it on its best images", cards=cards)


def _best(seen: Gathered, unit: int) -> list[int]:
    """Rows of the images that fire it most."""
    if seen.activation is None:
        return []
    return [int(k) for k in seen.activation.values[:, unit].argsort(descending=True, stable=True)[:BEST]]


def _data(desk: Desk, seen: Gathered, place: Place, at: str, unit: int) -> Event:
    """What the images that were seen so far say of a unit."""
    if seen.influence is None or seen.activation is None:
        return part("data", "nodata")
    net = desk.net
    cards = [
        fired(
            desk,
            f"data-{seen.numbers[row]}",
            place,
            unit,
            float(seen.activation.values[row, unit]),
            net.label(seen.label[row]),
        )
        for row in _best(seen, unit)
    ]
    members, source = _members(desk, seen, place, unit)
    own = members[0]["index"] if members else None
    values = seen.influence.values[:, unit].double()
    inside = [label == own for label in seen.label]
    groups = [("images" if own is None else "other images", values[[not i for i in inside]].tolist())]
    if own is not None:
        groups = [(f"images of {net.label(own)}", values[inside].tolist()), *groups]
    chart = Histogram("Its influence on the score of an image's own class", "influence", groups)
    return part(
        "data", "unitdata", at=at, unit=unit, cards=cards, members=members, source=source, chart=chart.svg(),
        seen=len(seen), total=len(desk.images.files), first=FIRST, unread=len(seen.unread),
    )  # fmt: skip


def _members(desk: Desk, seen: Gathered, place: Place, unit: int) -> tuple[list[dict[str, Any]], str]:
    """The classes in whose essence a unit is: among the first by the size of its mean influence; and who says so."""
    net, stored = desk.net, desk.essences.get(place.cut.text)
    if stored is not None:
        known = {net.label(index): index for index in desk.classes.values()}
        rows = [(known.get(str(one.instances[0])), one) for one in stored]
        source = f"the stored essence of {len(rows)} classes"
    else:
        means = [(index, seen.of_class(index, net)) for index in dict.fromkeys(seen.label) if len(seen.rows(index)) > 1]
        rows = [(index, found[0]) for index, found in means if found is not None]
        source = f"the {len(seen)} images seen so far"
    members = [found for index, one in rows if (found := _member(index, one, unit)) is not None]
    return sorted(members, key=lambda m: (m["rank"], -abs(m["value"]))), source


def _member(index: int | None, of_class: Attribution, unit: int) -> dict[str, Any] | None:
    """A unit's rank in one class, its mean influence and standard error; None where it is not among the first."""
    values, errors = of_class.values[0], of_class.stderr
    rank = 1 + int((values.abs() > values[unit].abs()).sum())
    if rank > FIRST or not float(values[unit]):
        return None
    error = float("nan") if errors is None else float(errors[0][unit])
    name = str(of_class.instances[0])
    return {"index": index, "name": name, "rank": rank, "value": float(values[unit]), "stderr": error}


def _outside(desk: Desk, at: str, place: Place, unit: int) -> Iterator[Event]:
    """Photos outside of the data that fire a unit most."""
    named = "outside" if desk.outside else "example"
    photos = desk.outside or desk.examples
    found: list[tuple[float, str]] = []
    for k in range(len(photos)):
        try:
            held = desk.photo(f"{named}-{k}")
        except InputError as error:
            yield {"event": "note", "message": str(error)}
            continue
        a = influence(desk.net, place.cut, Unit(0, place.cut.place), Point(held.x), activation, progress=desk.progress)
        found.append((float(a.values[0].flatten()[unit]), f"{named}-{k}"))
        if len(found) % 8 == 0:
            yield {"event": "progress", "points": len(found), "of": len(photos), "unit": "photos"}
    cards = [fired(desk, name, place, unit, value) for value, name in sorted(found, reverse=True)[:BEST]]
    if cards:
        yield part("outside", "outside", at=at, unit=unit, cards=cards, own=named == "outside", count=len(found))
