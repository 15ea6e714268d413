"""How well pixels localise: the share of attribution inside the object's box, of units inside the net and of the net.

    python3 dev.py study localisation [--limit N]

On photos with boxes drawn by hand (boxes.json), for the predicted class:

- integrated gradients of the class, and saliency, on the pixels;
- the three channels, and the three single neurons, of a middle layer with the largest internal influence (gradient
  at the point) or conductance, each drawn on the pixels that drive it; three channels by lot are the control.
  A channel is read as its sum over positions, or as what it carries to the class (weighted by E ∂class/∂neuron:
  what `influent explain` draws).

Every number is Σ inside the box / Σ over the photo of the positive part of Σ over colours of the contributions (a unit
with negative influence counts with its sign turned); for saliency, of Σ over colours of |gradient|. Chance is the box's
share of the photo. How units are drawn was chosen on other photos: `study unit_pixels`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor
from tqdm import tqdm

import influent as inf
from influent.attribution import Ranked
from influent.views.units import carried

HERE = Path(__file__).parent
BOXES = HERE / "boxes.json"
RESULT, PICTURE = HERE / "results" / "localisation.json", HERE / "results" / "localisation.png"
DATA_SET, PICTURED = "imagenet-1000-samples", "efficientnet-lite0"
LAYERS = {"efficientnet-lite0": "_blocks.10", "googlenet": "inception_4c"}
POINTS, POINTS_OF_UNIT, UNITS, SEED, CHUNK = 65, 33, 3, 0, 16

IG, IG_BLUR, SALIENCY = "IG of the class, from black", "IG of the class, from blur", "saliency of the class"
CHOSEN = {"influence": "by influence", "conductance": "by conductance", "lot": "by lot"}
DRAWN = {
    "sum": "channels, plain sum, from black",
    "carried": "channels, as carried, from black",
    "carried blur": "channels, as carried, from blur",
    "neuron": "neurons, from black",
    "neuron blur": "neurons, from blur",
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
        """Σ inside the box / Σ of a map `[y, x]` of size ≥ 0; chance, where the map shows nothing at all."""
        x0, y0, x1, y1 = self.box
        return float(heat[y0:y1, x0:x1].sum() / heat.sum()) if float(heat.sum()) > 0 else self.area


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the table, the file and the picture."""
    parser = argparse.ArgumentParser(description="How well the pixels of influential units localise an object.")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N photos; no file, no picture")
    options = parser.parse_args(arguments)
    photos = listed("compared")[: options.limit]
    if not photos:
        print("No photo is left to look at.", file=sys.stderr)
        return 2
    nets = load_nets()
    whole = options.limit is None and len(photos) == len(json.loads(BOXES.read_text(encoding="utf-8"))["compared"])
    maps: dict[str, list[Maps]] = {}
    shares: dict[str, list[dict[str, float]]] = {}
    for name, net in nets.items():
        maps[name] = [maps_of(net, LAYERS[name], photo) for photo in tqdm(photos, desc=name)]
        shares[name] = [shares_of(photo, one) for photo, one in zip(photos, maps[name], strict=True)]
        print(f"\n{name}, units of {LAYERS[name]}\n\n{table(photos, shares[name])}", flush=True)
        if whole:
            RESULT.write_text(json.dumps(record(photos, maps, shares), indent=2) + "\n", encoding="utf-8")
            if name == PICTURED:
                draw(net, photos, maps[name], shares[name])
    if whole:
        print(f"\nwritten: studies/results/{RESULT.name} and {PICTURE.name}")
    return 0


def listed(use: str) -> list[Photo]:
    """The photos for one use, "compared" or "settings"; without INFLUENT_DATA, only those that are packaged."""
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
    """Everything that is drawn for one photo: maps `[y, x]` of the class, and of the units of each choice and way."""

    predicted: str
    of_class: dict[str, Tensor]
    units: dict[str, list[Ranked]]
    of_units: dict[tuple[str, str], list[Tensor]]


def maps_of(net: inf.Net, layer: str, photo: Photo) -> Maps:
    """All maps of one photo."""
    x = net.read(photo.file)
    top = int(inf.activations(net, inf.OUTPUT, x).argmax())
    of, path, channels = inf.Class(top), inf.Line("black", x, n=POINTS), f"{layer}/channel"
    # One sweep of the path: the class at the pixels and at the layer, by contribution and by mean slope.
    along = inf.influence(net, [inf.INPUT, channels, layer], of, path, [inf.contribution, inf.gradient], chunk=CHUNK)
    point = inf.influence(net, [inf.INPUT, channels, layer], of, inf.Point(x))
    blur = inf.influence(net, inf.INPUT, of, inf.Line("blur", x, n=POINTS), inf.contribution, chunk=CHUNK)
    kinds = {kind: {"influence": point[at], "conductance": along[at][inf.contribution]}
             for kind, at in (("channel", channels), ("neuron", layer))}  # fmt: skip
    units = {f"{choice} {kind}": list(a.top(UNITS)) for kind, found in kinds.items() for choice, a in found.items()}
    units["lot channel"] = by_lot(point[channels])
    return Maps(
        predicted=net.label(top),
        of_class={IG: positive(along[inf.INPUT][inf.contribution].values[0]), IG_BLUR: positive(blur.values[0]),
                  SALIENCY: point[inf.INPUT].values[0].abs().sum(0)},
        units=units,
        of_units=unit_maps(net, layer, x, units, along[layer][inf.gradient]),
    )  # fmt: skip


def by_lot(a: inf.Attribution) -> list[Ranked]:
    """Units drawn by lot among all: the control."""
    everything = list(a.top(a.values[0].numel()))
    dice = torch.Generator().manual_seed(SEED)
    return [everything[int(k)] for k in torch.randperm(len(everything), generator=dice)[:UNITS]]


def unit_maps(
    net: inf.Net, layer: str, x: Tensor, units: dict[str, list[Ranked]], slope: inf.Attribution
) -> dict[tuple[str, str], list[Tensor]]:
    """Maps of every unit, drawn in each way; all units of a baseline come out of one sweep."""
    asked: dict[tuple[str, str], list[inf.Quantity]] = {}
    for choice in CHOSEN:
        channels, neurons = units[f"{choice} channel"], units.get(f"{choice} neuron", [])
        asked[choice, "sum"] = [(1.0 if u.value >= 0 else -1.0) * inf.Unit(u.index[0], layer) for u in channels]
        asked[choice, "carried"] = asked[choice, "carried blur"] = [carried(slope, u, "channel") for u in channels]
        signed = [(1.0 if u.value >= 0 else -1.0) * inf.Unit(u.index, layer) for u in neurons]
        if signed:
            asked[choice, "neuron"] = asked[choice, "neuron blur"] = signed
    maps: dict[tuple[str, str], list[Tensor]] = {}
    for baseline in ("black", "blur"):
        now = {key: of for key, of in asked.items() if key[1].endswith("blur") == (baseline == "blur")}
        every = list(dict.fromkeys(q for of in now.values() for q in of))
        over = inf.Line(baseline, x, n=POINTS_OF_UNIT)
        found = inf.influence(net, inf.INPUT, every, over, inf.contribution, chunk=CHUNK)
        maps |= {key: [positive(found[q].values[0]) for q in of] for key, of in now.items()}
    return maps


def positive(contributions: Tensor) -> Tensor:
    """`[colour, y, x] → [y, x]`: summed over colours, then the positive part."""
    return contributions.sum(0).clamp(min=0)


# ---- shares -----------------------------------------------------------------------------------------------


def shares_of(photo: Photo, maps: Maps) -> dict[str, float]:
    """The share inside the box for each row of the table."""
    shares = {"chance (area of the box)": photo.area}
    shares |= {name: photo.inside(heat) for name, heat in maps.of_class.items()}
    for (choice, way), drawn in maps.of_units.items():
        units = maps.units[f"{choice} {'neuron' if 'neuron' in way else 'channel'}"]
        each, total = [photo.inside(heat) for heat in drawn], sum(u.share for u in units)
        shares[row(choice, way, MEAN)] = sum(u.share * share for u, share in zip(units, each, strict=True)) / total
        shares |= {row(choice, way, f"unit {k + 1} alone"): share for k, share in enumerate(each)}
    return shares


def row(choice: str, way: str, which: str) -> str:
    """The name of a row of the table."""
    return f"{CHOSEN[choice]}: {DRAWN[way]}, {which}"


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
    lines = [f"{'share of positive attribution inside the box':<62} {'mean ± se':>13} {'minus IG':>14}  {heads}"]
    for name in (name for name in shares[0] if not name.endswith(" alone")):
        s = summary(shares, name)
        mean, apart = plus_minus(s["mean"], s["stderr"]), plus_minus(s["minus ig"], s["minus ig stderr"], "+")
        lines.append(f"{name:<62} {mean:>13} {apart:>14}  " + " ".join(f"{one[name]:6.2f}" for one in shares))
    return "\n".join(lines)


def plus_minus(mean: float | None, error: float | None, sign: str = "") -> str:
    return f"{mean:{sign}.3f}" + (f" ± {error:.3f}" if error is not None else "")


def record(
    photos: Sequence[Photo], maps: Mapping[str, list[Maps]],
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
            for name in maps
        },
    }  # fmt: skip


def version(name: str) -> str:
    """The installed version of a package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


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
    heats = {f"{maps.predicted}, the class itself": maps.of_class[IG]}
    for u, heat in zip(maps.units["conductance channel"], maps.of_units["conductance", "carried"], strict=True):
        heats[u.name] = heat
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
        row("conductance", "carried", MEAN): ("s", "#2e86ab", "3 channels of largest conductance"),
        row("conductance", "neuron", MEAN): ("D", "#d1495b", "3 neurons of largest conductance"),
        row("lot", "carried", MEAN): ("x", "#888888", "3 channels by lot"),
    }
    for name, (marker, colour, label) in rows.items():
        axes.plot([s[name] for s in shares], marker, color=colour, label=label, markersize=7)
    axes.set_xticks(range(len(photos)), [p.object.partition(",")[0] for p in photos], rotation=20, fontsize=8)
    axes.set(ylim=(0, 1), ylabel="share of positive attribution in the box")
    axes.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.22))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
