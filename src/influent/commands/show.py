"""`influent show DIR`: what a stored result says, and where its page is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .terminal import answer_lines


def declare(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser("show", help="print a stored result and the place of its page")
    command.add_argument("folder", metavar="DIR")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """The stored text of a result, or its attributions; then what made it."""
    from influent.store import load, read_meta

    folder = Path(options.folder)
    meta = read_meta(folder)
    if "said" in meta:
        print(*meta["said"], "", sep="\n")
    else:
        for place in (folder, *sorted(p.parent for p in folder.glob("*/meta.json"))):
            a = load(place)
            print(read_meta(place).get("title", repr(a)), *answer_lines(a, a.top(3)), "", sep="\n")
    made = ", ".join(f"{name} {version}" for name, version in meta["versions"].items())
    print(f"made by {made}")
    if (folder / "explanation.html").is_file():
        print(f"page   {folder / 'explanation.html'}")
    return 0
