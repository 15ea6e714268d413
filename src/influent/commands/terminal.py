"""What commands print: a progress bar, an answer as text, and where the page is."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any


class Bar:
    """A progress bar on a terminal, in points that went through the net; nothing where output is a file.

    With the number of all of them it says how long it will take.
    """

    def __init__(self, total: int | None = None, unit: str = "points") -> None:
        self.total, self.unit = total, unit

    def __enter__(self) -> Any:
        from tqdm import tqdm

        self.bar = tqdm(total=self.total, unit=f" {self.unit}", disable=None, leave=False, file=sys.stderr)
        return self.bar.update

    def plan(self, more: int) -> None:
        """So many more than were known of: the time left grows."""
        self.bar.total = (self.bar.total or 0) + more
        self.bar.refresh()

    def __exit__(self, *_: object) -> None:
        self.bar.close()


def answer_lines(a: Any, ranked: Any) -> list[str]:
    """One attribution as text: the question, its top units, its error."""
    lines = [f"  at {a.question.at.text}, of {a.question.of!r}"]
    lines += [f"  {u.name or u.index!s:<16} {u.value:>+10.4g}  {u.share:>6.1%} of all" for u in ranked]
    return lines + ([f"  {a.summary()}"] if a.summary() else [])


def print_place(page: Path, started: float, word: str = "page") -> None:
    """Where the page is, and how long it took since `started`, a `time.perf_counter()`."""
    print(f"\n{word:<6} {page}\ntime   {time.perf_counter() - started:.1f} s")
