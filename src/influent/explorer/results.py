"""Stored results beside the net, by number: their pages are shown in the explorer; no file that they do not list is."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from influent.errors import InputError

from .plan import readable

META, PAGE, REPORT = "meta.json", "explanation.html", "report.json"
_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)


@dataclass(frozen=True)
class Stored:
    """A result's folder: what it is, its first page, and the pages that may be shown by their names."""

    folder: Path
    kind: str
    title: str
    pages: Sequence[str] = field(default_factory=tuple)

    @property
    def about(self) -> dict[str, str]:
        """What the list shows."""
        return {"kind": self.kind, "title": self.title, "page": self.pages[0], "folder": readable(self.folder.name)}

    def page(self, name: str) -> str | None:
        """The HTML of one of its pages; None for any other name, and for what has gone since."""
        if name not in self.pages:
            return None
        try:
            return (self.folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None


def stored_in(folder: Path) -> list[Stored]:
    """The results in a folder, or the one that it is; debugging reports first. Errors: `InputError` for no folder."""
    if not folder.is_dir():
        raise InputError(
            f"--results {folder} is no folder. Name one that holds results: influent debug DATA --out {folder}/debug"
        )
    places = [folder, *sorted(place for place in folder.iterdir() if place.is_dir() and place.name[0] != ".")]
    found = [one for place in places if (one := _stored(place)) is not None]
    return sorted(found, key=lambda one: one.kind != "debugging report")


def _stored(place: Path) -> Stored | None:
    try:
        meta = json.loads((place / META).read_text(encoding="utf-8"))
        files = [str(name) for name in meta["files"] if str(name).endswith(".html") and (place / str(name)).is_file()]
        files = [name for name in files if place.resolve() in (place / name).resolve().parents]
        text = (place / PAGE).read_text(encoding="utf-8") if PAGE in files else ""
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not text:
        return None
    title = _TITLE.search(text)
    said = html.unescape(title[1]) if title else place.name
    return Stored(place, _kind(meta, place), said, [PAGE, *(name for name in files if name != PAGE)])


def _kind(meta: dict[str, Any], place: Path) -> str:
    if (place / REPORT).is_file():
        return "debugging report"
    return "essence" if (place / "activation").is_dir() else "result"
