"""`influent shared FOLDER`: units of high conductance on photos of different labels."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from influent.errors import InputError

from .options import add_execution, add_net, load_net, settings
from .terminal import Bar, print_place


def declare(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser(
        "shared", help="units that the scores of different labels flow through, over a folder of photos",
        description="Units of high conductance on photos of different predicted classes, and what else fires them.",
        epilog="example: influent shared zoo/ --outside holiday/ --net googlenet --at inception_3a,inception_4c",
    )  # fmt: skip
    command.add_argument("folder", metavar="FOLDER", help="photos, right in the folder")
    command.add_argument(
        "--outside", metavar="FOLDER", help="photos to look for what else fires a unit (default: those of FOLDER)"
    )
    add_net(command)
    command.add_argument("--at", help="which layers: inception_3a,inception_4c (default: the net's own middle layer)")
    command.add_argument(
        "--baseline", metavar="NAME", help="where lines begin: black (default), white, grey, mean, blur"
    )
    command.add_argument("--n", type=int, default=33, help="points of each line (default 33)")
    command.add_argument("--top", type=int, help="how many units of each photo count (default 3)")
    add_execution(command, "shared-FOLDER")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """A table of shared units; exit code 1 where some photos could not be read."""
    started = time.perf_counter()
    chosen = settings(options)
    folder, outside = Path(options.folder), options.outside and Path(options.outside)
    for place in (folder, outside):
        if place and not place.is_dir():
            raise InputError(f"{place} is no folder, and units are shared by photos of one: influent shared zoo/")

    from influent.explain import PAGE
    from influent.reports import Survey, shared_lines, shared_of_folder

    survey = Survey(
        load_net(chosen), chosen["net"], chosen["at"], chosen["baseline"] or "black", options.n, chosen["top"],
        chosen["chunk"],
    )  # fmt: skip
    out = Path(chosen["out"] or f"shared-{folder.resolve().name}")
    with Bar() as progress:
        made = shared_of_folder(survey, folder, outside, out, progress)
    for name, failure in made.failures:
        print(f"{name}: {failure}", file=sys.stderr)
    print(*shared_lines(made), sep="\n")
    print_place(out / PAGE, started)
    return 1 if made.failures else 0
