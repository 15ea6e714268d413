"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines, each column as wide as its widest cell.

    >>> aligned([("layer", "gap"), ("conv1", "0")])
    ['layer  gap', 'conv1  0']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
