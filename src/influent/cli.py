"""The command line: `influent explain PHOTO`, `influent cuts`, `influent show DIR`.

Nothing heavy is imported before it is needed: `--help` does not load torch.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import sys
import time
import tomllib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import InfluentError, InputError, nearest

EXPLAIN = {"net": "efficientnet-lite0", "at": None, "of": None, "over": None, "measure": None, "top": 3, "chunk": 16,
           "out": None}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for an error that is a lesson, 2 for wrong usage, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    _tune_process()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"note: {message}", file=sys.stderr)
            options.run(options)
    except InfluentError as error:
        print(f"influent: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("influent: stopped; nothing was written.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _tune_process() -> None:
    """What makes torch faster on a CPU, for this process alone; see docs/why/006-tuned-command.md."""
    # Read by the OpenMP library when torch loads it: threads that wait, sleep instead of spinning.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if sys.platform == "linux":
        # Large activations stay with the process instead of going back to the kernel after every layer (glibc).
        with contextlib.suppress(AttributeError, OSError):
            mallopt = ctypes.CDLL(None).mallopt
            for setting, value in ((-4, 0), (-1, 2**31 - 1)):  # M_MMAP_MAX, M_TRIM_THRESHOLD of malloc.h
                mallopt(setting, value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="influent", description="Why did the net say so? Influence of the units inside it."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    explain = commands.add_parser(
        "explain", help="explain what a net says about a photo",
        description="Which units inside the net decided, what they look at, and how exact the answer is.",
        epilog="""example: influent explain cat.jpg --of "Class('Egyptian cat') - Class('tabby')" """,
    )  # fmt: skip
    explain.add_argument("photo", metavar="PHOTO", help="a picture file, or an example: coffee, chelsea, ...")
    explain.add_argument("--net", help="efficientnet-lite0 (default) or googlenet")
    explain.add_argument(
        "--at", help="which units: a cut such as inception_4c/channel (default: the net's own middle layer)"
    )
    explain.add_argument(
        "--of", help="which behaviour (default: the predicted class, and that class but not the runner-up)"
    )
    explain.add_argument(
        "--over", help="over which inputs: Point, Gaussian(std=0.1), \"Line('blur', n=129)\" (default: Line)"
    )
    explain.add_argument("--measure", help="contribution (default on a line), gradient, activation, magnitude, ...")
    explain.add_argument("--top", type=int, help="how many units (default 3)")
    explain.add_argument("--chunk", type=int, help="points per pass: less memory, same result (default 16)")
    explain.add_argument(
        "--out", metavar="DIR", help="folder for the page, the pictures and the values (default: why-PHOTO)"
    )
    explain.add_argument("--config", metavar="FILE", help="read these options from a TOML file; the command line wins")
    explain.set_defaults(run=_explain)
    cuts = commands.add_parser("cuts", help="list the places at which a net can be cut")
    cuts.add_argument("--net", default=EXPLAIN["net"], help="efficientnet-lite0 (default) or googlenet")
    cuts.set_defaults(run=_cuts)
    show = commands.add_parser("show", help="print a stored result and the place of its page")
    show.add_argument("folder", metavar="DIR")
    show.set_defaults(run=_show)
    return parser


class _Version(argparse.Action):
    """Print the version, read only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        from importlib.metadata import version

        parser.exit(message=f"influent {version('influent')}\n")


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Defaults, overridden by the TOML file, overridden by the command line."""
    chosen = {**EXPLAIN, **(_config(options.config) if options.config else {})}
    return {**chosen, **{key: value for key in EXPLAIN if (value := getattr(options, key)) is not None}}


def _config(file: str) -> dict[str, Any]:
    try:
        found = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f'{file} is not TOML: {error}. An example line: at = "inception_4c/channel".') from None
    for key, value in found.items():
        if key not in EXPLAIN:
            raise InputError(f"{file} has an option {key!r} that is not known.{nearest(key, EXPLAIN)}")
        kind = int if key in ("top", "chunk") else str
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(f"{file}: {key} = {value!r} should be {'a whole number' if kind is int else 'text'}.")
    return found


def _explain(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    chosen = _settings(options)
    photo = _photo(options.photo)
    out = Path(chosen["out"] or f"why-{photo.stem}")
    for name in ("top", "chunk"):
        if chosen[name] < 1:
            raise InputError(f"--{name} {chosen[name]}: give 1 or more.")

    from . import zoo
    from .store import fresh_folder, seal
    from .views.explanation import explain, write_page

    net = zoo.load(chosen["net"])
    x = net.read(photo)
    words = _words(chosen, net, x)
    with fresh_folder(out) as work:
        with _Bar() as progress:
            made = explain(net, x, *words, top=chosen["top"], chunk=chosen["chunk"], progress=progress)
        _store(made, photo, work)
        seconds = time.perf_counter() - started
        write_page(made, photo.name, work, seconds)
        seal(work)
    print(_text(made, chosen["net"], photo.name))
    print(f"\npage   {out / 'explanation.html'}\ntime   {time.perf_counter() - started:.1f} s")


def _photo(name: str) -> Path:
    """A file, or the name of an example photo."""
    from .photos import EXAMPLES, example

    if not Path(name).exists():
        for key, file in EXAMPLES.items():
            if name in (key, file):
                return example(key)
    return Path(name)


def _words(chosen: dict[str, Any], net: Any, x: Any) -> tuple[Any, Any, Any, Any]:
    """at, of, over and measure from their texts."""
    from .cut import as_cut
    from .language import parse
    from .quantity import as_quantity

    if chosen["at"] is None and net.layer is None:
        raise InputError(
            "This net names no middle layer: say which units, --at LAYER/channel. `influent cuts` lists them."
        )
    of, over, measure = (chosen[key] and parse(chosen[key], names={"x": x}) for key in ("of", "over", "measure"))
    return as_cut(chosen["at"] or net.layer), [as_quantity(of)] if of is not None else [], over, measure


def _store(made: Any, photo: Path, folder: Path) -> None:
    """Each answer's values and question; the first at the top, further ones in folders of their names."""
    import hashlib

    from .store import seal, write

    about = {"photo": {"name": photo.name, "sha256": hashlib.sha256(photo.read_bytes()).hexdigest()},
             "predictions": [{"class": name, "probability": p} for name, p in made.predictions]}  # fmt: skip
    for k, answer in enumerate(made.answers):
        place = folder / answer.name if k else folder
        place.mkdir(exist_ok=True)
        write(answer.attribution, place, title=answer.title, **about)
        seal(place)


def _text(made: Any, net: str, photo: str) -> str:
    """What the terminal shows."""
    said = " · ".join(f"{name} {p:.1%}" for name, p in made.predictions[:3])
    lines = [f"{net} on {photo}: {said}"]
    for answer in made.answers:
        lines += ["", answer.title, *_answer_lines(answer.attribution, answer.ranked)]
    return "\n".join(lines)


def _answer_lines(a: Any, ranked: Any) -> list[str]:
    lines = [f"  at {a.question.at.text}, of {a.question.of!r}"]
    lines += [f"  {u.name or u.index!s:<16} {u.value:>+10.4g}  {u.share:>6.1%} of all" for u in ranked]
    return lines + ([f"  {a.summary()}"] if a.summary() else [])


def _cuts(options: argparse.Namespace) -> None:
    from PIL import Image

    from . import zoo
    from .probe import cuts

    net = zoo.load(options.net)
    print(*cuts(net, net.read(Image.new("RGB", (256, 256), (127, 127, 127)))), sep="\n")


def _show(options: argparse.Namespace) -> None:
    from .store import load, read_meta

    folder = Path(options.folder)
    meta = read_meta(folder)
    for place in (folder, *sorted(p.parent for p in folder.glob("*/meta.json"))):
        a = load(place)
        print(read_meta(place).get("title", repr(a)), *_answer_lines(a, a.top(3)), "", sep="\n")
    made = ", ".join(f"{name} {version}" for name, version in meta["versions"].items())
    print(f"made by {made}")
    if (folder / "explanation.html").is_file():
        print(f"page   {folder / 'explanation.html'}")


class _Bar:
    """A progress bar on a terminal, in points that went through the net; nothing where output is a file."""

    def __enter__(self) -> Any:
        from tqdm import tqdm

        self.bar = tqdm(unit=" points", disable=None, leave=False, file=sys.stderr)
        return self.bar.update

    def __exit__(self, *_: object) -> None:
        self.bar.close()
