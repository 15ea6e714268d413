"""Pictures of layered explanations: rows are layers, columns the input, its strongest unit, and shares of the units."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from influent.layered import CRITERIA, Layered, Layers
from influent.nets import Net

from .curves import Chart, Curve
from .figure import Cell, Figure
from .heat import per_pixel
from .overlay import scaled_pixels
from .page import rendered
from .palette import limit
from .table import Table
from .units import as_picture

LEGEND = (
    "What each layer's units send back to the input by a DeconvNet: the pixels that fire them. First the single unit "
    "of largest activation, then the units of largest score, of a growing share of all."
)


def layered_figure(net: Net, made: Layered, title: str, row: int = 0) -> Figure:
    """One input explained at several layers: original, max, then a share a column. Source: Ho's Fig 2.

    Colours are the input's own, scaled by the size of what arrives there; grey inputs are drawn light on dark.
    """
    photo = as_picture(net, made.x[row : row + 1])
    rows = []
    for layer in made.rows:
        pictures = [
            Cell(_drawn(p.values[row], photo), p.name if p.share == 0 else f"top {p.name}") for p in layer.pictures
        ]
        rows.append((Cell(photo, layer.cut.text), *pictures))
    return Figure(title, LEGEND, tuple(rows))


def _drawn(values: Tensor, photo: np.ndarray) -> np.ndarray:
    """A picture in the colours of the photo; of a net with one colour channel as brightness."""
    if len(values) == 3:
        return scaled_pixels(values, photo, sigma=1.0)
    pixels = per_pixel(values).abs()
    light = (pixels / limit(pixels)).clamp(max=1).double().cpu().numpy()
    return np.repeat(light[..., None], 3, axis=2)


def layers_chart(table: Layers) -> Chart:
    """The three criteria, layer by layer."""
    positions = tuple(float(k) for k in range(1, len(table.layers) + 1))
    curves = [Curve(name, [float(getattr(layer, name)) for layer in table.layers]) for name in CRITERIA]
    return Chart("How linear, how spread, how coherent", "layer", positions, curves)


def layers_table(table: Layers) -> Table:
    """The candidates, with what they are chosen by."""
    head, *rows = table.rows
    numbered = [(f"{k + 1}  {row[0]}", *row[1:]) for k, row in enumerate(rows)]
    return Table("The candidate layers, in the order in which they run", head, numbered)


def layered_page(
    title: str, table: Layers, chosen: Sequence[str], figures: Sequence[Figure], numbers: Sequence[str],
    facts: dict[str, str], seconds: float,
) -> str:  # fmt: skip
    """The HTML: the table and chart of layers, which is chosen by what, and the pictures."""
    chart = layers_chart(table) if len(table.layers) > 1 and not math.isnan(table.layers[0].accuracy) else None
    return rendered(
        "layered.html", title=title, table=layers_table(table), chart=chart, chosen=chosen, figures=figures,
        numbers=numbers, hashed=any(layer.hashed for layer in table.layers), left_out=table.left_out, facts=facts,
        seconds=seconds,
    )  # fmt: skip
