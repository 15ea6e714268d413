"""What `influent saturation` and `influent shared` do: an answer about photos, written down with its page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from torch import Tensor

from .cut import INPUT, Cut, as_cut
from .errors import QuestionError
from .explain import PAGE, Picture, checksum_of
from .language import parse
from .nets import Net
from .places import trunk
from .quantities import Class, Probability
from .quantity import Quantity, as_quantity
from .saturate import saturation
from .store import fresh_folder, record, seal, weights_hash
from .views.animation import frames, write_gif
from .views.explanation import predict
from .views.saturation import COLUMNS, NetCurves, saturation_page
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
        facts = {"path": f"{way.n} equal steps from {way.baseline} to {photo.name}"}
        facts |= {f"scores of {one.name}": ", ".join(repr(c.of) for c in one.curves.values()) for one in made}
        record(
            work, facts, saturation_lines(photo.name, made), _tensors(made), photo=checksum_of(photo),
            net=[{"name": name, "weights": weights_hash(net.module)} for name, net, _ in nets],
        )  # fmt: skip
        title = f"{photo.name}: where does the score saturate?"
        page = saturation_page(title, made, films, facts, perf_counter() - started)
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
