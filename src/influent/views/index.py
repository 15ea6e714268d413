"""The index: one page that leads to the explanations of many photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .page import rendered

SIGNATURE = '<meta name="generator" content="influent">'


@dataclass(frozen=True)
class Entry:
    """One photo on the index: the way to its page, and a look at it; or why it could not be explained."""

    name: str
    link: str = ""
    prediction: tuple[str, float] | None = None
    title: str = ""
    units: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    failure: str = ""


def index_page(title: str, net: str, entries: Sequence[Entry], others: int, seconds: float) -> str:
    """The HTML of an index: failures first, then the photos; `others` entries of the folder were no photos.

    >>> "cup.jpg" in index_page("cups: 1 of 1", "googlenet", [Entry("cup.jpg", "cup.jpg/explanation.html")], 0, 1.0)
    True
    """
    return rendered(
        "index.html", signature=SIGNATURE, title=title, net=net, entries=entries, others=others, seconds=seconds
    )
