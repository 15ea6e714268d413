"""What `influent layers` does: the layers of a net ranked over a folder of images, and a few images explained there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import torch

from .cut import Cut, as_cut
from .errors import InputError
from .explain import PAGE
from .layered import CRITERIA, MAX, Layered, Layers, check_words, explain, rank, spell_share
from .nets import Net
from .samples import Folder, LeftOut, spell_left_out
from .store import fresh_folder, record, seal
from .views.layered import layered_figure, layered_page

Progress = Callable[[int], None]
WAYS = {"mim": "MIM", "activation": "activation", "influence": "influence", "conductance": "conductance"}
ROWS = 5
"""Layers that a figure shows: more than five rows of pictures are not compared."""


@dataclass(frozen=True)
class Survey:
    """What is asked about a folder: a net by name, layers between commas, a criterion, the units' score, a share."""

    net: Net
    name: str
    at: str | None = None
    criterion: str = "accuracy"
    by: str = "mim"
    share: float = 0.013
    photos: int = 2
    chunk: int = 16


@dataclass(frozen=True)
class Strata:
    """The ranked layers, and a few images explained at some of them, the best among these."""

    table: Layers
    explained: Layered
    names: tuple[str, ...]


def layers_of_folder(survey: Survey, folder: Folder, out: Path, progress: Progress | None = None) -> Strata:
    """Layers ranked in one pass over a folder, a few of its images explained; stored in `out` with a page.

    Errors as `rank` and `explain`.
    """
    started, net = perf_counter(), survey.net
    check_words(survey.by, [survey.share], survey.criterion)
    names, x = _photos(net, folder, survey.photos)
    cuts = None if survey.at is None else [as_cut(place) for place in survey.at.split(",")]
    with fresh_folder(out) as work:
        table = rank(net, folder, cuts, chunk=survey.chunk, progress=progress)
        best = table.best(survey.criterion).cut
        some = _some([layer.cut for layer in table.layers], best)
        made = Strata(
            table,
            explain(net, x, folder, some, survey.share, by=survey.by, chunk=survey.chunk, progress=progress),
            names,
        )  # fmt: skip
        titles = [f"{name}: units by {WAYS[survey.by]}" for name in names]
        figures = [layered_figure(net, made.explained, title, k) for k, title in enumerate(titles)]
        for k, figure in enumerate(figures):
            (work / f"layers-{k + 1}.png").write_bytes(figure.png())
        layers = ", ".join(layer.cut.text for layer in table.layers)
        told = {"layers": layers, "by": survey.by, "share": str(survey.share)}
        tensors = {f"scores/{row.cut.text}": row.scores for row in made.explained.rows}
        tensors |= {c: torch.tensor([float(getattr(layer, c)) for layer in table.layers]) for c in CRITERIA}
        record(work, told, strata_lines(made), tensors, net_name=survey.name, data=str(folder.stored))
        facts = {**told, "net": survey.name, "images": str(folder.stored), "kernel": "1/d²", "linear model": "5 folds"}
        title = f"{folder.path.resolve().name}: which layer, which units?"
        page = layered_page(
            title, table, chosen_lines(table), figures, number_lines(made), facts, perf_counter() - started
        )
        (work / PAGE).write_text(page, encoding="utf-8")
        seal(work)
    return made


def _photos(net: Net, folder: Folder, count: int) -> tuple[tuple[str, ...], torch.Tensor]:
    """The first images of the folder, one of each class in turn."""
    left_out: LeftOut = {}
    by: dict[str, list[str]] = {}
    for file, name in folder.files:
        by.setdefault(name, []).append(file)
    order = [files[k] for k in range(max(map(len, by.values()))) for files in by.values() if k < len(files)]
    found: dict[str, torch.Tensor] = {}
    for file in order:
        if len(found) == count:
            break
        try:
            found[file] = net.read(folder.path / file)
        except InputError as error:
            left_out[file] = str(error)
    if not found:
        raise InputError(f"{folder.path}: no image can be read: {spell_left_out(left_out)}")
    return tuple(found), torch.cat(list(found.values()))


def _some(places: Sequence[Cut], best: Cut) -> list[Cut]:
    """A few layers from the first to the last, the best one among them."""
    steps = min(ROWS, len(places))
    at = {round(k * (len(places) - 1) / max(1, steps - 1)) for k in range(steps)}
    near = min(at, key=lambda k: abs(k - places.index(best)))
    at = (at - {near}) | {places.index(best)}
    return [places[k] for k in sorted(at)]


def chosen_lines(table: Layers) -> list[str]:
    """Which layer each criterion chooses."""
    return [f"by {criterion}: {table.best(criterion).cut.text}" for criterion in CRITERIA]


def number_lines(made: Strata) -> list[str]:
    """For each image, how far its pictures converge and agree."""
    shares = [p.name for p in made.explained.rows[0].pictures if p.name != MAX]
    lines = []
    for k in range(len(made.names)):
        converged = torch.stack([row.convergence[k] for row in made.explained.rows]).nanmean(0).tolist()
        steps = ", ".join(f"{a} to {b}: {c:.2f}" for (a, b), c in zip(pairwise(shares), converged, strict=True))
        agree = ""
        if len(made.explained.rows) > 1:
            names = (MAX, spell_share(made.explained.share))
            values = {name: float(made.explained.consistency(name)[k]) for name in names}
            agree = "; agreement of layers " + ", ".join(f"{name} {value:.2f}" for name, value in values.items())
        lines.append(f"Cosine of pictures from {steps}{agree}.")
    return lines


def strata_lines(made: Strata) -> list[str]:
    """What the command prints: the table, what is chosen, and numbers of the images."""
    told = [f"{name}: {line}" for name, line in zip(made.names, number_lines(made), strict=True)]
    return [*repr(made.table).splitlines(), "", *chosen_lines(made.table), "", *told]
