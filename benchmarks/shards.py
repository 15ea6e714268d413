"""Shards: what the ledger costs, what a kill loses, and what it takes to add up very many of them."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import influent as inf
from influent.errors import InputError
from influent.ledger import Ledger, Shard, read_shard, write_shard
from influent.partial import Fold, Moments, Node, Partial, Row
from influent.samples import Folder

from .essence import images
from .timing import Ratio, clock_for, interleaved

RESULTS = Path(__file__).with_name("shards.json")
LAYER, CHUNK, EACH, OVERHEAD = "inception_4c/channel", 16, 50, 0.03
KILLS, KILLS_QUICK = 20, 3
SIZES = [
    (10**3, 10**2, 10), (10**3, 10**2, 100), (10**3, 10**3, 10), (10**3, 10**4, 10), (10**4, 10**3, 10),
    (10**4, 10**4, 10),
    (10**4, 10**2, 100), (10**5, 10**2, 10), (10**6, 10, 10),
]  # fmt: skip
"""Units, shards and best examples of the simulated merges."""

NET = """
import time, torch, influent as inf
from torch import nn

def slow():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)).eval()
    net[1].register_forward_hook(lambda *_: time.sleep(0.02))
    pixels = inf.PixelTransform((0.0,) * 3, (255.0,) * 3, resize=4, crop=4)
    return inf.Net(net, labels=["a", "b"], transform=pixels, layer="1/channel")
"""


def main(threads: int, tuned: bool, quick: bool) -> int:
    """The suite: overhead, kills, merges, and shards.json after a full run."""
    torch.set_num_threads(threads)
    found: dict[str, Any] = {"threads": threads, "malloc tuned": tuned}
    try:
        found["overhead"] = overhead(threads, quick)
    except InputError as error:
        print(f"overhead: skipped. {error}")
    found["threads change a bit"] = threads_change_a_bit()
    if "overhead" in found:
        found["seconds an image"] = found["overhead"].pop("seconds an image")
    found["kills"] = [kills(who, KILLS_QUICK if quick else KILLS) for who in ("worker", "driver")]
    sizes = SIZES[:2] if quick else SIZES
    found["merge"] = [_alone(*size) for size in sizes]
    if not quick:
        RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten: benchmarks/{RESULTS.name}")
    return 0


def overhead(threads: int, quick: bool) -> dict[str, Any]:
    """What a ledger costs, in shards of 50 images: time inside it by all else; and passes with one by passes without.

    The first is what is held against the bar: the second is as noisy as one pass beside itself.
    """
    net = inf.zoo.load("googlenet")
    many, few = images(100 if quick else 1500), images(100 if quick else 200)

    def run(folder: Folder, ledger: bool) -> Callable[[], object]:
        data = inf.Dataset(folder, examples=4, block=EACH)

        def job() -> object:
            with tempfile.TemporaryDirectory() as place:
                where = Path(place) / "parts" if ledger else None
                return inf.influence(net, LAYER, inf.Label(), data, chunk=CHUNK, ledger=where, shard=1)

        return job

    jobs = {"ledger": run(few, True), "none": run(few, False), "none again": run(few, False)}
    times = interleaved(jobs, 1 if quick else 3, clock_for(threads))
    ratio, control = (Ratio.of(times[name], times["none"]) for name in ("ledger", "none again"))
    began = time.perf_counter()
    with _timed(Ledger, "begin", "keep", "plan") as spent:
        run(many, True)()
    whole, inside = time.perf_counter() - began, sum(spent)
    share = inside / (whole - inside)
    verdict = "met" if share <= OVERHEAD else "MISSED"
    print(f"overhead  {share:.2%} of the work is the ledger's, {len(many.files)} images, shards of {EACH}  "
          f"<= {OVERHEAD:.0%} {verdict}")  # fmt: skip
    print(f"          passes with / without: {ratio} A/A {control}, {len(few.files)} images")
    return {
        "share": share, "images": len(many.files), "ratio": asdict(ratio), "same job twice": asdict(control),
        "seconds an image": (whole - inside) / len(many.files),
    }  # fmt: skip


@contextmanager
def _timed(kind: type, *names: str) -> Iterator[list[float]]:
    """The seconds of each call of some methods."""
    spent: list[float] = []

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began = time.perf_counter()
            found = method(*arguments)
            spent.append(time.perf_counter() - began)
            return found

        return call

    before = {name: getattr(kind, name) for name in names}
    for name, method in before.items():
        setattr(kind, name, timed(method))
    try:
        yield spent
    finally:
        for name, method in before.items():
            setattr(kind, name, method)


def threads_change_a_bit() -> bool:
    """Whether one thread and two give other bits, on the net that comes with its weights."""
    net = inf.zoo.load("efficientnet-lite0")
    x = torch.randn(4, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    data, before, found = inf.Dataset([(x, torch.arange(4) % 2)]), torch.get_num_threads(), []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(inf.influence(net, net.layer, inf.Label(), data).values)
    torch.set_num_threads(before)
    changed = not torch.equal(*found)
    print(f"threads   1 and 2 give {'other' if changed else 'the same'} bits")
    return changed


def _alone(units: int, shards: int, top: int) -> dict[str, Any]:
    """A merge in a process of its own, so that its peak memory is its own."""
    code = f"from benchmarks.shards import merge; merge({units}, {shards}, {top})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    what = f"merge     {shards:>6} shards of {units:>7} units, top {top:>3}: {found['bytes'] / 2**20:8.2f} MiB each"
    each = f"{1000 * found['seconds'] / shards:7.2f} ms a shard, {found['MiB more']:6.0f} MiB more"
    print(f"{what}, {found['seconds']:7.2f} s, {each}", flush=True)
    return found


def kills(who: str, count: int) -> dict[str, Any]:
    """A run in two processes, ended by SIGKILL at random moments until it is through: a worker of it, or all of it."""
    dice = random.Random(who)
    with tempfile.TemporaryDirectory() as place:
        root = _furnished(Path(place))
        words = ["essence", "photos", "--net", "own:slow", "--shard-size", "32", "--threads", "1"]
        run = [sys.executable, "-m", "influent", *words]
        quiet: dict[str, Any] = {"cwd": root, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*run, "--out", "whole"], check=True, **quiet)
        lost = again = half = killed = 0
        kept: dict[str, int] = {}
        while killed < count:
            if not kept:
                shutil.rmtree(root / "made.shards", ignore_errors=True)
            process = subprocess.Popen([*run, "--workers", "2", "--out", "made"], start_new_session=True, **quiet)
            time.sleep(dice.uniform(4, 7))
            if process.poll() is None:
                killed += 1
                if who == "driver":
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                else:
                    victim = _child(process.pid, dice)
                    killed -= victim is None
                    if victim is not None:
                        os.kill(victim, signal.SIGKILL)
                    process.wait()
            here = {f.name: f.stat().st_mtime_ns for f in (root / "made.shards").glob("blocks-*")}
            done = (root / "made").exists()
            lost += 0 if done else sum(name not in here for name in kept)
            again += sum(here.get(name, at) != at for name, at in kept.items())
            half += sum(not _whole(root / "made.shards" / name) for name in here)
            kept = {} if done else here
            if done:
                same = _numbers(root / "made") == _numbers(root / "whole")
                lost += not same
                shutil.rmtree(root / "made")
        subprocess.run([*run, "--out", "made"], check=True, **quiet)
        same = _numbers(root / "made") == _numbers(root / "whole")
    print(f"kills     {who}: {killed} times SIGKILL, {lost} shards lost, {again} written twice, {half} half-written; "
          f"the result is {'the same to the last bit' if same else 'ANOTHER'}")  # fmt: skip
    return {"who": who, "kills": killed, "lost": lost, "written twice": again, "half": half, "same bits": same}


def _furnished(root: Path) -> Path:
    """A folder with a slow net, and 1280 small images of two classes."""
    (root / "own.py").write_text(NET)
    for name in ("a", "b"):
        (root / "photos" / name).mkdir(parents=True)
        for k in range(640):
            Image.new("RGB", (4, 4), (k % 256, 90, 10)).save(root / "photos" / name / f"{k}.png")
    return root


def _child(pid: int, dice: random.Random) -> int | None:
    """One of the processes that a process started; None where it has none left."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    pids = children.read_text().split() if children.exists() else []
    return int(dice.choice(pids)) if pids else None


def _whole(file: Path) -> bool:
    try:
        read_shard(file, {})
    except inf.StoreError:
        return False
    return True


def _numbers(folder: Path) -> bytes:
    return b"".join((folder / name / "values.safetensors").read_bytes() for name in (".", "activation"))


def merge(units: int, shards: int, top: int) -> dict[str, Any]:
    """Time and memory of adding up `shards` files of `units` units with `top` examples each; one file, read again."""
    dice = torch.Generator().manual_seed(0)

    def moments() -> Moments:
        total = torch.randn(units, generator=dice, dtype=torch.float64)
        index = torch.arange(top)[:, None].expand(top, units).contiguous()
        return Moments(50, 50.0, 50.0, total, total**2, index, torch.randn(top, units, generator=dice))

    row = Row({(0, 0, 0): moments()}, torch.zeros(1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))
    partial = Partial({0: row}, {}, {k: f"class/{k}.jpg" for k in range(top)}, 50)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "shard"
        write_shard(Shard(0, 1, (Node(0, 0, partial),)), file, {"of": "Label()"})
        size = file.stat().st_size
        read_shard(file, {"of": "Label()"})
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        fold = Fold()
        for k in range(shards):
            (node,) = read_shard(file, {"of": "Label()"}).nodes
            fold.extend([Node(0, k, node.partial)])
        samples = fold.total.samples
    seconds = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    found = {"units": units, "shards": shards, "top": top, "bytes": size, "seconds": seconds, "MiB more": grown}
    print(json.dumps(found | {"samples": samples}))
    return found
