"""Peak memory of a path, in a process of its own: `python -m benchmarks.memory RULE CUT POINTS`, in MiB.

Two figures of the same job. "process" is the highest resident memory, above what the process holds once the net
is loaded and has run once. "tensors" is the highest sum of living tensors that the job made, counted operation by
operation: it is the same in every run, but does not see the scratch memory inside one operation.

The process is measured under two settings of glibc: as it comes, where freed blocks may stay in the heap in
pieces too small to be used again, and with a fixed threshold, so that every large block goes back when it is freed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import influent as inf

from .workload import NET, photos

CHUNK = 8
SHORT, LONG = 8, 64
STRICT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
ROOT = Path(__file__).parent.parent
MIB = 2**20


class Living(TorchDispatchMode):
    """The bytes of all tensors made under it that are still alive, and their highest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        old = {id(x.untyped_storage()) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and id(x.untyped_storage()) not in old:
                self._meet(x.untyped_storage())
        return result

    def _meet(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return

        def died(_: Any) -> None:
            del self._known[key]
            self.now -= size

        self._known[key] = weakref.ref(storage, died)
        self.now += size
        self.peak = max(self.peak, self.now)


def main(rule: str, cut: str, points: int) -> None:
    """Run the job twice, for the two figures, and print them as JSON."""
    torch.set_num_threads(1)
    net = inf.zoo.load(NET)
    x = photos(net, 1)
    with torch.no_grad():
        net.module(x)
    over = inf.Line("black", x, n=points, rule=rule)

    def job() -> inf.Attribution:
        return inf.influence(net, at=cut, of=inf.Class(967), over=over, measure=inf.contribution, chunk=CHUNK)

    before = status("VmRSS")
    job()
    highest = status("VmHWM")
    with Living() as living:
        job()
    print(json.dumps({"process": (highest - before) / MIB, "tensors": living.peak / MIB}))


def status(key: str) -> int:
    """Bytes of resident memory of this process (Linux): now, `VmRSS`, or at most so far, `VmHWM`.

    Not getrusage's ru_maxrss: a process that another one started inherits the other's.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))


@dataclass(frozen=True)
class Growth:
    """Peak memory in MiB of a short and a long path, by the way of looking at it."""

    rule: str
    cut: str
    short: dict[str, float]
    long: dict[str, float]

    @property
    def ratios(self) -> dict[str, float]:
        """Long / short."""
        return {way: self.long[way] / self.short[way] for way in self.short}


def growths(rules: Sequence[str], cuts: Sequence[str]) -> Iterator[Growth]:
    """Each rule at each cut, every figure from a fresh process."""
    for rule in rules:
        for cut in cuts:
            yield Growth(rule, cut, _peaks(rule, cut, SHORT), _peaks(rule, cut, LONG))


def _peaks(rule: str, cut: str, points: int) -> dict[str, float]:
    strict, plain = (alone("memory", rule, cut, points, settings=settings) for settings in (STRICT, {}))
    return {"tensors": strict["tensors"], "process": strict["process"], "process, glibc as it comes": plain["process"]}


def alone(module: str, *arguments: object, settings: Mapping[str, str]) -> dict[str, float]:
    """The figures that a module of the benchmarks prints as JSON, in a fresh process with these settings of malloc."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env={**own, **settings})
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
