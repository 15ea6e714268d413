"""What `influent phrases` does: units that look at a phrase, and the phrases of a corpus that they look for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch

from .corpus import Corpus
from .cut import Cut, as_cut
from .errors import QuestionError
from .explain import PAGE
from .explain_text import answers_of
from .language import parse
from .nets import Net
from .ngrams import Phrases, PhraseUnit, phrases, units_like
from .places import transformer
from .quantities import Class
from .quantity import Quantity, as_quantity
from .store import fresh_folder, record, seal
from .views.phrases import phrases_page
from .views.reading import Reading, Row
from .views.sentence import Sentence
from .views.text import aligned

RULES = "phrases.csv"
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Search:
    """What is asked: a net by name, a phrase in a sentence or units by number, the behaviour, and how it is counted.

    `top` is how many units are looked for, `share` the least part of a unit's contribution that the phrase carries.
    """

    net: Net
    name: str
    like: str | None = None
    sentence: str | None = None
    units: tuple[int, ...] = ()
    at: str | None = None
    of: str | None = None
    baseline: str | None = None
    top: int = 3
    share: float = 0.5
    longest: int = 4
    least: int = 2
    shown: int = 20
    chunk: int = 512


@dataclass(frozen=True)
class Harvest:
    """The units, what they were chosen by, and what they look for."""

    at: Cut
    of: Quantity
    units: tuple[PhraseUnit, ...]
    found: Phrases
    lines: tuple[str, ...]
    sentences: Reading


def harvest(search: Search, corpus: Corpus, file: str, out: Path, progress: Progress | None = None) -> Harvest:
    """Units, their phrases over a corpus, and the sentences that they read most in; stored in the folder `out`.

    Errors: `QuestionError` where neither a phrase nor units are named, and as `phrases`.
    """
    started, net = perf_counter(), search.net
    at = _place(search)
    of = as_quantity(parse(search.of)) if search.of is not None else _said(search)
    units = tuple(_units(search, at, of))
    with fresh_folder(out) as work:
        found = phrases(
            net, at, units, corpus.texts, of, labels=corpus.labels, longest=search.longest,
            least=search.least, baseline=search.baseline, chunk=search.chunk, progress=progress,
        )  # fmt: skip
        lines = (f"{search.name}, {at.place.text}, for {of.describe(net)}", *_told(units), "", *_lines(found, search))
        made = Harvest(at, of, units, found, lines, _sentences(found, search.shown))
        found.save(work / RULES)
        told = {"at": at.text, "of": repr(of), "units": str([u.index for u in units]), "phrase": str(search.like)}
        tensors = {
            "units": torch.tensor([u.index for u in units]), "carried": torch.tensor(found.carried),
            "said": torch.tensor(found.said),
        }  # fmt: skip
        digest = hashlib.sha256("\n".join(corpus.texts).encode("utf-8", "surrogatepass")).hexdigest()
        record(
            work, told, list(made.lines), tensors, net_name=search.name, left_out=dict(found.left_out),
            corpus={"name": Path(file).name, "texts": len(corpus.texts), "sha256": digest},
        )  # fmt: skip
        facts = {**told, "net": search.name, "corpus": f"{Path(file).name}, {len(found.texts)} texts"}
        page = phrases_page(_title(search, made), _told(units), made, search.shown, facts, perf_counter() - started)
        (work / PAGE).write_text(page, encoding="utf-8")
        seal(work)
    return made


def _place(search: Search) -> Cut:
    """The layer that is asked for, or the net's own."""
    named = search.at or search.net.layer
    if named is None:
        known = f"--at {transformer(search.net).heads[-1]}, or another of those that `influent cuts` lists"
        raise QuestionError(f"This net names no layer of its own: say which units, {known}.")
    return as_cut(named)


def _said(search: Search) -> Quantity:
    """The class that the net says of the sentence."""
    sentence = search.sentence or search.like
    if sentence is None:
        raise QuestionError("Say which behaviour the units are to contribute to: --of \"Class('negative')\".")
    said = answers_of(search.net, search.net.reads([sentence]))
    if not said or not isinstance(said[0].quantity, Class):
        raise QuestionError("This net says no class of a text: say which behaviour is meant, --of (of=).")
    return said[0].quantity


def _units(search: Search, at: Cut, of: Quantity) -> list[PhraseUnit]:
    if (search.like is None) == (not search.units):
        raise QuestionError("Name a phrase that units look at, --like 'not good', or the units, --units 3,17.")
    if search.like is None:
        return [PhraseUnit(u, float("nan"), float("nan")) for u in search.units]
    sentence = search.sentence or search.like
    return units_like(
        search.net, search.like, sentence, at, of, search.top, share=search.share, baseline=search.baseline
    )


def _told(units: Sequence[PhraseUnit]) -> list[str]:
    """The units, and what they were chosen by."""
    return [
        f"unit {u.index}"
        + (f": {u.contribution:+.3g}, {u.share:.0%} of it from the phrase" if u.share == u.share else "")
        for u in units
    ]


def _title(search: Search, made: Harvest) -> str:
    units = f"unit{'s' * (len(made.units) > 1)} " + ", ".join(str(u.index) for u in made.units)
    asked = f"Phrases like “{search.like}”" if search.like else "Phrases"
    return f"{asked}: {made.at.place.text}, {units}, for {made.of.describe(search.net)}"


def _lines(found: Phrases, search: Search) -> list[str]:
    """The phrases as a table."""
    if not found.phrases:
        more = f" in {search.least} texts. --least 1 shows those of one text." if search.least > 1 else "."
        return [f"No phrase carries a positive contribution of these units{more}"]
    rows: list[tuple[str, ...]] = [("phrase", "texts", "mean", "found in", "precision", "recall")]
    for p in found.phrases[: search.shown]:
        rates = ("–" if x != x else f"{x:.1%}" for x in (p.precision, p.recall))
        rows.append((p.phrase, str(p.texts), f"{p.mean:+.3g}", str(p.found), *rates))
    return aligned(rows)


def _sentences(found: Phrases, most: int) -> Reading:
    carried = found.carried
    rows = [
        Row(f"{rank + 1}", f"{carried[k]:+.3g}", Sentence(found.texts[k], found.pieces[k]))
        for rank, k in enumerate(found.top(most))
    ]
    return Reading("The texts in which the units contribute most", rows)
