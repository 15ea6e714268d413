"""`dev.py bench [SUITE] [--quick] [--only NAME]`: the costs, beside the floor and beside Captum.

Times are never compared across runs: each is a ratio of jobs that took turns in the same run, and stands beside
an A/A control, the same job timed under two names, which says how much of the ratio is noise.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import influent as inf

from . import essence, experts, explorer, memory, mim, shards, suite, text
from .jobs import FULL, NAMES, QUICK, comparisons
from .memory import ROOT, Growth
from .record import versions
from .table import Setting, times
from .workload import MIDDLE, NET

RESULTS = Path(__file__).parent / "results.json"
MEMORY_BAR = 1.10
ALONE = {
    "experts": experts.main,
    "essence": essence.main,
    "text": text.main,
    "mim": mim.main,
    "shards": shards.main,
    "explorer": explorer.main,
}
CHOICES = {"spine": (*NAMES, "memory", "demo"), "conductance": tuple(suite.PARTS), **dict.fromkeys(ALONE, ())}
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h


def main(arguments: Sequence[str]) -> int:
    """The benchmarks that were asked for: a table, and results.json after a full run."""
    options = _options(arguments)
    if options.suite == "conductance":
        return _conductance(options)
    tuned = not options.plain_malloc and keep_memory()
    if options.suite in ALONE:
        return ALONE[options.suite](options.threads, tuned, options.quick)
    torch.set_num_threads(options.threads)
    size = QUICK if options.quick else FULL
    record: dict[str, Any] = {"versions": versions(), "threads": options.threads, "malloc tuned": tuned}
    net = inf.zoo.load(NET)
    jobs = [c for c in comparisons(net, size) if options.only in (None, c.name)]
    if jobs:
        record["times"] = times(net, jobs, size.rounds, Setting(options.threads, tuned))
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
    parser.add_argument("suite", nargs="?", choices=CHOICES, default="spine", help="which benchmarks")
    parser.add_argument("--quick", action="store_true", help="less work, fewer rounds, static paths only; no file")
    parser.add_argument(
        "--only", metavar="NAME", help="; ".join(f"{k}: {', '.join(v)}" for k, v in CHOICES.items() if v)
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of torch (default 1)")
    parser.add_argument("--plain-malloc", action="store_true", help="leave glibc's settings as they are")
    options = parser.parse_args(arguments)
    if options.only not in (None, *CHOICES[options.suite]):
        parser.error(
            f"--only {options.only}: the suite {options.suite} has {', '.join(CHOICES[options.suite]) or 'no parts'}"
        )
    return options


def _conductance(options: argparse.Namespace) -> int:
    """The suite of conductance, part by part."""
    tuned = not options.plain_malloc and keep_memory()
    torch.set_num_threads(options.threads)
    return suite.run(options.only, options.quick, Setting(options.threads, tuned))


def keep_memory() -> bool:
    """Tell glibc to keep freed blocks: without it, much of the time goes into pages that come and go.

    Both sides of every ratio run under it. False where the C library is another one.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


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
