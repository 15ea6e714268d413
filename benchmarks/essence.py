"""Class influence over a folder: beside the floor, beside one image at a time, and its memory as the folder grows.

`python -m benchmarks.essence COUNT` prints the peak memory of a pass over COUNT images, in a process of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import influent as inf
from influent.errors import InputError
from influent.samples import Folder

from .memory import MIB, STRICT, alone, status
from .timing import Ratio, clock_for, interleaved

DATA, LAYER, CHUNK = "imagenette-160", "inception_4c", 16
RESULTS = Path(__file__).with_name("essence.json")
BARS = {"floor": 1.05, "memory": 1.10, "one by one": 1.5}


def main(threads: int, tuned: bool, quick: bool) -> int:
    """The suite: three ratios, and essence.json after a full run."""
    try:
        net, folder = inf.zoo.load("googlenet"), images(150)
    except InputError as error:
        print(f"essence: skipped. {error}")
        return 0
    torch.set_num_threads(threads)
    count, rounds = (32, 1) if quick else (320, 3)
    kept = folder if quick else images(count)
    blocks = [
        (b.x, b.label) for b in replace(kept, files=kept.files[:count]).blocks(net, 32, {}) if b.label is not None
    ]
    sides = {
        "ours": lambda: essence(net, inf.Dataset(blocks)), "floor": lambda: floor(net, blocks),
        "floor again": lambda: floor(net, blocks),
    }  # fmt: skip
    times = interleaved(sides, rounds, clock_for(threads))
    ratio, control = (Ratio.of(times[side], times["floor"]) for side in ("ours", "floor again"))
    found: dict[str, Any] = {"floor": {"ratio": asdict(ratio), "same job twice": asdict(control), "images": count}}
    _say("floor", f"{ratio} A/A {control}", f"{LAYER}, {count} images of ten classes, all in one pass / the floor",
         ratio.median <= BARS["floor"])  # fmt: skip
    few = replace(folder, files=folder.files[: 16 if quick else 96])
    slow, fast = _wall(lambda: one_by_one(net, few)), _wall(lambda: essence(net, inf.Dataset(few)))
    found["one by one"] = {"ratio": slow / fast, "images": len(few.files), "threads": threads}
    what = f"one image at a time / the folder, time on the wall, {len(few.files)} images"
    _say("one by one", f"{slow / fast:.2f}", what, slow / fast >= BARS["one by one"])
    short, long = (alone("essence", n, settings=STRICT) for n in ((32, 64) if quick else (150, 1500)))
    growth = {key: long[key] / short[key] for key in short}
    found["memory"] = {"150": short, "1500": long, "ratio": growth}
    _say("memory", ", ".join(f"{key} {value:.3f}" for key, value in growth.items()),
         "peak of a process over ten times as many images", max(growth.values()) <= BARS["memory"])  # fmt: skip
    if not quick:
        record = {"torch": torch.__version__, "threads": threads, "malloc tuned": tuned, "found": found}
        RESULTS.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten: benchmarks/{RESULTS.name}")
    return 0


def _say(name: str, ratio: str, what: str, met: bool) -> None:
    print(f"{name:<12} {ratio:<36} bar {BARS[name]:.2f}: {'met' if met else 'MISSED'}\n    {what}", flush=True)


def images(count: int) -> Folder:
    """The first images of the folder, in its mixed order. Errors: `InputError` where the data are not there."""
    place = Path(os.environ.get("INFLUENT_DATA", "")) / DATA
    if not os.environ.get("INFLUENT_DATA") or not place.is_dir():
        raise InputError(f"It needs {DATA} in INFLUENT_DATA: python3 dev.py data says what is there.")
    folder = Folder.at(place)
    return replace(folder, files=folder.files[:count])


def essence(net: inf.Net, data: inf.Dataset) -> inf.Attribution:
    """The job: the mean influence of every channel on the label's score, class by class."""
    return inf.influence(net, f"{LAYER}/channel", inf.Label(), data, inf.gradient, chunk=CHUNK)


def floor(net: inf.Net, blocks: Sequence[tuple[Tensor, Tensor]]) -> dict[int, Tensor]:
    """The least it can cost: a bare pass forward, back down to the layer, and a sum for each class."""
    leaf: list[Tensor] = []

    def detach(layer: object, args: object, output: Tensor) -> Tensor:
        leaf[:] = [output.detach().requires_grad_()]
        return leaf[0]

    sums: dict[int, Tensor] = {}
    with net.module.get_submodule(LAYER).register_forward_hook(detach):
        for x, label in blocks:
            for part, own in zip(x.split(CHUNK), label.split(CHUNK), strict=True):
                score = net.module(part).gather(1, own[:, None]).sum()
                slopes = torch.autograd.grad(score, leaf)[0].sum((2, 3)).double()
                for slope, c in zip(slopes, own.tolist(), strict=True):
                    sums[c] = sums.get(c, 0) + slope
    return sums


def one_by_one(net: inf.Net, folder: Folder) -> dict[int, Tensor]:
    """What one would write first: read an image, ask about it, add it up."""
    classes, sums = folder.classes(net), dict[int, Tensor]()
    for file, name in folder.files:
        over = inf.Point(net.read(folder.path / file), label=[classes[name]])
        a = inf.influence(net, f"{LAYER}/channel", inf.Label(), over, inf.gradient)
        sums[classes[name]] = sums.get(classes[name], 0) + a.values[0].double()
    return sums


def _wall(job: Any) -> float:
    job()
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


if __name__ == "__main__":
    torch.set_num_threads(1)
    loaded = inf.zoo.load("googlenet")
    with torch.no_grad():
        loaded.module(torch.zeros(1, 3, 224, 224))
    before = status("VmRSS")
    essence(loaded, inf.Dataset(images(int(sys.argv[1])), examples=3))
    print(json.dumps({"process": (status("VmHWM") - before) / MIB}))
