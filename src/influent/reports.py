"""What `influent saturation` and `influent shared` do: an answer about photos, written down with its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from .cut import INPUT, Cut, as_cut
from .distributions import Line
from .errors import InputError, QuestionError
from .explain import PAGE, Picture, checksum_of, pictures
from .language import parse
from .nets import Net, weights_hash
from .places import trunk, units_at
from .quantities import Class, Probability
from .quantity import Quantity, as_quantity
from .saturate import saturation
from .shared import Look, SharedUnit, glance, look, shared_units, where
from .store import fresh_folder, record, seal
from .views.animation import frames, write_gif
from .views.explanation import predict
from .views.saturation import COLUMNS, NetCurves, saturation_page
from .views.shared import MOST, PHOTOS, Pictured, Sharing, lit, shared_page, thumbnail
from .views.text import aligned

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Way:
    """From a baseline to a photo in n equal steps, and the score that is followed: text, or None for the predicted."""

    baseline: str = "black"
    n: int = 51
    of: str | None = None
    chunk: int = 16


def saturation_of_photo(
    nets: Sequence[tuple[str, Net, str | None]], photo: Picture, out: Path, way: Way, progress: Progress | None = None
) -> list[NetCurves]:
    """Score and gradients of a photo for each net, given by name, with its layers as text or None; stored in `out`.

    A page with curves, tables and films, the curves as SVG files, the films as GIF. Without `way.of`, probability and
    logit of the class that each net predicts. Errors as `saturation`.
    """
    started, made, films = perf_counter(), list[NetCurves](), list[bytes]()
    with fresh_folder(out) as work:
        for k, (name, net, at) in enumerate(nets, 1):
            x = net.read(photo)
            one = _curves(name, net, x, at, way, progress)
            first = next(iter(one.curves.values()))
            film = work / f"saturation-{k}.gif"
            write_gif(film, frames(net, x, first, way.baseline, way.chunk, progress))
            for j, chart in enumerate(one.charts, 1):
                (work / f"saturation-{k}-curve-{j}.svg").write_text(chart.svg(), encoding="utf-8")
            made, films = [*made, one], [*films, film.read_bytes()]
        intro = f"The net is shown {way.n} pictures on the way from {way.baseline} (α = 0) to {photo.name} (α = 1)."
        facts = {"path": repr(Line(way.baseline, x, way.n, "uniform"))}
        facts |= {f"scores of {one.name}": ", ".join(repr(c.of) for c in one.curves.values()) for one in made}
        record(
            work, facts, saturation_lines(photo.name, made), _tensors(made), photo=checksum_of(photo),
            net=[{"name": name, "weights": weights_hash(net.module)} for name, net, _ in nets],
        )  # fmt: skip
        title = f"{photo.name}: where does the score saturate?"
        page = saturation_page(title, intro, made, films, facts, perf_counter() - started)
        (work / PAGE).write_text(page, encoding="utf-8")
        seal(work)
    return made


def _curves(name: str, net: Net, x: Tensor, at: str | None, way: Way, progress: Progress | None) -> NetCurves:
    likeliest = predict(net, x, 1)
    scores = _scores(net, likeliest, way.of)
    places = [as_cut(place) for place in at.split(",")] if at else _stations(net, x)
    cuts = list(dict.fromkeys([INPUT, *places]))
    found = saturation(net, x, cuts, list(scores.values()), way.baseline, way.n, way.chunk, progress)
    predicted = (net.label(likeliest[0][0]), likeliest[0][1]) if likeliest else None
    return NetCurves(name, predicted, {title: found[of] for title, of in scores.items()})


def _scores(net: Net, likeliest: Sequence[tuple[int, float]], of: str | None) -> dict[str, Quantity]:
    """The scores to follow, by name: what is asked, or probability and logit of the predicted class."""
    if of is not None:
        quantity = as_quantity(parse(of))
        return {quantity.describe(net): quantity}
    if not likeliest:
        raise QuestionError("This net gives no classes [point, class], so say what is asked: --of, or of=.")
    index = likeliest[0][0]
    return {f"probability of {net.label(index)}": Probability(index), f"logit of {net.label(index)}": Class(index)}


def _stations(net: Net, x: Tensor) -> list[Cut]:
    """Places at 1/4, 1/2 and 3/4 of the trunk, of those that lie in no other."""
    names = [place.name for place in trunk(net, x)]
    outer = [name for name in names if not any(name.startswith(f"{other}.") for other in names)]
    return [Cut(outer[len(outer) * k // 4]) for k in (1, 2, 3)] if outer else []


def _tensors(made: Sequence[NetCurves]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for one in made:
        for title, c in one.curves.items():
            found |= {f"{one.name}/alpha": c.alpha, f"{one.name}/{title}/score": c.score}
            found |= {f"{one.name}/{title}/gradient/{cut}": size for cut, size in c.gradient.items()}
    return found


def saturation_lines(photo: str, made: Sequence[NetCurves]) -> list[str]:
    """What the command prints: for each net its scores in words, and the table."""
    lines: list[str] = []
    for one in made:
        lines += [f"{one.title}, on {photo}", "", *one.sentences, "", *aligned([COLUMNS, *one.rows]), ""]
    return lines[:-1]


@dataclass(frozen=True)
class Survey:
    """What is asked about every photo of a folder: a net by name, layers as text, and how its conductance is taken."""

    net: Net
    name: str
    at: str | None = None
    baseline: str = "black"
    n: int = 33
    top: int = 3
    chunk: int = 16


def shared_of_folder(
    survey: Survey, folder: Path, outside: Path | None, out: Path, progress: Progress | None = None
) -> Sharing:
    """Units that the photos of a folder share across labels, and the photos outside that fire them; stored in `out`.

    Photos are read one after another, and two vectors by layer are kept of each. What cannot be read is named, and the
    rest goes on. Errors: `InputError` for folders without photos, fewer than two that can be read, and one label for
    all; what is wrong with the question ends it.
    """
    started, net, cuts = perf_counter(), survey.net, list[Cut]()
    outside = None if outside and outside.resolve() == folder.resolve() else outside
    inner, others = pictures(folder)[0], pictures(outside)[0] if outside else []

    def seen(name: str, x: Tensor) -> Look:
        cuts.extend([] if cuts else units_at(net, survey.at, x))
        return look(net, x, cuts, survey.baseline, survey.n, name, survey.chunk, progress)

    with fresh_folder(out) as work:
        looks, failures = _each(net, inner, seen)
        if len(looks) < 2:
            raise InputError(f"{_few(len(looks), len(inner))} {' '.join(told for _, told in failures[:1])}".rstrip())
        beside, failed = _each(net, others, lambda name, x: glance(net, x, cuts, name, progress))
        units = shared_units(list(looks), list(beside) if outside else None, survey.top)
        made = Sharing(net, survey.top, tuple(looks), units, (*failures, *failed))
        facts = {
            "net": survey.name, "at": ", ".join(cut.text for cut in cuts), "of": "Predicted()",
            "over": f"Line({survey.baseline!r}, n={survey.n})", "measure": "contribution", "photos": folder.name,
            "photos outside": outside.name if outside else folder.name,
        }  # fmt: skip
        record(work, facts, shared_lines(made), _vectors(made), **_told(made), net=weights_hash(net.module))
        title = f"{folder.resolve().name}: which units do different labels share?"
        text = shared_page(title, made, _pictured(made, looks | beside), facts, perf_counter() - started)
        (work / PAGE).write_text(text, encoding="utf-8")
        seal(work)
    return made


def _each(
    net: Net, photos: Sequence[Path], see: Callable[[str, Tensor], Look]
) -> tuple[dict[Look, Path], list[tuple[str, str]]]:
    """What is seen of each photo, with its file; and the names of those that cannot be read, with the reason."""
    found: dict[Look, Path] = {}
    failures = []
    for photo in photos:
        try:
            found[see(photo.name, net.read(photo))] = photo
        except InputError as error:
            failures.append((photo.name, str(error)))
    return found, failures


def _few(read: int, all_: int) -> str:
    return f"{read} of {all_} photo(s) could be read, and sharing takes two or more: add photos."


def _vectors(made: Sharing) -> dict[str, Tensor]:
    """Shares and activations by layer, `[photo, unit]`, the photos in the order of `meta.json`."""
    cuts = made.looks[0].share
    found = {f"share/{cut.text}": torch.stack([seen.share[cut] for seen in made.looks]) for cut in cuts}
    return found | {f"fired/{cut.text}": torch.stack([seen.fired[cut] for seen in made.looks]) for cut in cuts}


def _told(made: Sharing) -> dict[str, Any]:
    """Photos and shared units for `meta.json`."""

    def names(looks: Sequence[Look]) -> list[str]:
        return [seen.name for seen in looks]

    label = made.net.label
    return {
        "photos": [{"name": p.name, "class": label(p.label), "probability": p.probability} for p in made.looks],
        "units": [
            {
                "at": s.cut.text, "unit": s.unit, "labels": [label(i) for i in s.labels], "photos": names(s.members),
                "mean share": s.share, "part of all photos": s.among, "fires most outside": names(s.outside),
            }
            for s in made.units
        ],
        "not read": dict(made.failures),
    }  # fmt: skip


def _pictured(made: Sharing, files: Mapping[Look, Path]) -> list[tuple[list[Pictured], list[Pictured]]]:
    """The photos of each unit shown, those that share it and those outside; each file is read once more."""
    shown = [(s, s.members[:PHOTOS], s.outside) for s in made.units[:MOST]]
    wanted: dict[Look, list[SharedUnit]] = {}
    for s, members, outside in shown:
        for seen in (*members, *outside):
            wanted.setdefault(seen, []).append(s)
    uris: dict[tuple[Look, SharedUnit], str] = {}
    for seen, units in wanted.items():
        x = made.net.read(files[seen])
        for s, fired in zip(units, where(made.net, x, [(s.cut, s.unit) for s in units]), strict=True):
            uris[seen, s] = thumbnail(lit(made.net, x, fired))

    def picture(seen: Look, s: SharedUnit, share: str) -> Pictured:
        caption = f"{made.net.label(seen.label)}: {share}activation {float(seen.fired[s.cut][s.unit]):.3g}"
        return Pictured(uris[seen, s], caption, seen.name)

    return [
        (
            [picture(seen, s, f"{float(seen.share[s.cut][s.unit]):.1%} of the score, ") for seen in members],
            [picture(seen, s, "") for seen in outside],
        )
        for s, members, outside in shown
    ]


def shared_lines(made: Sharing) -> list[str]:
    """What the command prints: what was found, then a line for each unit."""
    return [*made.sentences, *(["", *aligned([made.columns, *made.rows])] if made.units else [])]
