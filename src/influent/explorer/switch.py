"""Switch it off: units silenced, or kept alone, and what the net says then, of one input and of the data."""

from __future__ import annotations

import base64
import io
import tempfile
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import torch

from influent.counting import Counts, Evaluation, evaluate
from influent.cut import OUTPUT
from influent.dataset import Dataset
from influent.errors import QuestionError
from influent.experts import Expert, chosen
from influent.mask import Mask
from influent.probe import activations
from influent.quantities import Class
from influent.selection import selected
from influent.text import Text
from influent.views.explanation import named_class
from influent.zoo.sentences import SentenceEncoder

from .answers import part, subject
from .asks import Off
from .classes import choosing, gathered_class, kept_alone, testing
from .desk import Desk
from .netmap import Place
from .plan import Event

LIKELIEST, BARS, ROWS = 4, 8, 12
"""Classes that come first before and after, of these as many as have bars; classes with recall and precision."""


def mask_of(desk: Desk, ask: Off, place: Place) -> Generator[Event, None, Mask | None]:
    """The mask that is meant; None for one that silences nothing. Errors: `QuestionError` for units it has not."""
    if ask.alpha is not None and ask.index is not None:
        seen = yield from gathered_class(desk, place, ask.index)
        return kept_alone(place, chosen(choosing(desk, seen, ask.index)[0], ask.alpha, ask.beta))
    for unit in ask.units:
        desk.unit(ask.at, unit)
    units = tuple(dict.fromkeys(ask.units))
    if ask.keep:
        return kept_alone(place, units)
    return Mask(place.cut, units, False) if units else None


def off(desk: Desk, ask: Off) -> Iterator[Event]:
    """What the net says of one input with these units silenced, then of the data, image by image."""
    at, place = desk.place(ask.at)
    if ask.index is not None:
        desk.check_class(ask.index)
    elif ask.alpha is not None:
        raise QuestionError("An expert is of a class: choose one by its name.")
    mask = yield from mask_of(desk, ask, place)
    kept = place.units if mask is None else len(mask.units) if mask.keep else place.units - len(mask.units)
    focus = ask.index
    if (desk.reads_texts and ask.text) or ask.photo:
        about = subject(desk, ask)
        x: Any = about if isinstance(about, Text) else about.x
        if not isinstance(about, Text) and ask.photo is not None:
            yield {**desk.card(ask.photo, about), "event": "subject"}
        y = activations(desk.net, OUTPUT, x)
        if y.dim() != 2 or y.shape[1] < 2 or isinstance(desk.net.module, SentenceEncoder):
            raise QuestionError("This net gives no classes: there is no probability that could fall.")
        before = probabilities(y[0])
        with torch.no_grad():
            after = before if mask is None else probabilities(Expert(desk.net, mask, Class(0))(x)[0])
        focus = int(before.argmax()) if focus is None else focus
        yield part("bars", "bars", rows=_bars(desk, before, after, focus), kept=kept, units=place.units, at=at)
    if desk.folder is not None and mask is not None:
        yield from _in_data(desk, mask, focus)


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Softmax in double precision, `[class]`."""
    return torch.softmax(logits.detach().double().cpu(), 0)


def _bars(desk: Desk, before: torch.Tensor, after: torch.Tensor, focus: int) -> list[dict[str, Any]]:
    """The likeliest classes before and after, with the class in focus."""
    each = min(LIKELIEST, len(before))
    indices = [focus, *before.topk(each).indices.tolist(), *after.topk(each).indices.tolist()]
    return [
        {
            "index": i,
            "name": desk.net.label(i),
            "before": float(before[i]),
            "after": float(after[i]),
            "focus": i == focus,
        }
        for i in list(dict.fromkeys(indices))[:BARS]
    ]


def _in_data(desk: Desk, mask: Mask, focus: int | None) -> Iterator[Event]:
    classes = sorted(desk.classes.values())
    own = focus if focus in classes else None
    parts, total, done = testing(desk, own), None, 0
    of = [named_class(desk.net, i) for i in classes]
    for numbers in parts:
        data = Dataset(selected(desk.images, numbers))
        found: Evaluation = evaluate(desk.net, data, [mask] * len(of), of, progress=desk.progress)
        total, done = found if total is None else total + found, done + len(numbers)
        rows = _rows(desk, classes, total, own)
        told = {"done": done, "of": sum(map(len, parts)), "more": max(0, len(classes) - ROWS)}
        yield part("data", "offdata", rows=rows, focus=None if own is None else desk.net.label(own), **told)


def _rows(desk: Desk, classes: list[int], found: Evaluation, focus: int | None) -> list[dict[str, Any]]:
    """Recall and precision by class, the class in focus first, then those that changed most."""

    def counts(of: Counts, k: int) -> tuple[int, int, int]:
        return int(of.tp[k]), int(of.tp[k] + of.fn[k]), int(of.tp[k] + of.fp[k])

    rows: list[dict[str, Any]] = []
    for k, index in enumerate(classes):
        (hit, images, said), (hit2, _, said2) = counts(found.original, k), counts(found.masked, k)
        rows.append({
            "index": index, "name": desk.net.label(index), "focus": index == focus, "images": images,
            "before": (hit, images, said), "after": (hit2, images, said2),
        })  # fmt: skip
    rows = [row for row in rows if row["images"] or row["before"][2] or row["after"][2]]
    # First those that changed most, in hits or in false alarms.
    rows.sort(
        key=lambda r: (
            not r["focus"],
            -sum(abs(a - b) for a, b in zip(r["before"], r["after"], strict=True)),
            r["name"],
        )
    )
    return rows[:ROWS]


def export(desk: Desk, ask: Off) -> Iterator[Event]:
    """The mask as an `Expert`, a folder in a zip file, and the line that loads it."""
    _, place = desk.place(ask.at)
    if ask.index is None:
        raise QuestionError("An expert is of a class: choose one by its name.")
    index = desk.check_class(ask.index)
    mask = yield from mask_of(desk, ask, place)
    if mask is None:
        raise QuestionError("No unit is switched off: there is no mask to be exported.")
    with tempfile.TemporaryDirectory(prefix="influent-") as folder:
        made = Expert(desk.net, mask, named_class(desk.net, index)).save(Path(folder) / "expert")
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for file in sorted(made.iterdir()):
                archive.write(file, f"expert/{file.name}")
    code = f"import influent as inf\n\nnet = {desk.plan.python}\nexpert = inf.Expert.load('expert', net)\n"
    yield {
        "event": "file", "name": "expert.zip", "base64": base64.b64encode(packed.getvalue()).decode(), "python": code,
    }  # fmt: skip
