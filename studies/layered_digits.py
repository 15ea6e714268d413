"""Layered explanations of zeros and sevens: consistent across layers, and converging from about 1.3 %? (Ho's Fig 2)

    python3 dev.py study layered_digits [--small]

"Layered Explanations" explains a zero against sevens at five convolution–pool layers of a CNN: the units that MIM finds
influential are sent back to the picture by a DeconvNet. It says that the single unit of largest activation gives
pictures that do not agree from layer to layer, that those by MIM agree, and that they converge from the top 1.3 % on.

Fixed before any result was seen:

- Net: five times convolution, ReLU, max-pooling, as the paper says; two epochs on MNIST's zeros and sevens; the number
  of channels is ours, the paper gives none. MIM over all 12,188 training digits, kernel 1/d², labels by the net.
- Digits: the first 100 zeros and the first 100 sevens of the test set. Layers: the five poolings.
- Units: by MIM; and as controls by activation, by influence (the gradient of the predicted class), by conductance from
  black, and by lot. Shares 0.1 %, 1.3 %, 2.5 %, at least one unit; "max" is the single unit of largest activation.
- Consistency: the mean cosine of |picture| over the ten pairs of layers. Convergence: the cosine between the pictures
  of successive shares, mean over layers. Means over digits with 95 % intervals (bootstrap over digits).
- Then GoogLeNet and two breeds of dogs, beagle and Siberian husky, 100 photos each: which layer each criterion chooses.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import _digits
import torch
from localisation import version
from safetensors.torch import save_file
from torch import Tensor

import influent as inf
from influent.fidelity import mean_interval
from influent.layered import MAX, SHARES, Layered, cosine, spell_share
from influent.samples import Folder
from influent.views.layered import layered_figure
from influent.zoo.files import data_file

HERE = Path(__file__).parent
RESULT, PICTURE = (HERE / "results" / f"layered-digits.{kind}" for kind in ("json", "png"))
POOLS = tuple(f"pool{k}" for k in range(1, 6))
WAYS = ("mim", "activation", "influence", "conductance", "lot")
EACH, EACH_SMALL, SHOWN, CHUNK, SEED = 100, 3, 2, 256, 0
BREEDS, PHOTOS = ("n02088364", "n02110185"), 100
NAMES = (MAX, *(spell_share(s) for s in SHARES))


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the tables, the file and the picture."""
    parser = argparse.ArgumentParser(description="Layered explanations of zeros and sevens.")
    parser.add_argument("--small", action="store_true", help="six digits, MIM over 500; no dogs, no file")
    options = parser.parse_args(arguments)
    try:
        (x, label), (test, truth) = _digits.read("train"), _digits.read("t10k")
    except inf.InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    if options.small:
        net, data = _digits.digits_net(), x[:500]
    else:
        net, data = fresh(x, label), x
    right = float((net.module(test).argmax(1) == truth).double().mean())
    each = EACH_SMALL if options.small else EACH
    some = torch.cat([test[truth == k][:each] for k in (0, 1)])
    made = {way: explained(net, some, data, way) for way in WAYS}
    told = {way: numbers(one) for way, one in made.items()}
    table = inf.layered.rank(net, data, POOLS, some[:20], chunk=CHUNK)
    print(f"accuracy on test digits {right:.2%}\n\n{spelt(told)}\n\n{table}")
    if options.small:
        return 0
    dogs = breeds()
    kept = {
        "study": "layered_digits", "versions": {"influent": version("influent"), "torch": torch.__version__},
        "settings": {"shares": SHARES, "digits": len(some), "points of MIM": len(data), "channels": _digits.CHANNELS},
        "accuracy on test digits": right, "found": told, "layers of the digits' net": layers(table), "dogs": dogs,
    }  # fmt: skip
    RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    draw(net, made["mim"])
    print(f"\nwritten: studies/results/{RESULT.name} and {PICTURE.name}")
    return 0


def fresh(x: Tensor, label: Tensor) -> inf.Net:
    """The net trained and written down in half the size; and read again, so that the file is what is reported on."""
    net = _digits.trained(x, label)
    save_file({name: weight.half() for name, weight in net.state_dict().items()}, _digits.WEIGHTS)
    return _digits.digits_net()


def explained(net: inf.Net, x: Tensor, data: Tensor, way: str) -> Layered:
    """Pictures of all digits at the five layers, units scored in one way."""
    by: Any = way
    if way == "lot":
        dice = torch.Generator().manual_seed(SEED)
        by = {pool: torch.rand(inf.activations(net, pool, x).shape, generator=dice) for pool in POOLS}
    return inf.layered.explain(net, x, data, POOLS, by=by, baseline=torch.zeros_like(x[:1]), chunk=CHUNK)


def numbers(made: Layered) -> dict[str, Any]:
    """Consistency by name of picture, and convergence from share to share, with intervals."""
    converged = torch.stack([row.convergence for row in made.rows]).nanmean(0)
    steps = [f"{a} to {b}" for a, b in pairwise(NAMES[1:])]
    return {
        "consistency": {name: mean_interval(made.consistency(name)) for name in NAMES},
        "convergence": {step: mean_interval(converged[:, k]) for k, step in enumerate(steps)},
        "convergence by layer": {
            str(row.cut): [float(c) for c in row.convergence.nanmean(0)] for row in made.rows
        },
        "cosine with the digit": {
            name: mean_interval(torch.stack([
                cosine(next(p.values for p in row.pictures if p.name == name), made.x) for row in made.rows
            ]).nanmean(0)) for name in NAMES
        },
    }  # fmt: skip


def spelt(told: dict[str, Any]) -> str:
    """The numbers as text."""
    lines = []
    for way, kinds in told.items():
        for kind in ("consistency", "convergence", "cosine with the digit"):
            cells = [f"{name} " + "{:.3f} [{:.3f}, {:.3f}]".format(*v) for name, v in kinds[kind].items()]
            lines.append(f"{way:<12} {kind:<22} " + "  ".join(cells))
    return "\n".join(lines)


def layers(table: Any) -> list[dict[str, Any]]:
    """A table of layers as it is stored."""
    return [vars(layer) | {"cut": layer.cut.text} for layer in table.layers]


def breeds() -> dict[str, Any]:
    """Which layer of GoogLeNet each criterion chooses on two breeds of dogs."""
    net = inf.zoo.load("googlenet")
    whole = Folder.at(data_file("stanford-dogs-24/labels.tsv", _digits.ADVICE).parent)
    files = [pair for wnid in BREEDS for pair in [f for f in whole.files if wnid in f[0]][:PHOTOS]]
    table = inf.layered.rank(net, inf.Dataset(Folder(whole.path, tuple(files), numbered=True)), chunk=16)
    chosen = {criterion: table.best(criterion).cut.text for criterion in inf.layered.CRITERIA}
    print(f"\n{table}\n{chosen}")
    return {"breeds": BREEDS, "layers": layers(table), "chosen": chosen, "samples": table.samples}


def draw(net: inf.Net, made: Layered) -> None:
    """The paper's Fig 2 for the first zeros and sevens."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [*range(SHOWN), *range(EACH, EACH + SHOWN)]
    figures = [layered_figure(net, made, "", row) for row in rows]
    figure, axes = pyplot.subplots(len(POOLS), 5 * len(rows), figsize=(3.6 * len(rows), 4.2))
    for block, one in enumerate(figures):
        for i, cells in enumerate(one.rows):
            for j, cell in enumerate(cells):
                panel = axes[i][5 * block + j]
                panel.imshow(cell.picture)
                panel.set_axis_off()
                if i == 0:
                    panel.set_title(cell.title if j else "original", fontsize=7)
    figure.tight_layout(pad=0.3)
    figure.savefig(PICTURE, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
