"""`influent layers FOLDER`: which layer says most of what the net decides, which units, and back to the picture."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from influent.errors import InputError

from .options import add_execution, add_net, load_net, settings
from .terminal import Bar, print_place


def declare(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser(
        "layers", help="which layer explains a net's decisions on a folder of images, which units, and their pixels",
        description="Layers ranked by how linear, how spread and how coherent they are; MIM at the layers; DeconvNet.",
        epilog="example: influent layers two-dog-breeds/ --net googlenet --share 0.013",
    )  # fmt: skip
    command.add_argument(
        "folder", metavar="FOLDER", help="a folder of images for each class, or labels.tsv with the columns file, label"
    )
    add_net(command)
    command.add_argument("--at", help="which layers: conv1,inception_4c (default: those that every path crosses)")
    command.add_argument("--criterion", default="accuracy", help="accuracy (default), spread or coherence")
    command.add_argument(
        "--by", default="mim", help="how units are scored: mim (default), activation, influence, conductance"
    )
    command.add_argument("--share", type=float, default=0.013, help="which share of the units (default 0.013)")
    command.add_argument("--photos", type=int, default=2, help="how many images are drawn (default 2)")
    add_execution(command, "layers-FOLDER")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """A table of layers; exit code 1 where some images could not be read."""
    started = time.perf_counter()
    chosen = settings(options)
    if options.photos < 1:
        raise InputError(f"--photos {options.photos}: give 1 or more.")

    from influent.explain import PAGE
    from influent.samples import Folder
    from influent.strata import Survey, layers_of_folder, strata_lines

    folder = Folder.at(options.folder)
    survey = Survey(
        load_net(chosen), chosen["net"], chosen["at"], options.criterion, options.by, options.share, options.photos,
        chosen["chunk"],
    )  # fmt: skip
    out = Path(chosen["out"] or f"layers-{folder.path.resolve().name}")
    with Bar(2 * len(folder.files), "images") as progress:
        made = layers_of_folder(survey, folder, out, progress)
    print(*strata_lines(made), sep="\n")
    print_place(out / PAGE, started)
    return 1 if made.table.left_out else 0
