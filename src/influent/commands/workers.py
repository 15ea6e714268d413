"""Commands over a folder that several workers share: a share of the shards, processes of this machine, or Ray."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from influent.errors import InfluentError, InputError

COMMAND = "command.json"
ENGINES = ("processes", "ray")
WHOLE = "--whole"
_OWN = ("--shard", "--workers", "--engine")


def add_workers(command: argparse.ArgumentParser) -> None:
    """The options that say who computes."""
    command.add_argument(
        "--shard", metavar="I/N", help="compute this share of the data alone, 0/4 to 3/4; then: influent merge DIR"
    )
    command.add_argument(
        "--workers", type=int, metavar="N", help="so many workers at once (default: this process alone)"
    )
    command.add_argument(
        "--shard-size", type=int, default=256, metavar="N", help="images of a part that is kept by itself (default 256)"
    )
    command.add_argument(
        "--threads", type=int, metavar="N",
        help="threads of each process (default: 1 for several workers, else torch's): other ones, other last bits",
    )  # fmt: skip
    command.add_argument("--engine", choices=ENGINES, default="processes", help="processes of this machine, or ray")
    command.add_argument(WHOLE, action="store_true", help=argparse.SUPPRESS)


def check_workers(options: argparse.Namespace) -> None:
    """Refuse words that make no sense together, before anything is touched. Errors: `InputError`."""
    from influent.shards import Share

    if options.shard is not None:
        Share.parse(options.shard)
        if options.workers is not None:
            raise InputError("--shard is one worker's share, and --workers several workers. Drop one of the two.")
    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers {options.workers}: give 1 or more.")
    if options.threads is not None and options.threads < 1:
        raise InputError(f"--threads {options.threads}: give 1 or more.")
    if options.engine == "ray" and options.workers is None:
        raise InputError("--engine ray: say how many workers, --workers 4 --engine ray.")


def set_threads(options: argparse.Namespace, ledger: Path) -> None:
    """The threads that are asked for; else those of the shards that are there; else 1 for several workers."""
    import torch

    several = options.shard is not None or options.workers is not None
    wanted = options.threads or _begun_with(ledger) or (1 if several else None)
    if wanted is not None:
        torch.set_num_threads(wanted)


def _begun_with(ledger: Path) -> int | None:
    """The threads of the shards in a folder; None where there is none."""
    from influent.ledger import QUESTION

    try:
        told = json.loads((ledger / QUESTION).read_text(encoding="utf-8"))
        return int(told["threads"]) if any(ledger.glob("blocks-*")) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ledger_of(out: Path) -> Path:
    """Where the shards of a result are kept until it stands."""
    return out.expanduser().absolute().with_name(f"{out.name}.shards")


def note_command(folder: Path, arguments: Sequence[str]) -> None:
    """Write down what was asked, without who computes it: `influent merge` asks it again."""
    from influent.atomic import write_whole

    told = {"words": list(arguments), "folder": os.getcwd()}
    write_whole(folder / COMMAND, (json.dumps(told) + "\n").encode())


def without(arguments: Sequence[str]) -> list[str]:
    """A command's words without those that say who computes."""
    kept: list[str] = []
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word in _OWN:
            skip = True
        elif word == WHOLE:
            continue
        elif not word.startswith(tuple(f"{own}=" for own in _OWN)):
            kept.append(word)
    return kept


def added(words: Sequence[str], *more: str) -> list[str]:
    """A command's words with more options, right behind its name: what follows `--` is no option."""
    return [*words[:1], *more, *words[1:]]


def compute(options: argparse.Namespace, work: Any, make: Any, progress: Any) -> bool:
    """Let the workers that are asked for compute shards; whether the result is still to be put together here."""
    from influent.shards import Share

    if options.shard is not None:
        for start, stop in work.share(Share.parse(options.shard)):
            work.compute(start, stop)
        missing = work.missing()
        left = sum(stop - start for start, stop in missing)
        print(f"{work.blocks - left} of {work.blocks} blocks are in {work.ledger.folder}")
        return False
    if options.whole:
        work.check_whole()
    elif options.workers is not None and options.engine == "ray":
        import torch

        from influent.cluster import compute as on_ray

        gpus = 1 if str(options.device or "cpu").startswith("cuda") else 0
        threads = torch.get_num_threads()
        on_ray(make, work.missing(), options.workers, threads=threads, gpus=gpus, progress=progress)
    elif options.workers is not None and options.workers > 1:
        _processes(options, work, progress)
    return True


def _processes(options: argparse.Namespace, work: Any, progress: Any) -> None:
    """A process for each share; what one of them leaves, the command itself does afterwards."""
    count, words = options.workers, without(options.arguments)
    done = sum(b - a for a, b in work.ledger.ranges())
    command = [sys.executable, "-m", "influent"]
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
        running = [
            subprocess.Popen(
                [*command, *added(words, "--shard", f"{k}/{count}")], stdout=subprocess.DEVNULL, stderr=file
            )
            for k, file in enumerate(files)
        ]
        try:
            while any(process.poll() is None for process in running):
                time.sleep(0.2)
                now = sum(b - a for a, b in work.ledger.ranges())
                progress((now - done) * work.stream.data.block)
                done = now
        finally:
            for process in running:
                if process.poll() is None:
                    process.terminate()
            codes = [process.wait() for process in running]
        for code, file in zip(codes, files, strict=True):
            file.seek(0)
            lines = [
                line for line in file.read().decode(errors="replace").splitlines() if line.startswith("influent: ")
            ]
            if code == 1 and lines:
                raise InfluentError(lines[-1].removeprefix("influent: "))
    failed = sum(code != 0 for code in codes)
    if failed:
        print(f"note: {failed} of {count} workers ended early; their shards are done here", file=sys.stderr)
