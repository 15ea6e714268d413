"""`influent cuts`: the places at which a net can be cut."""

from __future__ import annotations

import argparse
from typing import Any

from .options import add_net, load_net, settings


def declare(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser("cuts", help="list the places at which a net can be cut")
    add_net(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """A line for each place, found with a grey picture, or with a text."""
    from PIL import Image

    from influent.embedding import called_with
    from influent.probe import cuts
    from influent.text import TextTransform

    net = load_net(settings(options))
    if isinstance(net.transform, TextTransform):
        x = called_with(net, net.read("this is a text", truncate=True))
    else:
        x = net.read(Image.new("RGB", (256, 256), (127, 127, 127)))
    print(*cuts(net, x), sep="\n")
    return 0
