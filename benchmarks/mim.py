"""MIM over data: its sums beside the two products that they are, the whole beside one by hand, and its memory.

`python -m benchmarks.mim WHAT DTYPE INSTANCES` prints the peak memory of one pass, in a process of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import influent as inf
from influent.pull import Sums, as_kernel

from .memory import MIB, STRICT, Living, alone, status
from .record import versions
from .timing import Ratio, clock_for, interleaved

RESULTS = Path(__file__).with_name("mim.json")
POINTS, UNITS, CHUNK, INPUTS = 12_000, 10_000, 1_000, 64
BARS = {"time": 1.3, "memory": 1.5}
TYPES = {"float32": torch.float32, "float64": torch.float64}


def main(threads: int, tuned: bool, quick: bool) -> int:
    """The suite: times of the sums and of the whole, peaks of memory, and mim.json after a full run."""
    torch.set_num_threads(threads)
    points, units, rounds = (2_000, 2_000, 2) if quick else (POINTS, UNITS, 5)
    clock, found = clock_for(threads), {"sums": {}, "whole": {}, "memory": {}}
    print(f"{points} points × {units} units, chunks of {CHUNK}, time over that of the same by hand\n")
    for name, dtype in TYPES.items():
        y = torch.randn(points, units, dtype=dtype)
        for instances in (1, 10, 64):
            x, signs = torch.randn(instances, units, dtype=dtype), signs_of(instances, points, dtype)
            sides = {job.__name__: _job(job, x, y, signs) for job in (sums, products, bare, differences)}
            sides["again"] = sides["products"]
            found["sums"][f"{name}, {instances}"] = _report(f"sums, {name}, {instances} x", sides, rounds, clock)
        del y
    net, data = wide(units), torch.randn(points, INPUTS)
    for instances in (1, 10):
        x = torch.randn(instances, INPUTS)
        sides = {"sums": _whole(net, x, data), "products": _by_hand(net, x, data), "again": _by_hand(net, x, data)}
        found["whole"][str(instances)] = _report(f"with a net, {instances} x", sides, rounds, clock)
    for what in ("sums", "whole"):
        for name in TYPES:
            for instances in (1, 10):
                found["memory"][f"{what}, {name}, {instances}"] = _memory(what, name, instances)
    if not quick:
        record = {"versions": versions(), "threads": threads, "malloc tuned": tuned, "points": points, "units": units,
                  "chunk": CHUNK, "found": found}  # fmt: skip
        RESULTS.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten: benchmarks/{RESULTS.name}")
    return 0


def signs_of(instances: int, points: int, dtype: torch.dtype) -> Tensor:
    """+1 and −1 at random."""
    return torch.where(torch.rand(instances, points) > 0.5, 1.0, -1.0).to(dtype)


def sums(x: Tensor, y: Tensor, signs: Tensor) -> Tensor:
    """Ours, without the net."""
    found = Sums(x, as_kernel("1/d2"), inf.Cut("layer"))
    for part, own in zip(y.split(CHUNK), signs.split(CHUNK, 1), strict=True):
        found.add(part, own)
    return found.done().phi


def products(x: Tensor, y: Tensor, signs: Tensor) -> Tensor:
    """The least that gives an answer: squares expanded, wᵀY − x Σw, wrong where points are near or far away."""
    total, square = torch.zeros_like(x), torch.linalg.vector_norm(x, dim=1).square()[:, None]
    for part, own in zip(y.split(CHUNK), signs.split(CHUNK, 1), strict=True):
        weight = own / (square + torch.linalg.vector_norm(part, dim=1).square() - 2 * x @ part.T)
        total += weight @ part - x * weight.sum(1, keepdim=True)
    return total


def bare(x: Tensor, y: Tensor, signs: Tensor) -> Tensor:
    """The two products and nothing else: no norms, no weights."""
    total = torch.zeros_like(x)
    for part, own in zip(y.split(CHUNK), signs.split(CHUNK, 1), strict=True):
        x @ part.T
        total += own @ part
    return total


def differences(x: Tensor, y: Tensor, signs: Tensor) -> Tensor:
    """What one would write first: torch's distances without products, and the weighted sum."""
    total = torch.zeros_like(x)
    for part, own in zip(y.split(CHUNK), signs.split(CHUNK, 1), strict=True):
        weight = own / torch.cdist(x, part, compute_mode="donot_use_mm_for_euclid_dist").square()
        total += weight @ part - x * weight.sum(1, keepdim=True)
    return total


def wide(units: int) -> nn.Sequential:
    """A net with a layer of so many units."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(INPUTS, units), nn.ReLU(), nn.Linear(units, 10)).eval()


def by_hand(net: nn.Sequential, x: Tensor, data: Tensor) -> Tensor:
    """`products` at the hidden layer, with labels: what `mim` does, as a script of its own."""
    with torch.no_grad():
        h = net[:2](x)
        label, total, square = net[2](h).argmax(1), torch.zeros_like(h), h.norm(dim=1).square()[:, None]
        for part in data.split(CHUNK):
            y = net[:2](part)
            signs = torch.where(label[:, None] == net[2](y).argmax(1), 1.0, -1.0)
            weight = signs / (square + torch.linalg.vector_norm(y, dim=1).square() - 2 * h @ y.T)
            total += weight @ y - h * weight.sum(1, keepdim=True)
    return total


def _job(job: Callable[[Tensor, Tensor, Tensor], Tensor], *words: Tensor) -> Callable[[], Tensor]:
    return lambda: job(*words)


def _whole(net: nn.Sequential, x: Tensor, data: Tensor) -> Callable[[], Any]:
    return lambda: inf.mim(net, "1", x, data, labels="soft", chunk=CHUNK)


def _by_hand(net: nn.Sequential, x: Tensor, data: Tensor) -> Callable[[], Tensor]:
    return lambda: by_hand(net, x, data)


def _report(name: str, sides: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float]) -> dict[str, Any]:
    times = interleaved(sides, rounds, clock)
    ratios = {side: Ratio.of(times[side], times["products"]) for side in times if side != "products"}
    met = ratios["sums"].median <= BARS["time"]
    rest = ", ".join(f"{side} {ratio}" for side, ratio in ratios.items() if side != "sums")
    verdict = f"<= {BARS['time']} {'met' if met else 'MISSED'}"
    print(f"{name:<24} {ratios['sums']!s:<18} {verdict}; beside it: {rest}", flush=True)
    return {**{side: asdict(ratio) for side, ratio in ratios.items()}, "met": met}


def _memory(what: str, dtype: str, instances: int) -> dict[str, Any]:
    peak = alone("mim", what, dtype, instances, settings=STRICT)
    met = peak["tensors"] <= BARS["memory"]
    verdict = f"<= {BARS['memory']} {'met' if met else 'MISSED'}"
    print(
        f"{f'memory, {what}, {dtype}, {instances} x':<34} tensors {peak['tensors']:.2f}, process {peak['process']:.2f} "
        f"of a chunk ({peak['chunk']:.0f} MiB)  {verdict}",
        flush=True,
    )  # fmt: skip
    return {**peak, "met": met}


def _peak(what: str, dtype: torch.dtype, instances: int) -> dict[str, float]:
    """Highest living tensors, and highest resident memory, over the size of one chunk of activations."""
    net, chunk = wide(UNITS).to(dtype), CHUNK * UNITS * dtype.itemsize
    x, data = torch.randn(instances, INPUTS, dtype=dtype), torch.randn(3 * CHUNK, INPUTS, dtype=dtype)

    def job() -> None:
        if what == "whole":
            inf.mim(net, "1", x, data, labels="soft", chunk=CHUNK)
            return
        found = Sums(net[:2](x), as_kernel("1/d2"), inf.Cut("1"))
        for part in data.split(CHUNK):
            found.add(torch.mm(part, net[0].weight.T), signs_of(instances, len(part), dtype))
        found.done()

    with torch.no_grad():
        inf.mim(net, "1", x, data[:10], labels="soft")
        before = status("VmRSS")
        job()
        highest = status("VmHWM")
        with Living() as living:
            job()
    return {"tensors": living.peak / chunk, "process": (highest - before) / chunk, "chunk": chunk / MIB}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(_peak(sys.argv[1], TYPES[sys.argv[2]], int(sys.argv[3]))))
