"""Phrases that units look for: the n-grams of a corpus that carry their contribution, and rules made of them."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from .ask import influence
from .atomic import write_whole
from .cut import OUTPUT, Cut, as_cut
from .distributions import Line
from .embedding import called_with
from .errors import InputError, QuestionError
from .measures import contribution
from .nets import Net, as_net
from .probe import activations
from .quantities import Class
from .quantity import Quantity, as_quantity
from .text import Piece, Text
from .through import Through

BATCH = 64
COLUMNS = ("phrase", "texts", "mean", "total", "found", "precision", "recall", "examples")


@dataclass(frozen=True)
class Unit:
    """A unit that looks at a phrase: its contribution in a sentence, and the share of it that the phrase carries."""

    index: int
    contribution: float
    share: float


@dataclass(frozen=True)
class Phrase:
    """An n-gram that carries the units' contribution.

    `texts` are those in which it does, `mean` and `total` what it carries there; `found` are all texts with these words
    in a row, `precision` the share of them that are of the class, `recall` their share of all that are; NaN where no
    class is asked for. `examples` are the texts' numbers, those of the largest contribution first.
    """

    phrase: str
    texts: int
    mean: float
    total: float
    found: int
    precision: float
    recall: float
    examples: tuple[int, ...]


@dataclass(frozen=True)
class Phrases:
    """What units look for in a corpus: `phrases`, those that carry most in all first, and each text's words.

    `pieces[k]` are the words of text k with the units' contribution, `carried[k]` its sum, in units of the behaviour;
    `said [text]` their classes, as the net says or as given; `left_out` the texts that could not be read, with the
    reason.
    """

    texts: tuple[str, ...]
    pieces: tuple[tuple[Piece, ...], ...]
    phrases: tuple[Phrase, ...]
    said: tuple[int, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def carried(self) -> list[float]:
        """The contribution of the units in each text."""
        return [sum(piece.value for piece in pieces) for pieces in self.pieces]

    def top(self, k: int) -> list[int]:
        """The numbers of the k texts in which the units contribute most."""
        carried = self.carried
        return sorted(range(len(carried)), key=lambda i: -carried[i])[:k]

    def save(self, file: str | os.PathLike[str]) -> Path:
        """The phrases as rules, a CSV file: what each carries, how often, precision, recall, examples."""
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(COLUMNS)
        for p in self.phrases:
            numbers = (f"{x:.6g}" for x in (p.mean, p.total))
            rates = ("" if x != x else f"{x:.4f}" for x in (p.precision, p.recall))
            shown = " | ".join(self.texts[k] for k in p.examples)
            table.writerow((_harmless(p.phrase), p.texts, *numbers, p.found, *rates, _harmless(shown)))
        return write_whole(Path(file), out.getvalue().encode("utf-8", "replace"))


def units_like(
    net: Net | nn.Module, phrase: str, sentence: str, at: Cut | str, of: Any, top: int = 3, among: int = 20,
    share: float = 0.5, baseline: Any = None, n: int = 65,
) -> list[Unit]:  # fmt: skip
    """Units of high contribution in a sentence that look at a phrase in it: those that carry most from there.

    Of the `among` units of largest positive conductance, those of which at least `share` flows from the phrase's words;
    the `top` by what flows from there. `at` counts units along one axis, `"filters/channel"`. Errors: `QuestionError`
    where the phrase is not in the sentence, or no unit looks at it. Source: Dhamdhere et al. 2018, section 6.1.

    >>> net = zoo.load("textcnn-sentiment")
    >>> [unit.share >= 0.5 for unit in units_like(net, "not good", "this is not good", net.layer, Class("negative"))]
    [True, True, True]
    """
    net, cut, of = as_net(net), _one_axis(at), as_quantity(of)
    begin = sentence.lower().find(phrase.lower())
    if begin < 0 or not phrase.strip():
        raise QuestionError(
            f"{phrase!r} is not in {sentence!r}. Give a sentence with the phrase in it: --in, sentence=."
        )
    text: Text = net.read(sentence)
    line = Line(baseline, text, n=n)
    whole = influence(net, cut, of, line, contribution, chunk=64)
    best = [u.index[0] for u in whole.top(among, sign="+")]
    flows = {u: Through(u, cut, of) for u in best}
    found = influence(net, f"{net.embedding}/token", list(flows.values()), line, contribution, chunk=64) if best else {}
    units = []
    for u, flow in flows.items():
        pieces = text.pieces(found[flow].values)
        inside = sum(p.value for p in pieces if p.start < begin + len(phrase) and p.end > begin)
        total = sum(p.value for p in pieces)
        if total > 0 and inside / total >= share:
            units.append(Unit(u, float(whole.values[0, u]), inside / total))
    if not units:
        raise QuestionError(
            f"No unit of {cut.text} has {share:.0%} of its contribution from {phrase!r} in {sentence!r}. Ask for "
            "another behaviour, --of (of=), another layer, --at (at=), or a smaller share=."
        )
    return sorted(units, key=lambda u: -u.contribution * u.share)[:top]


def phrases(
    net: Net | nn.Module, at: Cut | str, units: Sequence[int], texts: Sequence[str], of: Any, *, longest: int = 4,
    labels: Sequence[int | str] | None = None, carry: float = 0.9, least: int = 1, baseline: Any = None, n: int = 33,
    chunk: int = 512, progress: Callable[[int], None] | None = None,
) -> Phrases:  # fmt: skip
    """The n-grams that carry the contribution of some units over a corpus, those that carry most in all first.

    In each text it is the shortest run of at most `longest` words whose contributions to `of`, through the units, add
    up to `carry` of the largest such sum; it begins and ends with a word. Phrases of at least `least` texts are kept.
    Precision and recall are for the class of `of`, or of its first term: as the net says it, or by the texts' own
    `labels`, numbers or names. Texts that cannot be read are left out and named.
    Errors: `QuestionError` for units that are not there, and as `influence`.
    Source: rule extraction, Dhamdhere et al. 2018, sections 6.1 and 7.

    >>> net = zoo.load("textcnn-sentiment")
    >>> found = phrases(net, net.layer, range(256), ["a good film", "a bad film", "good fun"], Class("positive"), n=9)
    >>> [p.phrase for p in found.phrases]
    ['good fun', 'good film', 'film']
    """
    net, cut, of = as_net(net), _one_axis(at), as_quantity(of)
    if isinstance(texts, str) or not texts:
        raise InputError("phrases reads a list of texts: phrases(net, at, units, ['this is not good', ...], of).")
    if labels is not None and len(labels) != len(texts):
        raise InputError(f"There are {len(labels)} labels for {len(texts)} texts. Give one for each.")
    flow, order, left_out = Through(tuple(units), cut, of), _readable(net, texts), {}
    words: dict[int, tuple[Piece, ...]] = {}
    said: dict[int, int] = {}
    for rows, text in order:
        if isinstance(text, str):
            left_out[texts[rows[0]]] = text
            continue
        found = influence(net, f"{net.embedding}/token", flow, Line(baseline, text, n=n), contribution, chunk=chunk)
        words |= {k: text.pieces(found.values, row) for row, k in enumerate(rows)}
        own = _said(net, text) if labels is None else [_number(net, labels[k]) for k in rows]
        said |= dict(zip(rows, own, strict=True))
        if progress is not None:
            progress(len(rows))
    if not words:
        raise InputError(f"None of the {len(texts)} texts could be read: {next(iter(left_out.values()))}")
    kept = sorted(words)
    pieces, classes = tuple(words[k] for k in kept), tuple(said[k] for k in kept)
    ranked = _ranked(pieces, classes, _class_of(net, of), longest, carry, least)
    return Phrases(tuple(texts[k] for k in kept), pieces, ranked, classes, left_out)


def _one_axis(at: Cut | str) -> Cut:
    cut = as_cut(at)
    return cut if cut.units else Cut(f"{cut.text}/channel")


def _readable(net: Net, texts: Sequence[str]) -> Iterator[tuple[list[int], Text | str]]:
    """Batches of texts of about the same length; each text that cannot be read alone, with the reason."""
    readable = []
    for k, text in enumerate(texts):
        try:
            readable.append((net.read(text).ids.shape[1], k))
        except InputError as error:
            yield [k], str(error)
    readable.sort()
    for first in range(0, len(readable), BATCH):
        rows = [k for _, k in readable[first : first + BATCH]]
        yield rows, net.read([texts[k] for k in rows])


def _said(net: Net, text: Text) -> list[int]:
    y = activations(net, OUTPUT, called_with(net, text))
    return y.argmax(1).tolist() if y.dim() == 2 else [-1] * len(text)


def _number(net: Net, label: int | str) -> int:
    """A class's number from what a table says of it."""
    return net.class_index(int(label) if isinstance(label, str) and label.lstrip("-").isdigit() else label)


def _class_of(net: Net, of: Quantity) -> int | None:
    """The class that a behaviour speaks for: that of its first term."""
    bound = of.bind(net).terms[0][1]
    return bound.index if isinstance(bound, Class) and isinstance(bound.index, int) else None


def span(values: Sequence[float], ends: Sequence[bool], longest: int, carry: float) -> tuple[int, int] | None:
    """The shortest run of at most `longest` values with `carry` of the largest such sum; None where none is > 0.

    It begins and ends where `ends` is true. Of several the one of largest sum, then the first.

    >>> span([0.1, 2.0, 1.0, -3.0, 0.2], [True] * 5, longest=3, carry=0.95)
    (1, 3)
    """
    sums = {
        (i, j): sum(values[i:j])
        for i in range(len(values))
        for j in range(i + 1, min(i + longest, len(values)) + 1)
        if ends[i] and ends[j - 1]
    }
    best = max(sums.values(), default=0.0)
    near = [(j - i, -total, i) for (i, j), total in sums.items() if best > 0 and total >= carry * best]
    if not near:
        return None
    length, _, first = min(near)
    return first, first + length


def _ranked(
    texts: Sequence[Sequence[Piece]], said: Sequence[int], target: int | None, longest: int, carry: float, least: int
) -> tuple[Phrase, ...]:
    """Each text's phrase, counted over texts."""
    words = [[piece.text.lower() for piece in pieces] for pieces in texts]
    own: dict[tuple[str, ...], list[tuple[float, int]]] = {}
    for k, pieces in enumerate(texts):
        values = [piece.value for piece in pieces]
        place = span(values, [any(map(str.isalnum, word)) for word in words[k]], longest, carry)
        if place is not None:
            own.setdefault(tuple(words[k][slice(*place)]), []).append((sum(values[slice(*place)]), k))
    kept = {gram: found for gram, found in own.items() if len(found) >= least}
    everywhere, right = _counted(words, said, target, kept, longest)
    of_class = sum(s == target for s in said)
    made = []
    for gram, found in kept.items():
        total, known = sum(value for value, _ in found), target is not None and everywhere[gram] > 0
        made.append(Phrase(
            " ".join(gram), len(found), total / len(found), total, everywhere[gram],
            right[gram] / everywhere[gram] if known else float("nan"),
            right[gram] / of_class if known and of_class else float("nan"),
            tuple(k for _, k in sorted(found, key=lambda pair: -pair[0])[:3]),
        ))  # fmt: skip
    return tuple(sorted(made, key=lambda p: (-p.total, p.phrase)))


def _counted(
    words: Sequence[Sequence[str]], said: Sequence[int], target: int | None, kept: Mapping[tuple[str, ...], Any],
    longest: int,
) -> tuple[Counter[tuple[str, ...]], Counter[tuple[str, ...]]]:  # fmt: skip
    """How many texts have each n-gram in them, and how many of those are said to be of the class."""
    everywhere: Counter[tuple[str, ...]] = Counter()
    right: Counter[tuple[str, ...]] = Counter()
    for row, label in zip(words, said, strict=True):
        grams = {
            tuple(row[i:j]) for i in range(len(row)) for j in range(i + 1, min(i + longest, len(row)) + 1)
        } & kept.keys()
        everywhere.update(grams)
        right.update(grams if label == target else ())
    return everywhere, right


def _harmless(text: str) -> str:
    """A cell that spreadsheets read as text, not as a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text
