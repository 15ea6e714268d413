"""The pages of essences: an overview of all classes, and for each class its units with their best images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .page import rendered
from .shared import Pictured

COLUMNS = ("unit", "mean influence", "standard error", "rank, 95 %", "not 0")


def unit_rows(made: Any, row: int) -> list[tuple[str, ...]]:
    """The top units of a class as text: name, mean, standard error, the interval of its rank, whether it is not 0."""
    low, high = made.intervals[row]
    rows: list[tuple[str, ...]] = []
    for unit in made.ranked[made.influence.instances[row]]:
        interval = f"{int(low[unit.index])} to {int(high[unit.index])}" if int(low[unit.index]) > 0 else "not known"
        rows.append((
            unit.name or str(unit.index), f"{unit.value:+.3g}", f"{made.stderr(row, unit):.2g}", interval,
            "yes" if bool(made.significant[row][unit.index]) else "not shown",
        ))  # fmt: skip
    return rows


def essence_page(title: str, made: Any, facts: dict[str, str], empty: Sequence[str], seconds: float) -> str:
    """The HTML of the overview: a line for each class, with the way to its own page."""
    rows = [
        (f"class-{k}.html", str(name), made.summary(k), ", ".join(f"{u.name or u.index} {u.value:+.3g}" for u in units))
        for k, (name, units) in enumerate(made.ranked.items())
    ]
    return rendered(
        "essence.html", title=title, rows=rows, facts=facts, left_out=made.influence.left_out, empty=list(empty),
        seconds=seconds,
    )  # fmt: skip


def class_page(
    title: str, made: Any, row: int, pictured: Sequence[Sequence[Pictured]], facts: dict[str, str], seconds: float
) -> str:  # fmt: skip
    """The HTML of one class: its units in a table, then each with the images of the class that fire it most."""
    rows = unit_rows(made, row)
    return rendered(
        "class.html", title=title, columns=COLUMNS, rows=rows, summary=made.summary(row),
        units=list(zip(rows, pictured, strict=True)), facts=facts, seconds=seconds,
    )  # fmt: skip
