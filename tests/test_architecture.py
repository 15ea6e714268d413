"""The layout: imports go one way, hooks live in one file, files and functions stay small enough to read."""

from __future__ import annotations

import ast
import functools
import graphlib
import inspect
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import influent

SRC = Path(influent.__file__).parent
ROOT = Path(__file__).parents[1]
FILES = sorted(SRC.rglob("*.py"))

# From low to high: a file imports from lower layers only, never from its own. The files of a package (`views`, ...)
# are one layer and may import each other, in no circle.
LAYERS = [
    {"errors"},
    {"shapes", "atomic", "corpus", "rates", "limits", "finding", "codes", "tuning"},
    {"cut", "quadrature", "photos", "preprocessing", "kernels", "text", "rules"},
    {"pixels"},
    {"axes", "containers", "nets", "parts"},
    {"quantity", "distribution", "measures", "samples", "stability", "embedding"},
    {"quantities", "tokens", "dataset", "rows", "mask", "selection"},
    {"distributions", "partial", "pull"},
    {"through"},
    {"language", "probe", "path"},
    {"evaluate", "attribution", "replay", "traced"},
    {"sweep"},
    {"ledger"},
    {"stream"},
    {"ask"},
    {"shards"},
    {"cluster", "ablation", "monotone"},
    {
        "presets",
        "store",
        "compression",
        "pruning",
        "counting",
        "confusion",
        "readout",
        "axioms",
        "fidelity",
        "baselines",
        "places",
        "saturate",
        "shared",
        "ngrams",
    },
    {"experts", "layered"},
    {"drowning"},
    {"mistakes", "suspects", "reasons", "trust", "comparison"},
    {"report"},
    {"verdicts"},
    {"diagnosis"},
    {"zoo"},
    {"views"},
    {"explain", "begun"},
    {"reports", "essences", "explain_text", "strata", "debugging"},
    {"specialists", "harvest"},
    {"explorer"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
PACKAGES = ("views", "zoo", "explorer", "commands")
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}

EXPORTED = [
    "Agreement",
    "Attribution",
    "BackwardRule",
    "Blur",
    "Class",
    "Classes",
    "Compose",
    "Continuation",
    "Cut",
    "CutError",
    "Dataset",
    "Deconvnet",
    "Distribution",
    "Draw",
    "Energy",
    "Evidence",
    "Expert",
    "Figure",
    "Finding",
    "Gap",
    "Gaussian",
    "Grey",
    "Guided",
    "INPUT",
    "InfluentError",
    "InfluentWarning",
    "InputError",
    "Label",
    "Limits",
    "Line",
    "Logit",
    "Mask",
    "Net",
    "NetError",
    "OUTPUT",
    "PixelTransform",
    "Point",
    "Predicted",
    "Probability",
    "Quantity",
    "Question",
    "QuestionError",
    "Report",
    "Rest",
    "Ruled",
    "RunnerUp",
    "Saturation",
    "Similarity",
    "Step",
    "StoreError",
    "Subject",
    "Text",
    "TextTransform",
    "Through",
    "Unit",
    "Until",
    "Words",
    "ablate",
    "activation",
    "activations",
    "agreement",
    "axioms",
    "comparative",
    "compress",
    "conductance",
    "conductance_of_units",
    "contribution",
    "cuts",
    "debug",
    "deconvnet",
    "essence",
    "example",
    "expected_gradients",
    "experts",
    "fidelity",
    "gradient",
    "gradient_times_activation",
    "gradient_times_input",
    "guided_backpropagation",
    "influence",
    "integrated_gradients",
    "internal_influence",
    "layer_integrated_gradients",
    "layered",
    "load",
    "magnitude",
    "mim",
    "parse",
    "phrases",
    "prune",
    "rank_agreement",
    "saliency",
    "saturation",
    "save",
    "show",
    "smoothgrad",
    "square",
    "stability",
    "transformer",
    "units_like",
    "what_drives",
    "zoo",
]


def name_of(file: Path) -> str:
    return file.relative_to(SRC).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


@functools.cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imported(file: Path) -> Iterator[str]:
    """The names below `influent` that a file imports, wherever in the file: `views.figure`, `cuts`."""
    package = ["influent", *file.relative_to(SRC).parts[:-1]]
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found = [module] if is_module(module) else [f"{module}.{alias.name}" for alias in node.names]
            if module != "influent" and is_module(module):
                found += [f"{module}.{a.name}" for a in node.names if is_module(f"{module}.{a.name}")]
            elif module == "influent":
                found = [f"influent.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.removeprefix("influent.") for name in found if name.startswith("influent."))


def is_module(dotted: str) -> bool:
    place = SRC.parent.joinpath(*dotted.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def part_of(name: str) -> str:
    return name.partition(".")[0]


# Imports


def test_every_file_has_its_layer() -> None:
    assert {part_of(name_of(f)) for f in FILES} - {"__init__", *RANK} == set()
    assert len(FILES) > 15


@pytest.mark.parametrize("file", [f for f in FILES if f != SRC / "__init__.py"], ids=name_of)
def test_imports_go_from_high_to_low(file: Path) -> None:
    own = part_of(name_of(file))
    for name in imported(file):
        other = part_of(name)
        assert other in RANK, f"{name_of(file)} imports {name}: import from the file that defines it"
        assert RANK[other] < RANK[own] or (other == own and own in PACKAGES), f"{name_of(file)} imports {name}"


def test_imports_go_in_no_circle() -> None:
    known = {name_of(f) for f in FILES}
    graph = {name_of(f): {n for n in imported(f) if n in known} - {name_of(f)} for f in FILES}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_the_reader_of_imports_sees_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two tests above would pass on a reader that sees nothing."""
    seen = {name_of(f): set(imported(f)) for f in FILES}
    assert {"errors", "cut", "shapes", "nets"} <= seen["probe"]
    assert {"distributions", "measures", "quantities"} <= seen["language"]  # `from . import a, b`
    assert "zoo" in seen["commands.options"] and "store" in seen["commands.show"]  # inside functions
    (tmp_path / "views").mkdir()
    for name in ("cut.py", "__init__.py", "views/__init__.py", "views/heat.py"):
        (tmp_path / name).touch()
    file = tmp_path / "views" / "units.py"
    file.write_text(
        "import influent.cut\nfrom influent import Cut\nfrom ..cut import Cut\nfrom .heat import h\nimport os\n"
    )
    monkeypatch.setitem(globals(), "SRC", tmp_path)
    monkeypatch.setitem(globals(), "is_module", lambda d: d in ("influent.cut", "influent.views.heat", "influent"))
    assert list(imported(file)) == ["cut", "Cut", "cut", "views.heat"]


def test_the_command_line_starts_without_torch() -> None:
    """`influent --help` must not take the seconds that torch takes to load."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, influent.cli; assert 'torch' not in sys.modules, 'torch was loaded'"],
        env={**os.environ, "PYTHONPATH": str(SRC.parent)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# One place for hooks and autograd


def mechanisms(file: Path) -> set[str]:
    """The words of autograd and hooks that a file's code uses; text and comments do not count."""
    words = set()
    for node in ast.walk(tree(file)):
        names = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.Name):
            names = [node.id]
        elif isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(a.name for a in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for a in node.names for part in a.name.split(".")]
        words |= {n for n in names if n in MECHANISMS or (n.startswith("register_") and n.endswith("_hook"))}
    return words


MECHANISMS = {
    "TorchFunctionMode",
    "autograd",
    "forward_ad",
    "retain_grad",
    "vjp",
    "jvp",
    "jacrev",
    "jacfwd",
    "functorch",
}


@pytest.mark.parametrize("file", [f for f in FILES if f.name not in ("probe.py", "rules.py")], ids=name_of)
def test_hooks_and_autograd_live_in_the_probe(file: Path) -> None:
    assert mechanisms(file) == set()


def test_backward_rules_replace_functions_and_hook_nothing() -> None:
    """The probe's other half, docs/why/021: what it applies and looks through; it is the probe that calls it."""
    assert mechanisms(SRC / "rules.py") == {"TorchFunctionMode", "autograd"}
    callers = {name_of(f) for f in FILES if {"applied", "check_ruled"} & set(re.findall(r"\w+", f.read_text("utf-8")))}
    assert callers == {"probe", "rules"}


def test_the_probe_is_where_hooks_and_autograd_are() -> None:
    assert {"autograd", "forward_ad", "register_forward_hook", "register_forward_pre_hook"} <= mechanisms(
        SRC / "probe.py"
    )


def stubs(file: Path) -> list[int]:
    """Lines that put something in the place of a module's `forward`, as an attribute or in its dictionary."""
    targets = [t for n in ast.walk(tree(file)) if isinstance(n, ast.Assign) for t in n.targets]
    places = [(t.lineno, t.attr if isinstance(t, ast.Attribute) else getattr(t, "slice", None)) for t in targets]
    return [line for line, place in places if getattr(place, "value", place) == "forward"]


@pytest.mark.parametrize("file", [f for f in FILES if f.name != "replay.py"], ids=name_of)
def test_forwards_are_stubbed_by_replay_alone(file: Path) -> None:
    assert stubs(file) == []


def test_replay_is_where_forwards_are_stubbed() -> None:
    assert stubs(SRC / "replay.py")


# Small and plain


def comments(file: Path) -> list[str]:
    with tokenize.open(file) as stream:
        return [t.string for t in tokenize.generate_tokens(stream.readline) if t.type == tokenize.COMMENT]


SUPPRESSIONS = ("noqa", "type: ignore", "type:ignore", "pragma: no cover", "pylint:", "mypy:", "nosec", "pyright:")


@pytest.mark.parametrize(
    "file", [*FILES, *sorted((ROOT / "tests").rglob("*.py")), ROOT / "dev.py"], ids=lambda f: f.name
)  # fmt: skip
def test_no_warning_is_suppressed_by_a_comment(file: Path) -> None:
    assert [c for c in comments(file) if any(s in c for s in SUPPRESSIONS)] == []


def test_the_reader_of_comments_sees_them() -> None:
    assert any(c.startswith("# From low to high") for c in comments(Path(__file__)))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_no_error_of_the_user_is_an_assertion(file: Path) -> None:
    assert [node.lineno for node in ast.walk(tree(file)) if isinstance(node, ast.Assert)] == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_is_small_enough_to_read(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) < 400


Function = ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(function: Function) -> int:
    """The statements of a function, its docstring and the functions inside it left out."""
    inside = [n for n in ast.walk(function) if isinstance(n, Function) and n is not function]
    skipped = {id(node) for inner in inside for node in ast.walk(inner)} - {id(inner) for inner in inside}
    count = sum(isinstance(node, ast.stmt) and id(node) not in skipped for node in ast.walk(function)) - 1
    return count - (ast.get_docstring(function) is not None)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_function_is_small_enough_to_read(file: Path) -> None:
    functions = [node for node in ast.walk(tree(file)) if isinstance(node, Function)]
    assert [f"{f.name}: {code_lines(f)}" for f in functions if code_lines(f) >= 40] == []


def test_statements_are_counted() -> None:
    source = 'def f(x):\n    """Doc."""\n    if x:\n        return 1\n    def g():\n        a = 1\n        return a\n'
    source += "    return g\n"
    f, g = (node for node in ast.walk(ast.parse(source)) if isinstance(node, Function))
    assert (code_lines(f), code_lines(g)) == (4, 2)  # if, return, def, return; assignment, return


# What is exported, and said about it


def exported() -> list[str]:
    """The public names of `influent`; its files, which any import adds, are none, but for these."""
    names = [n for n in dir(influent) if not n.startswith("_")]
    modules = ("axioms", "experts", "fidelity", "layered", "stability", "zoo")
    return sorted(n for n in names if n in modules or not isinstance(getattr(influent, n), ModuleType))


def test_the_exported_names_are_these() -> None:
    assert exported() == sorted(EXPORTED)


def test_every_exported_name_is_there() -> None:
    assert [n for n in EXPORTED if not hasattr(influent, n)] == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_every_public_class_and_function_says_what_it_is(file: Path) -> None:
    assert ast.get_docstring(tree(file))
    tops = [n for n in tree(file).body if isinstance(n, (*Function.__args__, ast.ClassDef)) and n.name[0] != "_"]
    inner = [m for n in tops if isinstance(n, ast.ClassDef) for m in n.body if isinstance(m, Function)]
    # What overrides a method of the base class, which says what it is, need not say it again; torch calls `forward`.
    said = {"forward"} | {
        m.name for f in FILES for m in ast.walk(tree(f)) if isinstance(m, Function) and ast.get_docstring(m)
    }
    # The types of one call more are said below it, by the function itself.
    typed = [n for n in tops if any(getattr(d, "id", "") == "overload" for d in n.decorator_list)]
    silent = [n.name for n in tops if not ast.get_docstring(n) and n not in typed]
    silent += [m.name for m in inner if m.name[0] != "_" and not ast.get_docstring(m) and m.name not in said]
    assert silent == []


def explained() -> list[str]:
    """Exported classes and functions. Errors have their examples in the table of lessons."""
    things = {n: getattr(influent, n, None) for n in EXPORTED}
    return [
        n for n, thing in things.items()
        if inspect.isfunction(thing) or (inspect.isclass(thing) and not issubclass(thing, Exception))
    ]  # fmt: skip


@pytest.mark.parametrize("name", explained())
def test_every_exported_class_and_function_shows_an_example(name: str) -> None:
    assert ">>> " in (inspect.getdoc(getattr(influent, name)) or "")
