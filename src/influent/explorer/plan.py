"""What `influent serve` was told, as far as the worker must know it: it goes from one process to the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]
"""What the worker says of a job: `event` is part, photo, progress, note, error, file, waiting or done."""

UPLOAD, PIXELS = 20 * 2**20, 40_000_000
"""The largest photo that may be sent, in bytes and in pixels."""


@dataclass(frozen=True)
class Sent:
    """A photo that a browser sent: its bytes, and what it was called there."""

    data: bytes = field(repr=False)
    name: str


@dataclass(frozen=True)
class Plan:
    """How the net is loaded, what it is called, and the data beside it.

    - `load`: a function that can be pickled and gives an `inf.Net`; `python` and `options`: the same as text, for code
      that is shown;
    - `data`: a folder of images by class; `outside`: a folder of photos; `results`: folders of essences;
    - `nicknames`: the file in which names of units are kept; `images`: how many images a page looks at.
    """

    load: Callable[[], Any]
    name: str
    python: str
    options: str
    data: Path | None = None
    outside: Path | None = None
    results: tuple[Path, ...] = ()
    nicknames: Path = Path("nicknames.json")
    images: int = 512
    threads: int | None = None


def readable(name: str) -> str:
    """The name of a file as text, also where it is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")
