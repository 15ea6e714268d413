"""Options that several commands have, and what they stand for: settings, a net, a photo."""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

from influent.errors import InputError, nearest

DEFAULTS: dict[str, Any] = {
    "net": "efficientnet-lite0", "weights": None, "labels": None, "transform": None, "nicknames": None,
    "device": "cpu", "dtype": None, "at": None, "of": None, "over": None, "baseline": None, "measure": None,
    "top": 3, "chunk": 16, "out": None,
}  # fmt: skip
TEXT_NET = "textcnn-sentiment"
"""The net that reads texts where none is named."""
PHOTO = "a picture file, - for standard input, or an example: coffee"


def add_net(command: argparse.ArgumentParser, several: bool = False, default: str = "efficientnet-lite0") -> None:
    """The options that name a net, or `several`, and its manners."""
    more = "; given again: each in turn" if several else ""
    command.add_argument(
        "--net", action="append" if several else "store",
        help="efficientnet-lite0, googlenet, squeezenet; for texts textcnn-sentiment, textcnn-questions, minilm; "
        "torchvision:NAME, timm:NAME, hf:NAME_OR_FOLDER, or package.module:function, your own (default: "
        f"{default}){more}",
    )  # fmt: skip
    command.add_argument("--weights", metavar="FILE", help="safetensors or .pth, instead of the net's own; or: random")
    command.add_argument("--labels", metavar="FILE", help="class names, one a line, or JSON")
    command.add_argument("--transform", metavar="NAME", help="package.module:function, photo -> tensor")
    command.add_argument("--nicknames", metavar="FILE", help='JSON: {"inception_3a": {"52": "glare"}}')
    command.add_argument("--dtype", metavar="NAME", help="float32 (default), float64, bfloat16, float16")
    command.add_argument("--device", metavar="NAME", help="where the net runs: cpu (default), cuda, cuda:1, mps")


def add_path(command: argparse.ArgumentParser, folder: str) -> None:
    """The options that say over which inputs, how much of the answer, and where to."""
    command.add_argument(
        "--over", help="over which inputs: Point, Gaussian(std=0.1), \"Line('blur', n=129)\" (default: Line)"
    )
    command.add_argument(
        "--baseline", action="append", metavar="NAME",
        help="where the line begins: black, white, grey, mean, blur, or a photo; for texts pad, mask, mean, zero, or "
        "another text; given again: their mixture",
    )  # fmt: skip
    command.add_argument("--top", type=int, help="how many units (default 3)")
    add_execution(command, folder)


def add_execution(command: argparse.ArgumentParser, folder: str, chunk: int = DEFAULTS["chunk"]) -> None:
    """How much runs at once, and where the result goes."""
    command.add_argument("--chunk", type=int, help=f"points per pass: less memory, same result (default {chunk})")
    command.add_argument(
        "--out", metavar="DIR", help=f"folder for the page, the pictures and the values (default: {folder})"
    )


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Defaults, overridden by the TOML file, overridden by the command line. Errors: `InputError`."""
    file = getattr(options, "config", None)
    chosen = {**DEFAULTS, **(_config(file) if file else {})}
    chosen |= {key: value for key in DEFAULTS if (value := getattr(options, key, None)) is not None}
    for name in ("top", "chunk"):
        if chosen[name] < 1:
            raise InputError(f"--{name} {chosen[name]}: give 1 or more.")
    return chosen


def _config(file: str) -> dict[str, Any]:
    try:
        found = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f'{file} is not TOML: {error}. An example line: at = "inception_4c/channel".') from None
    for key, value in found.items():
        if key not in DEFAULTS:
            raise InputError(f"{file} has an option {key!r} that is not known.{nearest(key, DEFAULTS)}")
        if key == "baseline" and isinstance(value, str):
            found[key] = value = [value]
        kind, said = {"top": (int, "a whole number"), "chunk": (int, "a whole number"), "baseline": (list, "text")}.get(
            key, (str, "text")
        )
        items = value if isinstance(value, list) else []
        if not isinstance(value, kind) or isinstance(value, bool) or not all(isinstance(item, str) for item in items):
            raise InputError(f"{file}: {key} = {value!r} should be {said}.")
    return found


def check_apart(out: Path, *folders: Path) -> None:
    """Refuse a result inside of the data, where it would be taken for a class. Errors: `InputError`."""
    for folder in folders:
        if folder.resolve() in out.expanduser().absolute().resolve().parents:
            raise InputError(f"--out {out} lies in {folder}, which is gone through: name a folder beside it.")


def text_net(options: argparse.Namespace, chosen: dict[str, Any]) -> str:
    """The net that is to read: the one named, else the zoo's own."""
    return str(options.net or (chosen["net"] if chosen["net"] != DEFAULTS["net"] else TEXT_NET))


def load_net(chosen: dict[str, Any]) -> Any:
    """The net that the settings name; one of the user's own is looked for in this folder, too."""
    from influent import zoo

    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    net = zoo.load(chosen["net"], chosen["weights"], chosen["labels"], chosen["transform"], chosen["dtype"])
    if chosen["nicknames"]:
        from dataclasses import replace

        from influent.zoo.files import read_nicknames

        net = replace(net, nicknames=read_nicknames(chosen["nicknames"]))
    try:
        net.module.to(chosen["device"])
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise InputError(f"--device {chosen['device']} cannot be used: {str(error).splitlines()[0]}") from None
    return net


def find_photo(name: str) -> Any:
    """A file or folder; `-`, read whole from standard input; or the name of an example photo."""
    if name == "-":
        if sys.stdin.isatty():
            raise InputError(
                "- reads the photo from standard input, and nothing is piped in: influent explain - < cat.jpg"
            )
        from influent.explain import Piped

        return Piped(sys.stdin.buffer.read())
    from influent.photos import EXAMPLES, example

    if not Path(name).exists():
        for key, file in EXAMPLES.items():
            if name in (key, file):
                return example(key)
    return Path(name)


def request_of(options: argparse.Namespace, chosen: dict[str, Any]) -> tuple[Any, Any]:
    """The photo, and what is asked about it."""
    photo = find_photo(options.photo)

    from influent.explain import Request

    words = {word: chosen[word] for word in ("at", "of", "over", "measure", "top", "chunk")}
    return photo, Request(load_net(chosen), chosen["net"], baselines=tuple(chosen["baseline"] or ()), **words)
