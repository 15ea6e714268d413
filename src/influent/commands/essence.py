"""`influent essence FOLDER`: the units that are the essence of each class of a folder of images."""

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
        "essence", help="the units that are the essence of each class, over a folder of images by class",
        description="Mean influence of units on the score of each class, over its images: all classes in one pass.",
        epilog="""example: influent essence animals/ --net googlenet --until "Until(top=10, overlap=0.9)" """,
    )  # fmt: skip
    command.add_argument(
        "folder", metavar="FOLDER", help="a folder of images for each class, or labels.tsv with the columns file, label"
    )
    add_net(command)
    command.add_argument("--at", help="which units: a cut such as inception_4c/channel (default: the net's own layer)")
    command.add_argument("--of", help="which behaviour (default: Label(), the score of the image's own class)")
    command.add_argument("--top", type=int, help="how many units of each class are shown (default 3)")
    command.add_argument("--examples", type=int, default=4, help="images kept for each unit (default 4)")
    command.add_argument("--until", help='stop when the top units are stable: "Until(top=20, overlap=0.9)"')
    add_execution(command, "essence-FOLDER")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """The top units of each class, a line each; exit code 1 where some images could not be read."""
    started = time.perf_counter()
    chosen = settings(options)

    from influent.essences import Survey, essence_lines, essence_of_folder
    from influent.explain import PAGE
    from influent.samples import Folder

    folder = Folder.at(options.folder)
    survey = Survey(
        load_net(chosen), chosen["net"], chosen["at"], chosen["of"], options.until, chosen["top"], options.examples,
        chosen["chunk"],
    )  # fmt: skip
    out = Path(chosen["out"] or f"essence-{folder.path.resolve().name}")
    with Bar(len(folder.files), "images") as progress:
        made = essence_of_folder(survey, folder, out, progress)
    print(*essence_lines(made), sep="\n")
    print_place(out / PAGE, started)
    return 1 if made.influence.left_out else 0
