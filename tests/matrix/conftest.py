"""The table of gaps that the tests on transformers fill: one row a net, printed at the end of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def gaps(record_property: Callable[[str, Any], None]) -> Callable[..., None]:
    """Adds a row: the net's name, and by place the answer there, which has a gap."""

    def add(net: str, **answers: Any) -> None:
        told = {}
        for place, a in answers.items():
            size = a.gap.change.abs().clamp(min=1e-300)
            told[place] = f"{float((a.gap.absolute / size).max()):.2%} ≤ {float((a.residual / size).max()):.2%}"
        record_property("gaps", [net, told])

    return add


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """|gap| ≤ residual, both as a share of |F(x) − F(x′)|, the worst of the texts."""
    rows: dict[str, dict[str, str]] = {}
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        for key, found in getattr(report, "user_properties", ()):
            if key == "gaps":
                rows[found[0]] = found[1]
    if not rows:
        return
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [["net", *columns], *([name, *(row.get(c, "") for c in columns)] for name, row in rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    terminalreporter.section("transformers: |gap| ≤ residual, of |ΔF|")
    for line in lines:
        terminalreporter.write_line("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)))
