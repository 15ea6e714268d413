"""`dev.py bench [conductance|experts] [--quick] [--only NAME]`: the costs, beside the floor and beside Captum.

Times are never compared across runs: each is a ratio of jobs that took turns in the same run, and stands beside
an A/A control, the same job timed under two names, which says how much of the ratio is noise.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import influent as inf

from . import conductance, experts, memory
from .jobs import FULL, NAMES, QUICK, Comparison, Outcome, Size, comparisons, measure
from .memory import ROOT, Growth
from .workload import MIDDLE, NET, NINE

RESULTS = Path(__file__).parent / "results.json"
MEMORY_BAR = 1.10
CHOICES = (*NAMES, "memory", "demo")
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h


def main(arguments: Sequence[str]) -> int:
    """The benchmarks that were asked for: a table, and results.json after a full run."""
    options = _options(arguments)
    if options.suite == "conductance":
        return _conductance(options)
    if options.suite == "experts":
        return experts.main(options.threads, not options.plain_malloc and keep_memory(), options.quick)
    tuned = not options.plain_malloc and keep_memory()
    torch.set_num_threads(options.threads)
    size = QUICK if options.quick else FULL
    record: dict[str, Any] = {"versions": _versions(), "threads": options.threads, "malloc tuned": tuned}
    net = inf.zoo.load(NET)
    jobs = [c for c in comparisons(net, size) if options.only in (None, c.name)]
    if jobs:
        record["times"] = _times(net, jobs, size, options.threads, tuned)
    if options.only in (None, "memory"):
        record["memory"] = _memory(options.quick)
    if options.only in (None, "demo"):
        record["demo"] = _demo()
    if options.only is None and not options.quick:
        RESULTS.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten: benchmarks/{RESULTS.name}")
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 dev.py bench", description="Time and memory of influent, as ratios.")
    parser.add_argument(
        "suite", nargs="?", choices=("spine", "conductance", "experts"), default="spine", help="which benchmarks"
    )
    parser.add_argument("--quick", action="store_true", help="less work, fewer rounds, static paths only; no file")
    parser.add_argument("--only", choices=CHOICES, metavar="NAME", help=", ".join(CHOICES))
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of torch (default 1)")
    parser.add_argument("--plain-malloc", action="store_true", help="leave glibc's settings as they are")
    return parser.parse_args(arguments)


def _conductance(options: argparse.Namespace) -> int:
    """The suite of conductance: three nets, each beside integrated gradients and beside Captum."""
    tuned = not options.plain_malloc and keep_memory()
    torch.set_num_threads(options.threads)
    size = QUICK if options.quick else FULL
    record: dict[str, Any] = {"versions": _versions(), "threads": options.threads, "malloc tuned": tuned}
    for case in conductance.cases():
        print(f"\n{case.name}")
        record[case.name] = _times(
            case.net, conductance.comparisons(case, size), size, options.threads, tuned, case.layers
        )
    if not options.quick:
        place = RESULTS.with_name("conductance.json")
        place.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten: benchmarks/{place.name}")
    return 0


def keep_memory() -> bool:
    """Tell glibc to keep freed blocks: without it, much of the time goes into pages that come and go.

    Both sides of every ratio run under it. False where the C library is another one.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def _versions() -> dict[str, str]:
    packages = ("torch", "captum", "numpy", "influent")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _times(
    net: inf.Net, jobs: Iterable[Comparison], size: Size, threads: int, tuned: bool, nine: Sequence[str] = NINE
) -> list[dict[str, Any]]:
    clock = "CPU time" if threads == 1 else "time on the wall"
    print(
        f"{clock}, {threads} thread(s), {size.rounds} rounds in turns after a warm-up, glibc's malloc "
        f"{'tuned' if tuned else 'as it comes'}; nine cuts: {', '.join(nine)}\n"
        "ratio: median [min-max] over rounds; A/A: the base timed twice; counts: samples forward + backward\n"
    )
    _line("job", "ratio", "A/A", "counts", "base counts", "bar", "")
    return [_report(measure(net, comparison, size.rounds, threads)) for comparison in jobs]


def _report(o: Outcome) -> dict[str, Any]:
    c = o.comparison
    counts = [f"{s.forward} + {s.backward}" for s in (o.job, o.base)]
    bar = f"{'>=' if c.at_least else '<='} {c.bar:.2f}"
    _line(c.name, str(o.ratio), str(o.control), *counts, bar, "met" if o.met else "MISSED")
    print(f"    {c.what}", flush=True)
    return {
        "name": c.name, "what": c.what, "ratio": asdict(o.ratio), "same job twice": asdict(o.control),
        "samples": asdict(o.job), "samples of the base": asdict(o.base), "bar": bar, "met": o.met,
    }  # fmt: skip


def _line(name: str, ratio: str, control: str, counts: str, base: str, bar: str, verdict: str) -> None:
    print(f"{name:<20} {ratio:<18} {control:<18} {counts:<11} {base:<12} {bar:<8} {verdict}")


def _memory(quick: bool) -> list[dict[str, Any]]:
    print(
        f"\npeak memory in MiB of a path of {memory.SHORT} and of {memory.LONG} points at chunk={memory.CHUNK}, in "
        f"fresh processes\n\n{'rule':<10} {'cut':<12} {'measured':<28} {'short':>6} {'long':>6} {'ratio':>6}  bar"
    )
    rules = ("graded",) if quick else ("graded", "adaptive")
    return [_report_memory(growth) for growth in memory.growths(rules, (MIDDLE, "INPUT"))]


def _report_memory(g: Growth) -> dict[str, Any]:
    for way, ratio in g.ratios.items():
        verdict = "met" if ratio <= MEMORY_BAR else "MISSED"
        figures = f"{g.short[way]:>6.0f} {g.long[way]:>6.0f} {ratio:>6.3f}"
        print(f"{g.rule:<10} {g.cut:<12} {way:<28} {figures}  <= {MEMORY_BAR:.2f} {verdict}", flush=True)
    return {**asdict(g), "ratios": g.ratios, "met": {way: r <= MEMORY_BAR for way, r in g.ratios.items()}}


def _demo() -> float | str:
    """Seconds of the second `dev.py demo`, or why there are none."""
    if not Path(os.environ.get("INFLUENT_VENV") or ROOT / ".venv").is_dir():
        return _skipped("there is no .venv (python3 dev.py demo makes one)")
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            started = time.perf_counter()
            command = [sys.executable, "dev.py", "demo", "--out", folder]
            if subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode != 0:
                return _skipped("the demo failed")
    seconds = time.perf_counter() - started
    print(f"\ndemo, second run: {seconds:.1f} s")
    return seconds


def _skipped(why: str) -> str:
    print(f"\ndemo: skipped, {why}")
    return f"skipped: {why}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
