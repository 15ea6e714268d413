"""The page of a diagnosis: what is wrong and how that is known, then the numbers of all classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from influent.comparison import Fault
from influent.drowning import Told, Tried
from influent.finding import KINDS
from influent.report import Report, spell_recall
from influent.trust import Doubt

from .heatmap import HeatMap
from .page import rendered
from .shared import Pictured
from .table import Keyed, Table

MOST = 24
"""Classes that the heat map shows, and rows of a table: those of least recall, and of most mistakes."""


@dataclass(frozen=True)
class Cause:
    """A group of mistakes, or a unit: which, by which units, and a few of its images."""

    heading: str
    units: str
    pictures: tuple[Pictured, ...]


def confusion_map(report: Report) -> HeatMap:
    """Of each class the share that is said to be each, for the classes of least recall, by their numbers."""
    shown = sorted(r.index for r in sorted(report.rates, key=lambda r: r.recall)[:MOST])
    places = [report.classes.index(k) for k in shown]
    shares = report.confusion.double() / report.confusion.sum(1, keepdim=True)
    values = [[float(shares[a, b]) for b in places] for a in places]
    return HeatMap("What is said of each class", values, shown, shown, row_axis="class", column_axis="said to be")


def tables(report: Report) -> dict[str, Table]:
    """The tables of the page by name; some have no row."""
    return {
        "classes": _classes(report), "pairs": _pairs(report), "tried": _tried(report), "steps": _steps(report),
        "reasons": _reasons(report), "least": _doubts(report, "Right answers for the least usual reasons", "least"),
        "most": _doubts(report, "Wrong answers with the most usual reasons of what is said", "most"),
        "changed": _changed(report),
    }  # fmt: skip


def _table(caption: str, columns: dict[str, str], rows: Sequence[Sequence[str | Keyed]]) -> Table:
    """A table that its reader can sort; each column with the place that says how it is computed, or nothing."""
    return Table(caption, tuple(columns), rows, {name: how for name, how in columns.items() if how}, True)


def _classes(report: Report) -> Table:
    """The classes in the order of their recall, the least first."""
    rows = [
        (
            Keyed(f"{r.index}  {r.name}", r.index), Keyed(str(r.count), r.count), Keyed(spell_recall(r), r.recall),
            Keyed(str(r.said), r.said), Keyed(_percent(r.found, r.said), r.found / r.said if r.said else -1.0),
        )
        for r in sorted(report.rates, key=lambda r: r.recall)[:MOST]
    ]  # fmt: skip
    caption = "Classes of least recall" if len(report.rates) > MOST else "All classes, of least recall first"
    columns = {"class": "", "images": "", "recall, 95 % interval": "recall", "times said": "", "precision": "precision"}
    return _table(caption, columns, rows)


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "never said"


def _pairs(report: Report) -> Table:
    """The confusions, most mistakes first."""
    rows = [
        (
            report.spell_pair(c), Keyed(f"{c.count} of {c.of}", c.count),
            Keyed(f"{c.count / c.of:.0%} ({c.low:.0%} to {c.high:.0%})", c.count / c.of),
        )
        for c in report.confusions[:MOST]
    ]  # fmt: skip
    columns = {"class → said to be": "", "images": "", "share, 95 % interval": "confusion"}
    return _table("What is taken for what", columns, rows)


def _tried(report: Report) -> Table:
    """The classes in doubt, with what their units alone find."""
    columns = {
        "class": "", "told from": "told", "net": "told", "its best units": "drowning", "at no less precision": "strict",
        "lots as good": "lots", "AUROC of its score": "held-down", "others silenced": "drowning",
    }  # fmt: skip
    return _table("Classes in doubt: hits and false alarms", columns, [_tried_row(report, one) for one in report.tried])


def _tried_row(report: Report, one: Tried) -> tuple[str | Keyed, ...]:
    units = f"{len(one.units)} of {one.size} units: {_told(one.relaxed)}" if one.units else "none"
    quiet = f"{len(one.silenced.units)} units: {_told(one.silenced.told)}" if one.silenced else "not tried"
    return (
        report.name(one.index), "all others" if one.rival is None else report.name(one.rival), _told(one.net), units,
        _told(one.strict), f"{one.share_of_lot:.0%}" if one.units else "none", Keyed(f"{one.score:.2f}", one.score),
        quiet,
    )  # fmt: skip


def _told(told: Told | None) -> str:
    return "none" if told is None else f"{told.hits}/{told.count}, {told.alarms}/{told.others}"


def _steps(report: Report) -> Table:
    """The steps of the preprocessing, changed."""
    rows: list[tuple[str | Keyed, ...]] = []
    for one in report.suspects:
        start = (report.name(one.index), f"{one.step}: {one.change}")
        if one.failed:
            rows.append((*start, "not tried", "", f"{one.failed}"))
            continue
        rows.append((
            *start, Keyed(f"{one.found} of {one.count} (as it is {one.before})", one.found - one.before),
            Keyed(f"{one.readout:.2f} (as it is {one.readout_before:.2f})", one.readout),
            Keyed(f"{one.gain:+.2f} ({one.low:+.2f} to {one.high:+.2f})", one.gain),
        ))  # fmt: skip
    columns = {
        "class": "", "step": "preprocessing", "found": "preprocessing", "readout, AUROC": "readout", "gain": "readout",
    }  # fmt: skip
    return _table("Preprocessing, step by step", columns, rows)


def _reasons(report: Report) -> Table:
    """Units of essences, those with most against them first."""
    tests, limits = len(report.reasons), report.limits
    order = sorted(
        report.reasons, key=lambda r: (-len(r.why(limits, tests)), -_known(r.shifted), -_known(r.outside), -r.few)
    )
    columns = {"class": "", "unit": "", "of its evidence": "evidence", "on a tenth": "few-samples"}
    held = any(r.shifted == r.shifted for r in report.reasons)
    placed = any(r.outside == r.outside for r in report.reasons)
    columns |= {"training against held out": "training-alone", "gone": "training-alone"} if held else {}
    columns |= {"beside the object": "beside-the-object"} if placed else {}
    columns["verdict"] = "wrong-reason"
    rows: list[list[str | Keyed]] = []
    for r in order[:MOST]:
        row: list[str | Keyed] = [report.name(r.index), Keyed(str(r.unit), r.unit), Keyed(f"{r.share:.0%}", r.share)]
        row += [Keyed(f"{r.few:.0%}", r.few)]
        row += [
            Keyed(_or_not(r.shifted, ".2f"), _known(r.shifted)),
            Keyed(_or_not(r.gone, ".0%"), _known(r.gone)),
        ] * held
        row += [Keyed(_or_not(r.outside, ".0%"), _known(r.outside))] * placed
        rows.append([*row, ", ".join(r.why(limits, tests)) or "nothing wrong seen"])
    caption = f"Essences, unit by unit{f': {MOST} of {len(report.reasons)}' if len(report.reasons) > MOST else ''}"
    return _table(caption, columns, rows)


def _known(value: float) -> float:
    return value if value == value else -1.0


def _or_not(value: float, form: str) -> str:
    return format(value, form) if value == value else "not known"


def _doubts(report: Report, caption: str, side: str) -> Table:
    """Samples by their rank agreement."""
    doubts: Sequence[Doubt] = getattr(report.trust, side) if report.trust is not None else ()
    rows = [
        (
            d.name, report.name(d.label), report.name(d.said), Keyed(f"{d.agreement:+.2f}", d.agreement),
            Keyed(f"{d.probability:.1%}", d.probability),
        )
        for d in doubts
    ]  # fmt: skip
    columns = {"image": "", "class": "", "said to be": "", "rank agreement": "agreement", "probability": ""}
    return _table(caption, columns, rows)


def _changed(report: Report) -> Table:
    """The classes under both nets."""
    changed = report.against.classes if report.against is not None else ()
    rows = [
        (
            c.name, Keyed(str(c.count), c.count), Keyed(f"{c.before}", c.before), Keyed(f"{c.now}", c.now),
            Keyed(str(c.repaired), c.repaired), Keyed(str(c.broken), c.broken), Keyed(f"{c.p:.2g}", c.p),
        )
        for c in sorted(changed, key=lambda c: -abs(c.now - c.before))[:MOST]
    ]  # fmt: skip
    columns = {
        "class": "", "images": "", "found before": "", "found now": "", "repaired": "against", "broken": "against",
        "p": "against",
    }  # fmt: skip
    return _table("Class by class", columns, rows)


def debug_page(
    title: str, report: Report, causes: Sequence[Cause], wrong: Sequence[Cause], facts: dict[str, str], seconds: float
) -> str:
    """The HTML: findings, then the tables and the map of confusions, pictures of mistakes and of wrong reasons."""
    heat = confusion_map(report)
    values: dict[str, Any] = {
        "tables": {name: table.html() if table.rows else "" for name, table in tables(report).items()},
        "map": heat.svg(),
        "wide": int(1.4 * heat.box["width"]), "shown": min(MOST, len(report.rates)), "anchor": anchor,
        "told": {kind for kind in KINDS if any(f.kind == kind for f in report.findings)}, "spelt": _spelt,
    }  # fmt: skip
    return rendered(
        "debug.html", title=title, report=report, causes=causes, wrong=wrong, facts=facts, left_out=report.left_out,
        seconds=seconds, **values,
    )  # fmt: skip


def anchor(text: str) -> str:
    """The place on the page that explains a word.

    >>> anchor("not learned")
    'not-learned'
    """
    return text.replace(" ", "-")


def _spelt(faults: Sequence[Fault]) -> str:
    return "; ".join(f"{kind}: {subject}" for kind, subject in faults)
