"""`influent serve`: a page on one's own net and data, where a question takes seconds."""

from __future__ import annotations

import argparse
import re
import secrets
import shlex
from functools import partial
from pathlib import Path
from typing import Any

from influent.errors import InputError

from .options import add_net, load_net, settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def declare(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser(
        "serve", help="look inside with a browser: ask, click a unit, switch it off",
        description="A page on this machine: drop a photo, see which units decided, click one, switch it off. Photos "
        "that are dropped are kept in memory alone.",
        epilog="example: influent serve --net googlenet --data animals/ --results results/",
    )  # fmt: skip
    add_net(command)
    command.add_argument(
        "--data", metavar="FOLDER", help="a folder of images for each class: what units look for in it"
    )
    command.add_argument("--outside", metavar="FOLDER", help="photos of anything: what else fires a unit")
    command.add_argument("--results", metavar="DIR", help="folders of essence, experts and debug, to be opened there")
    command.add_argument(
        "--images", type=int, default=512, help="images of the data that a page looks at (default 512)"
    )
    command.add_argument("--threads", type=int, help="processor threads for the net (default: as torch chooses)")
    command.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes one that is free")
    command.add_argument("--host", default="127.0.0.1", help="another address to listen at, which takes --token")
    command.add_argument(
        "--name",
        action="append",
        metavar="HOST:PORT",
        help="a further name by which browsers call it; given again: these",
    )
    command.add_argument("--token", metavar="TEXT", help="what a browser must know, 16 characters or more; or: new")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    chosen = settings(options)
    for word, least in (("images", 1), ("threads", 1), ("port", 0)):
        if (number := getattr(options, word)) is not None and number < least:
            raise InputError(f"--{word} {number}: give {least} or more.")
    token = _token(options)
    try:
        from influent.explorer.server import bound, serve
    except ModuleNotFoundError as error:
        raise InputError(
            f'The explorer needs {error.name}, which is not installed: pip install "influent[app]".'
        ) from None
    from influent.explorer.plan import Plan
    from influent.explorer.results import stored_in

    results = stored_in(Path(options.results)) if options.results else []
    words = {word: chosen[word] for word in ("weights", "labels", "transform", "dtype") if chosen[word]}
    device = f"\nnet.module.to({chosen['device']!r})" if chosen["device"] != "cpu" else ""
    names = Path(chosen["nicknames"] or f"nicknames-{re.sub(r'[^A-Za-z0-9.]+', '-', chosen['net'])}.json")
    plan = Plan(
        load=partial(load_net, {**chosen, "nicknames": None}),
        name=chosen["net"],
        python=f"inf.zoo.load({', '.join([repr(chosen['net']), *(f'{k}={v!r}' for k, v in words.items())])}){device}",
        options=shlex.join([
            "--net", chosen["net"], *(part for k, v in words.items() for part in (f"--{k}", v)),
            *(["--device", chosen["device"]] if device else []),
        ]),
        data=options.data and Path(options.data), outside=options.outside and Path(options.outside),
        results=tuple(one.folder for one in results), nicknames=names, images=options.images, threads=options.threads,
    )  # fmt: skip
    listening = bound(options.host, options.port)
    port = listening.getsockname()[1]
    called = [f"[{options.host}]" if ":" in options.host else options.host, *(options.name or ())]
    called += ["127.0.0.1", "localhost", "[::1]"] if options.host in LOOPBACK else []
    hosts = {name if re.search(r":\d+$", name) else f"{name}:{port}" for name in called}
    hosts |= {name for name in called if port == 80 or name in (options.name or ())}
    address = f"http://{called[0]}:{port}/{f'?token={token}' if token else ''}"
    serve(plan, results, listening, hosts, token, lambda about: print(_said(plan.name, address, about), flush=True))
    return 0


def _token(options: argparse.Namespace) -> str | None:
    """What a browser must know. Errors: `InputError` where it is needed, or too short to be kept from anybody."""
    if options.host not in LOOPBACK and options.token is None:
        raise InputError(
            f"--host {options.host} lets other machines in: give them a word to know, --token new (it is printed), or "
            "drop --host. What they may do: ask about the net and the photos of --data; read no other file. The "
            "connection is not encrypted: over a network that is not yours, use ssh -L 8000:127.0.0.1:8000 instead."
        )
    if options.host in ("0.0.0.0", "::") and not options.name:
        raise InputError(
            f"--host {options.host} has many names: say by which browsers call it, --name 192.168.1.5:8000."
        )
    if options.token == "new":
        return secrets.token_urlsafe(24)
    if options.token is not None and not re.fullmatch(r"[\w-]{16,}", options.token, re.ASCII):
        raise InputError("--token: 16 characters or more, of letters, digits, - and _; or --token new.")
    return str(options.token) if options.token else None


def _said(net: str, address: str, about: dict[str, Any]) -> str:
    data = f", {about['data']['images']} images of {about['data']['name']}" if about["data"] else ""
    return f"{net}{data}: {address}  (Ctrl-C ends it)"
