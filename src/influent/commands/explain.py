"""`influent explain PHOTO`, or `--text TEXT`: which units decided, what they look at, and how exact that is."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from influent.errors import InputError

from .options import TEXT_NET, add_net, add_path, load_net, request_of, settings, text_net
from .terminal import Bar, answer_lines, print_place


def declare(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser(
        "explain", help="explain what a net says about a photo, about each photo of a folder, or about a text",
        description="Which units inside the net decided, what they look at, and how exact the answer is.",
        epilog="""examples: influent explain cat.jpg --of "Class('Egyptian cat') - Class('tabby')";
        influent explain --text "this is not good" --net textcnn-sentiment""",
    )  # fmt: skip
    command.add_argument(
        "photo", metavar="PHOTO", nargs="?",
        help="a picture file, a folder of them, - for standard input, or an example: coffee",
    )  # fmt: skip
    command.add_argument("--text", help="a text in the place of a photo, - for standard input")
    command.add_argument("--answer", metavar="TEXT", help="of nets that write: what they have written so far")
    command.add_argument("--truncate", action="store_true", help="cut off what a text is longer than the net can read")
    add_net(command, default=f"efficientnet-lite0; with --text {TEXT_NET}")
    command.add_argument(
        "--at",
        help="which units: a cut such as inception_4c/channel (default: the net's own middle layer; with --text "
        "and a transformer, all heads and MLP neurons)",
    )
    command.add_argument(
        "--of", help="which behaviour (default: the predicted class, and that class but not the runner-up)"
    )
    command.add_argument("--measure", help="contribution (default on a line), gradient, activation, magnitude, ...")
    add_path(command, "why-PHOTO, or why-WORDS-OF-THE-TEXT")
    command.add_argument("--config", metavar="FILE", help="read these options from a TOML file; the command line wins")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """One photo explained, or each of a folder; or a text."""
    from influent.explain import PAGE, explain_photo

    started = time.perf_counter()
    chosen = settings(options)
    if (options.photo is None) == (options.text is None):
        raise InputError("Name what is explained: a PHOTO (or a folder, or -), or a text, --text 'this is not good'.")
    if options.text is not None:
        return _explain_text(options, chosen)
    if options.answer is not None or options.truncate:
        raise InputError("--answer and --truncate go with a text: influent explain --text 'this is not good'.")
    photo, request = request_of(options, chosen)
    if isinstance(photo, Path) and photo.is_dir():
        return _explain_each(request, photo, Path(chosen["out"] or f"why-{photo.resolve().name}"))
    out = Path(chosen["out"] or f"why-{Path(photo.name).stem}")
    with Bar() as progress:
        made = explain_photo(request, photo, out, progress)
    said = " · ".join(f"{name} {p:.1%}" for name, p in made.predictions[:3])
    print(f"{request.name} on {photo.name}: {said}")
    for answer in made.answers:
        print("", answer.title, *answer_lines(answer.attribution, answer.ranked), sep="\n")
    print_place(out / PAGE, started)
    return 0


def _explain_text(options: argparse.Namespace, chosen: dict[str, Any]) -> int:
    """A text explained: its words in colours, the units and what they read."""
    from influent.explain import PAGE, Request
    from influent.explain_text import explain_text, text_lines

    started = time.perf_counter()
    name = text_net(options, chosen)
    net = load_net({**chosen, "net": name})
    words = {word: chosen[word] for word in ("at", "of", "over", "measure", "top", "chunk")}
    request = Request(net, name, baselines=tuple(chosen["baseline"] or ()), **words)
    text = _piped_text() if options.text == "-" else options.text
    out = Path(chosen["out"] or f"why-{_stem(text)}")
    with Bar() as progress:
        made = explain_text(request, text, out, options.answer, options.truncate, progress)
    print(*text_lines(name, made, sys.stdout.isatty() and "NO_COLOR" not in os.environ), sep="\n")
    print_place(out / PAGE, started)
    return 0


def _piped_text() -> str:
    """What is piped in, without the end of its last line."""
    if sys.stdin.isatty():
        raise InputError(
            "- reads the text from standard input, and nothing is piped in: influent explain --text - < a.txt"
        )
    try:
        return sys.stdin.read().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"Standard input is no text in {error.encoding}: {error.reason}. Convert it first.") from None


def _stem(text: str) -> str:
    """The first words of a text as the name of a folder: each text has its own."""
    words = re.findall(r"\w+", text.lower())
    return "-".join(words)[:40].rstrip("-") or "text"


def _explain_each(request: Any, folder: Path, out: Path) -> int:
    """A line for each photo as it is done; exit code 1 where some failed."""
    from influent.explain import INDEX, explain_folder

    failed = done = 0
    started = time.perf_counter()
    try:
        for entry in explain_folder(request, folder, out):
            failed, done = failed + bool(entry.failure), done + (not entry.failure)
            said = entry.prediction and f"{entry.prediction[0]} {entry.prediction[1]:.1%}"
            print(f"{entry.name}: {entry.failure or said or entry.title}", flush=True)
    except KeyboardInterrupt:
        print(f"influent: stopped; {done} photos were explained: {out / INDEX}", file=sys.stderr)
        return 130
    print(f"\n{done} explained, {failed} failed", end="")
    print_place(out / INDEX, started, "index")
    return 1 if failed else 0
