"""The page of a diagnosis: what is wrong and how that is known, then the numbers of all classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from influent.diagnosis import Report, spell_recall
from influent.drowning import Told, Tried

from .heatmap import HeatMap
from .page import rendered
from .shared import Pictured
from .table import Table

MOST = 24
"""Classes that the heat map shows, and rows of a table: those of least recall, and of most mistakes."""


@dataclass(frozen=True)
class Cause:
    """A group of mistakes: which, by which units, and a few of its images."""

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


def class_table(report: Report) -> Table:
    """The classes in the order of their recall, the least first."""
    rows = [
        (f"{r.index}  {r.name}", str(r.count), spell_recall(r), str(r.said))
        for r in sorted(report.rates, key=lambda r: r.recall)[:MOST]
    ]
    caption = "Classes of least recall" if len(report.rates) > MOST else "All classes, of least recall first"
    return Table(caption, ("class", "images", "recall, 95 % interval", "times said"), rows)


def pair_table(report: Report) -> Table:
    """The confusions, most mistakes first."""
    rows = [
        (report.spell_pair(c), f"{c.count} of {c.of}", f"{c.count / c.of:.0%} ({c.low:.0%} to {c.high:.0%})")
        for c in report.confusions[:MOST]
    ]
    return Table("What is taken for what", ("class → said to be", "images", "share, 95 % interval"), rows)


def tried_table(report: Report) -> Table:
    """The classes in doubt, with what their units alone find."""
    columns = (
        "class", "told from", "net", "its best units", "at no less precision", "lots as good", "AUROC of its score",
        "others silenced",
    )  # fmt: skip
    return Table("Classes in doubt: hits and false alarms", columns, [_tried_row(report, one) for one in report.tried])


def _tried_row(report: Report, one: Tried) -> tuple[str, ...]:
    units = f"{len(one.units)} of {one.size} units: {_told(one.relaxed)}" if one.units else "none"
    quiet = f"{len(one.silenced.units)} units: {_told(one.silenced.told)}" if one.silenced else "not tried"
    return (
        report.name(one.index), "all others" if one.rival is None else report.name(one.rival), _told(one.net), units,
        _told(one.strict), f"{one.share_of_lot:.0%}" if one.units else "none", f"{one.score:.2f}", quiet,
    )  # fmt: skip


def _told(told: Told | None) -> str:
    return "none" if told is None else f"{told.hits}/{told.count}, {told.alarms}/{told.others}"


def debug_page(
    title: str, report: Report, causes: Sequence[Cause], facts: dict[str, str], seconds: float
) -> str:  # fmt: skip
    """The HTML: findings, then the tables and the map of confusions, and pictures of mistakes by their cause."""
    return rendered(
        "debug.html", title=title, report=report, classes=class_table(report), pairs=pair_table(report),
        tried=tried_table(report), map=confusion_map(report), shown=min(MOST, len(report.rates)), causes=causes,
        facts=facts, left_out=report.left_out, seconds=seconds,
    )  # fmt: skip
