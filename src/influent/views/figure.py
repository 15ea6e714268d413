"""A figure: pictures in a grid, as PNG, HTML or in a notebook. No widget, no script."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from PIL import Image

from influent.errors import InputError, StoreError


@dataclass(frozen=True, eq=False)
class Cell:
    """One picture, RGB in 0..1 `[row, column, 3]`, with the title under which it stands."""

    picture: np.ndarray
    title: str

    def jpeg(self, side: int | None = None) -> str:
        """The picture as a data URI, no larger than `side` pixels where that is given."""
        stream = io.BytesIO()
        picture = Image.fromarray((self.picture.clip(0, 1) * 255).round().astype(np.uint8))
        if side is not None:
            picture.thumbnail((side, side))
        picture.save(stream, "JPEG", quality=92)
        return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


@dataclass(frozen=True, eq=False)
class Figure:
    """Rows of pictures under a title, with a line that says how to read them.

    Shows itself in a notebook; `save("units.png")` or `save("units.html")` writes it.

    >>> cell = Cell(np.zeros((8, 8, 3)), "nothing")
    >>> Figure("An empty figure", "black is 0", ((cell, cell),)).png()[1:4]
    b'PNG'
    """

    title: str
    legend: str
    rows: tuple[tuple[Cell, ...], ...]

    def png(self, dots: int = 110) -> bytes:
        """The figure as a PNG file's bytes."""
        wide = max(len(row) for row in self.rows)
        canvas = Canvas(figsize=(2.6 * wide, 2.95 * len(self.rows) + 0.9), layout="constrained")
        FigureCanvasAgg(canvas)
        grid = canvas.subplots(len(self.rows), wide, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes_row, row in zip(grid, self.rows, strict=True):
            for axes, cell in zip(axes_row, row, strict=False):
                axes.imshow(cell.picture.clip(0, 1), interpolation="nearest")
                # A given height: matplotlib would look for it among the ticks, which takes longer than all the rest.
                axes.set_title(cell.title, fontsize=9, y=1.0)
        canvas.suptitle(self.title, fontsize=12)
        canvas.supxlabel(self.legend, fontsize=8)
        stream = io.BytesIO()
        canvas.savefig(stream, format="png", dpi=dots)
        return stream.getvalue()

    def html(self) -> str:
        """The figure as an HTML fragment that carries its pictures; rows wrap on a narrow screen."""
        rows = "".join(
            '<div style="display:flex;flex-wrap:wrap;gap:.6rem">'
            + "".join(
                f'<figure style="margin:0;flex:1 1 7rem;max-width:15rem">'
                f'<img src="{cell.jpeg()}" alt="{escape(cell.title)}"'
                f' style="width:100%;border-radius:4px"><figcaption style="font-size:.85rem">{escape(cell.title)}'
                "</figcaption></figure>"
                for cell in row
            )
            + "</div>"
            for row in self.rows
        )
        return f"<section><h3>{escape(self.title)}</h3>{rows}<p><small>{escape(self.legend)}</small></p></section>"

    def _repr_html_(self) -> str:
        return self.html()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a `.png` or a self-contained `.html`. Errors: `InputError` for other endings, `StoreError`."""
        place = Path(path)
        if place.suffix not in (".png", ".html"):
            raise InputError(
                f"{place.name!r}: a figure is saved as .png or .html, not {place.suffix or 'without an ending'}."
            )
        page = f'<!doctype html><meta charset="utf-8"><title>{escape(self.title)}</title>{self.html()}'
        data = self.png() if place.suffix == ".png" else page.encode()
        half = place.with_name(f".{place.name}.part")
        try:
            half.write_bytes(data)
            os.replace(half, place)
        except OSError as error:
            half.unlink(missing_ok=True)
            raise StoreError(f"{place} cannot be written: {error.strerror}. Name another place.") from None
        return place

    def __repr__(self) -> str:
        return f"Figure({self.title!r}, {sum(map(len, self.rows))} pictures): .save('name.png') or .save('name.html')"
