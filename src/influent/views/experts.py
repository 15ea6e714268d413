"""The page of experts: a table of all classes, and for each the heat maps of its sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .heatmap import HeatMap
from .page import rendered
from .table import Table


def experts_page(
    title: str, found: Sequence[Any], columns: Sequence[str], facts: dict[str, str], seconds: float
) -> str:
    """The HTML: recall and precision on the reported half, then recall and precision of each sweep on the other."""
    table = Table("Recall / precision, on images that chose nothing", columns, [one.row for one in found])
    sections = [(one.name, [m.svg() for m in maps(one.grid, one.cells["influence"])]) for one in found]
    return rendered("experts.html", title=title, table=table.html(), sections=sections, facts=facts, seconds=seconds)


def maps(grid: Any, cell: Any) -> list[HeatMap]:
    """Recall and precision for all α and β, with the chosen cell. Source: Leino et al. 2018, Fig 5."""
    place = None if cell is None else (grid.alphas.index(cell.alpha), grid.betas.index(cell.beta))
    made = []
    for name in ("recall", "precision"):
        own = float(getattr(grid.original, name))
        values, known = getattr(grid, name).tolist(), None if own != own else own
        made.append(HeatMap(name.capitalize(), values, grid.alphas, grid.betas, place, known))
    return made
