"""The page: one self-contained HTML file that opens offline and reads on a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from .figure import Figure


@dataclass(frozen=True)
class Section:
    """One question on the page: heading, table of units, error, figures, and what stands in the small print."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    summary: str
    figures: Sequence[Figure]
    facts: Mapping[str, str]


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("influent.views"), autoescape=select_autoescape(), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def rendered(template: str, **values: Any) -> str:
    """A page's HTML. Everything in it is escaped; nothing is loaded from elsewhere."""
    return _templates().get_template(template).render(**values)


def page(title: str, predictions: Sequence[tuple[str, float]], sections: Sequence[Section], seconds: float) -> str:
    """The HTML of an explanation."""
    return rendered("explanation.html", title=title, predictions=predictions, sections=sections, seconds=seconds)
