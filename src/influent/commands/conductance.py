"""`influent conductance PHOTO`: how a score flows through every layer."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from .options import PHOTO, add_net, add_path, request_of, settings
from .terminal import Bar, print_place


def declare(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser(
        "conductance", help="how a score flows through every layer: a table, out of one sweep",
        description="Total conductance of every unit at every place that all paths cross, with the gap at each.",
        epilog="example: influent conductance cat.jpg --net googlenet --over 'Line(tol=0.01, n=513)'",
    )  # fmt: skip
    command.add_argument("photo", metavar="PHOTO", help=PHOTO)
    add_net(command)
    command.add_argument("--at", help="which layers: inception_3a/channel,inception_4c/channel (default: the trunk)")
    command.add_argument("--of", help="which behaviour (default: the predicted class)")
    add_path(command, "flow-PHOTO")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """A line for each layer, then each in words."""
    from influent.explain import PAGE, conductance_of_photo
    from influent.views.layers import COLUMNS, layer_row
    from influent.views.text import aligned

    started = time.perf_counter()
    chosen = settings(options)
    photo, request = request_of(options, chosen)
    out = Path(chosen["out"] or f"flow-{Path(photo.name).stem}")
    with Bar() as progress:
        made = conductance_of_photo(request, photo, out, progress)
    print(f"{request.name} on {photo.name}: {made.title}\n")
    print(*aligned([COLUMNS, *(layer_row(a, request.top) for a in made.found)]), sep="\n")
    print("", *(a.sentence(request.top) for a in made.found), sep="\n")
    if made.beginning is not None:
        print(f"\nbaseline: {made.beginning}")
    print_place(out / PAGE, started)
    return 0
