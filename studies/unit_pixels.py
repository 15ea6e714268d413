"""How a unit's pixels are best drawn: ways compared by the share inside the object's box, on photos of their own.

    python3 dev.py study unit_pixels [--limit N]

The three channels of EfficientNet-lite0's `_blocks.10` with the largest conductance, read in three ways (sum over
positions, largest position, what the channel carries to the class) and drawn in eight. These photos serve the choice of
settings, and are not among those of `study localisation`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from localisation import CHUNK, LAYERS, SEED, UNITS, Photo, listed, plus_minus, positive, stderr
from torch import Tensor
from tqdm import tqdm

import influent as inf
from influent.attribution import Ranked
from influent.views.units import carried

RESULT = Path(__file__).parent / "results" / "unit_pixels.json"


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the table and the file."""
    parser = argparse.ArgumentParser(description="Ways to draw a unit's pixels, compared.")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N photos; no file")
    options = parser.parse_args(arguments)
    photos = listed("settings")[: options.limit]
    if not photos:
        print("The photos of this study are not packaged: set INFLUENT_DATA.", file=sys.stderr)
        return 2
    found = shares(photos)
    for (reading, way), values in found.items():
        each = " ".join(f"{v:.2f}" for v in values)
        print(f"{reading:<30} {way:<48} {plus_minus(statistics.mean(values), stderr(values))}  {each}")
    if options.limit is None:
        RESULT.write_text(
            json.dumps([{"unit": r, "drawn": w, "shares": v} for (r, w), v in found.items()], indent=2) + "\n"
        )
    return 0


def in_net_order(net: inf.Net, pixels: Tensor) -> Tensor:
    """RGB pixels `[1, 3, y, x]` with the colours in the net's own order, `[3, y, x]`."""
    return net.transform.to_rgb(pixels)[0]


def magnitude(gradient: Tensor) -> Tensor:
    """`[colour, y, x] → [y, x]`: |gradient| summed over colours."""
    return gradient.abs().sum(0)


def sign(u: Ranked) -> float:
    return 1.0 if u.value >= 0 else -1.0


Draw = Callable[[inf.Net, Tensor, inf.Quantity], Tensor]


def drawn_by_path(baseline: str) -> Draw:
    """Positive part of the unit's integrated gradients."""

    def draw_one(net: inf.Net, x: Tensor, unit: inf.Quantity) -> Tensor:
        path = inf.Line(baseline, x, n=33)
        return positive(inf.influence(net, inf.INPUT, unit, path, inf.contribution, chunk=CHUNK).values[0])

    return draw_one


def drawn_by_gradient(over: Callable[[Tensor], inf.Distribution], way: str) -> Draw:
    """From the unit's mean gradient over a distribution: its size, that times the pixel, or the signed product."""

    def draw_one(net: inf.Net, x: Tensor, unit: inf.Quantity) -> Tensor:
        slope = inf.influence(net, inf.INPUT, unit, over(x), inf.gradient, chunk=CHUNK).values[0]
        light = in_net_order(net, net.transform.decode(x) / 255)
        return {"size": magnitude(slope), "scaled": magnitude(slope * light), "signed": positive(slope * light)}[way]

    return draw_one


def smooth(x: Tensor) -> inf.Distribution:
    """A ball of the usual size: a standard deviation of 15 % of the range of the input."""
    return inf.Gaussian(x, std=0.15 * float(x.max() - x.min()), n=25, seed=SEED)


WAYS: dict[str, Draw] = {
    "|gradient| at the point": drawn_by_gradient(inf.Point, "size"),
    "|gradient| · pixel (as Leino et al. 2018 draw)": drawn_by_gradient(inf.Point, "scaled"),
    "gradient × pixel, positive part": drawn_by_gradient(inf.Point, "signed"),
    "integrated gradients from black": drawn_by_path("black"),
    "integrated gradients from mean": drawn_by_path("mean"),
    "integrated gradients from blur": drawn_by_path("blur"),
    "smoothed |gradient|": drawn_by_gradient(smooth, "size"),
    "smoothed gradient × pixel, positive part": drawn_by_gradient(smooth, "signed"),
}


def readings(net: inf.Net, layer: str, x: Tensor) -> dict[str, list[tuple[float, inf.Quantity]]]:
    """What "the unit" can mean, each with the weights of the three units in the mean, and the class beside them."""
    of = inf.Predicted()
    slope = inf.influence(net, layer, of, inf.Line("black", x, n=33), inf.gradient)
    units = inf.influence(net, f"{layer}/channel", of, inf.Line("black", x, n=33), inf.contribution).top(UNITS)
    return {
        "its sum over positions": [(u.share, sign(u) * inf.Unit(u.index[0], layer)) for u in units],
        "its largest position": [(u.share, sign(u) * inf.Unit(u.index[0], layer, reduce="max")) for u in units],
        "what it carries to the class": [(u.share, carried(slope, u, "channel")) for u in units],
        "the class itself": [(1.0, of)],
    }


def shares(photos: Sequence[Photo]) -> dict[tuple[str, str], list[float]]:
    """The share inside the box for each reading and way, photo by photo."""
    net, layer = inf.zoo.load("efficientnet-lite0"), LAYERS["efficientnet-lite0"]
    found: dict[tuple[str, str], list[float]] = {("chance", ""): [photo.area for photo in photos]}
    for photo in tqdm(photos):
        x = net.read(photo.file)
        for reading, quantities in readings(net, layer, x).items():
            for way, draw_one in WAYS.items():
                total = sum(weight for weight, _ in quantities)
                share = sum(w * photo.inside(draw_one(net, x, quantity)) for w, quantity in quantities) / total
                found.setdefault((reading, way), []).append(share)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
