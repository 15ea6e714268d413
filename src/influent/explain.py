"""What `influent explain` does: a photo, or every photo of a folder, asked the same question, and written down."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import Tensor

from .ask import influence
from .atomic import write_whole
from .attribution import Attribution
from .baselines import Beginning, beginning
from .cut import Cut, as_cut
from .distribution import Distribution, Mixture
from .distributions import Line
from .embedding import BASELINES
from .errors import InputError, QuestionError, StoreError
from .language import parse
from .measures import contribution
from .nets import Net
from .photos import is_photo
from .places import middle, trunk
from .probe import CutInfo
from .quantity import as_quantity
from .store import fresh_folder, seal, write
from .text import Text, TextTransform
from .views.explanation import Explanation, default_questions, explain, predict, write_page
from .views.index import SIGNATURE, Entry, index_page
from .views.layers import layers_page

PAGE, INDEX = "explanation.html", "index.html"
Progress = Callable[[int], None]


class Piped(io.BytesIO):
    """A photo that came through standard input."""

    name = "standard-input"


Picture = Path | Piped


@dataclass(frozen=True)
class Request:
    """What is asked about every photo: the net, the four words as text, and how much of the answer is shown.

    `at`, `of`, `over` and `measure` are None where the default is meant; several `baselines` mean their mixture.
    """

    net: Net
    name: str
    at: str | None = None
    of: str | None = None
    over: str | None = None
    measure: str | None = None
    baselines: tuple[str, ...] = ()
    top: int = 3
    chunk: int = 16

    def words(self, x: Tensor | Text) -> tuple[list[Any], Distribution | None, Any]:
        """of, over and measure for one input. Errors: `QuestionError` for texts that cannot be read."""
        of, over, measure = (
            None if text is None else parse(text, names={"x": x}) for text in (self.of, self.over, self.measure)
        )
        if over is not None and not isinstance(over, Distribution):
            raise QuestionError(f"--over {self.over} is no distribution. Type Line(n=129), or Point.")
        return [] if of is None else [as_quantity(of)], self._from_baselines(over, x), measure

    def _from_baselines(self, over: Distribution | None, x: Tensor | Text) -> Distribution | None:
        if not self.baselines:
            return over
        line = Line(None, x) if over is None else over
        if not isinstance(line, Line) or line.baseline is not None:
            raise QuestionError(
                f"--baseline is where a line begins, and --over {self.over} has its own beginning or none. Drop one of "
                "the two, or leave the baseline out of the line: --over 'Line(n=129)'."
            )
        texts = isinstance(x, Text)  # whose baselines may be texts, too
        lines = [
            replace(line, baseline=self.net.read(name) if texts and name not in BASELINES else name)
            for name in self.baselines
        ]
        return lines[0] if len(lines) == 1 else Mixture(tuple((1.0, line) for line in lines))


def explain_photo(request: Request, photo: Picture, out: Path, progress: Progress | None = None) -> Explanation:
    """One photo: its answers, stored in the folder `out` with their page and pictures. Errors as `influence`."""
    started = perf_counter()
    if isinstance(request.net.transform, TextTransform):
        raise QuestionError(f"{request.name} reads texts, not photos: influent explain --text 'this is not good'")
    x = request.net.read(photo)
    with fresh_folder(out) as work:
        place = request.at or request.net.layer
        at = middle(request.net, x) if place is None else as_cut(place)
        made = explain(request.net, x, at, *request.words(x), top=request.top, chunk=request.chunk, progress=progress)
        answers = [(answer.name, answer.title, answer.attribution) for answer in made.answers]
        store_answers(answers, _about(request, photo, made.predictions), work)
        write_page(made, photo.name, work, perf_counter() - started)
        seal(work)
    return made


def checksum_of(photo: Picture) -> dict[str, str]:
    """A photo's name, and the SHA-256 of its bytes."""
    data = photo.getvalue() if isinstance(photo, Piped) else photo.read_bytes()
    return {"name": photo.name, "sha256": hashlib.sha256(data).hexdigest()}


def _about(request: Request, photo: Picture, predictions: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """What is stored beside every answer about a photo."""
    return {
        "photo": checksum_of(photo),
        "net_name": request.name,
        "predictions": [{"class": name, "probability": p} for name, p in predictions],
    }


def store_answers(answers: Sequence[tuple[str, str, Attribution]], about: dict[str, Any], folder: Path) -> None:
    """Name, title and attribution of each answer: the first at the top, further ones in folders of their names."""
    for k, (name, title, attribution) in enumerate(answers):
        place = folder / name if k else folder
        place.mkdir(exist_ok=True)
        write(attribution, place, title=title, **about)
        seal(place)


@dataclass(frozen=True)
class Layers:
    """Total conductance at several layers out of one sweep, and how the path began."""

    title: str
    found: tuple[Attribution, ...]
    beginning: Beginning | None


def conductance_of_photo(request: Request, photo: Picture, out: Path, progress: Progress | None = None) -> Layers:
    """Total conductance of a photo at every layer of the trunk, or at those of `request.at`, out of one sweep.

    Stored in the folder `out` with a page. Without `of`, the predicted class. Errors as `influence`.
    """
    started = perf_counter()
    net, x = request.net, request.net.read(photo)
    of, over, _ = request.words(x)
    over = over or Line(None, x)
    predictions = predict(net, x)
    named = [(net.label(i), p) for i, p in predictions]
    quantity = of[0] if of else default_questions(net, predictions)[0]
    places = [as_cut(place) for place in request.at.split(",")] if request.at else _channels(trunk(net, x))
    with fresh_folder(out) as work:
        found = influence(net, places, quantity, over, contribution, chunk=request.chunk, progress=progress)
        began = beginning(net, over) if isinstance(over, Line) and predictions else None
        made = Layers(f"Where does {quantity.describe(net)} flow?", tuple(found.values()), began)
        answers = [(f"layer-{k + 1}", f"Conductance at {cut.text}", a) for k, (cut, a) in enumerate(found.items())]
        store_answers(answers, _about(request, photo, named), work)
        title = f"{photo.name}: {made.title}"
        text = layers_page(title, named, made.found, str(began or ""), request.top, perf_counter() - started)
        (work / PAGE).write_text(text, encoding="utf-8")
        seal(work)
    return made


def _channels(places: Sequence[CutInfo]) -> list[Cut]:
    if not places:
        raise QuestionError("No layer of this net is known to have channels: say which units, --at LAYER,LAYER.")
    return [Cut(f"{place.name}/channel") for place in places]


def explain_folder(request: Request, folder: Path, out: Path) -> Iterator[Entry]:
    """Every photo of a folder, one after another, each in a folder of its name below `out`; failures do not stop it.

    At the end, also after an interruption, `out/index.html` lists what was done. Folders inside are not entered.
    Errors: `InputError` where there is no photo; `StoreError` where `out` holds an index that is not ours. What is
    wrong with the question is wrong for all photos, and ends it.
    """
    photos, others = pictures(folder)
    _check_index(folder, out)
    started, entries = perf_counter(), []
    try:
        for photo in photos:
            try:
                entry = _entry(photo.name, explain_photo(request, photo, out / photo.name))
            except InputError as error:
                entry = Entry(photo.name, failure=str(error))
            entries.append(entry)
            yield entry
    finally:
        title = f"{folder.resolve().name}: {sum(not e.failure for e in entries)} of {len(photos)} photos explained"
        page = index_page(title, request.name, entries, others, perf_counter() - started)
        write_whole(out / INDEX, page.encode())


def pictures(folder: Path) -> tuple[list[Path], int]:
    """The photos of a folder by the endings of their names, sorted, and how many other entries it has.

    Hidden files count for nothing. Errors: `InputError` where there is no photo.
    """
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    photos = [entry for entry in entries if is_photo(entry)]
    if not photos:
        raise InputError(
            f"{folder} holds no photo ({len(entries)} other entries). Name a folder with .jpg, .png, ... files right "
            "in it."
        )
    return photos, len(entries) - len(photos)


def _entry(photo: str, made: Explanation) -> Entry:
    answer = made.answers[0]
    return Entry(
        name=photo,
        link=f"{photo}/{PAGE}",
        prediction=made.predictions[0] if made.predictions else None,
        title=answer.title,
        units=tuple(f"{u.name or u.index} {u.value:+.3g}" for u in answer.ranked),
        pictures=tuple(cell.jpeg(112) for cell in (answer.pixels.rows[0][0], answer.pixels.rows[0][2])),
    )


def _check_index(folder: Path, out: Path) -> None:
    """Refuse to write over somebody else's index, or among the photos themselves."""
    if out.exists() and folder.resolve() == out.resolve():
        raise StoreError(f"{out} is the folder of the photos. Name another for the results: --out why-photos")
    index = out / INDEX
    if index.exists() and SIGNATURE not in index.read_text(encoding="utf-8", errors="replace"):
        raise StoreError(f"{index} is not a page of influent's, and would be replaced. Name an empty or a new folder.")
