"""Class experts: does a net cut down to the essence of a class know it better? (Leino et al. 2018, Figures 4 and 5)

    python3 dev.py study experts [--part NAME] [--halves N] [--small]

Of a class's units at a layer, the α of largest positive and the β of most negative mean influence are kept and all
others put to 0. "Class i" is said where p_i exceeds the sum of all other probabilities; recall and precision are those
of class i against the rest, the rest being the data's other classes. α and β are chosen on one half of the data (best
recall at no less precision than the net's own there) and reported on the other, for each of ten random halves.

Fixed before any result was seen:

- Ways to order the units: influence on the probability of the class (the paper's), influence on its logit, activation
  (the paper's control), gradient × activation of the probability; and, at the number of units that the paper's way came
  to, units by lot. Each way has its own sweep over α and β; activations are not negative here: their β takes none.
- Layers: GoogLeNet's pool5, which feeds the classifier (a mask on its 1024 channels is one on inception_5b's, for the
  pooling is linear), inception_5a and inception_4e. At pool5 a 7 × 7 grid, for the dogs one of 4 × 3; inside the net α
  of 50, 150, 400 and β of 0 and 50.
- Data: imagenette-160, ten classes of 150 images; at pool5 also stanford-dogs-24, 24 breeds. The α and β are chosen on
  30 images a class of the first half (15 for the dogs and at the inner layers), the influences on all of it.
- "Better" is the paper's word for an expert: recall above the net's own, precision no more than one point lower.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import torch
from _selection import split
from localisation import version
from torch import Tensor, nn
from tqdm import tqdm

import influent as inf
from influent.counting import evaluate
from influent.experts import Grid, random_units, sweep
from influent.samples import Folder

HERE = Path(__file__).parent
RESULT, PICTURE = (HERE / "results" / f"experts.{kind}" for kind in ("json", "png"))
CUT = "INPUT/channel"
GRID = (5, 10, 20, 50, 100, 200, 400), (0, 5, 10, 20, 50, 100, 200)
MIDDLING, COARSE = ((20, 50, 100, 200), (0, 20, 100)), ((50, 150, 400), (0, 50))
PAPER, LOGIT, ACTIVATION, GXA, LOT = (
    "influence", "influence on the logit", "activation", "gradient × activation", "by lot",
)  # fmt: skip
WAYS = (PAPER, LOGIT, ACTIVATION, GXA)
POINT = 0.01
PUBLISHED = {"chain saw": (14, 71), "bonnet": (62, 92), "park bench": (52, 71), "sloth bear": (36, 75),
             "pelican": (65, 95)}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A data set at a layer: the stages of the net behind it, the grid, and images a class for choosing."""

    data: str
    layer: str
    grid: tuple[tuple[int, ...], tuple[int, ...]]
    choosing: int
    halves: int = 10


PARTS = {
    "pool5": Part("imagenette-160", "pool5", GRID, 30),
    "dogs-pool5": Part("stanford-dogs-24", "pool5", MIDDLING, 15),
    "inception_5a": Part("imagenette-160", "inception_5a", COARSE, 15),
    "inception_4e": Part("imagenette-160", "inception_4e", COARSE, 15),
}


@dataclass(frozen=True, repr=False, eq=False)
class OwnProbability(inf.Quantity):
    """p_l = softmax(f)_l, the probability of the input's own label: the paper's quantity, all classes in one pass."""

    cut: Any = inf.OUTPUT

    def choose(self, y: Tensor, label: Tensor | None) -> Tensor | None:
        """The label."""
        return inf.Label().choose(y, label)

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        """`[point, class] → [point]`."""
        return inf.Label().value(y.softmax(1), chosen)


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the tables, the file and the picture."""
    parser = argparse.ArgumentParser(description="Class experts, chosen on half of the data, reported on the rest.")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; given again: these")
    parser.add_argument("--halves", type=int, metavar="N", help="random halves (default 10)")
    parser.add_argument("--small", action="store_true", help="2 classes, 12 images each, 2 halves; no file")
    options = parser.parse_args(arguments)
    try:
        net = inf.zoo.load("googlenet")
        for name in options.part or PARTS:
            part = replace(PARTS[name], **({"halves": options.halves} if options.halves else {}))
            found = studied(net, part, options.small)
            print(table(name, found))
            if not options.small:
                kept = json.loads(RESULT.read_text()) if RESULT.exists() else {"parts": {}}
                RESULT.write_text(json.dumps(record({**kept["parts"], name: found}), indent=1) + "\n", encoding="utf-8")
    except inf.InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    if not options.small:
        draw(json.loads(RESULT.read_text())["parts"])
        print(f"written: studies/results/{RESULT.name} and {PICTURE.name}")
    return 0


# ---- numbers ----------------------------------------------------------------------------------------------


def activations(net: inf.Net, part: Part, small: bool) -> tuple[Tensor, Tensor, list[int]]:
    """The layer's activations of all images `[image, *neuron]`, their labels, and the classes."""
    from feature_selection_images import data_folder

    folder = Folder.at(data_folder(part.data))
    if small:
        first = sorted({name for _, name in folder.files})[:2]
        files = [[f for f in folder.files if f[1] == name][:12] for name in first]
        folder = replace(folder, files=tuple(f for those in files for f in those))
    found, labels = [], []
    for samples in tqdm(folder.blocks(net, 32, {}), desc=f"{part.data}, {part.layer}", mininterval=10):
        found.append(inf.activations(net, part.layer, samples.x))
        labels.append(samples.label)
    label = torch.cat(labels)
    return torch.cat(found), label, sorted(set(label.tolist()))


def tail_of(net: inf.Net, layer: str) -> inf.Net:
    """What of the net comes behind a layer, as a net whose input is the layer."""
    stages = dict(net.module.named_children())
    behind = list(stages)[list(stages).index(layer) + 1 :]
    return replace(net, module=nn.Sequential(*(stages[name] for name in behind)).eval(), layer=None)


def batches(h: Tensor, label: Tensor, rows: Tensor, size: int = 64) -> list[tuple[Tensor, Tensor]]:
    """Some images' activations with their labels."""
    return [(h[some], label[some]) for some in rows.split(size)]


def studied(net: inf.Net, part: Part, small: bool) -> dict[str, Any]:
    """For each random half and way: recall and precision, of the net and of its experts, by class."""
    h, label, classes = activations(net, part, small)
    tail = tail_of(net, part.layer)
    halves = [one_half(tail, h, label, classes, part, seed) for seed in tqdm(range(2 if small else part.halves))]
    return {
        "data": part.data, "layer": part.layer, "alphas": part.grid[0], "betas": part.grid[1],
        "images": len(label), "classes": [net.label(c) for c in classes], "halves": halves,
    }  # fmt: skip


def one_half(
    tail: inf.Net, h: Tensor, label: Tensor, classes: list[int], part: Part, seed: int
) -> dict[str, Any]:  # fmt: skip
    """One random half: experts of every way and class chosen on it, reported on the other."""
    choose, report = split(label, 0.5, seed)
    scores = influences(tail, h, label, choose)
    few = torch.cat([choose[label[choose] == c][: part.choosing] for c in classes])
    of = [inf.Class(c) for c in classes]
    cells: dict[str, list[Any]] = {}
    for way in WAYS:
        grids: list[Grid] = sweep(
            tail, CUT, batches(h, label, few), of, *part.grid, influence=list(scores[way]), chunk=256
        )
        cells[way] = [grid.best("recall") for grid in grids]
    asked: dict[tuple[str, int], inf.Mask] = {
        (way, k): inf.Mask(CUT, cell.units) for way, best in cells.items() for k, cell in enumerate(best) if cell
    }
    for k, cell in enumerate(cells[PAPER]):
        if cell:
            asked[LOT, k] = inf.Mask(CUT, random_units(len(cell.units), h.shape[1], 1000 * seed + k))
    # All units kept: the net itself.
    asked |= {("net", k): inf.Mask(CUT, range(h.shape[1])) for k in range(len(of))}
    done = evaluate(tail, batches(h, label, report), list(asked.values()), [of[k] for _, k in asked], chunk=256)
    counts = {key: done.masked[n] for n, key in enumerate(asked)}
    found: dict[str, Any] = {"net": [rates(counts["net", k]) for k in range(len(of))]}
    for way in (*WAYS, LOT):
        found[way] = [rates(counts[way, k]) if (way, k) in counts else None for k in range(len(of))]
    found["chosen"] = {
        way: [(c.alpha, c.beta, len(c.units)) if c else None for c in best] for way, best in cells.items()
    }
    return found


def influences(tail: inf.Net, h: Tensor, label: Tensor, rows: Tensor) -> dict[str, Tensor]:
    """The scores of units by way, `[class, unit]`, means over the images of each class."""
    data = inf.Dataset(batches(h, label, rows))
    of = [OwnProbability(), inf.Label()]
    r = inf.influence(tail, CUT, of, data, [inf.gradient, inf.activation, inf.gradient_times_activation], chunk=32)
    paper, logit = (r[q] for q in of)
    return {
        PAPER: paper[inf.gradient].values, LOGIT: logit[inf.gradient].values,
        ACTIVATION: paper[inf.activation].values, GXA: paper[inf.gradient_times_activation].values,
    }  # fmt: skip


def rates(counts: Any) -> tuple[float, float | None]:
    """Recall and precision; None where the class was never said."""
    precision = float(counts.precision)
    return float(counts.recall), None if precision != precision else precision


# ---- tables and pictures ----------------------------------------------------------------------------------


def means(found: dict[str, Any], way: str, k: int) -> tuple[float, float, float, float] | None:
    """Recall and precision of a class over the halves: mean and standard deviation of each."""
    pairs = [half[way][k] for half in found["halves"] if half[way][k] is not None]
    if not pairs:
        return None
    recalls, precisions = [p[0] for p in pairs], [p[1] for p in pairs if p[1] is not None]
    spread = [statistics.stdev(v) if len(v) > 1 else 0.0 for v in (recalls, precisions)]
    return statistics.mean(recalls), spread[0], statistics.mean(precisions) if precisions else float("nan"), spread[1]


def better(half: dict[str, Any], way: str, k: int) -> bool:
    """Whether an expert's recall is above the net's own, at a precision no more than one point lower."""
    mine, own = half[way][k], half["net"][k]
    if mine is None or mine[1] is None:
        return False
    return bool(mine[0] > own[0] and (own[1] is None or mine[1] >= own[1] - POINT))


def won(found: dict[str, Any], way: str) -> list[int]:
    """For each half, the number of classes in which a way's experts are better than the net."""
    return [sum(better(half, way, k) for k in range(len(found["classes"]))) for half in found["halves"]]


def table(name: str, found: dict[str, Any]) -> str:
    """Recall / precision by class, then the number of classes with an expert."""
    lines = [
        f"\n{name}: {found['data']}, {found['layer']}, {len(found['halves'])} random halves",
        "recall / precision in %, mean (± standard deviation of the recall) over halves with an expert",
        f"{'class':<22}" + "".join(f"{way:<24}" for way in ("net", *WAYS, LOT)),
    ]
    for k, c in enumerate(found["classes"]):
        cells = []
        for way in ("net", *WAYS, LOT):
            m = means(found, way, k)
            cells.append(f"{100 * m[0]:.0f} ± {100 * m[1]:.0f} / {100 * m[2]:.0f}" if m else "none")
        lines.append(f"{c:<22}" + "".join(f"{cell:<24}" for cell in cells))
    lines.append(f"\nclasses with a better expert, of {len(found['classes'])}: mean over halves (least to most)")
    for way in (*WAYS, LOT):
        counts = won(found, way)
        lines.append(f"  {way:<24}{statistics.mean(counts):5.1f} ({min(counts)} to {max(counts)})")
    published = ", ".join(f"{c} {a} → {b}" for c, (a, b) in PUBLISHED.items())
    lines.append(
        f"published (recall at 100 % precision, five ImageNet classes drawn by lot): {published}; activations about 0"
    )
    return "\n".join(lines)


def record(parts: dict[str, Any]) -> dict[str, Any]:
    """What is stored: every rate of every half, and what it depends on."""
    return {
        "study": "experts",
        "about": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "versions": {name: version(name) for name in ("influent", "torch", "pillow")},
        "deviations": [
            "net: GoogLeNet (BVLC); the paper's classes are five of ImageNet's, drawn by lot, ours the data sets'",
            "the rest is that of the data set's own classes, ten or 24, and not all of ImageNet's",
        ],
        "published recall, %": PUBLISHED,
        "parts": parts,
    }  # fmt: skip


def draw(parts: dict[str, Any]) -> None:
    """For each part the mean recall of each class, the net's own beside each way's."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    ways = ("net", PAPER, LOGIT, ACTIVATION, GXA, LOT)
    colours = ("#222222", "#d1495b", "#edae49", "#2e86ab", "#66a182", "#bbbbbb")
    figure, grid = pyplot.subplots(len(parts), 1, figsize=(12, 3.4 * len(parts)), layout="constrained", squeeze=False)
    for axes, (name, found) in zip(grid[:, 0], parts.items(), strict=True):
        for w, (way, colour) in enumerate(zip(ways, colours, strict=True)):
            values = [means(found, way, k) for k in range(len(found["classes"]))]
            places = [k + 0.13 * (w - 2.5) for k in range(len(values))]
            axes.bar(places, [100 * v[0] if v else 0 for v in values], 0.12, color=colour, label=way,
                     yerr=[100 * v[1] if v else 0 for v in values], error_kw={"elinewidth": 0.6})  # fmt: skip
        axes.set_xticks(range(len(found["classes"])), found["classes"], rotation=20, ha="right", fontsize=8)
        axes.set(title=f"{name}: recall of the class against the rest on the other half", ylabel="%", ylim=(0, 105))
        axes.legend(fontsize=7, ncols=6, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.25))
    figure.savefig(PICTURE, dpi=90, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
