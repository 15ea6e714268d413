"""Recall and precision of a class's experts for a range of α and β (Leino et al. 2018, Figure 5).

    python3 dev.py study experts_grid [--small]

The paper shows the grid of one class, drawn by lot, and notes that recall and precision plateau with relatively few
units. Here it is drawn for all ten classes of imagenette-160 at GoogLeNet's pool5, which feeds the classifier; the
influence is that on the class's probability over one random half of the images, recall and precision are those on the
other half.

Fixed before any result was seen: "plateau" is the smallest number of units of a cell whose recall is within 5 points of
the highest in the grid at a precision no more than one point below the net's own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import torch
from _selection import split
from experts import CUT, PAPER, PARTS, POINT, activations, batches, influences, tail_of
from localisation import version

import influent as inf
from influent.experts import Grid, sweep

HERE = Path(__file__).parent
RESULT, PICTURE = (HERE / "results" / f"experts-grid.{kind}" for kind in ("json", "png"))
ALPHAS, BETAS = (1, 2, 5, 10, 20, 50, 100, 200, 400), (0, 1, 5, 10, 20, 50, 100, 200, 400)
NEAR, SEED = 0.05, 0


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the table, the file and the picture."""
    parser = argparse.ArgumentParser(description="Recall and precision of experts by α and β.")
    parser.add_argument("--small", action="store_true", help="2 classes, 12 images each, a coarse grid; no file")
    options = parser.parse_args(arguments)
    step = 4 if options.small else 1
    try:
        net = inf.zoo.load("googlenet")
        part = replace(PARTS["pool5"], grid=(ALPHAS[::step], BETAS[::step]))
        h, label, classes = activations(net, part, options.small)
        tail = tail_of(net, part.layer)
        here, there = split(label, 0.5, SEED)
        of = [inf.Class(c) for c in classes]
        order = influences(tail, h, label, here)[PAPER]
        grids = sweep(tail, CUT, batches(h, label, there), of, *part.grid, influence=list(order), chunk=256)
    except inf.InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    found = {net.label(c): numbers(grid) for c, grid in zip(classes, grids, strict=True)}
    print(table(found, h.shape[1]))
    if not options.small:
        RESULT.write_text(json.dumps(record(found, part.grid), indent=1) + "\n", encoding="utf-8")
        draw(found, part.grid)
        print(f"written: studies/results/{RESULT.name} and {PICTURE.name}")
    return 0


def numbers(grid: Grid) -> dict[str, Any]:
    """Recall and precision of every cell, the net's own, and where the plateau begins."""
    own = [float(grid.original.recall), float(grid.original.precision)]
    recall, precision = grid.recall, grid.precision
    fine = precision >= own[1] - POINT
    best = recall.where(fine, torch.nan)
    cells = [
        (len(units), a, b)
        for a, row in enumerate(grid.units)
        for b, units in enumerate(row)
        if units and bool(fine[a, b]) and float(best[a, b]) >= float(best[~best.isnan()].max()) - NEAR
    ]
    count, a, b = min(cells) if cells else (None, None, None)
    return {
        "recall": recall.tolist(), "precision": [[None if p != p else p for p in row] for row in precision.tolist()],
        "net": own, "plateau": None if count is None else {"units": count, "alpha": grid.alphas[a],
        "beta": grid.betas[b], "recall": float(recall[a, b]), "precision": float(precision[a, b])},
    }  # fmt: skip


def table(found: dict[str, Any], units: int) -> str:
    """For each class the net's own recall and precision, and those where the plateau begins."""
    lines = [f"{'class':<20}{'net':>14}{'plateau':>14}{'units':>8}   alpha, beta"]
    for name, one in found.items():
        own, p = one["net"], one["plateau"]
        said = f"{p['recall']:.0%} / {p['precision']:.0%}" if p else "none"
        lines.append(
            f"{name:<20}{f'{own[0]:.0%} / {own[1]:.0%}':>14}{said:>14}"
            + (f"{p['units']:>8}   {p['alpha']}, {p['beta']}" if p else "")
        )
    counts = [one["plateau"]["units"] for one in found.values() if one["plateau"]]
    if counts:
        lines.append(f"units at the plateau: median {statistics.median(counts):g} of {units}")
    return "\n".join(lines)


def record(found: dict[str, Any], grid: Any) -> dict[str, Any]:
    """What is stored: each number, and what it depends on."""
    return {
        "study": "experts_grid",
        "about": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "versions": {name: version(name) for name in ("influent", "torch", "pillow")},
        "settings": {"layer": "pool5", "data": "imagenette-160", "seed": SEED, "alphas": grid[0], "betas": grid[1]},
        "deviations": ["net: GoogLeNet (BVLC), the paper's VGG16", "ten classes instead of ImageNet's thousand"],
        "classes": found,
    }


def draw(found: dict[str, Any], grid: Any) -> None:
    """For each class its recall and its precision, α by β."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(found), 2, figsize=(10, 3.3 * len(found)), layout="constrained")
    for row, (name, one) in zip(axes, found.items(), strict=True):
        for panel, key, own in zip(row, ("recall", "precision"), one["net"], strict=True):
            values = [[float("nan") if v is None else 100 * v for v in line] for line in one[key]]
            panel.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
            for a, line in enumerate(values):
                for b, v in enumerate(line):
                    panel.text(b, a, f"{v:.0f}" if v == v else "–", ha="center", va="center", fontsize=7,
                               color="black" if v != v or v > 55 else "white")  # fmt: skip
            panel.set_xticks(range(len(grid[1])), grid[1], fontsize=7)
            panel.set_yticks(range(len(grid[0])), grid[0], fontsize=7)
            panel.set_title(f"{name}: {key}, % (the net's own {own:.0%})", fontsize=9)
            panel.set(xlabel="β", ylabel="α")
    figure.savefig(PICTURE, dpi=70, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
