"""`influent saturation PHOTO`: score and gradients on the way from a baseline to a photo."""

from __future__ import annotations

import argparse
import time
from itertools import zip_longest
from pathlib import Path
from typing import Any

from influent.errors import InputError

from .options import PHOTO, add_execution, add_net, find_photo, load_net, settings
from .terminal import Bar, print_place


def declare(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser(
        "saturation", help="score and gradients on the way from black to a photo: curves, a table, a film",
        description="Where the score no longer changes its gradients are small: how small, and from where on.",
        epilog="example: influent saturation cat.jpg --net googlenet --at inception_3a,inception_4c",
    )  # fmt: skip
    command.add_argument("photo", metavar="PHOTO", help=PHOTO)
    add_net(command, several=True)
    command.add_argument(
        "--at", action="append",
        help="which places beside the input: conv1,inception_4c (default: three of the trunk); given again: for the "
        "next net",
    )  # fmt: skip
    command.add_argument("--of", help="which score (default: probability and logit of the predicted class)")
    command.add_argument(
        "--baseline", metavar="NAME", help="where the way begins: black (default), white, grey, mean, blur, or a photo"
    )
    command.add_argument("--n", type=int, default=51, help="steps of the way, both ends counted (default 51)")
    add_execution(command, "saturation-PHOTO")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """For each net its scores in words, and a table."""
    started = time.perf_counter()
    chosen = settings(options)
    names, ats = options.net or [chosen["net"]], options.at or []
    if len(ats) > len(names):
        raise InputError(f"--at is given {len(ats)} times for {len(names)} net(s). Join places with commas: --at A,B.")
    photo = find_photo(options.photo)

    from influent.explain import PAGE
    from influent.reports import Way, saturation_lines, saturation_of_photo

    nets = [(name, load_net(chosen | {"net": name}), at) for name, at in zip_longest(names, ats)]
    out = Path(chosen["out"] or f"saturation-{Path(photo.name).stem}")
    way = Way(chosen["baseline"] or "black", options.n, chosen["of"], chosen["chunk"])
    with Bar() as progress:
        made = saturation_of_photo(nets, photo, out, way, progress)
    print(*saturation_lines(photo.name, made), sep="\n")
    print_place(out / PAGE, started)
    return 0
