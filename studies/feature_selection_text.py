"""Filters that tell kinds of answer apart: a classifier on the k best by each of four scores (the same, Table 2).

    python3 dev.py study feature_selection_text [--splits N] [--small]

Dhamdhere et al. 2018, section 6.2. Every filter of the question net gets a score on each of the 2831 questions; the
scores of a kind's training questions are averaged, the k filters with the highest average for any kind are kept, and
multinomial logistic regression on their activations is fitted on the training questions. The table shows its accuracy
on the rest.

Fixed before any result was seen:

- Net: the zoo's `textcnn-questions`, which saw none of these questions; 256 filters, each the largest value over a
  question's windows, so that nothing is summed.
- Scores: `of` is the logit of the kind that the net predicts, whatever the label. Activation and gradient × activation
  at the question; internal influence (mean gradient) and conductance along the line from the zero embedding, 33 points.
- Selection: signed averages; "for any kind" is the maximum over kinds of the averages, so exactly k filters are kept.
- Classifier: features standardised on the training questions, Σ cross-entropy + ½ ‖W‖², intercepts free.
- Splits: 2265 questions to train, 566 to test, drawn by lot ten times (seeds 0 to 9).
- Beside the four: filters by lot, all 256 filters, and what the net itself says.

Added after that result was seen, and shown apart: the same with the filters taken from each kind in turn, its best
first; and how many of the k filters of the first table owe their place to which kind.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _text
import matplotlib
import torch
from _selection import Accuracies, accuracy, differences, mean_error, ranked, shuffled
from localisation import version
from torch import Tensor
from tqdm import tqdm

import influent as inf

HERE = Path(__file__).parent
RESULT, PICTURE = (HERE / "results" / f"feature-selection-text.{kind}" for kind in ("json", "png"))
AT, POINTS, BATCH, SPLITS, TRAINED, KS = "filters/channel", 33, 64, 10, 2265, (5, 10, 15, 20)
ACTIVATION, GXA, INFLUENCE, CONDUCTANCE = "activation", "gradient × activation", "internal influence", "conductance"
METHODS = (ACTIVATION, GXA, INFLUENCE, CONDUCTANCE)
ANY, TURN = "the k highest for any kind (the paper's rule)", "the highest of each kind in turn (added later)"
LOT, ALL, NET = "filters by lot", "all 256 filters", "the net itself"
PUBLISHED = {
    ACTIVATION: (54.17, 84.89, 91.53, 92.09), GXA: (73.16, 90.40, 91.95, 91.38),
    INFLUENCE: (80.58, 85.24, 85.59, 91.45), CONDUCTANCE: (86.58, 91.45, 93.15, 93.64),
}  # fmt: skip
DEVIATIONS = (
    "net: ours, of the same layers, trained by text_nets; the paper's training and words are not published",
    "kinds of answer: told from the answer by the rules in _text.py; the paper does not say how it told them",
    "splits: ten, and their mean; the paper has one",
    "left open by the paper, ours in the docstring: path, points, classifier, what is explained",
)


@dataclass(frozen=True)
class Scored:
    """Questions: scores `[question, filter]` by method, labels and what the net says `[question]`, gaps."""

    scores: Mapping[str, Tensor]
    labels: Tensor
    said: Tensor
    gaps: Tensor


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the table, the file and the picture."""
    parser = argparse.ArgumentParser(description="Filters chosen by four scores, and how well they tell kinds apart.")
    parser.add_argument("--splits", type=int, default=SPLITS, metavar="N", help=f"random splits (default {SPLITS})")
    parser.add_argument("--small", action="store_true", help="300 questions, 2 splits; no file")
    options = parser.parse_args(arguments)
    if options.splits < 2:
        print("Type --splits 2 or more: an error needs two.", file=sys.stderr)
        return 2
    try:
        net, pairs = inf.zoo.load("textcnn-questions"), _text.asked("random-split-1-dev")
    except inf.InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    pairs, splits = (pairs[:300], 2) if options.small else (pairs, options.splits)
    trained = round(len(pairs) * TRAINED / 2831)
    scored = score_all(net, pairs)
    results = {name: accuracies(scored, order, splits, trained) for name, order in ORDERS.items()}
    test_share = 1 - trained / len(pairs)
    for name, result in results.items():
        print(f"{name}\n\n{table(result, test_share)}\n")
    print(footnotes(scored, splits))
    if not options.small and splits >= SPLITS:
        RESULT.write_text(json.dumps(record(scored, results, test_share), indent=2) + "\n", encoding="utf-8")
        draw(results)
        print(f"\nwritten: studies/results/{RESULT.name} and {PICTURE.name}")
    return 0


# ---- scores -----------------------------------------------------------------------------------------------


def scores(net: inf.Net, texts: Sequence[str], points: int = POINTS) -> dict[str, Tensor]:
    """Scores `[question, filter]` by method, what the net says, and the relative gaps of conductance `[question]`."""
    inputs = net.transform(list(texts)).inputs
    e = inf.activations(net, "embedding", inputs)
    of, at_x, along = inf.Predicted(), [inf.activation, inf.gradient_times_activation], [inf.gradient, inf.contribution]
    point = inf.influence(net, AT, of, inf.Point(e, cut="embedding", given=inputs), at_x, chunk=BATCH)
    path = inf.Line(torch.zeros_like(e), e, n=points, cut="embedding", given=inputs)
    line = inf.influence(net, AT, of, path, along, chunk=8 * BATCH)
    found = [point[at_x[0]], point[at_x[1]], line[along[0]], line[along[1]]]
    return {method: one.values for method, one in zip(METHODS, found, strict=True)} | {
        "said": _text.scores(net, texts).argmax(1), "gap": found[3].gap.relative,
    }  # fmt: skip


def score_all(net: inf.Net, pairs: Sequence[tuple[str, int]]) -> Scored:
    """All questions, those of about one length together: less padding."""
    order = sorted(range(len(pairs)), key=lambda k: len(pairs[k][0]))
    groups = [order[k : k + BATCH] for k in range(0, len(order), BATCH)]
    found = [scores(net, [pairs[k][0] for k in group]) for group in tqdm(groups, desc="scores", mininterval=10)]
    back = torch.tensor(order).argsort()
    whole = {key: torch.cat([one[key] for one in found])[back] for key in found[0]}
    labels = torch.tensor([label for _, label in pairs])
    return Scored({method: whole[method] for method in METHODS}, labels, whole["said"], whole["gap"])


# ---- accuracy ---------------------------------------------------------------------------------------------


def in_turn(scores: Tensor, labels: Tensor) -> Tensor:
    """Filters in the order in which labels, one after the other, name their best that is not yet named."""
    means = torch.stack([scores[labels == label].mean(0) for label in labels.unique()])
    best = means.sort(dim=1, descending=True, stable=True).indices
    return torch.tensor(list(dict.fromkeys(best.T.flatten().tolist())))


def owed(scores: Tensor, labels: Tensor, k: int) -> dict[str, int]:
    """How many of the k filters with the largest mean for any kind have it for which kind."""
    means = torch.stack([scores[labels == label].mean(0) for label in range(len(_text.ANSWERS))])
    kinds = means.argmax(0)[ranked(scores, labels)[:k]]
    return {name: int((kinds == label).sum()) for label, name in enumerate(_text.ANSWERS)}


Order = Callable[[Tensor, Tensor], Tensor]
ORDERS: dict[str, Order] = {ANY: ranked, TURN: in_turn}


def accuracies(scored: Scored, order: Order, splits: int, trained: int) -> Accuracies:
    """All methods, and what they are held against, on the same splits."""
    found: Accuracies = {name: [] for name in (*METHODS, LOT, ALL, NET)}
    features, labels = scored.scores[ACTIVATION], scored.labels
    for seed in range(splits):
        rows = torch.tensor(shuffled(range(len(labels)), seed))
        train, test = rows[:trained], rows[trained:]
        orders = {method: order(scored.scores[method][train], labels[train]) for method in METHODS}
        orders[LOT] = torch.randperm(features.shape[1], generator=torch.Generator().manual_seed(seed))
        for name, units in orders.items():
            found[name].append([accuracy(features[:, units[:k]], labels, train, test) for k in KS])
        found[ALL].append([accuracy(features, labels, train, test)] * len(KS))
        found[NET].append([100 * float((scored.said[test] == labels[test]).double().mean())] * len(KS))
    return found


# ---- tables -----------------------------------------------------------------------------------------------


def table(result: Accuracies, test_share: float) -> str:
    """Accuracy by k with the published figures beside, then conductance minus each other method."""
    lines = [f"{'accuracy, %':<26}" + "".join(f"{f'k = {k}':>14}" for k in KS) + "   published"]
    for method, rows in result.items():
        ours = "".join(f"{mean:8.2f} ± {error:3.2f}" for mean, error in map(mean_error, zip(*rows, strict=True)))
        lines.append(f"{method:<26}{ours}   " + "  ".join(f"{p:5.2f}" for p in PUBLISHED.get(method, ())))
    lines.append("")
    for method, apart in differences(result, CONDUCTANCE, test_share).items():
        cells = [f"{d['mean']:+7.2f} ± {d['corrected']:4.2f}{'*' if d['claimed'] else ' '}" for d in apart]
        lines.append(f"{f'conductance − {method}':<40}" + " ".join(cells))
    return "\n".join(line.rstrip() for line in lines)


def footnotes(scored: Scored, splits: int) -> str:
    """What the table depends on."""
    lines = [
        f"± is the standard error over {splits} random splits; of differences, the error corrected for splits that",
        "share questions (Nadeau and Bengio 2003), and * marks a difference beyond twice that.",
        f"Median relative completeness gap of conductance: {median_gap(scored):.2%}.",
        *(f"{method}: of the first {k} filters, {told(scored, method, k)}" for method in METHODS for k in KS[:2]),
        *(f"deviation: {line}" for line in DEVIATIONS),
    ]
    return "\n".join(lines)


def told(scored: Scored, method: str, k: int) -> str:
    """To which kinds the filters owe their place, over all questions."""
    counts = owed(scored.scores[method], scored.labels, k)
    return ", ".join(f"{count} for {name}" for name, count in counts.items() if count)


def median_gap(scored: Scored) -> float:
    """The median over questions of |gap| / |F(x) − F(zero embedding)|."""
    return float(scored.gaps.median())


def record(scored: Scored, results: Mapping[str, Accuracies], test_share: float) -> dict[str, Any]:
    """What is stored: each number, and what it depends on."""
    return {
        "study": "feature_selection_text",
        "about": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "versions": {name: version(name) for name in ("influent", "torch")},
        "settings": {
            "net": "textcnn-questions",
            "at": AT,
            "of": "Predicted() (the logit)",
            "line": f"from the zero embedding, n={POINTS}, adaptive",
            "k": KS,
            "questions": len(scored.labels),
            "for training": TRAINED,
            "splits": len(results[ANY][CONDUCTANCE]),
        },
        "deviations": DEVIATIONS,
        "questions by kind": {n: int((scored.labels == k).sum()) for k, n in enumerate(_text.ANSWERS)},
        "median relative gap": median_gap(scored),
        "kinds that the filters owe their place to": {
            method: {k: owed(scored.scores[method], scored.labels, k) for k in KS} for method in METHODS
        },
        "published": PUBLISHED,
        "selection": {
            name: {
                "percent": {m: [mean_error(v) for v in zip(*rows, strict=True)] for m, rows in result.items()},
                "conductance minus": differences(result, CONDUCTANCE, test_share),
                "splits": result,
            }
            for name, result in results.items()
        },
    }


def draw(results: Mapping[str, Accuracies]) -> None:
    """Accuracy against k, ours beside the published."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = {ACTIVATION: "#888888", GXA: "#edae49", INFLUENCE: "#2e86ab", CONDUCTANCE: "#d1495b", LOT: "#cccccc"}
    figure, panels = pyplot.subplots(1, 3, figsize=(11.4, 3.8), sharey=True)
    for axes, result in zip(panels[1:], results.values(), strict=True):
        for place, (method, colour) in enumerate(colours.items()):
            means, errors = zip(*map(mean_error, zip(*result[method], strict=True)), strict=True)
            at = [k + 0.3 * (place - 2) for k in KS]  # side by side, so that the bars can be read
            axes.errorbar(at, means, errors, color=colour, label=method, marker="o", markersize=3, capsize=2)
        for name, dashes in ((ALL, "--"), (NET, ":")):
            level, _ = mean_error([row[0] for row in result[name]])
            axes.axhline(level, color="black", linewidth=0.8, linestyle=dashes, label=name)
    for method, percent in PUBLISHED.items():
        panels[0].plot(KS, percent, color=colours[method], marker="o", markersize=3)
    for axes, title in zip(panels, ("published (Table 2), one split", *results), strict=True):
        axes.set_title(title, fontsize=9)
        axes.set(xlabel="filters", xticks=KS, ylim=(40, 100))
    panels[0].set_ylabel("accuracy, %")
    figure.legend(
        *panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=7, frameon=False, fontsize=8
    )
    figure.set_layout_engine("constrained")
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
