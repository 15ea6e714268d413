"""`influent experts FOLDER`: class experts, cut out of a net by the influence of its units."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from influent.errors import InputError

from .options import add_execution, add_net, check_apart, load_net, settings
from .terminal import Bar, print_place

COUNTS = "5,10,20,50,100,200"


def declare(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser(
        "experts", help="does the net know a class better with only the units that matter to it?",
        description="Keep the alpha most positive and the beta most negative units of each class; chosen on one half "
        "of the images, reported on the other.",
        epilog="""example: influent experts animals/ --net googlenet --at inception_5b --class tabby --class tench""",
    )  # fmt: skip
    command.add_argument(
        "folder", metavar="FOLDER", help="a folder of images for each class, or labels.tsv with the columns file, label"
    )
    add_net(command)
    command.add_argument(
        "--class", dest="classes", action="append", metavar="NAME", help="only this class; given again: these"
    )
    command.add_argument("--at", help="which units: a cut such as inception_5b/channel (default: the net's own layer)")
    command.add_argument("--alphas", default=COUNTS, metavar="N,N", help=f"positive units kept (default {COUNTS})")
    command.add_argument("--betas", default=f"0,{COUNTS}", metavar="N,N", help=f"negative units (default 0,{COUNTS})")
    command.add_argument(
        "--criterion", default="recall",
        help="recall (default: best at no less precision than the net's), relaxed (whatever the precision), or f1",
    )  # fmt: skip
    command.add_argument(
        "--shard", metavar="I/N", help="this share of the work alone, 0/4 to 3/4, in three rounds; then without --shard"
    )
    add_execution(command, "experts-FOLDER")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Recall and precision of the net and of each expert, on the half that did not choose it."""
    started = time.perf_counter()
    chosen = settings(options)
    alphas, betas = _numbers("--alphas", options.alphas), _numbers("--betas", options.betas)

    from influent.explain import PAGE
    from influent.samples import Folder
    from influent.shards import Share
    from influent.specialists import Search, expert_lines, experts_of_folder, share_of_experts

    folder = Folder.at(options.folder)
    search = Search(
        load_net(chosen), chosen["net"], chosen["at"], tuple(options.classes or ()), alphas, betas, options.criterion,
        chosen["chunk"],
    )  # fmt: skip
    out = Path(chosen["out"] or f"experts-{folder.path.resolve().name}")
    check_apart(out, folder.path)
    if options.shard is not None:
        with Bar(search.passes(folder), "images") as progress:
            said = share_of_experts(search, folder, out, Share.parse(options.shard), progress)
        print(said)
        return 0
    with Bar(search.passes(folder), "images") as progress:
        made = experts_of_folder(search, folder, out, progress)
    print(*expert_lines(made), sep="\n")
    print_place(out / PAGE, started)
    return 0


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers between commas."""
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise InputError(f"{option} {text}: give numbers of units between commas, {option} {COUNTS}.")
    return tuple(dict.fromkeys(int(part) for part in parts))
