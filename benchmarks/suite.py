"""The suite of conductance, part by part: `python3 dev.py bench conductance [--quick] [--only PART]`.

After a full run of a part, its own key in conductance.json is replaced, with the versions that it ran with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import influent as inf
from influent.errors import InputError

from . import conductance, layout, peak, record, rounds, small_nets, tolerance, unit_error, velocity
from .jobs import FULL, QUICK
from .table import Setting, times
from .workload import MIDDLE, NET

RESULTS = Path(__file__).parent / "conductance.json"
ROUNDS, ROUNDS_QUICK = 3, 1


def _times(quick: bool, setting: Setting) -> dict[str, Any]:
    """Three nets, each beside integrated gradients and beside Captum."""
    size = replace(QUICK, rounds=ROUNDS_QUICK, points_beside_captum=4) if quick else replace(FULL, rounds=ROUNDS)
    found = {}
    for case in conductance.cases(quick):
        print(f"\ntimes: {case.name}")
        found[case.name] = times(case.net, conductance.comparisons(case, size), size.rounds, setting, case.layers)
    return found


def _rounds(quick: bool, setting: Setting) -> list[dict[str, Any]]:
    """The adaptive rule beside the uniform one."""
    print("\nrounds")
    net, size = inf.zoo.load(NET), rounds.ROUNDS_QUICK if quick else rounds.ROUNDS
    return times(net, rounds.comparisons(net, size), size.rounds, setting, (MIDDLE,))


def _plain(part: Callable[[bool], Any]) -> Callable[[bool, Setting], Any]:
    return lambda quick, setting: part(quick)


# The longest comes last, and can be left out: it takes half an hour.
PARTS: dict[str, Callable[[bool, Setting], Any]] = {
    "times": _times,
    "memory": _plain(peak.run),
    "rounds": _rounds,
    "small": _plain(small_nets.run),
    "velocity": _plain(velocity.run),
    "layout": _plain(layout.run),
    "units": _plain(unit_error.run),
    "tolerance": _plain(tolerance.run),
}


def run(only: str | None, quick: bool, setting: Setting) -> int:
    """The parts that were asked for, each written down when it is complete."""
    about = {"threads": setting.threads, "malloc tuned": setting.tuned}
    for name, part in PARTS.items():
        if only not in (None, name):
            continue
        try:
            found = part(quick, setting)
        except InputError as error:
            print(f"\n{name}: skipped. {error}", flush=True)
            continue
        if not quick:
            record.update(RESULTS, name, {"versions": record.versions(), **about, "found": found})
            print(f"written: benchmarks/{RESULTS.name}, {name}", flush=True)
    return 0
