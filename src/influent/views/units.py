"""The panel of units: what the most influential units look at, beside integrated gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from influent.ask import influence
from influent.attribution import Attribution, Ranked
from influent.cut import INPUT, Cut
from influent.distribution import Distribution, Mixture
from influent.distributions import Line, Point
from influent.errors import QuestionError
from influent.measures import contribution, gradient, gradient_times_activation
from influent.nets import Net
from influent.quantity import Quantity
from influent.sweep import Measure
from influent.text import Text, TextTransform

from .figure import Cell, Figure
from .heat import heat
from .overlay import overlay, scaled_pixels
from .reading import Reading, reading_of

LEGEND = (
    "Top row: the photo's own pixels, each colour scaled by the size of its influence; dark does not matter. "
    "Below: red speaks for, blue against. A unit's pixels are those that drive what it carries to the answer."
)


@dataclass(frozen=True, repr=False, eq=False)
class Carried(Quantity):
    """Σ_j w_j · y_j over a unit's neurons, w_j = E ∂of/∂y_j: what the unit carries to the answer.

    `[point, *neuron] → [point]`; `weights [*neuron]`, zero outside of the unit. Where a channel is active but does not
    matter, it carries nothing: its plain sum over positions would show that place as well.
    """

    weights: Tensor
    cut: Cut | str

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        """The weighted sum; nothing is chosen."""
        return (y * self.weights).flatten(1).sum(1)


def carried(slope: Attribution, ranked: Ranked, units: str | None) -> Carried:
    """What a ranked unit carries; `slope` is E ∂of/∂neuron at the same place, `units` the axis that counts units."""
    index: tuple[int | slice, ...] = ranked.index
    if units is not None and slope.axes is not None:
        index = tuple(ranked.index[0] if name == units else slice(None) for name in slope.axes)
    weights = torch.zeros_like(slope.values[0])
    weights[index] = slope.values[0][index]
    return Carried(weights, slope.question.at)


def pixels_path(net: Net, x: Tensor, like: Distribution | None, n: int, row: int) -> tuple[Distribution, Measure]:
    """The distribution and measure that pixels are drawn with: a line where a baseline is known.

    The question's own baseline (and label) come first, `row` of them, then the net's; without one, gradient × input.
    """
    label = None if like is None or like.labels is None else [int(like.labels[row])]
    parts = () if like is None else like.parts
    lines = [(weight, part) for weight, part in parts if isinstance(part, Line) and part.place == INPUT]
    if lines and len(lines) == len(parts):
        own = [(weight, Line(_row_of(line.baseline, row), x, n, label=label)) for weight, line in lines]
        return own[0][1] if len(own) == 1 else Mixture(tuple(own)), contribution
    if net.baseline is not None:
        return Line(None, x, n, label=label), contribution
    return Point(x, label=label), gradient_times_activation


def _row_of(baseline: Any, row: int) -> Any:
    """The baseline of one row, where there is one for each."""
    return baseline[row : row + 1] if isinstance(baseline, Tensor) and len(baseline) > 1 else baseline


def pixels_way(net: Net, x: Tensor, like: Distribution | None) -> str:
    """What the pictures of pixels show, in words."""
    _, measure = pixels_path(net, x, like, 2, 0)
    return "integrated gradients" if measure is contribution else "gradient × input"


def pixels_of(
    net: Net, x: Tensor, of: Sequence[Quantity], like: Distribution | None = None, n: int = 33, row: int = 0,
    chunk: int = 16, progress: Callable[[int], None] | None = None,
) -> list[Tensor]:  # fmt: skip
    """What drives each quantity at the pixels, `[channel, row, column]` each, out of one sweep.

    Source: Leino et al. 2018, section 3.1; the average along a path instead of the gradient at one point.
    """
    over, measure = pixels_path(net, x, like, n, row)
    found = influence(net, INPUT, list(of), over, measure, chunk=chunk, progress=progress)
    return [in_rgb(net, found[q].values) for q in of]


def in_rgb(net: Net, values: Tensor) -> Tensor:
    """Influence of pixels with its colour channels as red, green, blue: `[1, channel, ...] → [channel, ...]`."""
    to_rgb = getattr(net.transform, "to_rgb", None)
    return (to_rgb(values) if to_rgb else values)[0]


def as_picture(net: Net, x: Tensor) -> np.ndarray:
    """The input as the eye sees it, RGB in 0..1 `[row, column, 3]`.

    Undone by the net's transform; without one, as it is where it lies in 0..1, else stretched to that.
    """
    decode = getattr(net.transform, "decode", None)
    pixels = decode(x)[0] / 255 if decode else x[0]
    low, high = (float(pixels.min()), float(pixels.max())) if decode is None else (0.0, 1.0)
    if low < 0 or high > 1:
        pixels = (pixels - low) / max(high - low, 1e-12)
    pixels = pixels[:3] if len(pixels) >= 3 else pixels[:1].expand(3, -1, -1)
    return np.asarray(pixels.detach().double().clamp(0, 1).permute(1, 2, 0).cpu().numpy())


def panel(
    a: Attribution, x: Tensor, ranked: Sequence[Ranked], pixels: Sequence[Tensor], beside: Tensor, title: str
) -> Figure:
    """Photo, the units' own pixels, and integrated gradients, each as scaled pixels and signed overlay.

    `pixels [unit][channel, row, column]`, `beside [channel, row, column]`. Source: Leino et al. 2018, Fig 1.
    """
    if a.net is None:
        raise QuestionError("This attribution was loaded from disk without its net: pictures need the net.")
    photo = as_picture(a.net, x)
    names = [f"{u.name or u.index}  {u.value:+.3g}  ({u.share:.1%})" for u in ranked]
    every = [*zip(names, pixels, strict=True), (pixels_way(a.net, x, a.question.over), beside)]
    top = [Cell(photo, "as the net sees it"), *(Cell(scaled_pixels(p, photo, 1.5), name) for name, p in every)]
    below = [
        Cell(photo.mean(axis=2, keepdims=True).repeat(3, axis=2), "in grey"),
        *(Cell(overlay(p, photo), name) for name, p in every),
    ]
    return Figure(title, LEGEND, (tuple(top), tuple(below)))


def input_figure(values: Tensor, photo: np.ndarray, title: str) -> Figure:
    """Influence of the input's own pixels: heat map, overlay and scaled pixels. `values [channel, row, column]`."""
    cells = (
        Cell(photo, "as the net sees it"),
        Cell(heat(values), "influence of each pixel"),
        Cell(overlay(values, photo), "over the photo, smoothed"),
        Cell(scaled_pixels(values, photo), "pixels scaled by influence"),
    )
    return Figure(title, "Red speaks for, blue against; scaled pixels: dark does not matter.", (cells,))


@overload
def show(a: Attribution, on: Tensor, top: int = 3, chunk: int = 16) -> Figure: ...
@overload
def show(a: Attribution, on: Text, top: int = 3, chunk: int = 16) -> Reading: ...
def show(a: Attribution, on: Tensor | Text, top: int = 3, chunk: int = 16) -> Figure | Reading:
    """An attribution as a picture over the input: `on [1, channel, row, column]`, or the `Text` that a net read.

    Of photos: at the input, heat map, overlay and scaled pixels; inside the net, the `top` units with each unit's own
    pixels, beside integrated gradients. Of texts: each text with its words coloured, for values by token. In a notebook
    the result shows itself; `.save("units.png")`, of texts `.save("words.html")`, writes it.

    Errors: `QuestionError` for several rows of photos, for several quantities, and for what is neither photo nor text.
    Source: Leino et al. 2018, Fig 1.

    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2)).eval()
    >>> x = torch.rand(1, 3, 8, 8)
    >>> show(influence(net, "0/channel", Class(1), Point(x)), on=x)
    Figure('0/channel for class 1', 10 pictures): .save('name.png') or .save('name.html')
    """
    if not isinstance(a, Attribution):
        raise QuestionError("show takes one attribution; this is a dictionary of several: inf.show(r['conv1'], on=x).")
    if isinstance(on, Text):
        return reading_of(a, on)
    if a.net is not None and isinstance(a.net.transform, TextTransform):
        raise QuestionError(
            "show draws texts as net.read gave them: inf.show(a, on=net.read(['this is not good', ...]))."
        )
    if len(a.instances) != 1 or not isinstance(a.question.of, Quantity):
        raise QuestionError(f"show draws one row of one quantity. Choose one: inf.show(a[{a.instances[0]!r}], on=x).")
    if a.net is None:
        raise QuestionError("This attribution was loaded from disk without its net: pictures need the net.")
    if not isinstance(on, Tensor) or on.dim() != 4 or len(on) != 1:
        raise QuestionError("on= is the explained input, [1, channel, row, column]: net.read(photo) gives it.")
    net, x = a.net, a.net.placed(on)
    title = f"{a.question.at.text} for {a.question.of.describe(net)}"
    if a.question.at.place == INPUT:
        return input_figure(in_rgb(net, a.values), as_picture(net, x), title)
    ranked, at = a.top(top), a.question.at
    slope = influence(net, at.place, a.question.of, a.question.over, gradient, chunk=chunk)[a.instances[0]]
    units = [carried(slope, r, at.units) for r in ranked]
    row = int(a.instances[0])
    *pixels, beside = pixels_of(net, x, [*units, a.question.of], a.question.over, row=row, chunk=chunk)
    return panel(a, x, ranked, pixels, beside, title)
