"""Saturation: score and gradients of the predicted class on the way from a black picture to a photo (Taly's slides).

    python3 dev.py study saturation [--photo FILE] [--points N] [--small]

A photo's pixels are multiplied by an intensity α from 0 to 1. Along the way: the class's probability and its logit, and
the mean over neurons of |∂/∂neuron| of either, at the input and at an early, a middle and a late layer. The class is
the one predicted at α = 1, everywhere. Where the score is flat the gradients are small: at the photo itself they say
little about what made the score rise, which is why a path is asked instead of the point.

The slides show curves without numbers and another photo and net, so nothing published stands beside ours. "Settled" is
the smallest α from which on the score stays within 10 % of its whole range of where it ends.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from localisation import version
from torch import Tensor
from tqdm import tqdm

import influent as inf

HERE = Path(__file__).parent
RESULT, PICTURE = HERE / "results" / "saturation.json", HERE / "results" / "saturation.png"
LAYERS = {
    "googlenet": ("inception_3b", "inception_4c", "inception_5b"),
    "efficientnet-lite0": ("_blocks.2", "_blocks.10", "_blocks.15"),
}
PHOTO, POINTS, CHUNK, SMALL = "coffee", 51, 16, "efficientnet-lite0"
PROBABILITY, LOGIT = "probability", "logit"


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the table, the file and the picture."""
    parser = argparse.ArgumentParser(description="Score and gradients between a black picture and a photo.")
    parser.add_argument("--photo", metavar="FILE", help=f"a photo of your own (default: {PHOTO}); no file, no picture")
    parser.add_argument("--points", type=int, default=POINTS, metavar="N", help=f"values of α (default {POINTS})")
    parser.add_argument("--small", action="store_true", help="EfficientNet-lite0 only, 5 points; no file, no picture")
    options = parser.parse_args(arguments)
    points = 5 if options.small else options.points
    if points < 3:
        print(f"--points {points}: two ends make no curve. Type 3 or more.", file=sys.stderr)
        return 2
    try:
        photo = Path(options.photo) if options.photo else inf.example(PHOTO)
        # All nets before the first curve: whoever lacks one's weights hears it at once.
        nets = {name: inf.zoo.load(name) for name in LAYERS if not options.small or name == SMALL}
        found = {name: curves(net, LAYERS[name], net.read(photo), points) for name, net in nets.items()}
    except inf.InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(found))
    if not options.small and not options.photo and points == POINTS:
        RESULT.write_text(json.dumps(record(found), indent=2) + "\n", encoding="utf-8")
        draw(found)
        print(f"\nwritten: studies/results/{RESULT.name} and {PICTURE.name}")
    return 0


def curves(net: inf.Net, layers: Sequence[str], x: Tensor, points: int) -> dict[str, Any]:
    """Scores and mean absolute gradients at each α."""
    top = int(inf.activations(net, inf.OUTPUT, x).argmax())
    scores = {PROBABILITY: inf.Probability(top), LOGIT: inf.Class(top)}
    with tqdm(desc=net.label(top), unit=" points", mininterval=10) as bar:
        found = inf.saturation(
            net, x, [inf.INPUT, *layers], list(scores.values()), n=points, chunk=CHUNK, progress=bar.update
        )
    named = {name: found[of] for name, of in scores.items()}
    return {
        "predicted": net.label(top),
        "alpha": named[PROBABILITY].alpha.tolist(),
        "score": {name: s.score[0].tolist() for name, s in named.items()},
        "mean absolute gradient": {
            name: {label(cut): size[0].tolist() for cut, size in s.gradient.items()} for name, s in named.items()
        },
        "settled": {name: float(s.settled[0]) for name, s in named.items()},
        "photo / largest": {
            name: {label(cut): float(share[0]) for cut, share in s.remaining.items()} for name, s in named.items()
        },
    }


def label(cut: str) -> str:
    """A cut as the tables name it."""
    return "input" if cut == "INPUT" else cut


def largest_at(alphas: Sequence[float], values: Sequence[float]) -> float:
    """The α of the largest value, the first of several."""
    return alphas[max(range(len(values)), key=values.__getitem__)]


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Where each score settles, and how small its gradient is at the photo."""
    lines = []
    for net, one in found.items():
        lines.append(f"{net}: {one['predicted']}")
        for name in (PROBABILITY, LOGIT):
            ends = one["score"][name]
            lines.append(
                f"  {name}: {ends[0]:.3g} at α = 0, {ends[-1]:.3g} at 1, settled from {one['settled'][name]:.2f}"
            )
            for at, gradient in one["mean absolute gradient"][name].items():
                share, where = gradient[-1] / max(gradient), largest_at(one["alpha"], gradient)
                lines.append(
                    f"    mean |gradient| at {at:<14} largest at α = {where:.2f}; at the photo {share:.1%} of it"
                )
        lines.append("")
    return "\n".join(lines).rstrip()


def record(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What is stored: the curves, and what they depend on."""
    return {
        "study": "saturation",
        "about": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "versions": {name: version(name) for name in ("influent", "torch", "pillow")},
        "settings": {"photo": PHOTO, "baseline": "black", "points": POINTS, "settled within": 0.1},
        "deviations": ["photo and nets are not those of the slides, which show curves without numbers"],
        "nets": found,
    }


def draw(found: Mapping[str, Mapping[str, Any]]) -> None:
    """A row for each net: its scores, and the gradients of either, each divided by its largest value."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = ("#222222", "#edae49", "#d1495b", "#2e86ab")
    figure, grid = pyplot.subplots(len(found), 3, figsize=(11, 3.1 * len(found)), layout="constrained", squeeze=False)
    for axes, (net, one) in zip(grid, found.items(), strict=True):
        alpha, logit = one["alpha"], one["score"][LOGIT]
        axes[0].plot(alpha, one["score"][PROBABILITY], color="#222222", label=PROBABILITY)
        axes[0].plot(
            alpha, [v / max(logit) for v in logit], color="#888888", linestyle="--", label="logit / its largest"
        )
        axes[0].set(title=f"{net}: {one['predicted']}", ylabel="score", ylim=(min(0, min(logit) / max(logit)), 1.05))
        for panel, name in zip(axes[1:], (PROBABILITY, LOGIT), strict=True):
            for colour, (at, gradient) in zip(colours, one["mean absolute gradient"][name].items(), strict=True):
                panel.plot(
                    alpha, [g / max(gradient) for g in gradient], color=colour, label=at.lstrip("_")
                )  # "_" would hide it
            panel.set(ylim=(0, 1.05))
            panel.set_title(f"mean |gradient| of the {name} / its largest", fontsize=10)
        for panel in axes:
            panel.set_xlabel("intensity α")
            panel.legend(fontsize=8, frameon=False)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
