"""Why did the net say so? First pictures from few points at once, then the answer itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from influent.distributions import Line
from influent.errors import InputError
from influent.explain import Request
from influent.explain_text import answers_of, explained, unit_name
from influent.quantity import as_quantity
from influent.shared import where
from influent.text import Text
from influent.views.explanation import Answer, Top, draw, in_words, named_class, predict, rank
from influent.views.figure import Cell
from influent.views.page import rendered
from influent.views.shared import lit, thumbnail
from influent.views.units import as_picture, pixels_way

from .asks import Subject, Why
from .desk import Desk, Held
from .netmap import Place
from .plan import Event
from .questions import Words, as_command, as_python, distribution, measure, quantity

FIRST, FIRST_PIXELS, PIXELS = 9, 3, 33
"""Points of the first answer and of its pictures, and of the last pictures."""
SIDE = 224


def part(name: str, template: str, /, **values: Any) -> Event:
    """A part of the page, by its name there: a later one of the same name takes its place."""
    return {"event": "part", "part": name, "html": rendered(f"explorer/{template}.html", **values)}


def fired(desk: Desk, photo: str, place: Place, unit: int, value: float, label: str | None = None) -> dict[str, Any]:
    """A photo as a unit sees it, dimmed where it is silent, with its activation there."""
    held = desk.photo(photo)
    picture = thumbnail(lit(desk.net, held.x, where(desk.net, held.x, [(place.cut, unit)])[0]))
    return {"photo": photo, "picture": picture, "label": label or held.name, "value": value}


def subject(desk: Desk, ask: Subject) -> Held | Text:
    """The photo or the text that is asked about. Errors: `InputError`."""
    if desk.reads_texts:
        if not ask.text or not ask.text.strip():
            raise InputError("Type a text first.")
        read: Text = desk.net.reads([ask.text], None, True)
        return read
    if ask.photo is None:
        raise InputError("Choose a photo first.")
    return desk.photo(ask.photo)


def why(desk: Desk, ask: Why) -> Iterator[Event]:
    """The answer to a question, in steps. Errors as `influence`."""
    about = subject(desk, ask)
    yield from _why_text(desk, ask, about) if isinstance(about, Text) else _why_photo(desk, ask, about)


def _why_photo(desk: Desk, ask: Why, held: Held) -> Iterator[Event]:
    net, x = desk.net, held.x
    at, place = desk.place(ask.at or (ask.of == "unit" and desk.before(ask.layer)) or None)
    if ask.photo is not None:
        yield {**desk.card(ask.photo, held), "event": "subject"}
    said = predict(net, x)
    named = [(net.label(i), p) for i, p in said]
    picture = Cell(as_picture(net, x), "").jpeg(SIDE)
    yield part("prediction", "prediction", predictions=named, picture=picture, name=held.name)
    of, how = quantity(desk, ask, named_class(net, said[0][0]) if said else None), measure(ask)
    counts = [FIRST, ask.n] if ask.over != "point" and ask.n > FIRST else [ask.n]
    for n in counts:
        final = n == counts[-1]
        words = Words(place.cut, of, distribution(desk, ask, x, n), how)
        found = rank(net, x, place.cut, [of], words.over, how, ask.top, progress=desk.progress)
        code = {"python": as_python(desk, words, held), "command": as_command(desk, words, held)}
        if final and len(counts) > 1:
            yield {"event": "progress", "points": n}
        answers = draw(net, x, found, min(PIXELS, n) if final else FIRST_PIXELS, progress=desk.progress)
        yield part("answer", "answer", **_shown(desk, at, ask, found[0], answers[0], x), final=final, **code)


def _shown(desk: Desk, at: str, ask: Why, found: Top, answer: Answer, x: Tensor) -> dict[str, Any]:
    """What the answer's template shows: units with their pictures, the pixels, the error."""
    a, rows = found.attribution, answer.figure.rows
    units = [
        {
            "name": u.name or str(u.index), "index": u.index[0], "value": u.value, "share": u.share,
            "pixels": rows[0][k].jpeg(SIDE), "overlay": rows[1][k].jpeg(SIDE),
        }
        for k, u in enumerate(found.ranked, 1) if u.value
    ]  # fmt: skip
    return {
        "title": f"Why {in_words(a.question.of, desk.net)}?", "at": at, "units": units,
        "beside": {"pixels": rows[0][-1].jpeg(SIDE), "overlay": rows[1][-1].jpeg(SIDE)},
        "way": pixels_way(desk.net, x, a.question.over), "summary": a.summary(),
        "points": getattr(a.question.over, "n", 1), "line": isinstance(a.question.over, Line), "asked": ask.n,
        "sentence": a.sentence(len(units)) if a.values.numel() else "",
    }  # fmt: skip


def _why_text(desk: Desk, ask: Why, text: Text) -> Iterator[Event]:
    net = desk.net
    cut = None if ask.at is None else desk.place(ask.at)[1].cut.text
    of = None
    if ask.of != "said":
        of = quantity(desk, ask, None)
    elif ask.rather is not None:
        of = quantity(desk, ask, answers_of(net, text)[0].quantity)
    over = distribution(desk, ask, text, ask.n)
    request = Request(net, desk.plan.name, at=cut, top=ask.top)
    made = explained(request, text, desk.progress, ([] if of is None else [of], over, measure(ask)))
    named = [(one.name, one.probability) for one in made.predictions]
    yield part("prediction", "prediction", predictions=named, picture=None, name=text.texts[0])
    answers = []
    for answer in made.answers:
        a = answer.attribution
        places = {place.cut: name for name, place in desk.places.items()}
        units = [
            {"name": unit_name(net, c, u), "at": places[c], "index": u.index[0], "value": u.value}
            for c, u in answer.tops
            if c in places and u.value
        ]
        words = Words(a.question.at, as_quantity(a.question.of), a.question.over, a.question.measure)
        code = {"python": as_python(desk, words, text), "command": as_command(desk, words, text)}
        answers.append({"said": answer, "links": units, "summary": a.summary(), **code})
    yield part("answer", "reading", answers=answers, unknown=made.unknown)
