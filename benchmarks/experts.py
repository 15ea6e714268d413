"""A grid of experts beside the net run for each of its cells; a pruned net beside its mask and its parent."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import influent as inf
from influent.counting import says
from influent.errors import InputError
from influent.experts import Grid, sweep

from .jobs import CLASS
from .timing import Ratio, clock_for, interleaved
from .workload import counted, photos

COUNTS = (1, 2, 4, 8, 16, 32, 64)
FIRST, LAST = "conv1.7x7_s2", "loss3.classifier"
RESULTS = Path(__file__).with_name("experts.json")
CUTS = {"inception_5b": 15.0, "inception_4c": 3.0}
KEPT = 64
# The blocks that pruning changes, from the one that makes the channels to the one that takes them. They are a small
# part of the whole net, where their gain drowns in the noise of a shared machine: that ratio has no bar.
CHANGED = {"inception_5b": ("inception_5b", "pool5", "loss3"), "inception_4c": ("inception_4c", "inception_4d")}
BLOCKS = {"inception_5b": 1.5, "inception_4c": 1.2}


@dataclass(frozen=True)
class Job:
    """Something slow divided by something that should be faster, and how many times as fast it should be."""

    name: str
    what: str
    slow: Callable[[], object]
    fast: Callable[[], object]
    bar: float | None
    same: Callable[[Any, Any], bool]


def main(threads: int, tuned: bool, quick: bool) -> int:
    """The suite: a table, and experts.json after a full run."""
    try:
        net = inf.zoo.load("googlenet")
    except InputError as error:
        print(f"googlenet: skipped. {error}")
        return 0
    torch.set_num_threads(threads)
    size, rounds = (2, 1) if quick else (8, 3)
    print(
        f"{threads} thread(s), {rounds} rounds in turns after a warm-up, glibc's malloc "
        f"{'tuned' if tuned else 'as it comes'}, {size} photos, grid of {len(COUNTS)} x {len(COUNTS)}\n"
        "ratio: median [min-max] of slow / fast; A/A: the slow one timed twice; samples through the first layer and "
        f"through the last\n\n{'job':<26} {'ratio':<22} {'A/A':<18} {'slow':<12} {'fast':<12} bar"
    )
    # One run of a net is short, and noisy.
    todo = jobs(net, photos(net, size))
    found = [_measured(net, job, rounds if "grid" in job.name else 7 * rounds, threads) for job in todo]
    if not quick:
        record = {"torch": torch.__version__, "threads": threads, "malloc tuned": tuned, "jobs": found}
        RESULTS.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten: benchmarks/{RESULTS.name}")
    return 0


def jobs(net: inf.Net, x: Tensor) -> list[Job]:
    """The comparisons: for each cut the grid, and the pruned net beside its parent and beside its mask."""
    found = []
    for cut, bar in CUTS.items():
        at, of = f"{cut}/channel", inf.Class(CLASS)
        influence = inf.influence(net, at, of, inf.Point(x), chunk=len(x)).values.mean(0)
        data = [(x, torch.arange(len(x)) % 2 * CLASS)]

        def grid(at: str = at, data: Any = data, influence: Tensor = influence) -> Grid:
            return sweep(net, at, data, inf.Class(CLASS), COUNTS, COUNTS, influence=influence, chunk=256)

        units = grid().units
        cells = [unit for row in units for unit in row]
        found.append(
            Job(
                f"{cut} grid", f"the whole masked net for each of {len(cells)} cells / one sweep",
                lambda cut=cut, cells=cells, data=data: one_by_one(net.module, cut, cells, data), grid, bar,
                lambda slow, fast: bool(torch.equal(slow, fast.counts.tp.flatten())),
            )
        )  # fmt: skip
        mask = inf.Mask(at, influence.abs().topk(KEPT).indices)
        nets = {"parent": net.module, "masked": inf.compress(net, mask, x[:1]), "pruned": inf.prune(net, mask)}
        h = inf.activations(net, f"{cut}:in", x)
        parts = {name: nn.Sequential(*map(one.get_submodule, CHANGED[cut])) for name, one in nets.items()}
        kept = f"the same pruned to {KEPT} channels, {len(x)} photos"
        found += [
            Job(f"{cut} changed", f"{' and '.join(CHANGED[cut])} / {kept}", _run(parts["parent"], h),
                _run(parts["pruned"], h), BLOCKS[cut], _any),
            Job(f"{cut} masked", f"{' and '.join(CHANGED[cut])} under the mask / {kept}", _run(parts["masked"], h),
                _run(parts["pruned"], h), BLOCKS[cut], _close),
            Job(f"{cut} whole net", f"the whole net / {kept}", _run(net.module, x), _run(nets["pruned"], x), None,
                _any),
        ]  # fmt: skip
    return found


def one_by_one(net: nn.Module, cut: str, cells: Sequence[tuple[int, ...]], data: Any) -> Tensor:
    """What a sweep saves: the whole net, with a hook that silences channels, for each cell; its true positives."""
    counts = []
    for units in cells:
        with net.get_submodule(cut).register_forward_hook(_only(units)), torch.no_grad():
            counts.append(sum(int((says(net(x), CLASS) & (label == CLASS)).sum()) for x, label in data))
    return torch.tensor(counts)


def _only(units: Sequence[int]) -> Callable[..., Tensor]:
    def hook(module: nn.Module, args: object, y: Tensor) -> Tensor:
        kept = torch.zeros(1, y.shape[1], 1, 1)
        kept[:, list(units)] = 1
        return y * kept

    return hook


def _run(net: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with torch.no_grad():
            return net(x)

    return run


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() < 1e-5 * a.abs().max())


def _any(a: object, b: object) -> bool:
    return True


def _measured(net: inf.Net, job: Job, rounds: int, threads: int) -> dict[str, Any]:
    """Count the samples of both, see that they say the same, then time them and the slow one once more."""
    samples = []
    for side in (job.slow, job.fast):
        with counted(net.module.get_submodule(FIRST)) as first, counted(net.module.get_submodule(LAST)) as last:
            samples.append((side(), first.forward, last.forward))
    if not job.same(samples[0][0], samples[1][0]):
        raise RuntimeError(f"{job.name}: the two sides do not say the same.")
    both = {"slow": job.slow, "fast": job.fast, "slow again": job.slow}
    times = interleaved(both, rounds, clock_for(threads))
    ratio, control = Ratio.of(times["slow"], times["fast"]), Ratio.of(times["slow again"], times["slow"])
    verdict = "no bar" if job.bar is None else f">= {job.bar:.2f} {'met' if ratio.median >= job.bar else 'MISSED'}"
    ran = [f"{first} + {last}" if last else "" for _, first, last in samples]  # of nets that are not the parent, none
    print(f"{job.name:<26} {ratio!s:<22} {control!s:<18} {ran[0]:<12} {ran[1]:<12} {verdict}")
    print(f"    {job.what}", flush=True)
    return {
        "name": job.name, "what": job.what, "ratio": asdict(ratio), "same job twice": asdict(control),
        "samples first and last": ran, "bar": job.bar, "met": None if job.bar is None else ratio.median >= job.bar,
    }  # fmt: skip
