"""Peak memory of conductance beside Captum's: `python -m benchmarks.peak WAY LAYERS POINTS`, in a process of its own.

The two figures are those of `memory`: the process, above what it holds once the net is loaded and has run, and the sum
of living tensors. Captum's nine layers are nine calls, one after another, of which the dearest counts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from captum.attr import LayerConductance
from torch import Tensor

import influent as inf

from .jobs import CLASS
from .memory import MIB, STRICT, Living, alone, status
from .workload import MIDDLE, NET, NINE, photos

POINTS, POINTS_QUICK = 32, 8
BARS = {"nine": 0.45, "one": 0.20}
WAYS = {"ours": "chunk=16", "ours-whole": "all points in one pass", "captum": "as it comes", "captum-16": "by 16"}


def main(way: str, layers: str, points: int) -> None:
    """Run the job twice, for the two figures, and print them as JSON."""
    torch.set_num_threads(1)
    net = inf.zoo.load(NET)
    x = photos(net, 1)
    with torch.no_grad():
        net.module(x)
    job = _job(net, x, way, NINE if layers == "nine" else (MIDDLE,), points)
    before = status("VmRSS")
    job()
    highest = status("VmHWM")
    with Living() as living:
        job()
    print(json.dumps({"process": (highest - before) / MIB, "tensors": living.peak / MIB}))


def _job(net: inf.Net, x: Tensor, way: str, layers: tuple[str, ...], points: int) -> Callable[[], object]:
    if way.startswith("ours"):
        over, chunk = inf.Line("black", x, n=points, rule="uniform"), 16 if way == "ours" else points
        return lambda: inf.influence(net, list(layers), inf.Class(CLASS), over, inf.contribution, chunk=chunk)
    start, batch = net.baseline_for("black", x), {"internal_batch_size": 16} if way == "captum-16" else {}

    def captum() -> list[Tensor]:
        found = []
        for layer in layers:
            method = LayerConductance(net.module, net.module.get_submodule(layer))
            # Captum adds a point of its own to n_steps.
            found.append(method.attribute(x, start, target=CLASS, n_steps=points - 1, **batch).detach())
        return found

    return captum


def run(quick: bool) -> dict[str, Any]:
    """The part of the suite: prints as it goes. The bars are for our default beside Captum's, every figure."""
    points, report = POINTS_QUICK if quick else POINTS, {}
    print(
        f"\nmemory: {NET}, conductance with {points} uniform points, peak in MiB in fresh processes; one layer is "
        f"{MIDDLE}\n{'layers':<7} {'way':<30} {'process':>8} {'tensors':>8} {'process, glibc as it comes':>27}"
    )
    for layers, bar in BARS.items():
        ways = ("ours", "captum") if quick else tuple(WAYS)
        found = {way: _peaks(way, layers, points, quick) for way in ways}
        for way, peak in found.items():
            name = f"{way.split('-')[0]}, {WAYS[way]}"
            print(f"{layers:<7} {name:<30} {peak['process']:>8.0f} {peak['tensors']:>8.0f} {peak['plain']:>27.0f}")
        ratios = {
            f"{ours} / {theirs}": {key: found[ours][key] / found[theirs][key] for key in found[ours]}
            for ours in ways
            for theirs in ways
            if ours.startswith("ours") and theirs.startswith("captum")
        }
        for key, ratio in ratios.items():
            ours, theirs = key.split(" / ")
            verdict = "met" if ratio["process"] <= bar else "MISSED"
            print(
                f"{layers:<7} ours, {WAYS[ours]} / captum, {WAYS[theirs]}: process {ratio['process']:.2f}, tensors "
                f"{ratio['tensors']:.2f}, plain {ratio['plain']:.2f}; bar <= {bar:.2f}: {verdict}",
                flush=True,
            )
        report[layers] = {"peaks": found, "ratios": ratios, "bar": bar}
    return report


def _peaks(way: str, layers: str, points: int, quick: bool) -> dict[str, float]:
    strict = alone("peak", way, layers, points, settings=STRICT)
    plain = strict if quick else alone("peak", way, layers, points, settings={})
    return {"process": strict["process"], "tensors": strict["tensors"], "plain": plain["process"]}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
