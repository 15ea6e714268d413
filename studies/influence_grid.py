"""Does an instance follow the order of its class? Grids, and a detector of wrong answers (Leino et al., Fig 3).

    python3 dev.py study influence_grid [--small]

Over the images of a class, units have an order by their mean influence on the class's probability. The paper shows for
two instances that the influences of a right answer follow that order and those of a wrong one do not, and gives no
number. Here the agreement is Spearman's rank correlation, of every image of two data sets, with the order of the class
that the net gives it; the order is that of the other half of the data. How well a low agreement tells wrong answers
from right ones is the area under the ROC curve, beside that of the largest probability, with 95 % intervals of a
bootstrap.

Fixed before any result was seen: GoogLeNet with its classifier cut down to the data set's classes, so that there are
wrong answers to tell; pool5, which feeds the classifier (the paper's place), and inception_5a by channel; halves drawn
by lot within each class; the wrong answer drawn is the first of the data set, the right one the next of its class.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import torch
from _selection import split
from experts import CUT, OwnProbability, activations, batches, tail_of
from experts import Part as Place
from localisation import version
from torch import Tensor, nn

import influent as inf
from influent.fidelity import auroc

HERE = Path(__file__).parent
RESULT, PICTURE = (HERE / "results" / f"influence-grid.{kind}" for kind in ("json", "png"))
PLACES = [Place(data, layer, ((), ()), 0) for data in ("imagenette-160", "stanford-dogs-24")
          for layer in ("pool5", "inception_5a")]  # fmt: skip
DRAWS, SEED = 2000, 0


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the table, the file and the picture."""
    parser = argparse.ArgumentParser(description="Rank agreement of single influences with those of the class.")
    parser.add_argument("--small", action="store_true", help="2 classes, 12 images each; no file")
    options = parser.parse_args(arguments)
    try:
        net = inf.zoo.load("googlenet")
        found, drawn = {}, {}
        for place in PLACES[: 1 if options.small else None]:
            name = f"{place.data}, {place.layer}"
            found[name], drawn[name] = studied(net, place, options.small)
            print(line(name, found[name]), flush=True)
    except inf.InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    if not options.small:
        RESULT.write_text(json.dumps(record(found), indent=1) + "\n", encoding="utf-8")
        draw(found, drawn)
        print(f"written: studies/results/{RESULT.name} and {PICTURE.name}")
    return 0


def head_of(tail: inf.Net, classes: Sequence[int]) -> inf.Net:
    """The net with the outputs of these classes only, in their order."""
    linear = next(m for m in reversed(list(tail.module.modules())) if isinstance(m, nn.Linear))
    fewer = nn.Linear(linear.in_features, len(classes))
    fewer.weight.data, fewer.bias.data = linear.weight[list(classes)].clone(), linear.bias[list(classes)].clone()
    stages = dict(tail.module.named_children())
    last = list(stages)[-1]
    module = nn.Sequential(*(m for name, m in stages.items() if name != last), fewer).eval()
    return replace(tail, module=module, labels=[tail.label(c) for c in classes])


def studied(net: inf.Net, place: Place, small: bool) -> tuple[dict[str, Any], Any]:
    """Agreements and probabilities of every image, right or wrong; and what is drawn."""
    h, label, classes = activations(net, place, small)
    head = head_of(tail_of(net, place.layer), classes)
    own = torch.tensor([classes.index(int(c)) for c in label])
    p = torch.cat([head.module(x).detach() for x, _ in batches(h, own, torch.arange(len(h)))]).softmax(1)
    said = p.argmax(1)
    single = inf.influence(
        head, CUT, OwnProbability(), inf.Point(h, label=said.tolist()), inf.gradient, chunk=64
    ).values
    halves = split(own, 0.5, SEED)
    agreement = torch.full((len(h),), torch.nan, dtype=torch.float64)
    orders = {}
    for here, there in (halves, halves[::-1]):
        essence = inf.influence(
            head, CUT, OwnProbability(), inf.Dataset(batches(h, own, there)), inf.gradient, chunk=64
        )
        for c in range(len(classes)):
            rows = here[said[here] == c]
            order = essence.values[c]
            if len(rows):
                agreement[rows] = inf.rank_agreement(single[rows], order)
            orders |= {int(row): order for row in rows}
    right = said == own
    result = {
        "images": len(h), "right": int(right.sum()), "wrong": int((~right).sum()),
        "agreement": {
            kind: quantiles(agreement[rows]) for kind, rows in (("right", right), ("wrong", ~right)) if bool(rows.any())
        },
        "auroc": {
            "rank agreement": interval(agreement, right),
            "largest probability": interval(p.amax(1).double(), right),
        },
    }  # fmt: skip
    wrong = (~right).nonzero()[:, 0].tolist()
    drawn = None
    if wrong:
        first = wrong[0]
        like = [k for k in right.nonzero()[:, 0].tolist() if said[k] == said[first]]
        drawn = [(k, single[k], orders[k], head.label(int(own[k])), head.label(int(said[k])), float(agreement[k]))
                 for k in (*like[:1], first)]  # fmt: skip
    return result, drawn


def quantiles(values: Tensor) -> list[float]:
    """Lower quartile, median and upper quartile."""
    found: list[float] = torch.quantile(values, torch.tensor([0.25, 0.5, 0.75], dtype=values.dtype)).tolist()
    return found


def interval(score: Tensor, right: Tensor) -> list[float] | None:
    """The area under the ROC curve of right against wrong answers, and its 95 % interval; None where all are right."""
    if bool(right.all()) or not bool(right.any()):
        return None
    dice = torch.Generator().manual_seed(SEED)
    drawn = []
    while len(drawn) < DRAWS:
        rows = torch.randint(len(score), (len(score),), generator=dice)
        if 0 < int(right[rows].sum()) < len(rows):
            drawn.append(auroc(score[rows], right[rows]))
    drawn.sort()
    return [auroc(score, right), drawn[int(0.025 * DRAWS)], drawn[int(0.975 * DRAWS)]]


def line(name: str, found: dict[str, Any]) -> str:
    """One place as text."""
    parts = [f"{name}: {found['right']} right, {found['wrong']} wrong"]
    for kind, (low, middle, high) in found["agreement"].items():
        parts.append(f"  agreement of {kind} answers: median {middle:.2f} (quartiles {low:.2f} to {high:.2f})")
    for way, value in found["auroc"].items():
        said = f"{value[0]:.3f} (95 %: {value[1]:.3f} to {value[2]:.3f})" if value else "no wrong answer"
        parts.append(f"  AUROC of {way}: {said}")
    return "\n".join(parts)


def record(found: dict[str, Any]) -> dict[str, Any]:
    """What is stored: each number, and what it depends on."""
    return {
        "study": "influence_grid",
        "about": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "versions": {name: version(name) for name in ("influent", "torch", "pillow")},
        "settings": {"seed": SEED, "draws of the bootstrap": DRAWS},
        "deviations": ["the paper's net reads retina photographs, and its figure shows two of them without a number"],
        "places": found,
    }


def draw(found: dict[str, Any], drawn: dict[str, Any]) -> None:
    """For each place a right and a wrong answer as grids of boxes, in the order of the class that was said."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = {name: those for name, those in drawn.items() if those and len(those) == 2}
    figure, axes = pyplot.subplots(len(shown), 2, figsize=(9, 4.9 * len(shown)), layout="constrained", squeeze=False)
    for row, (name, those) in zip(axes, shown.items(), strict=True):
        for panel, (_, values, order, label, said, rho) in zip(row, those, strict=True):
            side = int(len(values) ** 0.5 + 0.999)
            place = order.argsort(descending=True, stable=True)
            sizes = (values[place].abs() / values.abs().max()).sqrt()
            for k, unit in enumerate(place.tolist()):
                size = float(sizes[k])
                corner = (k % side + (1 - size) / 2, k // side + (1 - size) / 2)
                colour = "#d95f02" if values[unit] > 0 else "#2166ac"
                panel.add_patch(pyplot.Rectangle(corner, size, size, color=colour, linewidth=0))
            panel.set(xlim=(0, side), ylim=(side, 0), aspect="equal", xticks=[], yticks=[])
            panel.set_title(f"{name}\na {label}, taken for {said}: ρ = {rho:+.2f}", fontsize=9)
    figure.suptitle("Units in the order of the class that was said; orange speaks for it, blue against", fontsize=10)
    figure.savefig(PICTURE, dpi=80, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
