"""`influent essence FOLDER`: the units that are the essence of each class of a folder of images."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

from .options import add_execution, add_net, check_apart, load_net, settings
from .terminal import Bar, print_place
from .workers import add_workers, added, check_workers, compute, ledger_of, note_command, set_threads, without


def declare(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser(
        "essence", allow_abbrev=False,
        help="the units that are the essence of each class, over a folder of images by class",
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
    add_workers(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """The top units of each class, a line each; exit code 1 where some images could not be read."""
    started = time.perf_counter()
    check_workers(options)
    chosen = settings(options)

    from influent.essences import essence_lines, essence_of_folder
    from influent.explain import PAGE
    from influent.ledger import Ledger
    from influent.samples import Folder
    from influent.store import check_ours

    folder = Folder.at(options.folder)
    survey = survey_of(chosen, options.until, options.examples)
    out = Path(chosen["out"] or f"essence-{folder.path.resolve().name}")
    check_apart(out, folder.path)
    check_ours(out)
    ledger = Ledger(ledger_of(out), {})
    set_threads(options, ledger.folder)
    with Bar(len(folder.files), "images") as progress, ledger.kept_until_done(options.shard is None):
        work = survey.work(folder, ledger.folder, progress, options.shard_size)
        if not options.whole:
            note_command(ledger.folder, added(without(options.arguments), "--out", str(out.absolute())))
        # On another machine this folder is not the current one, and a worker's one GPU has the number 0.
        there = {key: _found(value) for key, value in chosen.items()} | {"device": chosen["device"].split(":")[0]}
        place = str(folder.path.resolve())
        make = partial(work_of, there, options.until, options.examples, place, ledger.folder, options.shard_size)
        if not compute(options, work, make, progress):
            return 0
        told = None if options.workers else progress
        made = essence_of_folder(survey, folder, out, told, ledger.folder, options.shard_size)
    print(*essence_lines(made), sep="\n")
    print_place(out / PAGE, started)
    return 1 if made.influence.left_out else 0


def _found(value: Any) -> Any:
    """A word of the settings; where it names a file, from the root on."""
    return str(Path(value).resolve()) if isinstance(value, str) and Path(value).is_file() else value


def survey_of(chosen: dict[str, Any], until: str | None, examples: int) -> Any:
    """What is asked, with the net loaded."""
    from influent.essences import Survey

    return Survey(
        load_net(chosen), chosen["net"], chosen["at"], chosen["of"], until, chosen["top"], examples, chosen["chunk"]
    )  # fmt: skip


def work_of(chosen: dict[str, Any], until: str | None, examples: int, folder: str, ledger: Path, size: int) -> Any:
    """The same work in another process, on this machine or another."""
    from influent.samples import Folder

    return survey_of(chosen, until, examples).work(Folder.at(folder), ledger, size=size)
