"""Filters that tell labels apart: a linear classifier on the k best by each of four scores (Dhamdhere et al., Table 1).

    python3 dev.py study feature_selection_images [--images N] [--splits N] [--cache DIR] [--small]

Every filter (channel) of GoogLeNet's inception_3a … 5b gets a score on every photo; the scores of a label's training
photos are averaged, the k filters with the highest average for any label are kept, and multinomial logistic regression
on their activations is fitted on the training photos. The table shows its accuracy on the rest.

Fixed before any result was seen:

- Scores (section 5.1 of the paper): `of` is the logit of the class the net predicts for the photo, whatever its label,
  so ferry and ketch, which are no ImageNet classes, are treated as all others are. Activation and gradient ×
  activation at the photo; internal influence (mean gradient) and conductance along the line from black.
  33 points: on three photos of scikit-image the median gap over layers was 2 % (17 points: 13 %, up to half for one).
  A filter is the sum of its neurons. The paper does not say whether it sums or averages: the sum favours early layers
  (784 positions in 3a, 49 in 5b), so activation and influence are given by their mean over positions, too.
- Selection: signed averages; of equal units the one of the earlier layer, then of the lower channel. "For any label"
  is the maximum over labels of the averages, so exactly k units are kept and a label may have none.
- Classifier: features standardised on the training photos, Σ cross-entropy + ½ ‖W‖², intercepts free.
- Dogs: of the breeds in order of class index, the five neighbours that lie closest together (the order follows WordNet,
  so neighbours are alike). Random labels: Imagenette's ten, shuffled with seed 0, and cut in half (it has 160 pixels
  where mini-ImageNet has 84). Vessels: all five there are. Two come from another source at another resolution, a clue
  that a classifier can use, so each source is shown alone as well.
- Photos: the first N of each label in an order shuffled with seed 0; 60 % of each label for training.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import torch
from _selection import Accuracies, accuracy, averaged, closest, differences, mean_error, ranked, shuffled, split
from localisation import version
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

import influent as inf

HERE = Path(__file__).parent
RESULT, PICTURE = (HERE / "results" / f"feature-selection-images.{kind}" for kind in ("json", "png"))
LAYERS = tuple(f"inception_{k}" for k in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"))
POINTS, CHUNK, SEED, TRAIN, KS = 33, 17, 0, 0.6, (5, 10, 15, 20)
IMAGES, SPLITS = 40, 10

ACTIVATION, GXA, INFLUENCE, CONDUCTANCE = "activation", "gradient × activation", "internal influence", "conductance"
METHODS = (ACTIVATION, GXA, INFLUENCE, CONDUCTANCE)
MEANS = {f"{ACTIVATION}, mean": ACTIVATION, f"{INFLUENCE}, mean": INFLUENCE}
LOT = "filters by lot"
VESSELS, FOUR = "water vessels", "all four"
PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    VESSELS: {
        ACTIVATION: (37.80, 36.59, 47.56, 54.88), GXA: (32.93, 58.54, 64.63, 69.51),
        INFLUENCE: (45.12, 53.66, 71.95, 68.29), CONDUCTANCE: (48.78, 68.29, 70.73, 79.27),
    },
    "random labels, 1": {
        ACTIVATION: (54.76, 61.90, 65.48, 69.05), GXA: (67.86, 83.33, 85.71, 88.10),
        INFLUENCE: (50.00, 67.86, 73.81, 75.00), CONDUCTANCE: (88.10, 94.05, 96.43, 94.05),
    },
    FOUR: {
        ACTIVATION: (46.52, 48.51, 55.81, 60.45), GXA: (56.94, 76.01, 79.74, 84.39),
        INFLUENCE: (48.50, 62.23, 71.37, 72.50), CONDUCTANCE: (68.85, 81.58, 85.99, 87.79),
    },
}  # fmt: skip
DEVIATIONS = (
    "net: GoogLeNet of the Caffe model zoo (BVLC); the paper's Inception has the same layers and other weights",
    "dogs: Stanford Dogs, cut to the dog, squeezed to a square; ImageNet training photos, the paper's are validation",
    "vessels: three of mini-ImageNet at 84 x 84, enlarged; ferry and ketch of Caltech-101, which is not ImageNet",
    "random labels: Imagenette's, 160 pixels on the shorter side (ImageNet validation); the paper's labels are others",
    "photos: fewer for each label (the paper has about 50: 30 to train, 20 to test), but several splits, not one",
    "left open by the paper, ours in the docstring: sum or mean over positions, baseline, path, classifier",
)


@dataclass(frozen=True)
class Photo:
    """A photo, its label's name, and the class index of the label (None where ImageNet has no such class)."""

    file: Path
    label: str
    index: int | None


@dataclass(frozen=True)
class Scored:
    """Photos of a label set: scores `[photo, unit]` by method, labels `[photo]`, and what is known of the run."""

    scores: Mapping[str, Tensor]
    labels: Tensor
    names: tuple[str, ...]
    right: float | None
    gaps: Tensor


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the tables, the file and the picture."""
    parser = argparse.ArgumentParser(description="Filters chosen by four scores, and how well they tell labels apart.")
    parser.add_argument("--images", type=int, default=IMAGES, metavar="N", help=f"photos per label (default {IMAGES})")
    parser.add_argument("--splits", type=int, default=SPLITS, metavar="N", help=f"random splits (default {SPLITS})")
    parser.add_argument("--cache", metavar="DIR", help="where scores are kept (default: in the temporary folder)")
    parser.add_argument("--small", action="store_true", help="2 labels × 6 photos, 2 splits, 2 layers; no file")
    options = parser.parse_args(arguments)
    layers, points = (LAYERS[4::4], 9) if options.small else (LAYERS, POINTS)
    images, splits = (6, 2) if options.small else (options.images, options.splits)
    if images < 3 or splits < 2:
        print("Type --images 3 or more and --splits 2 or more: there must be photos to test on.", file=sys.stderr)
        return 2
    try:
        sets = label_sets(images)
        if options.small:
            sets = {"random labels, 1": sets["random labels, 1"][: 2 * images]}
        scorer = Scorer.made(layers, points, Path(options.cache or tempfile.gettempdir()) / "influent-filter-scores")
        scored = score_all(scorer, sets)
    except inf.InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    scored |= {} if options.small else alone(sets, scored)
    results = {name: accuracies(s, scorer.positions, splits) for name, s in scored.items()}
    if not options.small:
        results[FOUR] = averaged([results[name] for name in sets])
    for name, result in results.items():
        print(f"\n{titled(name, scored)}\n\n{table(name, result)}")
    print("\n" + footnotes(scored, layers, splits))
    if not options.small and images >= IMAGES:
        RESULT.write_text(json.dumps(record(scored, results, images, splits), indent=2) + "\n", encoding="utf-8")
        draw({name: results[name] for name in [*sets, FOUR]})
        print(f"\nwritten: studies/results/{RESULT.name} and {PICTURE.name}")
    return 0


# ---- data -------------------------------------------------------------------------------------------------


def data_folder(name: str) -> Path:
    """The folder of a data set, inside the one that INFLUENT_DATA names."""
    root = os.environ.get("INFLUENT_DATA")
    if not root:
        raise inf.InputError(
            f"INFLUENT_DATA is not set, so this study does not know where {name} is. Type `export "
            f"INFLUENT_DATA=FOLDER`, where FOLDER/{name}/labels.tsv and its images/ are. studies/README.md says where "
            "to get it."
        )
    folder = Path(root) / name
    if not (folder / "labels.tsv").is_file():
        raise inf.InputError(f"INFLUENT_DATA is {root!r}, but there is no {name}/labels.tsv in it.")
    return folder


def rows_of(name: str) -> list[dict[str, str]]:
    """The lines of a data set's labels.tsv."""
    with (data_folder(name) / "labels.tsv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


def photos_of(source: str, labels: Sequence[str], images: int) -> list[Photo]:
    """`images` photos of each label, label by label."""
    rows, photos = rows_of(source), []
    for label in labels:
        mine = [row for row in rows if label in (row.get("name"), row.get("class"))]
        if len(mine) < images:
            raise inf.InputError(f"--images {images}: {source} has {len(mine)} photos of {label!r}. Type fewer.")
        folder = data_folder(source) / "images"
        for row in shuffled(mine, SEED)[:images]:
            photos.append(Photo(folder / row["file"], label, int(row["index"]) if "index" in row else None))
    return photos


def label_sets(images: int) -> dict[str, list[Photo]]:
    """The four label sets, five labels each: their photos, label by label."""
    breeds = {int(row["index"]): row["name"] for row in rows_of("stanford-dogs-24")}
    dogs = [breeds[i] for i in closest(list(breeds), 5)]
    lot = shuffled(sorted({row["name"] for row in rows_of("imagenette-160")}), SEED)
    return {
        "dogs": photos_of("stanford-dogs-24", dogs, images),
        VESSELS: photos_of("mini-imagenet-84", ("aircraft carrier", "catamaran", "yawl"), images)
        + photos_of("caltech101-vessels", ("ferry", "ketch"), images),
        "random labels, 1": photos_of("imagenette-160", lot[:5], images),
        "random labels, 2": photos_of("imagenette-160", lot[5:], images),
    }


def alone(sets: Mapping[str, list[Photo]], scored: Mapping[str, Scored]) -> dict[str, Scored]:
    """The vessels of each source by themselves."""
    photos, whole = sets[VESSELS], scored[VESSELS]
    parts = {"vessels of mini-ImageNet alone": True, "vessels of Caltech-101 alone": False}
    return {
        name: gathered([p for p in photos if (p.index is not None) is imagenet], whole.scores, whole.gaps, None, keep)
        for name, imagenet in parts.items()
        for keep in [torch.tensor([(p.index is not None) is imagenet for p in photos])]
    }


# ---- scores -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scorer:
    """GoogLeNet, the layers whose filters are scored, the points of a line, and the folder of finished scores."""

    net: inf.Net
    layers: tuple[str, ...]
    points: int
    folder: Path
    positions: Tensor

    @classmethod
    def made(cls, layers: tuple[str, ...], points: int, folder: Path) -> Scorer:
        net = inf.zoo.load("googlenet")
        settings = json.dumps([layers, points, versions()])
        shapes = [inf.activations(net, layer, net.read(inf.example("coffee"))).shape for layer in layers]
        positions = torch.cat([torch.full((s[1],), float(s[2] * s[3])) for s in shapes])
        return cls(net, layers, points, folder / hashlib.sha256(settings.encode()).hexdigest()[:12], positions)

    def scores(self, photo: Photo) -> dict[str, Tensor]:
        """Scores `[unit]` by method, `predicted`, and the relative `gap [layer]`; from the folder if they are there."""
        kept = self.folder / f"{hashlib.sha256(photo.file.read_bytes()).hexdigest()[:24]}.safetensors"
        if kept.is_file():
            return load_file(kept)
        x, cuts = self.net.read(photo.file), [f"{layer}/channel" for layer in self.layers]
        at_x = [inf.activation, inf.gradient_times_activation]
        along = [inf.gradient, inf.contribution]
        top = int(inf.activations(self.net, inf.OUTPUT, x).argmax())
        point = inf.influence(self.net, cuts, inf.Class(top), inf.Point(x), at_x)
        path = inf.Line("black", x, n=self.points)
        line = inf.influence(self.net, cuts, inf.Class(top), path, along, chunk=CHUNK)
        ways = [(point, at_x[0]), (point, at_x[1]), (line, along[0]), (line, along[1])]
        found = {m: torch.cat([r[c][w].values[0] for c in cuts]) for m, (r, w) in zip(METHODS, ways, strict=True)}
        found["predicted"] = torch.tensor(top)
        found["gap"] = torch.stack([line[c][inf.contribution].gap.relative[0] for c in cuts])
        self.folder.mkdir(parents=True, exist_ok=True)
        half = kept.with_suffix(f".{os.getpid()}.part")  # a run that is broken off leaves no half of a file
        save_file(found, half)
        half.replace(kept)
        return found


def score_all(scorer: Scorer, sets: Mapping[str, list[Photo]]) -> dict[str, Scored]:
    """The scores of all photos."""
    every = [photo for photos in sets.values() for photo in photos]
    # One photo of each label after the other: a run that is broken off has all labels, each with fewer photos.
    count = max(sum(p.label == photo.label for p in every) for photo in every)
    for photo in tqdm([p for i in range(count) for p in every[i::count]], desc="scores", mininterval=10):
        scorer.scores(photo)
    scored = {}
    for name, photos in sets.items():
        found = [scorer.scores(photo) for photo in photos]
        scores = {method: torch.stack([f[method] for f in found]) for method in METHODS}
        hits = [int(f["predicted"]) == p.index for f, p in zip(found, photos, strict=True) if p.index is not None]
        right = 100 * sum(hits) / len(hits) if len(hits) == len(photos) else None
        scored[name] = gathered(photos, scores, torch.stack([f["gap"] for f in found]), right)
    return scored


def gathered(
    photos: Sequence[Photo], scores: Mapping[str, Tensor], gaps: Tensor, right: float | None, keep: Any = slice(None)
) -> Scored:
    """A label set from the rows `keep` of scores, which belong to `photos`."""
    names = tuple(dict.fromkeys(p.label for p in photos))
    labels = torch.tensor([names.index(p.label) for p in photos])
    return Scored({m: s[keep] for m, s in scores.items()}, labels, names, right, gaps[keep])


# ---- accuracy ---------------------------------------------------------------------------------------------


def accuracies(scored: Scored, positions: Tensor, splits: int) -> Accuracies:
    """All methods, and filters by lot, on the same splits."""
    scores = dict(scored.scores) | {name: scored.scores[method] / positions for name, method in MEANS.items()}
    found: Accuracies = {name: [] for name in [*METHODS, *MEANS, LOT]}
    for seed in range(splits):
        train, test = split(scored.labels, TRAIN, seed)
        dice = torch.Generator().manual_seed(seed)
        for name, rows in found.items():
            order = (
                torch.randperm(len(positions), generator=dice)
                if name == LOT
                else ranked(scores[name][train], scored.labels[train])
            )
            features = scores[ACTIVATION]
            rows.append([accuracy(features[:, order[:k]], scored.labels, train, test) for k in KS])
    return found


# ---- tables -----------------------------------------------------------------------------------------------


def titled(name: str, scored: Mapping[str, Scored]) -> str:
    """The heading of a label set's table."""
    if name not in scored:
        return f"{name}: the mean over the label sets"
    one = scored[name]
    right = "" if one.right is None else f"; GoogLeNet names {one.right:.0f} % of the photos rightly"
    each = len(one.labels) // len(one.names)
    return f"{name}: {', '.join(one.names)} ({each} photos each{right}; chance {100 / len(one.names):.0f} %)"


def table(name: str, result: Accuracies) -> str:
    """Accuracy by k with the published figures beside, then conductance minus each other method."""
    published = PUBLISHED.get(name, {})
    lines = [f"{'accuracy, %':<30}" + "".join(f"{f'k = {k}':>15}" for k in KS) + ("   published" if published else "")]
    for method, rows in result.items():
        ours = "".join(f"{mean:8.1f} ± {error:4.1f}" for mean, error in map(mean_error, zip(*rows, strict=True)))
        lines.append(f"{method:<30}{ours}   " + "  ".join(f"{p:5.1f}" for p in published.get(method, ())))
    lines.append("")
    for method, apart in differences(result, CONDUCTANCE, 1 - TRAIN).items():
        cells = [f"{d['mean']:+8.1f} ± {d['stderr']:3.1f}{'*' if d['claimed'] else ' '}" for d in apart]
        lines.append(f"{f'conductance − {method}':<40}" + " ".join(cells))
    return "\n".join(line.rstrip() for line in lines)


def footnotes(scored: Mapping[str, Scored], layers: Sequence[str], splits: int) -> str:
    """What the tables depend on."""
    gaps = median_gaps(scored, layers)
    lines = [
        f"± is the standard error over {splits} random splits. Splits share their photos, so that it is too small: a",
        "difference is marked * only where it is beyond twice the error corrected for that (Nadeau and Bengio 2003).",
        "Median relative completeness gap of conductance: " + ", ".join(f"{k} {g:.1%}" for k, g in gaps.items()) + ".",
        *(f"deviation: {line}" for line in DEVIATIONS),
    ]
    return "\n".join(lines)


def median_gaps(scored: Mapping[str, Scored], layers: Sequence[str]) -> dict[str, float]:
    """By layer, the median over photos of |gap| / |F(x) − F(black)|."""
    gaps = torch.cat([s.gaps for name, s in scored.items() if " alone" not in name])
    return dict(zip(layers, gaps.median(0).values.tolist(), strict=True))


def record(scored: Mapping[str, Scored], results: Mapping[str, Accuracies], images: int, splits: int) -> dict[str, Any]:
    """What is stored: each number, and what it depends on."""
    return {
        "study": "feature_selection_images",
        "about": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "versions": versions(),
        "settings": {
            "net": "googlenet (BVLC)",
            "layers": LAYERS,
            "of": "Class(predicted)",
            "line": f"black, n={POINTS}, adaptive",
            "k": KS,
            "photos per label": images,
            "share for training": TRAIN,
            "splits": splits,
            "seed": SEED,
        },
        "deviations": DEVIATIONS,
        "median relative gap": median_gaps(scored, LAYERS),
        "label sets": {
            name: {
                "labels": scored[name].names if name in scored else list(scored),
                "percent named rightly": scored[name].right if name in scored else None,
                "percent": {m: [mean_error(v) for v in zip(*rows, strict=True)] for m, rows in result.items()},
                "conductance minus": differences(result, CONDUCTANCE, 1 - TRAIN),
                "published": PUBLISHED.get(name, {}),
                "splits": result,
            }
            for name, result in results.items()
        },
    }


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {name: version(name) for name in ("influent", "torch", "pillow")}


def draw(results: Mapping[str, Accuracies]) -> None:
    """Accuracy against k, a panel for each label set."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = {ACTIVATION: "#888888", GXA: "#edae49", INFLUENCE: "#2e86ab", CONDUCTANCE: "#d1495b", LOT: "#cccccc"}
    figure, panels = pyplot.subplots(1, len(results), figsize=(3.2 * len(results), 3.6), sharey=True)
    for axes, (name, result) in zip(panels, results.items(), strict=True):
        for place, (method, colour) in enumerate(colours.items()):
            means, errors = zip(*map(mean_error, zip(*result[method], strict=True)), strict=True)
            at = [k + 0.3 * (place - 2) for k in KS]  # side by side, so that the bars can be read
            axes.errorbar(at, means, errors, color=colour, label=method, marker="o", markersize=3, capsize=2)
        axes.set(title=name, xlabel="filters", xticks=KS, ylim=(0, 100))
    panels[0].set_ylabel("accuracy, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.set_layout_engine("constrained")
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
