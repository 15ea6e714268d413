"""Two reports on the same data, side by side: what was repaired, and what broke."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import QuestionError, StoreError
from .finding import Finding, many
from .rates import mcnemar

REPORT, SCHEMA = "report.json", 2
SHOWN = 12
Fault = tuple[str, str]
"""Kind and subject of a finding."""


@dataclass(frozen=True)
class Answers:
    """What a net says of each sample: name, class, what is said, with which probability, one entry a sample."""

    names: tuple[str, ...]
    label: tuple[int, ...]
    said: tuple[int, ...]
    probability: tuple[float, ...]


@dataclass(frozen=True)
class Earlier:
    """What is needed of another report: its answers, its findings by kind and subject, and a name for its net."""

    net: str
    answers: Answers
    faults: tuple[Fault, ...]

    def check(self, names: set[str]) -> None:
        """Refuse to be compared with samples of which none is here, by a `QuestionError`."""
        if names.isdisjoint(self.answers.names):
            raise QuestionError(
                f"No sample of this report is in the one of {self.net}: two nets are compared on the same data."
            )


@dataclass(frozen=True)
class ClassChange:
    """One class under both nets: of `count` samples `before` and `now` are found; `repaired` and `broken` of them.

    `p`: McNemar's exact two-sided test, times the number of classes.
    """

    name: str
    count: int
    before: int
    now: int
    repaired: int
    broken: int
    p: float


@dataclass(frozen=True)
class Comparison:
    """A report beside an `earlier` one, over the samples of both: `shared` of them, `alone` in one of the two.

    `gone` are findings of the earlier report alone, `new` of this one, `stayed` of both; `repaired` and `broken` names
    of samples, the first few; `p` as for a class, of all samples.
    """

    earlier: str
    shared: int
    alone: int
    before: int
    now: int
    p: float
    classes: tuple[ClassChange, ...]
    gone: tuple[Fault, ...]
    new: tuple[Fault, ...]
    stayed: tuple[Fault, ...]
    repaired: tuple[str, ...]
    broken: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """The comparison as text."""
        said = [
            f"against {self.earlier}: {self.now} of {self.shared} samples are right, and {self.before} were; McNemar's "
            f"test p = {self.p:.2g}" + (f"; {many(self.alone, 'sample')} in one of the two alone" * bool(self.alone))
        ]
        for word, faults in (("repaired", self.gone), ("new", self.new), ("still there", self.stayed)):
            said += [f"  {word}: " + "; ".join(f"{kind}: {subject}" for kind, subject in faults)] if faults else []
        changed = sorted(self.classes, key=lambda c: c.now - c.before)
        said += [
            f"  {c.name}: {c.before} → {c.now} of {c.count} found (p = {c.p:.2g})" for c in changed if c.now != c.before
        ]
        return said


def compared(
    answers: Answers, findings: Sequence[Finding], names: Mapping[int, str], earlier: Earlier
) -> Comparison:  # fmt: skip
    """Answers and findings beside those of an earlier report on the same samples, known by their names.

    Errors: `QuestionError` where no sample is in both.

    >>> before = Earlier("old", Answers(("a", "b"), (0, 1), (1, 1), (1.0, 1.0)), (("never said", "cat"),))
    >>> made = compared(Answers(("a", "b"), (0, 1), (0, 1), (1.0, 1.0)), [], {0: "cat", 1: "dog"}, before)
    >>> made.repaired, made.gone
    (('a',), (('never said', 'cat'),))
    """
    earlier.check(set(answers.names))
    known = {name: k for k, name in enumerate(earlier.answers.names)}
    pairs = [(k, known[name]) for k, name in enumerate(answers.names) if name in known]
    other = next((k for k, j in pairs if answers.label[k] != earlier.answers.label[j]), None)
    if other is not None:
        raise QuestionError(
            f"{answers.names[other]} is of class {answers.label[other]} here, and of another in the report of "
            f"{earlier.net}: two nets are compared on the same data, with classes numbered alike."
        )
    now = [answers.said[k] == answers.label[k] for k, _ in pairs]
    before = [earlier.answers.said[j] == earlier.answers.label[j] for _, j in pairs]
    label = [answers.label[k] for k, _ in pairs]
    classes = sorted(set(label))
    rows = [
        _of_class(names[index], [(b, n) for b, n, at in zip(before, now, label, strict=True) if at == index], classes)
        for index in classes
    ]
    faults = [(f.kind, f.subject) for f in findings]
    both = list(zip(pairs, before, now, strict=True))
    alone = len(answers.names) + len(earlier.answers.names) - 2 * len(pairs)
    return Comparison(
        earlier.net, len(pairs), alone, sum(before), sum(now),
        _both_sides(before, now), tuple(rows), tuple(f for f in earlier.faults if f not in faults),
        tuple(f for f in faults if f not in earlier.faults), tuple(f for f in faults if f in earlier.faults),
        tuple(answers.names[k] for (k, _), b, n in both if n and not b)[:SHOWN],
        tuple(answers.names[k] for (k, _), b, n in both if b and not n)[:SHOWN],
    )  # fmt: skip


def _of_class(name: str, pairs: Sequence[tuple[bool, bool]], classes: Sequence[int]) -> ClassChange:
    before, now = [b for b, _ in pairs], [n for _, n in pairs]
    repaired, broken = (sum(n and not b for b, n in pairs), sum(b and not n for b, n in pairs))
    p = min(1.0, len(classes) * _both_sides(before, now))
    return ClassChange(name, len(pairs), sum(before), sum(now), repaired, broken, p)


def _both_sides(before: Sequence[bool], now: Sequence[bool]) -> float:
    gained = sum(n and not b for b, n in zip(before, now, strict=True))
    lost = sum(b and not n for b, n in zip(before, now, strict=True))
    return min(1.0, 2 * mcnemar(max(gained, lost), min(gained, lost)))


def read_earlier(folder: str | os.PathLike[str]) -> Earlier:
    """What an earlier `influent debug` wrote into a folder. Errors: `StoreError` where there is no such report."""
    file = Path(folder) / REPORT
    try:
        words: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        schema = words["schema"]
        if schema == SCHEMA:
            columns = {key: tuple(those) for key, those in words["answers"].items()}
            if len({len(column) for column in columns.values()}) > 1 or not all(
                isinstance(name, str) for name in columns["names"]
            ):
                raise ValueError("its answers are no table")
            answers = Answers(**columns)
            return Earlier(
                words["net"] or str(folder), answers, tuple((f["kind"], f["subject"]) for f in words["findings"])
            )
    except OSError as error:
        raise StoreError(
            f"{folder} holds no debugging report: {error.strerror}. Name a folder that `influent debug` "
            "wrote, or a net."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{file} is damaged: {error}. Make it again.") from None
    raise StoreError(f"{file} is of format {schema}, and this version reads format {SCHEMA}. Make it again.")
