"""How well pixels localise: the share of attribution inside the object's box, of units inside the net and of the net.

    python3 dev.py study localisation [--limit N] [--settings]

On photos with boxes drawn by hand (boxes.json), for the predicted class:

- integrated gradients of the class, and saliency, on the pixels;
- the three units of a middle layer with the largest internal influence (gradient at the point) or conductance,
  each drawn on the pixels that drive it; three units drawn by lot are the control. A unit is read as the sum over
  its positions, or as the sum weighted by the influence that each position has on the class.

Every number is Σ inside the box / Σ over the photo of a map `[y, x]`: the positive part of Σ over colours of the
contributions (a unit with negative influence counts with its sign turned), or Σ over colours of |gradient|.
Chance is the box's share of the photo. `--settings` compares ways to draw a unit, on photos of their own.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor
from tqdm import tqdm

import influent as inf

HERE = Path(__file__).parent
BOXES = HERE / "boxes.json"
RESULT, PICTURE = HERE / "results" / "localisation.json", HERE / "results" / "localisation.png"
DATA_SET = "imagenet-1000-samples"
LAYERS = {"efficientnet-lite0": "_blocks.10", "googlenet": "inception_4c"}
POINTS, POINTS_OF_UNIT, UNITS, SEED, CHUNK = 65, 33, 3, 0, 16

IG, IG_BLUR, SALIENCY = "IG of the class, from black", "IG of the class, from blur", "saliency of the class"
CHOSEN = {"influence": "by influence", "conductance": "by conductance", "lot": "by lot"}
DRAWN = {
    "sum ig": "sum, IG from black",
    "sum gradient": "sum, |gradient|",
    "sum scaled": "sum, |gradient| · pixel",
    "weighted ig": "weighted, IG from black",
    "weighted blur": "weighted, IG from blur",
}
MEAN = "mean of three"


@dataclass(frozen=True)
class Photo:
    """A photo with a box `(x0, y0, x1, y1)` in pixels of the net's crop, ends excluded."""

    name: str
    object: str
    box: tuple[int, int, int, int]
    file: Path
    packaged: bool

    @property
    def area(self) -> float:
        """The box's share of the crop: what a map without any idea would have inside."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0) / 224**2

    def inside(self, heat: Tensor) -> float:
        """Σ inside the box / Σ of a map `[y, x]` of size ≥ 0."""
        x0, y0, x1, y1 = self.box
        return float(heat[y0:y1, x0:x1].sum() / heat.sum())


@dataclass(frozen=True)
class Ranked:
    """A unit, its influence's sign, and its share of the influence of the units chosen with it."""

    channel: int
    sign: float
    share: float


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the table, the file and the picture."""
    parser = argparse.ArgumentParser(description="How well the pixels of influential units localise an object.")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N photos; no file, no picture")
    parser.add_argument("--settings", action="store_true", help="compare ways to draw a unit, on other photos; no file")
    options = parser.parse_args(arguments)
    if options.settings:
        print(settings_table(listed("settings")[: options.limit]))
        return 0
    photos = listed("compared")[: options.limit]
    if not photos:
        print("No photo is left to look at.", file=sys.stderr)
        return 2
    nets = load_nets()
    maps = {name: [maps_of(net, LAYERS[name], p) for p in tqdm(photos, desc=name)] for name, net in nets.items()}
    shares = {name: [shares_of(p, m) for p, m in zip(photos, found, strict=True)] for name, found in maps.items()}
    for name in nets:
        print(f"\n{name}, units of {LAYERS[name]}\n\n{table(photos, shares[name])}")
    if options.limit is None and len(photos) == len(json.loads(BOXES.read_text(encoding="utf-8"))["compared"]):
        RESULT.write_text(json.dumps(record(nets, photos, maps, shares), indent=2) + "\n", encoding="utf-8")
        draw(nets["efficientnet-lite0"], photos, maps["efficientnet-lite0"], shares["efficientnet-lite0"])
        print(f"\nwritten: studies/results/{RESULT.name} and {PICTURE.name}")
    return 0


def listed(use: str) -> list[Photo]:
    """The photos with boxes for one use; without INFLUENT_DATA, only those that are packaged."""
    folder = Path(os.environ.get("INFLUENT_DATA", "")) / DATA_SET / "images"
    there = "INFLUENT_DATA" in os.environ and folder.is_dir()
    photos = []
    for entry in json.loads(BOXES.read_text(encoding="utf-8"))[use]:
        name = entry["photo"]
        packaged = not name.endswith(".jpg")
        if packaged or there:
            file = inf.example(name) if packaged else folder / name
            photos.append(Photo(name, entry["object"], tuple(entry["box"]), file, packaged))
    if not there:
        print(
            f"INFLUENT_DATA names no folder with {DATA_SET}/images: only the {len(photos)} photos that come with "
            "scikit-image are used, and nothing is written. studies/README.md says where the others come from.",
            file=sys.stderr,
        )
    return photos


def load_nets() -> dict[str, inf.Net]:
    """The zoo's nets: GoogLeNet only where its weights are."""
    nets = {}
    for name in LAYERS:
        try:
            nets[name] = inf.zoo.load(name)
        except inf.InfluentError as error:
            print(f"without {name}: {error}", file=sys.stderr)
    return nets


# ---- maps -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Maps:
    """Everything that is drawn for one photo: maps `[y, x]`, and for each choice of units, its units."""

    predicted: str
    of_class: dict[str, Tensor]
    units: dict[str, list[Ranked]]
    of_unit: dict[str, dict[int, Tensor]]


def maps_of(net: inf.Net, layer: str, photo: Photo) -> Maps:
    """All maps of one photo."""
    x = net.read(photo.file)
    with torch.no_grad():
        top = int(net.module(x).argmax())
    of, path, at = inf.Class(top), inf.Line("black", x, n=POINTS), f"{layer}/channel"
    ig = inf.influence(net, inf.INPUT, of, path, inf.contribution, chunk=CHUNK)
    saliency = inf.influence(net, inf.INPUT, of, inf.Point(x), inf.gradient)
    influence = inf.influence(net, at, of, inf.Point(x), inf.gradient)
    conductance = inf.influence(net, at, of, path, inf.contribution, chunk=CHUNK)
    blur = inf.influence(net, inf.INPUT, of, replace(path, baseline="blur"), inf.contribution, chunk=CHUNK)
    slope = inf.influence(net, layer, of, inf.Point(x), inf.gradient).values[0]
    units = {"influence": best(influence), "conductance": best(conductance), "lot": by_lot(influence)}
    return Maps(
        predicted=net.label(top),
        of_class={IG: positive(ig.values[0]), IG_BLUR: positive(blur.values[0]), SALIENCY: size(saliency.values[0])},
        units=units,
        of_unit=unit_maps(net, layer, x, units, slope),
    )


def best(a: inf.Attribution) -> list[Ranked]:
    """The units of largest magnitude."""
    return ranked(a, [unit.index[0] for unit in a.top(UNITS)])


def by_lot(a: inf.Attribution) -> list[Ranked]:
    """Units drawn by lot, with the signs of their influence: the control."""
    dice = torch.Generator().manual_seed(SEED)
    return ranked(a, torch.randperm(a.values.shape[1], generator=dice)[:UNITS].tolist())


def ranked(a: inf.Attribution, channels: Sequence[int]) -> list[Ranked]:
    values = [float(a.values[0, k]) for k in channels]
    total = sum(map(abs, values))
    return [Ranked(k, 1.0 if v >= 0 else -1.0, abs(v) / total) for k, v in zip(channels, values, strict=True)]


def unit_maps(
    net: inf.Net, layer: str, x: Tensor, units: Mapping[str, list[Ranked]], slope: Tensor
) -> dict[str, dict[int, Tensor]]:
    """Maps of every unit, drawn in each way; `slope [channel, y, x]` is the class's gradient at the layer.

    All units come out of one sweep for each way: an adaptive path serves them together.
    """
    signs = {unit.channel: unit.sign for chosen in units.values() for unit in chosen}
    whole: dict[int, inf.Quantity] = {k: sign * inf.Unit(k, layer) for k, sign in signs.items()}
    where: dict[int, inf.Quantity] = {k: Weighted(k, slope[k], layer) for k in signs}
    black, blur = (inf.Line(name, x, n=POINTS_OF_UNIT) for name in ("black", "blur"))
    slopes = values_of(net, whole, inf.Point(x), inf.gradient)
    pixels = pixels_in_order(net, net.transform.decode(x)[0] / 255)
    return {
        "sum ig": {k: positive(v) for k, v in values_of(net, whole, black, inf.contribution).items()},
        "sum gradient": {k: size(v) for k, v in slopes.items()},
        "sum scaled": {k: size(v * pixels) for k, v in slopes.items()},
        "weighted ig": {k: positive(v) for k, v in values_of(net, where, black, inf.contribution).items()},
        "weighted blur": {k: positive(v) for k, v in values_of(net, where, blur, inf.contribution).items()},
    }


def values_of(net: inf.Net, of: Mapping[int, inf.Quantity], over: inf.Distribution, measure: Any) -> dict[int, Tensor]:
    """Influence of the pixels `[colour, y, x]` on each quantity, out of one sweep."""
    found = inf.influence(net, inf.INPUT, list(of.values()), over, measure, chunk=CHUNK)
    return {k: found[q].values[0] for k, q in of.items()}


@dataclass(frozen=True, repr=False, eq=False)
class Weighted(inf.Quantity):
    """Σ weight · neuron over the positions of a channel: `[point, channel, y, x] → [point]`.

    With the class's gradient at the layer for weights, this is the unit where it matters to the class.
    """

    channel: int
    weights: Tensor
    cut: str

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        """Weighted sum; nothing is chosen."""
        return (y[:, self.channel] * self.weights).flatten(1).sum(1)


def pixels_in_order(net: inf.Net, pixels: Tensor) -> Tensor:
    """RGB pixels `[3, y, x]` with the colours in the net's own order."""
    return pixels.flip(0) if getattr(net.transform, "order", "RGB") == "BGR" else pixels


def positive(contributions: Tensor) -> Tensor:
    """`[colour, y, x] → [y, x]`: summed over colours, then the positive part."""
    return contributions.sum(0).clamp(min=0)


def size(gradient: Tensor) -> Tensor:
    """`[colour, y, x] → [y, x]`: |gradient| summed over colours."""
    return gradient.abs().sum(0)


# ---- shares -----------------------------------------------------------------------------------------------


def shares_of(photo: Photo, maps: Maps) -> dict[str, float]:
    """The share inside the box for each row of the table."""
    shares = {"chance (area of the box)": photo.area}
    shares |= {name: photo.inside(heat) for name, heat in maps.of_class.items()}
    for choice, units in maps.units.items():
        for way in DRAWN:
            each = [photo.inside(maps.of_unit[way][unit.channel]) for unit in units]
            weighted = sum(unit.share * share for unit, share in zip(units, each, strict=True))
            shares[row(choice, way, MEAN)] = weighted
            shares |= {row(choice, way, f"unit {k + 1} alone"): share for k, share in enumerate(each)}
    return shares


def row(choice: str, way: str, which: str) -> str:
    """The name of a row of the table."""
    return f"units {CHOSEN[choice]}: {DRAWN[way]}, {which}"


def summary(shares: list[dict[str, float]], name: str) -> dict[str, float | None]:
    """Mean over photos with its standard error, and of the difference from the class's IG from the same baseline."""
    values = [s[name] for s in shares]
    apart = [s[name] - s[IG_BLUR if "blur" in name else IG] for s in shares]
    wins = sum(d > 0 for d in apart)
    return {
        "mean": statistics.mean(values), "stderr": stderr(values), "minus ig": statistics.mean(apart),
        "minus ig stderr": stderr(apart), "photos above ig": wins,
    }  # fmt: skip


def stderr(values: Sequence[float]) -> float | None:
    """The standard error of a mean, None for a single value."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def table(photos: Sequence[Photo], shares: list[dict[str, float]]) -> str:
    """Rows are maps; columns the mean ± standard error, the difference from the class's IG, each photo."""
    heads = " ".join(f"{p.name.split('_')[0][:6]:>6}" for p in photos)
    lines = [f"{'share of positive attribution inside the box':<52} {'mean ± se':>13} {'minus IG':>14}  {heads}"]
    for name in (name for name in shares[0] if not name.endswith(" alone")):
        s = summary(shares, name)
        mean, apart = plus_minus(s["mean"], s["stderr"]), plus_minus(s["minus ig"], s["minus ig stderr"], "+")
        lines.append(f"{name:<52} {mean:>13} {apart:>14}  " + " ".join(f"{one[name]:6.2f}" for one in shares))
    return "\n".join(lines)


def plus_minus(mean: float | None, error: float | None, sign: str = "") -> str:
    return f"{mean:{sign}.3f}" + (f" ± {error:.3f}" if error is not None else "")


def record(
    nets: Mapping[str, inf.Net], photos: Sequence[Photo], maps: Mapping[str, list[Maps]],
    shares: Mapping[str, list[dict[str, float]]],
) -> dict[str, Any]:  # fmt: skip
    """What is stored: each number, and what it was measured on."""
    return {
        "about": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "versions": {name: version(name) for name in ("influent", "torch")},
        "points on a path": {"class": POINTS, "units": POINTS_OF_UNIT},
        "baseline": "black",
        "nets": {
            name: {
                "layer": LAYERS[name],
                "summary": {label: summary(shares[name], label) for label in shares[name][0]},
                "photos": [
                    {
                        "photo": p.name, "object": p.object, "predicted": m.predicted, "shares": s,
                        "units": {choice: [vars(unit) for unit in units] for choice, units in m.units.items()},
                    }
                    for p, m, s in zip(photos, maps[name], shares[name], strict=True)
                ],
            }
            for name in nets
        },
    }  # fmt: skip


def version(name: str) -> str:
    """The installed version of a package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


# ---- ways to draw a unit ----------------------------------------------------------------------------------

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
        light = pixels_in_order(net, net.transform.decode(x)[0] / 255)
        return {"size": size(slope), "scaled": size(slope * light), "signed": positive(slope * light)}[way]

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
    slope = inf.influence(net, layer, of, inf.Point(x), inf.gradient).values[0]
    units = best(inf.influence(net, f"{layer}/channel", of, inf.Point(x), inf.gradient))
    return {
        "its sum over positions": [(u.share, u.sign * inf.Unit(u.channel, layer)) for u in units],
        "its largest position": [(u.share, u.sign * inf.Unit(u.channel, layer, reduce="max")) for u in units],
        "its positions weighted by influence": [(u.share, Weighted(u.channel, slope[u.channel], layer)) for u in units],
        "the class itself": [(1.0, of)],
    }


def settings_table(photos: Sequence[Photo]) -> str:
    """Ways to draw the three most influential units, on photos that are not compared above."""
    if not photos:
        return "The photos for settings are not packaged: they need INFLUENT_DATA."
    net, layer = inf.zoo.load("efficientnet-lite0"), LAYERS["efficientnet-lite0"]
    found: dict[tuple[str, str], list[float]] = {("chance", ""): [photo.area for photo in photos]}
    for photo in tqdm(photos):
        x = net.read(photo.file)
        for reading, quantities in readings(net, layer, x).items():
            for way, draw_one in WAYS.items():
                share = sum(w * photo.inside(draw_one(net, x, quantity)) for w, quantity in quantities)
                found.setdefault((reading, way), []).append(share)
    lines = [
        f"{reading:<37} {way:<48} {plus_minus(statistics.mean(values), stderr(values))}  "
        + " ".join(f"{v:.2f}" for v in values)
        for (reading, way), values in found.items()
    ]
    return "\n".join(lines)


# ---- the picture ------------------------------------------------------------------------------------------


def draw(net: inf.Net, photos: Sequence[Photo], maps: Sequence[Maps], shares: Sequence[Mapping[str, float]]) -> None:
    """The packaged photos with their maps (the others are not ours to print), and the shares of all photos."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [k for k, photo in enumerate(photos) if photo.packaged]
    figure = pyplot.figure(figsize=(12, 3.1 * len(shown) + 3.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[3.1 * len(shown), 3.4])
    grid = above.subplots(len(shown), 2 + UNITS, squeeze=False)
    for axes, k in zip(grid, shown, strict=True):
        draw_photo(axes, net, photos[k], maps[k])
    draw_shares(below.subplots(), photos, shares)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def draw_photo(axes: Any, net: inf.Net, photo: Photo, maps: Maps) -> None:
    """One row: the photo, integrated gradients of the class, the units with the largest influence."""
    view = net.transform.view(photo.file)
    units = maps.units["influence"]
    heats = {f"{maps.predicted}, the class itself": maps.of_class[IG]}
    heats |= {f"unit {u.channel}": maps.of_unit["weighted ig"][u.channel] for u in units}
    axes[0].imshow(view)
    axes[0].set_title(f"{photo.name}: box {photo.area:.0%} of the photo", fontsize=9)
    for one, (title, heat) in zip(axes[1:], heats.items(), strict=True):
        one.imshow(blurred(heat), cmap="inferno")
        one.set_title(f"{title}: {photo.inside(heat):.0%}", fontsize=9)
    x0, y0, x1, y1 = photo.box
    for one in axes:
        one.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="#35c4ff", linewidth=1.5)
        one.set(xlim=(0, 224), ylim=(224, 0), xticks=[], yticks=[])


def blurred(heat: Tensor) -> Tensor:
    """A map made legible: its mean over 5 × 5 pixels, cut off at the 99.5th percentile. For the eye only."""
    soft = torch.nn.functional.avg_pool2d(heat[None, None], 5, stride=1, padding=2)[0, 0]
    return soft.clamp(max=float(soft.flatten().quantile(0.995)))


def draw_shares(axes: Any, photos: Sequence[Photo], shares: Sequence[Mapping[str, float]]) -> None:
    """A dot for each photo and method."""
    rows = {
        "chance (area of the box)": ("_", "#888888", "chance"),
        IG: ("o", "#222222", "the class itself"),
        row("influence", "weighted ig", MEAN): ("D", "#d1495b", "the 3 units of largest influence"),
        row("conductance", "weighted ig", MEAN): ("s", "#2e86ab", "the 3 units of largest conductance"),
        row("lot", "weighted ig", MEAN): ("x", "#888888", "3 units drawn by lot"),
    }
    for name, (marker, colour, label) in rows.items():
        axes.plot([s[name] for s in shares], marker, color=colour, label=label, markersize=7)
    axes.set_xticks(range(len(photos)), [p.object.partition(",")[0] for p in photos], rotation=20, fontsize=8)
    axes.set(ylim=(0, 1), ylabel="share of positive attribution in the box")
    axes.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.22))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
