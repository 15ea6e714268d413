"""Shards on Ray: workers that load the net once each, on one machine or on many; what is lost is done again.

The ledger of shards is what counts, in a folder that all machines see: Ray places the work, restarts workers that die
and gives their shards to others, and nothing that a worker says is needed for the result.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .errors import InfluentError, InputError
from .shards import Work

PATIENCE = 1800.0
"""Seconds without a finished shard after which a run gives up, or twenty times what a shard has taken."""
Made = Callable[[], Work]
Progress = Callable[[int], None]


class Worker:
    """What a Ray actor holds: one net, one ledger, shard after shard."""

    def __init__(self, make: Made, threads: int) -> None:
        torch.set_num_threads(threads)
        self.work = make()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The shards of one batch, each a range of blocks, but for those that are there already."""
        samples = []
        for start, stop in zip(batch["start"].tolist(), batch["stop"].tolist(), strict=True):
            there = self.work.ledger.file(start, stop).exists()
            samples.append(0 if there else self.work.compute(start, stop))
        return {**batch, "samples": samples}


def compute(
    make: Made, ranges: Sequence[tuple[int, int]], workers: int, *, threads: int = 1, gpus: float = 0,
    progress: Progress | None = None, patience: float = PATIENCE,
) -> None:  # fmt: skip
    """Compute ranges of blocks on `workers` Ray actors, each with a CPU for each of its `threads`, and `gpus` GPUs.

    `make` is called once on every actor; it, and the files that it opens, must be found on every machine. Joins the
    cluster that RAY_ADDRESS names, or starts one on this machine. Errors: `InputError` without Ray, and where the
    cluster has not the CPUs or GPUs; `InfluentError` where no shard is finished in `patience` seconds.
    """
    if not ranges:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray's, about itself
        ray = _started(workers * threads)
        _check_room(ray, workers, threads, gpus)
        rows = [{"start": start, "stop": stop} for start, stop in ranges]
        data = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Worker, fn_constructor_args=(make, threads), batch_size=1, compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=threads, num_gpus=gpus or None,
        )  # fmt: skip
    done: queue.Queue[Any] = queue.Queue()

    def run() -> None:
        try:
            for row in data.iter_rows():
                done.put(row)
            done.put(None)
        except Exception as error:
            done.put(error)

    threading.Thread(target=run, daemon=True).start()
    longest = 0.0
    while True:
        began = time.monotonic()
        try:
            # Shards that take long are no sign of anything: the first says how long they take.
            row = done.get(timeout=max(patience, 20 * longest))
            longest = max(longest, time.monotonic() - began)
        except queue.Empty:
            raise InfluentError(
                f"No shard was finished in {patience:.0f} s. Has the cluster room for {workers} workers (ray status), "
                "and do all machines see the folder and the net? Smaller shards (--shard-size) are finished sooner. "
                "What is finished is kept: type the same again."
            ) from None
        if row is None:
            return
        if isinstance(row, Exception):
            raise InfluentError(f"Ray gave up: {_reason(row)} What is finished is kept: type the same again.") from row
        if progress is not None:
            progress(int(row["samples"]))


def _reason(error: Exception) -> str:
    """The last line of what Ray says, which is the error of the worker."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _started(cpus: int) -> Any:
    """Ray, running: the cluster of RAY_ADDRESS, or one of this machine alone, without reports to anybody."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError('Ray is not installed. Type: pip install "influent[ray]"') from None
    if not ray.is_initialized():
        here: dict[str, Any] = {"include_dashboard": False, "num_cpus": max(cpus + 1, os.cpu_count() or 1)}
        where = {"address": "auto"} if os.environ.get("RAY_ADDRESS") else here
        paths = os.pathsep.join(p for p in sys.path if p)
        env = {"env_vars": {"PYTHONPATH": paths, "RAY_USAGE_STATS_ENABLED": "0"}}
        ray.init(log_to_driver=False, runtime_env=env, **where)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray


def _check_room(ray: Any, workers: int, threads: int, gpus: float) -> None:
    """Ray waits without a word for what a cluster has not: say so at once."""
    has = ray.cluster_resources()
    cpus = int(has.get("CPU", 0))
    if workers * threads >= cpus:
        raise InputError(
            f"{workers} workers take {threads} CPU each, and reading the list takes one, but this cluster has {cpus}. "
            f"Type --workers {max(1, (cpus - 1) // threads)}, or add machines: ray start --address=..."
        )
    if gpus * workers > has.get("GPU", 0):
        raise InputError(f"{workers} workers take {gpus:g} GPUs each, and this cluster has {has.get('GPU', 0):g}.")
