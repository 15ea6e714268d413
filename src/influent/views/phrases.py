"""The page of phrases: the units, what they look for in a corpus, and the texts in which they contribute most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .page import rendered
from .table import Table

COLUMNS = ("phrase", "texts", "mean", "in all", "found in", "precision", "recall", "an example")


def phrases_page(
    title: str, units: Sequence[str], made: Any, most: int, facts: dict[str, str], seconds: float
) -> str:  # fmt: skip
    """The HTML of a harvest: its table of phrases, its sentences."""
    found = made.found
    rows = [
        (
            p.phrase, str(p.texts), f"{p.mean:+.3g}", f"{p.total:+.3g}", str(p.found),
            *("–" if x != x else f"{x:.1%}" for x in (p.precision, p.recall)), found.texts[p.examples[0]],
        )
        for p in found.phrases[:most]
    ]  # fmt: skip
    table = Table(f"{len(rows)} of {len(found.phrases)} phrases, by what they carry in all", COLUMNS, rows)
    return rendered(
        "phrases.html", title=title, units=units, table=table, sentences=made.sentences, facts=facts,
        left_out=found.left_out, texts=len(found.texts), seconds=seconds,
    )  # fmt: skip
