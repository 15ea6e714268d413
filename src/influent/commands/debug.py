"""`influent debug FOLDER`: why a net fails on a folder of images by class, on one page."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from .options import add_execution, add_net, check_apart, load_net, settings
from .terminal import Bar, print_place


def declare(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser(
        "debug", help="why does the net fail? classes never learned, experts that drown, mistakes by their cause",
        description="One pass over labelled images, then a closer look at the classes that are hardly found and at "
        "the worst confusions. Each finding comes with its statistic, its threshold, and what to try next. Stopped "
        "half way and started again, it goes on from there.",
        epilog="""example: influent debug held-out/ --train train/ --net my_nets:make --against debug-before""",
    )  # fmt: skip
    command.add_argument(
        "folder", metavar="FOLDER", help="a folder of images for each class, or labels.tsv with the columns file, label"
    )
    add_net(command)
    command.add_argument("--at", help="which units: a cut such as inception_5b/channel (default: the net's own layer)")
    command.add_argument(
        "--train", metavar="FOLDER", help="what the net was trained on: then units that serve there alone are named"
    )
    command.add_argument(
        "--masks", metavar="FOLDER",
        help="a picture for each image of --train (else of FOLDER), white where the object is: then units that look "
        "beside it are named",
    )  # fmt: skip
    command.add_argument(
        "--against", metavar="NET_OR_RESULT",
        help="another net by name, or the folder of an earlier report: what was repaired, and what broke?",
    )  # fmt: skip
    command.add_argument("--against-weights", metavar="FILE", help="weights for the other net")
    command.add_argument(
        "--shard",
        metavar="I/N",
        help="look at this share of the images alone, 0/4 to 3/4; then the same without --shard",
    )
    add_execution(command, "debug-FOLDER")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """The report as text, and where its page is; exit code 1 where some images could not be read."""
    started = time.perf_counter()
    chosen = settings(options)

    from influent.debugging import Patient, debug_folder, share_of_debug
    from influent.explain import PAGE
    from influent.samples import Folder
    from influent.shards import Share
    from influent.store import check_ours

    folder = Folder.at(options.folder)
    patient = Patient(
        load_net(chosen), chosen["net"], chosen["at"], options.train and Folder.at(options.train),
        options.masks and Path(options.masks), _other(options, chosen), chosen["chunk"],
    )  # fmt: skip
    out = Path(chosen["out"] or f"debug-{folder.path.resolve().name}")
    check_apart(out, *(one.path for one in (folder, patient.train) if one), *filter(None, [patient.masks]))
    check_ours(out)
    bar = Bar(len(folder.files) + (len(patient.train.files) if patient.train else 0), "images")
    if options.shard is not None:
        with bar as progress:
            done, place = share_of_debug(patient, folder, out, Share.parse(options.shard), progress)
        print(f"{done} parts are in {place}; when all shares are done, type the same without --shard")
        return 0
    with bar as progress:
        report = debug_folder(patient, folder, out, progress, bar.plan)
    print(report)
    print_place(out / PAGE, started)
    return 1 if report.left_out else 0


def _other(options: argparse.Namespace, chosen: dict[str, Any]) -> Any:
    """The earlier report or the other net, with its name; None where nothing is to be compared."""
    from influent.comparison import REPORT
    from influent.errors import InputError

    weights = options.against_weights
    if options.against is None:
        if weights is None:
            return None
        options.against = chosen["net"]
    elif (Path(options.against) / REPORT).is_file() or Path(options.against).is_dir():
        if weights is not None:
            raise InputError("--against-weights goes with a net, and --against names a folder. Drop one of the two.")
        return Path(options.against)
    name = options.against
    # Labels and transform are the user's own for the first net: they serve a net of the same name alone.
    own = chosen if name == chosen["net"] else {**chosen, "labels": None, "transform": None}
    return load_net({**own, "net": name, "weights": weights}), f"{name}{f' with {weights}' if weights else ''}"
