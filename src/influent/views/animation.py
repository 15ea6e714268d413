"""A film of gradients: the way from a baseline to a picture, beside how much each pixel matters there, as a GIF."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from influent.ask import influence
from influent.cut import INPUT
from influent.distributions import Line, Point
from influent.errors import QuestionError
from influent.measures import magnitude
from influent.nets import Net
from influent.saturate import Saturation, held

from .palette import limit
from .units import as_picture

SIDE, GAP, HEAD, FOOT = 192, 6, 26, 20
"""Height of a panel, and of what is around it, in pixels."""

MOST, COLOURS, PACE, LAST = 51, 64, 120, 2400
"""Frames at most; colours of a frame; milliseconds for each, and for the last."""

PANELS = ("what the net sees", "|gradient|, one scale", "|gradient|, own scale")


def frames(
    net: Net, x: Tensor, curve: Saturation, baseline: object = "black", chunk: int = 16,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Image.Image]:  # fmt: skip
    """The film of one picture `x [1, channel, row, column]`, frame by frame; no more than `chunk` are held.

    Three panels: the point of the path as the eye sees it; Σ over colours of |∂F/∂pixel|, white where it reaches the
    largest of the whole path; and the same with white for the largest of this frame. `curve` is the saturation of `x`
    on the same path, its gradient at INPUT among others: it says where the largest is, and the score of each frame.

    Errors: `QuestionError` for inputs that are no pictures, and curves of several inputs or without INPUT.
    Source: Taly's slides, gradients of a photo at growing intensity.
    """
    line = Line(baseline, x, len(curve.alpha), "uniform").resolve(net)
    if line.x.dim() != 4 or len(line.x) != 1 or INPUT.text not in curve.gradient:
        raise QuestionError(
            "A film is of one picture, [1, channel, row, column], and of curves with its own gradient: at=[inf.INPUT]."
        )
    of = held(net, curve.of, line.x)

    def sizes(alpha: Tensor) -> tuple[Tensor, Tensor]:
        points = line.at(torch.zeros(len(alpha), dtype=torch.long), alpha)
        found = influence(net, INPUT, of, Point(points), magnitude, chunk=chunk, progress=progress)
        return points, found.values.sum(1)

    most = limit(sizes(curve.largest_at[INPUT.text])[1][0])
    shown = torch.linspace(0, len(curve.alpha) - 1, min(MOST, len(curve.alpha))).round().long()
    for some in shown.split(chunk):
        for k, point, size in zip(some.tolist(), *sizes(curve.alpha[some.to(curve.alpha.device)]), strict=True):
            score = f"α = {float(curve.alpha[k]):.2f}    {curve.of.describe(net)} = {float(curve.score[0, k]):.3g}"
            greys = [_grey(size, most), _grey(size, limit(size))]
            yield _frame([as_picture(net, point[None]), *greys], score)


def _grey(size: Tensor, most: float) -> np.ndarray:
    """`[row, column] → [row, column, 3]` in 0..1: black is 0, white `most` and above."""
    return np.asarray((size / most).clamp(max=1).double().cpu()[..., None].expand(-1, -1, 3).numpy())


def _frame(panels: list[np.ndarray], text: str) -> Image.Image:
    pictures = [Image.fromarray((panel * 255).round().astype(np.uint8)) for panel in panels]
    wide = max(round(SIDE * pictures[0].width / pictures[0].height), 1)
    canvas = Image.new("RGB", (3 * wide + 4 * GAP, HEAD + SIDE + FOOT), (24, 24, 26))
    # matplotlib's own font: Pillow's has no α.
    font = ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 12)
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, 5), text, (240, 240, 240), font)
    for k, (picture, name) in enumerate(zip(pictures, PANELS, strict=True)):
        left = GAP + k * (wide + GAP)
        way = Image.Resampling.BOX if picture.height > SIDE else Image.Resampling.NEAREST
        canvas.paste(picture.resize((wide, SIDE), way), (left, HEAD))
        pen.text((left, HEAD + SIDE + 2), name, (180, 180, 180), font)
    return canvas


def write_gif(file: Path, pictures: Iterator[Image.Image]) -> int:
    """Write frames as an animated GIF that starts again when it ends; returns how many there are.

    Each frame is reduced to a palette as it comes: what is held of it is a byte a pixel.
    """
    reduced = [picture.quantize(COLOURS, dither=Image.Dither.NONE) for picture in pictures]
    times = [PACE] * (len(reduced) - 1) + [LAST]
    reduced[0].save(file, "GIF", save_all=True, append_images=reduced[1:], duration=times, loop=0)
    return len(reduced)
