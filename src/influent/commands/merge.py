"""`influent merge DIR`: add up the shards that several workers computed."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from influent.errors import InputError

from .workers import COMMAND, WHOLE, added, ledger_of


def declare(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser(
        "merge", help="add up the shards that workers computed with --shard",
        description="Adds up what `--shard 0/4` to `--shard 3/4` of a command left beside DIR, and writes the result "
        "into DIR: the same, to the last bit, as without --shard.",
        epilog="""example: influent merge essence-animals""",
    )  # fmt: skip
    command.add_argument("result", metavar="DIR", help="the folder that the result goes into, --out of the command")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """The command that the workers shared, which finds everything computed."""
    folder = ledger_of(Path(options.result))
    try:
        told = json.loads((folder / COMMAND).read_text(encoding="utf-8"))
        words, place = [str(word) for word in told["words"]], str(told["folder"])
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(
            f"There are no shards beside {options.result} ({folder.name}). Make them: influent essence FOLDER "
            f"--shard 0/2 --out {options.result}"
        ) from None
    return subprocess.call([sys.executable, "-m", "influent", *added(words, WHOLE)], cwd=place)
