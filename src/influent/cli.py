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

from .errors import InfluentError, InfluentWarning, InputError, nearest

EXPLAIN: dict[str, Any] = {
    "net": "efficientnet-lite0", "weights": None, "labels": None, "transform": None, "nicknames": None,
    "device": "cpu", "at": None, "of": None, "over": None, "baseline": None, "measure": None, "top": 3, "chunk": 16,
    "out": None,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for an error that is a lesson, 2 for wrong usage, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    _tune_process()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", InfluentWarning)
            warnings.showwarning = lambda message, *_, **__: print(f"note: {message}", file=sys.stderr)
            return options.run(options) or 0
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
        "explain", help="explain what a net says about a photo, or about each photo of a folder",
        description="Which units inside the net decided, what they look at, and how exact the answer is.",
        epilog="""example: influent explain cat.jpg --of "Class('Egyptian cat') - Class('tabby')" """,
    )  # fmt: skip
    explain.add_argument(
        "photo", metavar="PHOTO", help="a picture file, a folder of them, - for standard input, or an example: coffee"
    )
    _add_net(explain)
    explain.add_argument(
        "--at", help="which units: a cut such as inception_4c/channel (default: the net's own middle layer)"
    )
    explain.add_argument(
        "--of", help="which behaviour (default: the predicted class, and that class but not the runner-up)"
    )
    explain.add_argument("--measure", help="contribution (default on a line), gradient, activation, magnitude, ...")
    _add_path(explain, "why")
    explain.add_argument("--config", metavar="FILE", help="read these options from a TOML file; the command line wins")
    explain.set_defaults(run=_explain)
    layers = commands.add_parser(
        "conductance", help="how a score flows through every layer: a table, out of one sweep",
        description="Total conductance of every unit at every place that all paths cross, with the gap at each.",
        epilog="example: influent conductance cat.jpg --net googlenet --over 'Line(tol=0.01, n=513)'",
    )  # fmt: skip
    layers.add_argument("photo", metavar="PHOTO", help="a picture file, - for standard input, or an example: coffee")
    _add_net(layers)
    layers.add_argument("--at", help="which layers: inception_3a/channel,inception_4c/channel (default: the trunk)")
    layers.add_argument("--of", help="which behaviour (default: the predicted class)")
    _add_path(layers, "flow")
    layers.set_defaults(run=_conductance, config=None, measure=None)
    cuts = commands.add_parser("cuts", help="list the places at which a net can be cut")
    _add_net(cuts)
    cuts.set_defaults(run=_cuts)
    show = commands.add_parser("show", help="print a stored result and the place of its page")
    show.add_argument("folder", metavar="DIR")
    show.set_defaults(run=_show)
    return parser


def _add_net(command: argparse.ArgumentParser) -> None:
    """The options that name a net and its manners."""
    command.add_argument(
        "--net", help="efficientnet-lite0 (default), googlenet, squeezenet, torchvision:NAME, timm:NAME, "
        "hf:NAME_OR_FOLDER, or package.module:function, your own",
    )  # fmt: skip
    command.add_argument("--weights", metavar="FILE", help="safetensors or .pth, instead of the net's own; or: random")
    command.add_argument("--labels", metavar="FILE", help="class names, one a line, or JSON")
    command.add_argument("--transform", metavar="NAME", help="package.module:function, photo -> tensor")
    command.add_argument("--nicknames", metavar="FILE", help='JSON: {"inception_3a": {"52": "glare"}}')
    command.add_argument("--device", metavar="NAME", help="where the net runs: cpu (default), cuda, cuda:1, mps")


def _add_path(command: argparse.ArgumentParser, folder: str) -> None:
    """The options that say over which inputs, and where to."""
    command.add_argument(
        "--over", help="over which inputs: Point, Gaussian(std=0.1), \"Line('blur', n=129)\" (default: Line)"
    )
    command.add_argument(
        "--baseline", action="append", metavar="NAME",
        help="where the line begins: black, white, grey, mean, blur, or a photo; given again: their mixture",
    )  # fmt: skip
    command.add_argument("--top", type=int, help="how many units (default 3)")
    command.add_argument("--chunk", type=int, help="points per pass: less memory, same result (default 16)")
    command.add_argument(
        "--out", metavar="DIR", help=f"folder for the page, the pictures and the values (default: {folder}-PHOTO)"
    )


class _Version(argparse.Action):
    """Print the version, read only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"influent {version('influent')}")
        except PackageNotFoundError:
            print("influent, from source: not installed")
        parser.exit()


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Defaults, overridden by the TOML file, overridden by the command line."""
    chosen = {**EXPLAIN, **(_config(options.config) if options.config else {})}
    return {**chosen, **{key: value for key in EXPLAIN if (value := getattr(options, key, None)) is not None}}


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
        if key == "baseline" and isinstance(value, str):
            found[key] = value = [value]
        kind, said = {"top": (int, "a whole number"), "chunk": (int, "a whole number"), "baseline": (list, "text")}.get(
            key, (str, "text")
        )
        items = value if isinstance(value, list) else []
        if not isinstance(value, kind) or isinstance(value, bool) or not all(isinstance(item, str) for item in items):
            raise InputError(f"{file}: {key} = {value!r} should be {said}.")
    return found


def _net(chosen: dict[str, Any]) -> Any:
    """The net that the options name; one of the user's own is looked for in this folder, too."""
    from . import zoo

    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    net = zoo.load(chosen["net"], chosen["weights"], chosen["labels"], chosen["transform"])
    if chosen["nicknames"]:
        from dataclasses import replace

        from .zoo.files import read_nicknames

        net = replace(net, nicknames=read_nicknames(chosen["nicknames"]))
    try:
        net.module.to(chosen["device"])
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise InputError(f"--device {chosen['device']} cannot be used: {str(error).splitlines()[0]}") from None
    return net


def _explain(options: argparse.Namespace) -> int:
    from .explain import PAGE, explain_photo

    started = time.perf_counter()
    chosen = _settings(options)
    photo, request = _request(options, chosen)
    if isinstance(photo, Path) and photo.is_dir():
        return _explain_each(request, photo, Path(chosen["out"] or f"why-{photo.resolve().name}"))
    out = Path(chosen["out"] or f"why-{Path(photo.name).stem}")
    with _Bar() as progress:
        made = explain_photo(request, photo, out, progress)
    said = " · ".join(f"{name} {p:.1%}" for name, p in made.predictions[:3])
    print(f"{request.name} on {photo.name}: {said}")
    for answer in made.answers:
        print("", answer.title, *_answer_lines(answer.attribution, answer.ranked), sep="\n")
    print(f"\npage   {out / PAGE}\ntime   {time.perf_counter() - started:.1f} s")
    return 0


def _request(options: argparse.Namespace, chosen: dict[str, Any]) -> tuple[Any, Any]:
    """The photo, and what is asked about it."""
    for name in ("top", "chunk"):
        if chosen[name] < 1:
            raise InputError(f"--{name} {chosen[name]}: give 1 or more.")
    photo = _photo(options.photo)

    from .explain import Request

    words = {word: chosen[word] for word in ("at", "of", "over", "measure", "top", "chunk")}
    return photo, Request(_net(chosen), chosen["net"], baselines=tuple(chosen["baseline"] or ()), **words)


def _conductance(options: argparse.Namespace) -> int:
    from .explain import PAGE, conductance_of_photo
    from .views.layers import COLUMNS, layer_row

    started = time.perf_counter()
    chosen = _settings(options)
    photo, request = _request(options, chosen)
    out = Path(chosen["out"] or f"flow-{Path(photo.name).stem}")
    with _Bar() as progress:
        made = conductance_of_photo(request, photo, out, progress)
    rows = [COLUMNS, *(layer_row(a, request.top) for a in made.found)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(COLUMNS))]
    print(f"{request.name} on {photo.name}: {made.title}\n")
    print(
        *("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows),
        sep="\n",
    )
    print("", *(a.sentence(request.top) for a in made.found), sep="\n")
    if made.beginning is not None:
        print(f"\nbaseline: {made.beginning}")
    print(f"\npage   {out / PAGE}\ntime   {time.perf_counter() - started:.1f} s")
    return 0


def _explain_each(request: Any, folder: Path, out: Path) -> int:
    """A line for each photo as it is done; exit code 1 where some failed."""
    from .explain import INDEX, explain_folder

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
    print(f"\n{done} explained, {failed} failed\nindex  {out / INDEX}\ntime   {time.perf_counter() - started:.1f} s")
    return 1 if failed else 0


def _photo(name: str) -> Any:
    """A file or folder; `-`, read whole from standard input; or the name of an example photo."""
    if name == "-":
        if sys.stdin.isatty():
            raise InputError(
                "- reads the photo from standard input, and nothing is piped in: influent explain - < cat.jpg"
            )
        from .explain import Piped

        return Piped(sys.stdin.buffer.read())
    from .photos import EXAMPLES, example

    if not Path(name).exists():
        for key, file in EXAMPLES.items():
            if name in (key, file):
                return example(key)
    return Path(name)


def _answer_lines(a: Any, ranked: Any) -> list[str]:
    """One answer as text: the question, its top units, its error."""
    lines = [f"  at {a.question.at.text}, of {a.question.of!r}"]
    lines += [f"  {u.name or u.index!s:<16} {u.value:>+10.4g}  {u.share:>6.1%} of all" for u in ranked]
    return lines + ([f"  {a.summary()}"] if a.summary() else [])


def _cuts(options: argparse.Namespace) -> None:
    from PIL import Image

    from .probe import cuts

    net = _net({**EXPLAIN, **{key: value for key, value in vars(options).items() if value is not None}})
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
