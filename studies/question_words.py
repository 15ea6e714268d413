"""Words that tell what kind of answer a question wants: integrated gradients at the words of 2831 questions.

    python3 dev.py study question_words [--small]

The slides "Why this prediction?" colour the words of nine questions by their attributions, from the zero embedding, and
remark that one can almost harvest grammar rules from them. Here the same nine questions, and then the rule: which words
speak for which kind, on average over all questions.

Fixed before any result was seen:

- Net: the zoo's `textcnn-questions`, which saw none of the 2831 questions. Of the slides' nine it saw
  those marked `trained on` in the results.
- Attribution: integrated gradients of the predicted kind's logit, from the zero embedding to the question's, 33 points,
  summed over the 50 numbers of each word. A word that comes twice in a question counts once, with the sum.
- Indicative words: those in 20 questions or more that the net gives the kind; mean over those questions, with standard
  error. A word is named only where the mean is beyond twice its error.
- Does it matter to the net? In each question, the word of highest attribution is replaced by the unknown word, and for
  comparison one drawn by lot: how often does the predicted kind change?
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _text
import matplotlib
import torch
from _selection import shuffled
from localisation import version
from matplotlib import colormaps
from tqdm import tqdm

import influent as inf

HERE = Path(__file__).parent
RESULT, PICTURE = (HERE / "results" / f"question-words.{kind}" for kind in ("json", "png"))
AT, POINTS, BATCH, LEAST, TOP, EXAMPLES, SEED = "embedding/token", 33, 64, 20, 8, 2, 0
SLIDES = {
    "how many townships have a population above 50 ?": "numeric",
    "what is the difference in population between fora and masilo": "numeric",
    "how many athletes are not ranked ?": "numeric",
    "what is the total number of points scored ?": "numeric",
    "which film was before the audacity of democracy ?": "string",
    "which year did she work on the most films ?": "date",
    "what year was the last school established ?": "date",
    "when did ed sheeran get his first number one of the year ?": "date",
    "did charles oakley play more minutes than robert parish ?": "boolean",
}
DEVIATIONS = (
    "net: a convolution net of ours; the slides' is a simple feedforward network",
    "kinds: the slides' NUMERIC, STRING, DATETIME and YESNO are our numeric, string, date and boolean; list is ours",
)


@dataclass(frozen=True)
class Told:
    """A question: its words with their attributions, the kind the net gives it, its score and the relative gap."""

    text: str
    pieces: tuple[Any, ...]
    kind: int
    gap: float


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the tables, the file and the picture."""
    parser = argparse.ArgumentParser(description="Words that tell what kind of answer a question wants.")
    parser.add_argument("--small", action="store_true", help="300 questions; no file")
    options = parser.parse_args(arguments)
    try:
        net, pairs = inf.zoo.load("textcnn-questions"), _text.asked("random-split-1-dev")
    except inf.InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    pairs = pairs[:300] if options.small else pairs
    slides = attributed(net, list(SLIDES))
    told = attribute_all(net, [text for text, _ in pairs])
    changed = changes(net, told)
    words = indicative(told)
    print(tables(slides, words, changed))
    print("\n".join([f"\nMedian relative gap {median_gap(told):.2%}.", *(f"deviation: {d}" for d in DEVIATIONS)]))
    if not options.small:
        right = _text.accuracy(net, pairs)
        kept = record(slides, told, words, changed) | {"accuracy of the net, %": right}
        RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        draw(slides, told, words)
        print(f"\nwritten: studies/results/{RESULT.name} and {PICTURE.name}")
    return 0


# ---- attributions -----------------------------------------------------------------------------------------


def attributed(net: inf.Net, texts: Sequence[str]) -> list[Told]:
    """A batch of questions with the attributions of their words."""
    text = net.transform(list(texts))
    e = inf.activations(net, "embedding", text.inputs)
    path = inf.Line(torch.zeros_like(e), e, n=POINTS, cut="embedding", given=text.inputs)
    found = inf.influence(net, AT, inf.Predicted(), path, inf.contribution, chunk=8 * BATCH)
    kinds = _text.scores(net, texts).argmax(1).tolist()
    return [
        Told(texts[k], text.pieces(found.values, k), kinds[k], float(found.gap.relative[k])) for k in range(len(texts))
    ]


def attribute_all(net: inf.Net, texts: Sequence[str]) -> list[Told]:
    """All questions, those of about one length together: less padding."""
    order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
    found: dict[int, Told] = {}
    for start in tqdm(range(0, len(order), BATCH), desc="attributions", mininterval=10):
        group = order[start : start + BATCH]
        found.update(zip(group, attributed(net, [texts[k] for k in group]), strict=True))
    return [found[k] for k in range(len(texts))]


# ---- words ------------------------------------------------------------------------------------------------


def indicative(told: Sequence[Told], least: int = LEAST) -> dict[str, list[dict[str, Any]]]:
    """By kind, its words with the mean of their attributions, its standard error and the count, the highest first."""
    by: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in told:
        sums: dict[str, float] = defaultdict(float)
        for piece in one.pieces:
            sums[piece.text.lower()] += piece.value
        for word, value in sums.items():
            by[one.kind][word].append(value)
    found = {}
    for kind, name in enumerate(_text.ANSWERS):
        rows = []
        for word, values in by[kind].items():
            if len(values) >= least:
                error, mean = torch.std_mean(torch.tensor(values, dtype=torch.float64))
                stderr = float(error) / len(values) ** 0.5
                rows.append({"word": word, "mean": float(mean), "stderr": stderr, "count": len(values)})
        found[name] = sorted(rows, key=lambda row: (-row["mean"], row["word"]))
    return found


def changes(net: inf.Net, told: Sequence[Told]) -> dict[str, dict[str, float]]:
    """How often the predicted kind changes, in percent, where one word becomes unknown: the highest, or one by lot."""
    dice = torch.Generator().manual_seed(SEED)
    ways = {
        "the word of highest attribution": [max(range(len(t.pieces)), key=lambda k: t.pieces[k].value) for t in told],
        "a word by lot": [int(torch.randint(len(t.pieces), (), generator=dice)) for t in told],
    }
    found = {}
    for way, places in ways.items():
        changed = torch.tensor([float(said_without(net, t, k) != t.kind) for t, k in zip(told, places, strict=True)])
        share = float(changed.mean())
        found[way] = {"percent": 100 * share, "stderr": 100 * (share * (1 - share) / len(told)) ** 0.5}
    return found


@torch.no_grad()
def said_without(net: inf.Net, one: Told, place: int) -> int:
    """What the net says where the word at a place is unknown."""
    inputs = dict(net.transform(one.text).inputs)
    ids = inputs["input_ids"].clone()
    ids[0, place] = 1
    return int(net.module(**(inputs | {"input_ids": ids})).argmax())


def median_gap(told: Sequence[Told]) -> float:
    """The median over questions of |gap| / |F(x) − F(zero embedding)|."""
    return float(torch.tensor([one.gap for one in told]).median())


def named(rows: Sequence[dict[str, Any]], count: int = TOP, sign: int = 1) -> list[dict[str, Any]]:
    """The words furthest up (or down, sign −1) that are beyond twice their error."""
    sure = [row for row in rows if sign * row["mean"] > 2 * row["stderr"]]
    return sure[:count] if sign > 0 else sure[::-1][:count]


def trained_on(some: Sequence[Told]) -> set[str]:
    """The questions that are, word for word, in random-split-1-train (the slides have spaces before question marks)."""

    def bare(text: str) -> str:
        return text.removesuffix("?").strip().lower()

    known = {bare(text) for text, _ in _text.asked("random-split-1-train")}
    return {one.text for one in some if bare(one.text) in known}


# ---- results ----------------------------------------------------------------------------------------------


def tables(slides: Sequence[Told], words: dict[str, Any], changed: dict[str, dict[str, float]]) -> str:
    """The slides' questions, the words of each kind, and whether they matter."""
    lines = ["the slides' questions (* in our train set): ours | theirs"]
    seen = trained_on(slides)
    for one in slides:
        told = " ".join(f"{piece.text}({piece.value:+.1f})" for piece in one.pieces)
        lines.append(
            f"  {_text.ANSWERS[one.kind]:>8} | {SLIDES[one.text]:<8} {'*' if one.text in seen else ' '} {told}"
        )
    for kind, rows in words.items():
        for title, sign in (("for", 1), ("against", -1)):
            cells = [f"{r['word']} {r['mean']:+.2f} ± {r['stderr']:.2f} ({r['count']})" for r in named(rows, TOP, sign)]
            lines.append(f"{kind}, words {title}: " + ("; ".join(cells) or "none"))
    for way, share in changed.items():
        lines.append(f"predicted kind changes without {way}: {share['percent']:.1f} ± {share['stderr']:.1f} %")
    return "\n".join(lines)


def examples(told: Sequence[Told]) -> list[Told]:
    """Two questions by lot that the net gives each kind."""
    return [
        one
        for kind in range(len(_text.ANSWERS))
        for one in shuffled([t for t in told if t.kind == kind], SEED)[:EXAMPLES]
    ]


def record(slides: Any, told: Any, words: Any, changed: Any) -> dict[str, Any]:
    """What is stored: each number, and what it depends on."""

    def plain(some: Sequence[Told]) -> list[dict[str, Any]]:
        return [
            {
                "question": one.text,
                "predicted": _text.ANSWERS[one.kind],
                "words": [[piece.text, piece.value] for piece in one.pieces],
            }
            for one in some
        ]

    return {
        "study": "question_words",
        "about": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "versions": {name: version(name) for name in ("influent", "torch")},
        "settings": {
            "net": "textcnn-questions",
            "at": AT,
            "of": "Predicted() (the logit)",
            "over": f"Line from the zero embedding, n={POINTS}, adaptive",
            "measure": "contribution",
            "questions": len(told),
            "least questions for a word": LEAST,
        },
        "deviations": DEVIATIONS,
        "median relative gap": median_gap(told),
        "predicted kind changes": changed,
        "questions by predicted kind": {n: sum(t.kind == k for t in told) for k, n in enumerate(_text.ANSWERS)},
        "words": words,
        "the slides' questions": [
            p | {"published": SLIDES[p["question"]], "trained on": p["question"] in trained_on(slides)}
            for p in plain(slides)
        ],
        "examples by lot": plain(examples(told)),
    }


def draw(slides: Sequence[Told], told: Sequence[Told], words: dict[str, Any]) -> None:
    """Questions with their words coloured, and the most indicative words of each kind."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(15, 8.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.55, 1])
    coloured(left.add_subplot(), list(slides), examples(told))
    for axes, (kind, rows) in zip(right.subplots(len(words), 1), words.items(), strict=True):
        best = named(rows)[::-1]
        axes.barh(
            [f"{r['word']} ({r['count']})" for r in best], [r["mean"] for r in best],
            xerr=[r["stderr"] for r in best], color="#d1495b", height=0.7,
        )  # fmt: skip
        axes.set_title(f"words that speak for: {kind}", fontsize=9, loc="left")
        axes.tick_params(labelsize=7)
        axes.set_ylim(-0.6, TOP - 0.4)
        if not best:
            axes.axis("off")
            axes.text(0.5, 0.5, f"none among the words of {LEAST} questions", ha="center", transform=axes.transAxes)
    figure.savefig(PICTURE, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def coloured(axes: Any, slides: list[Told], others: list[Told]) -> None:
    """Questions as lines of words; red speaks for the predicted kind, blue against it."""
    lines: list[Told | str] = ["the slides' questions", *slides, "by lot, from the held-out questions", *others]
    wide = 78
    axes.set(xlim=(0, wide), ylim=(len(lines), -1))
    axes.axis("off")
    for row, line in enumerate(lines):
        if isinstance(line, str):
            axes.text(0, row, line, fontsize=10, weight="bold", va="center")
            continue
        axes.text(0, row, _text.ANSWERS[line.kind], fontsize=8, va="center", color="#555555")
        most, at = max(abs(piece.value) for piece in line.pieces), 9.0
        for piece in line.pieces:
            shade = colormaps["RdBu_r"](0.5 + 0.38 * piece.value / most)
            box = {"facecolor": shade, "edgecolor": "none", "pad": 1.2}
            axes.text(at, row, piece.text, fontsize=8, family="monospace", va="center", bbox=box)
            at += 0.66 * (len(piece.text) + 1.5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
