"""`influent debug FOLDER`: why a net fails on a folder of images by class, on one page."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from .options import add_execution, add_net, load_net, settings
from .terminal import Bar, print_place


def declare(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser(
        "debug", help="why does the net fail? classes never learned, experts that drown, mistakes by their cause",
        description="One pass over labelled images, then a closer look at the classes that are hardly found and at "
        "the worst confusions. Each finding comes with its statistic, its threshold, and what to try next.",
        epilog="""example: influent debug animals/ --net googlenet --at inception_5b""",
    )  # fmt: skip
    command.add_argument(
        "folder", metavar="FOLDER", help="a folder of images for each class, or labels.tsv with the columns file, label"
    )
    add_net(command)
    command.add_argument("--at", help="which units: a cut such as inception_5b/channel (default: the net's own layer)")
    add_execution(command, "debug-FOLDER")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """The report as text, and where its page is; exit code 1 where some images could not be read."""
    started = time.perf_counter()
    chosen = settings(options)

    from influent.debugging import Patient, debug_folder
    from influent.explain import PAGE
    from influent.samples import Folder

    folder = Folder.at(options.folder)
    patient = Patient(load_net(chosen), chosen["net"], chosen["at"], chosen["chunk"])
    out = Path(chosen["out"] or f"debug-{folder.path.resolve().name}")
    bar = Bar(len(folder.files), "images")
    with bar as progress:
        report = debug_folder(patient, folder, out, progress, bar.plan)
    print(report)
    print_place(out / PAGE, started)
    return 1 if report.left_out else 0
