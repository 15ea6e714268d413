"""The command line: `influent explain PHOTO`, `influent cuts`, `influent show DIR` and the other commands.

Nothing heavy is imported before it is needed: `--help` does not load torch.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from .commands import COMMANDS
from .errors import InfluentError, InfluentWarning
from .tuning import tune_process


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for an error that is a lesson, 2 for wrong usage, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    options.arguments = list(sys.argv[1:] if arguments is None else arguments)
    tune_process()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", InfluentWarning)
            warnings.showwarning = lambda message, *_, **__: print(f"note: {message}", file=sys.stderr)
            return int(options.run(options))
    except InfluentError as error:
        print(f"influent: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("influent: stopped; no result was written.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="influent", description="Why did the net say so? Influence of the units inside it."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.declare(commands)
    return parser


class _Version(argparse.Action):
    """Print the version, read only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"influent {version('influent')}")
        except PackageNotFoundError:
            print("influent, from source: not installed")
        parser.exit()
