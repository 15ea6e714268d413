"""torchvision and timm for the tests in this folder, for no others, and the table that these tests fill.

Both are installed apart (`dev.py` says where), since beside them transformers would import torchvision, too. Each test
file that asks for `vision` meets them; when it ends they are gone from the path and from `sys.modules`.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

FOLDER = Path(os.environ.get("INFLUENT_VISION") or Path(sys.prefix) / "vision")
LIBRARIES = ("torchvision", "timm")
# What torchvision describes to torch.compile when it is imported, and what only its compiled part declares: that part
# loads beside the one torch that it was built with, and no net here calls it.
OPERATORS = ("nms", "qnms")
DECLARED = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def taken_out() -> dict[str, ModuleType]:
    """The modules of the two libraries, no longer in `sys.modules`."""
    names = [name for name in sys.modules if name.partition(".")[0] in LIBRARIES]
    return {name: sys.modules.pop(name) for name in names}


@functools.cache
def kept() -> tuple[dict[str, ModuleType], list[Any]]:
    """The modules imported so far, and the declarations that must outlive them: torch takes each but once a process."""
    return {}, []


def import_both() -> None:
    """Both libraries, with torchvision's operators declared where its compiled part does not load."""
    modules, declarations = kept()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a peer's import warns of is not ours to mend
        sys.modules.update(modules)
        try:
            importlib.import_module("torchvision")
        except RuntimeError as error:
            if "torchvision::nms does not exist" not in str(error):
                raise
            taken_out()
            declarations.append(torch.library.Library("torchvision", "DEF"))
            for name in OPERATORS:
                declarations[0].define(name + DECLARED)
        for name in ("torchvision.models.feature_extraction", "torchvision.models.segmentation", "timm"):
            importlib.import_module(name)


@pytest.fixture(scope="module")
def vision() -> Iterator[SimpleNamespace]:
    """`models` and `feature_extraction` of torchvision, and `timm`, while the tests of one file run."""
    if not all((FOLDER / name).is_dir() for name in LIBRARIES):
        pytest.skip(
            f"torchvision and timm are not in {FOLDER}. `python3 dev.py test` installs them there; INFLUENT_VISION "
            "names another folder."
        )
    sys.path.insert(0, str(FOLDER))
    try:
        import_both()
        models = sys.modules["torchvision.models"]
        yield SimpleNamespace(
            models=models, extraction=sys.modules["torchvision.models.feature_extraction"], timm=sys.modules["timm"]
        )
    finally:
        kept()[0].update(taken_out())
        sys.path.remove(str(FOLDER))


# The table. Cells travel as properties of the tests' reports, so that they arrive whichever process ran the test.


@pytest.fixture
def cell(request: pytest.FixtureRequest, record_property: Callable[[str, Any], None]) -> Callable[[str], None]:
    """Fills the cell of this test: its net's row, and the column that the test is named for."""
    row = request.node.callspec.params["built"]
    column = request.node.originalname.removeprefix("test_").replace("_", " ")
    record_property("cell", [row, column, "FAILED"])
    return lambda text: record_property("cell", [row, column, text])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A row for each net, a column for each test, and the seconds that each row took."""
    cells: dict[str, dict[str, str]] = {}
    seconds: dict[str, float] = {}
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        found = [value for key, value in getattr(report, "user_properties", ()) if key == "cell"]
        for row, column, text in found:
            cells.setdefault(row, {})[column] = text
        for row in {row for row, _, _ in found}:
            seconds[row] = seconds.get(row, 0.0) + report.duration
    if not cells:
        return
    columns = list(dict.fromkeys(column for row in cells.values() for column in row))
    lines = [["net", *columns, "s"]]
    lines += [[name, *(row.get(c, "") for c in columns), f"{seconds[name]:.1f}"] for name, row in cells.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    terminalreporter.section("real architectures")
    for line in lines:
        terminalreporter.write_line("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)))
