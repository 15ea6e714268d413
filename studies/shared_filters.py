"""Filters shared by labels: high conductance on photos of several labels that have something in common (D3, Figs 1-4).

    python3 dev.py study shared_filters [--pictures DIR] [--small]

Dhamdhere et al. 2018, section 5.1, find filters of GoogLeNet with high conductance for several labels: one for glare,
one for red, one shared by cheeseburger and bagel, one by meerkat and titi. Here that is counted. On one photo of each
label, of = logit of the predicted class, along the line from black, a label's filters are the three with the highest
conductance at a layer. A filter in the first three of two labels or more of a theme is shared.

The themes were fixed before any result was seen: stripes, red and ships by the names of ImageNet's labels, bread and
eyes around the two pairs in the paper. The control: as many labels drawn by lot, 2000 times, from 50 labels outside of
the themes, evenly spread. What counts is the overlap: over pairs of labels, the mean number of filters among the first
three of both. Every early layer has filters that serve everything, so that an overlap above zero says nothing.

For each shared filter, the five photos of labels outside its theme on which it fires most (mean activation over
positions, of one photo for each of the 1000 labels). --pictures draws them into a folder outside the repository: the
photos are ImageNet's and not free. The numbers of filters are this net's: they are not those of the paper's net.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from feature_selection_images import data_folder, rows_of
from localisation import version
from torch import Tensor
from tqdm import tqdm

import influent as inf
from influent.shared import first, glance, in_common, look

HERE = Path(__file__).parent
RESULT, PICTURE = (HERE / "results" / f"shared-filters.{kind}" for kind in ("json", "png"))
DATA_SET = "imagenet-1000-samples"
LAYERS = ("inception_3a", "inception_4c")
CUTS = {layer: inf.Cut(f"{layer}/channel") for layer in LAYERS}
THEMES = {
    "stripes": (72, 282, 292, 340, 396),
    "red": (301, 555, 949, 957, 966),
    "ships": (510, 554, 625, 628, 833),
    "bread": (930, 931, 932, 933, 934),
    "eyes": (298, 299, 377, 380, 382),
}
POINTS, CHUNK, TOP, OUTSIDE, LOTS, SEED, CONTROLS = 33, 17, 3, 5, 2000, 0, 50
DEVIATIONS = (
    "net: GoogLeNet of the Caffe model zoo (BVLC); the paper's Inception has other weights, hence other filters",
    "photos: one for each label, shorter side 256; the paper shows single photos as well",
    "the paper shows four filters as pictures and gives no number; what is counted here is our choice",
)


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the table, the file and the picture."""
    parser = argparse.ArgumentParser(description="Filters with high conductance for several labels.")
    parser.add_argument("--pictures", metavar="DIR", help="draw the photos into a folder outside the repository")
    parser.add_argument("--small", action="store_true", help="2 themes, 6 control labels, 5 points; no file")
    options = parser.parse_args(arguments)
    try:
        folder = outside_repository(options.pictures)
        rows = rows_of(DATA_SET)
        net = inf.zoo.load("googlenet")
        themes = dict(list(THEMES.items())[: 2 if options.small else None])
        control = spread(len(rows), 6 if options.small else CONTROLS, {i for t in THEMES.values() for i in t})
        files = {int(row["index"]): data_folder(DATA_SET) / "images" / row["file"] for row in rows}
        names = {int(row["index"]): row["name"].replace("_", " ") for row in rows}
        asked = [*itertools.chain(*themes.values()), *control]
        shares = conductances(net, {i: files[i] for i in asked}, 5 if options.small else POINTS)
        fired = activations(net, files if not options.small else {i: files[i] for i in asked})
    except inf.InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    report = {layer: summary(layer, themes, control, shares["values"], fired, names) for layer in LAYERS}
    print(table(report, shares))
    if not options.small:
        RESULT.write_text(json.dumps(record(report, shares, names, control), indent=2) + "\n", encoding="utf-8")
        draw(report)
        print(f"\nwritten: studies/results/{RESULT.name} and {PICTURE.name}")
    if folder:
        draw_photos(folder, net, report, files)
        print(f"written: pictures in {folder}")
    return 0


def outside_repository(folder: str | None) -> Path | None:
    """The folder for pictures; refused inside the repository."""
    if folder is None:
        return None
    path = Path(folder).resolve()
    if path.is_relative_to(HERE.parent.resolve()):
        raise inf.InputError(
            f"--pictures {folder} is inside the repository, and the photos are ImageNet's: they must not be published "
            "with it. Name a folder outside, such as --pictures /tmp/shared-filters."
        )
    path.mkdir(parents=True, exist_ok=True)
    return path


def spread(classes: int, count: int, without: set[int]) -> list[int]:
    """`count` class indices in the middle of equal parts of all, each moved up past those left out."""
    found: list[int] = []
    for k in range(count):
        index = (2 * k + 1) * classes // (2 * count)
        while index in without or index in found:
            index += 1
        found.append(index)
    return found


# ---- numbers ----------------------------------------------------------------------------------------------


def conductances(net: inf.Net, files: Mapping[int, Path], points: int) -> dict[str, Any]:
    """By layer and label, conductance `[filter]` as a share of F(x) − F(black); predictions; relative gaps."""
    seen = {
        index: look(net, net.read(file), list(CUTS.values()), "black", points, chunk=CHUNK)
        for index, file in tqdm(files.items(), desc="conductance", mininterval=10)
    }
    return {
        "values": {layer: {i: one.share[cut] for i, one in seen.items()} for layer, cut in CUTS.items()},
        "predicted": {i: one.label for i, one in seen.items()},
        "gaps": {layer: statistics.median(one.gap[cut] for one in seen.values()) for layer, cut in CUTS.items()},
    }


def activations(net: inf.Net, files: Mapping[int, Path]) -> dict[str, dict[int, Tensor]]:
    """By layer and label, the mean activation over positions, `[filter]`."""
    seen = {
        index: glance(net, net.read(file), list(CUTS.values()))
        for index, file in tqdm(files.items(), desc="activations", mininterval=10)
    }
    return {layer: {i: one.fired[cut] for i, one in seen.items()} for layer, cut in CUTS.items()}


def overlap(tops: Sequence[Sequence[int]]) -> float:
    """Over pairs of labels, the mean number of filters that are in the first few of both."""
    return statistics.mean(len(set(a) & set(b)) for a, b in itertools.combinations(tops, 2))


def lots(tops: Sequence[Sequence[int]], size: int, count: int, seed: int) -> list[float]:
    """The overlaps of `count` groups of `size` labels drawn by lot, sorted."""
    dice = torch.Generator().manual_seed(seed)
    draws = (torch.randperm(len(tops), generator=dice)[:size].tolist() for _ in range(count))
    return sorted(overlap([tops[k] for k in draw]) for draw in draws)


def shared(tops: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """Filters in the first few of two labels or more, with these labels; the most shared first."""
    labels = list(tops)
    found = in_common(list(tops.values()), labels)
    return {f: [labels[k] for k in rows] for f, rows in sorted(found.items(), key=lambda item: -len(item[1]))}


def summary(
    layer: str, themes: Mapping[str, Sequence[int]], control: Sequence[int],
    values: Mapping[str, Mapping[int, Tensor]], fired: Mapping[str, Mapping[int, Tensor]], names: Mapping[int, str],
) -> dict[str, Any]:  # fmt: skip
    """All numbers of a layer."""
    tops = {i: first(value, TOP) for i, value in values[layer].items()}
    size = len(next(iter(themes.values())))
    by_lot = lots([tops[i] for i in control], size, LOTS, SEED)
    report: dict[str, Any] = {
        "by lot": {"mean": statistics.mean(by_lot), "95 %": by_lot[int(0.95 * LOTS)]},
        "themes": {},
    }
    for theme, labels in themes.items():
        ours = overlap([tops[i] for i in labels])
        filters = []
        for unit, those in shared({i: tops[i] for i in labels}).items():
            outside = [i for i in fired[layer] if i not in labels]
            best = first(torch.stack([fired[layer][i][unit] for i in outside]), OUTSIDE)
            filters.append({
                "filter": unit, "labels": [names[i] for i in those], "indices": those,
                "control labels with it": sum(unit in tops[i] for i in control) / len(control),
                "share of the score": {names[i]: float(values[layer][i][unit]) for i in labels},
                "fires most outside": [names[outside[k]] for k in best],
                "outside indices": [outside[k] for k in best],
            })  # fmt: skip
        reached = sum(lot >= ours - 1e-9 for lot in by_lot) / LOTS
        report["themes"][theme] = {"overlap": ours, "lots that reach it": reached, "filters": filters}
    return report


# ---- tables and pictures ----------------------------------------------------------------------------------


def table(report: Mapping[str, Any], shares: Mapping[str, Any]) -> str:
    """Overlaps beside the lots', then each shared filter."""
    lines = []
    for layer, one in report.items():
        lot = one["by lot"]
        by_lot = f"labels by lot {lot['mean']:.2f}, 95 % of lots at most {lot['95 %']:.2f}"
        lines.append(f"{layer}: mean overlap of the first {TOP} filters of two labels; {by_lot}")
        lines.append(f"  median relative completeness gap of conductance {shares['gaps'][layer]:.1%}")
        for theme, found in one["themes"].items():
            lines.append(
                f"  {theme}: overlap {found['overlap']:.2f}, reached by {found['lots that reach it']:.1%} of lots"
            )
            for f in found["filters"]:
                among = f["control labels with it"]
                common = f"in the first {TOP} of {among:.0%} of the control labels"
                lines.append(f"    filter {f['filter']:3} ({common}): {', '.join(f['labels'])}")
                lines.append(f"        fires most outside on {', '.join(f['fires most outside'])}")
        lines.append("")
    count = len(report) * len(report[LAYERS[0]]["themes"])
    lines.append(f"{count} overlaps are compared: of so many, {0.05 * count:.1f} lie beyond 95 % of lots by chance.")
    right = sum(i == p for i, p in shares["predicted"].items())
    lines.append(f"GoogLeNet names {right} of the {len(shares['predicted'])} photos by their label.")
    return "\n".join([*lines, *(f"deviation: {line}" for line in DEVIATIONS)])


def record(
    report: Mapping[str, Any], shares: Mapping[str, Any], names: Mapping[int, str], control: Sequence[int]
) -> dict[str, Any]:
    """What is stored: each number, and what it depends on."""
    return {
        "study": "shared_filters",
        "about": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "versions": {name: version(name) for name in ("influent", "torch", "pillow")},
        "settings": {
            "net": "googlenet (BVLC)", "data": DATA_SET, "of": "Class(predicted)", "top": TOP, "lots": LOTS,
            "seed": SEED, "line": f"black, n={POINTS}, adaptive",
            "themes": {k: [names[i] for i in t] for k, t in THEMES.items()},
            "control labels": [names[i] for i in control],
        },
        "deviations": DEVIATIONS,
        "predicted": {names[i]: names[p] for i, p in shares["predicted"].items()},
        "median relative gap": shares["gaps"],
        "layers": report,
    }  # fmt: skip


def draw(report: Mapping[str, Any]) -> None:
    """Overlaps of the themes beside those of labels by lot; the shares of each theme's most shared filter."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(2, len(report), figsize=(6 * len(report), 7), layout="constrained", squeeze=False)
    for (above, below), (layer, one) in zip(grid.T, report.items(), strict=True):
        themes = one["themes"]
        above.bar(list(themes), [t["overlap"] for t in themes.values()], color="#2e86ab")
        above.axhline(one["by lot"]["mean"], color="#222222", label="labels by lot: mean")
        above.axhline(one["by lot"]["95 %"], color="#222222", linestyle="--", label="95 % of lots: at most")
        above.set(
            title=layer,
            ylim=(0, 1.25 * max(t["overlap"] for t in themes.values())),
            ylabel=f"filters among the first {TOP} of both,\nmean over pairs of labels",
        )
        above.legend(fontsize=8, frameon=False, ncols=2, loc="upper left")
        places, ticks = 0, []
        for theme, found in themes.items():
            for f in found["filters"][:1]:
                share = {k: 100 * v for k, v in f["share of the score"].items()}
                colours = ["#d1495b" if k in f["labels"] else "#dddddd" for k in share]
                below.barh(range(places, places + len(share)), list(share.values()), color=colours)
                ticks += [f"{theme}, filter {f['filter']}: {k}" for k in share]
                places += len(share)
        below.set_yticks(range(places), ticks, fontsize=7)
        below.invert_yaxis()
        below.set_xlabel(f"conductance, % of the score\n(red: among the label's first {TOP})")
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def draw_photos(folder: Path, net: inf.Net, report: Mapping[str, Any], files: Mapping[int, Path]) -> None:
    """For each theme and layer: a row for each shared filter, its labels' photos, then those outside."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    for layer, theme in itertools.product(report, report[LAYERS[0]]["themes"]):
        filters = report[layer]["themes"][theme]["filters"][:4]
        if not filters:
            continue
        shape = (len(filters), 5 + OUTSIDE)
        figure, grid = pyplot.subplots(*shape, figsize=(1.7 * shape[1], 2 * shape[0]), squeeze=False)
        figure.set_layout_engine("constrained")
        for axes, f in zip(grid, filters, strict=True):
            shown = dict(enumerate(f["indices"])) | {5 + k: i for k, i in enumerate(f["outside indices"])}
            for place, one in enumerate(axes):
                one.axis("off")
                if place in shown:
                    one.imshow(net.transform.view(files[shown[place]]))
                    one.set_title(f"{f['filter']}: {net.label(shown[place])}"[:24], fontsize=7)
        figure.savefig(folder / f"{theme}-{layer}.png", dpi=90)
        pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
