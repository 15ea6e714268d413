"""Comparisons timed one after another, and their table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import influent as inf

from .jobs import Comparison, Outcome, measure
from .workload import NINE


@dataclass(frozen=True)
class Setting:
    """What holds for a whole run: threads of torch, and whether glibc's malloc is tuned."""

    threads: int
    tuned: bool


def times(
    net: inf.Net, jobs: Iterable[Comparison], rounds: int, setting: Setting, cuts: Sequence[str] = NINE
) -> list[dict[str, Any]]:
    """Each comparison measured, printed, and as it is written down."""
    threads = setting.threads
    clock = "CPU time" if threads == 1 else "time on the wall"
    print(
        f"{clock}, {threads} thread(s), at most {rounds} rounds in turns after a warm-up, glibc's malloc "
        f"{'tuned' if setting.tuned else 'as it comes'}; {len(cuts)} cuts: {', '.join(cuts)}\n"
        "ratio: median [min-max] over rounds; A/A: the base timed twice; counts: samples forward + backward\n"
    )
    _line("job", "ratio", "A/A", "counts", "base counts", "bar", "")
    return [_report(measure(net, comparison, rounds, threads)) for comparison in jobs]


def _report(o: Outcome) -> dict[str, Any]:
    c = o.comparison
    counts = [f"{s.forward} + {s.backward}" for s in (o.job, o.base)]
    bar = "none" if c.bar is None else f"{'>=' if c.at_least else '<='} {c.bar:.2f}"
    _line(c.name, str(o.ratio), str(o.control), *counts, bar, {True: "met", False: "MISSED", None: ""}[o.met])
    print(f"    {c.what}; samples {o.counted:.2f}", flush=True)
    return {
        "name": c.name, "what": c.what, "ratio": asdict(o.ratio), "same job twice": asdict(o.control),
        "samples": asdict(o.job), "samples of the base": asdict(o.base),
        "samples / samples of the base": o.counted, "bar": bar, "met": o.met,
    }  # fmt: skip


def _line(name: str, ratio: str, control: str, counts: str, base: str, bar: str, verdict: str) -> None:
    print(f"{name:<29} {ratio:<18} {control:<18} {counts:<11} {base:<12} {bar:<8} {verdict}")
