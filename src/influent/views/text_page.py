"""The page of an explained text: what the net said, and for each question the words and units that decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .headmap import HeadMap
from .page import rendered
from .reading import Reading
from .sentence import Sentence


@dataclass(frozen=True)
class TextSection:
    """One question about a text: its heading, the text by words, its error, what units read, and the small print."""

    heading: str
    sentence: Sentence
    summary: str = ""
    units: Reading | None = None
    heads: HeadMap | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def text_page(
    title: str, text: str, predictions: Sequence[tuple[str, float]], sections: Sequence[TextSection], seconds: float,
    note: str = "",
) -> str:  # fmt: skip
    """The HTML of an explained text.

    >>> asked = TextSection("Why negative?", Sentence("not good", ()), "gap -1e-07")
    >>> "Completeness: gap -1e-07" in text_page("not good: negative", "not good", [("negative", 0.9)], [asked], 0.5)
    True
    """
    return rendered(
        "reading.html", title=title, text=text, predictions=predictions, sections=sections, seconds=seconds, note=note
    )
