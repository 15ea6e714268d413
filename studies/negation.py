"""Filters for negation: does the sentiment net have some, as Dhamdhere et al. 2018 say of theirs (Figures 5 and 6)?

    python3 dev.py study negation [--small]

The paper takes three filters of high conductance on "this is not good" whose conductance comes from "not good", shows
sentences on which they have high conductance, and finds that they are about negation and diminishing; the same for "not
bad", with other filters. It shows ten sentences of each and counts nothing. Here 4011 held-out sentences are counted.

Fixed before any result was seen:

- Net: the zoo's `textcnn-sentiment`, which saw none of the sentences, nor their phrases as theirs.
- Behaviour: the logit of the class that the net predicts for the text at hand, as in the paper; and the same minus the
  other class's logit, which is what the prediction hangs on. Line from the zero embedding, 65 points for the two
  phrases, 33 for sentences.
- Filters: of the 20 of highest conductance on the phrase, the three with the largest share of it on the two words
  (the flow through the filter, seen at the embedding).
- Sentences: the 100 with the largest sum of these filters' conductances. How many have a word of the list below?
- Against: all sentences; those that the net gives the same class; sentences as long (two words more or less) as each of
  the 100; three filters by lot, of all 256 and of the 20, 1000 draws; the three of highest activation on the phrase,
  sentences by the sum of these filters' activations.
- Words of negation and of diminishing: NEGATIONS and DIMINISHERS.

Added after a first run: shares that are equal to a hundredth count as equal, and the larger conductance decides, where
before rounding errors did; and, against the rest, the three of the 20 with the largest share on "not" alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _text
import matplotlib
import torch
from localisation import version
from matplotlib import colormaps
from torch import Tensor
from tqdm import tqdm

import influent as inf
from influent.text import Words

HERE = Path(__file__).parent
RESULT, PICTURE = (HERE / "results" / f"negation.{kind}" for kind in ("json", "png"))
PHRASES = {"not good": "this is not good", "not bad": "this is not bad"}
POINTS, PHRASE_POINTS, BATCH, HIGH, CHOSEN, BEST, DRAWS, SHOWN = 33, 65, 64, 20, 3, 100, 1000, 10
NEGATIONS = frozenset(
    ("not", "n't", "no", "never", "none", "nothing", "nobody", "nowhere", "neither", "nor", "without", "cannot", "non")
)
DIMINISHERS = frozenset(
    (
        "hardly", "barely", "scarcely", "rarely", "seldom", "little", "less", "least", "few", "fewer", "lack", "lacks",
        "lacking", "lacked", "fail", "fails", "failed", "failing", "slightly", "somewhat", "almost",
    )
)  # fmt: skip
LOGIT, APART = "predicted logit", "predicted minus other logit"
BEHAVIOURS = {LOGIT: inf.Predicted(), APART: inf.Predicted() - inf.RunnerUp()}
DEVIATIONS = (
    "net: ours, trained on phrases of the treebank's train sentences; the paper's on reviews",
    "sentences: 4011 that the net was not trained on; the paper has around 4000, and does not say which",
    "left open by the paper, ours in the docstring: what is explained, how filters and sentences are chosen",
)


@dataclass(frozen=True)
class Held:
    """The held-out sentences: conductances by behaviour and activations `[sentence, filter]`, and what is in them."""

    texts: Sequence[str]
    conductance: Mapping[str, Tensor]
    activation: Tensor
    said: Tensor
    negated: Tensor
    lengths: Tensor
    gap: float


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the tables, the file and the picture."""
    parser = argparse.ArgumentParser(description="Does the sentiment net have filters for negation?")
    parser.add_argument("--small", action="store_true", help="600 sentences, 50 draws; no file")
    options = parser.parse_args(arguments)
    try:
        net, parts = inf.zoo.load("textcnn-sentiment"), _text.sentiments()
    except inf.InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    held = conductances(net, parts.held_out[:: 7 if options.small else 1])
    draws = 50 if options.small else DRAWS
    found = {
        behaviour: {name: examined(net, held, name, behaviour, draws) for name in PHRASES} for behaviour in BEHAVIOURS
    }
    known = understanding(net, parts.test)
    print(report(found, known, held))
    if not options.small:
        RESULT.write_text(json.dumps(record(found, known, held), indent=2) + "\n", encoding="utf-8")
        draw(net, found[LOGIT])
        print(f"\nwritten: studies/results/{RESULT.name} and {PICTURE.name}")
    return 0


# ---- sentences --------------------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """Words in lower case, as the net's tokenizer parts them."""
    return [text[a:b].lower().replace("’", "'") for a, b in Words([]).numbered(text)[1]]


def is_negated(text: str) -> bool:
    """Whether a word of negation or of diminishing is in a text."""
    return not (NEGATIONS | DIMINISHERS).isdisjoint(words_of(text))


def line(net: inf.Net, texts: Sequence[str], points: int) -> tuple[inf.Line, Mapping[str, Tensor]]:
    """The path from the zero embedding to some texts, and what the net is called with."""
    inputs = net.transform(list(texts)).inputs
    e = inf.activations(net, "embedding", inputs)
    return inf.Line(torch.zeros_like(e), e, n=points, cut="embedding", given=inputs), inputs


def conductances(net: inf.Net, texts: Sequence[str]) -> Held:
    """All filters on all sentences, those of about one length together: less padding."""
    order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
    by: dict[str, list[Tensor]] = {name: [] for name in (*BEHAVIOURS, "activation", "said", "gap")}
    for start in tqdm(range(0, len(order), BATCH), desc="conductances", mininterval=10):
        some = [texts[k] for k in order[start : start + BATCH]]
        path, inputs = line(net, some, POINTS)
        found = inf.influence(
            net, "filters/channel", list(BEHAVIOURS.values()), path, inf.contribution, chunk=8 * BATCH
        )
        for name, of in BEHAVIOURS.items():
            by[name].append(found[of].values)
        by["gap"].append(found[BEHAVIOURS[LOGIT]].gap.relative)
        by["activation"].append(inf.activations(net, "filters", inputs))
        by["said"].append(_text.scores(net, some).argmax(1))
    back = torch.tensor(order).argsort()
    whole = {name: torch.cat(parts)[back] for name, parts in by.items()}
    negated = torch.tensor([is_negated(text) for text in texts])
    lengths = torch.tensor([len(words_of(text)) for text in texts])
    gap = float(whole["gap"].median())
    return Held(texts, {b: whole[b] for b in BEHAVIOURS}, whole["activation"], whole["said"], negated, lengths, gap)


# ---- filters ----------------------------------------------------------------------------------------------


def chosen(net: inf.Net, name: str, behaviour: str) -> dict[str, Any]:
    """The filters of a phrase: those of high conductance, and the three whose conductance is most on the two words."""
    text, of = PHRASES[name], BEHAVIOURS[behaviour]
    path, inputs = line(net, [text], PHRASE_POINTS)
    values = inf.influence(net, "filters/channel", of, path, inf.contribution).values[0]
    high = values.topk(HIGH).indices.tolist()
    flows = [inf.Through([unit], "filters", of) for unit in high]
    seen = inf.influence(net, "embedding/token", flows, path, inf.contribution)
    on = [k for k, word in enumerate(words_of(text)) if word in name.split()]
    tokens = {unit: seen[flow].values[0] for unit, flow in zip(high, flows, strict=True)}
    shares = {unit: float(one[on].sum() / one.sum()) for unit, one in tokens.items()}
    nots = {unit: float(one[on[0]] / one.sum()) for unit, one in tokens.items()}
    best = furthest(shares)
    logits = net.module(**inputs)[0]
    return {
        "filters": best,
        "of high conductance": high,
        "share on the two words": shares,
        "conductance": {unit: float(values[unit]) for unit in high},
        "of the filters, by word": {unit: tokens[unit][: len(words_of(text))].tolist() for unit in best},
        "share on 'not'": nots,
        "by 'not' alone": furthest(nots),
        "share of the whole": float(values[best].sum() / values.sum()),
        "by activation": inf.activations(net, "filters", inputs)[0].topk(CHOSEN).indices.tolist(),
        "predicted": net.label(int(logits.argmax())),
        "all": values,
    }


def furthest(shares: Mapping[int, float]) -> list[int]:
    """The filters of the largest share, to a hundredth; of equal ones those that come first."""
    return sorted(shares, key=lambda unit: -round(shares[unit], 2))[:CHOSEN]


def best_of(scores: Tensor) -> Tensor:
    """The sentences of largest score."""
    return scores.topk(min(BEST, len(scores))).indices


def share(negated: Tensor) -> dict[str, float]:
    """A share in percent, with Wilson's interval of 95 %."""
    n, p, z = len(negated), float(negated.double().mean()), 1.959964
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return {"percent": 100 * p, "low": 100 * (middle - half), "high": 100 * (middle + half), "sentences": n}


def by_lot(held: Held, behaviour: str, among: Sequence[int], ours: float, draws: int) -> dict[str, float]:
    """Three filters by lot: mean share, the middle 95 % of draws, and how many draws reach ours, in percent."""
    dice, found = torch.Generator().manual_seed(0), []
    pool = torch.tensor(list(among))
    for _ in range(draws):
        units = pool[torch.randperm(len(pool), generator=dice)[:CHOSEN]]
        rows = best_of(held.conductance[behaviour][:, units].sum(1))
        found.append(100 * float(held.negated[rows].double().mean()))
    drawn = torch.tensor(found, dtype=torch.float64)
    low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    reached = 100 * float((drawn >= ours).double().mean())
    return {"percent": float(drawn.mean()), "low": low, "high": high, "draws that reach ours, %": reached}


def examined(net: inf.Net, held: Held, name: str, behaviour: str, draws: int) -> dict[str, Any]:
    """The filters of a phrase, and the shares of sentences with a negation."""
    one = chosen(net, name, behaviour)
    rows = best_of(held.conductance[behaviour][:, one["filters"]].sum(1))
    active = best_of(held.activation[:, one["by activation"]].sum(1))
    kinds = held.said[rows].bincount(minlength=2)
    same = held.said == int(kinds.argmax())
    as_long = torch.stack([held.negated[(held.lengths - n).abs() <= 2].double().mean() for n in held.lengths[rows]])
    ours = share(held.negated[rows])
    nots = best_of(held.conductance[behaviour][:, one["by 'not' alone"]].sum(1))
    one["shares"] = {
        "ours": ours,
        "by activation": share(held.negated[active]),
        "by the share on 'not' alone": share(held.negated[nots]),
        "all sentences": share(held.negated),
        "sentences of the same class": share(held.negated[same]),
        "sentences as long": {"percent": 100 * float(as_long.mean())},
        f"{CHOSEN} of 256 filters by lot": by_lot(held, behaviour, range(256), ours["percent"], draws),
        f"{CHOSEN} of the {HIGH} by lot": by_lot(held, behaviour, one["of high conductance"], ours["percent"], draws),
    }
    one["classes of ours"] = {net.label(k): int(count) for k, count in enumerate(kinds)}
    one["sentences"] = [held.texts[int(k)] for k in rows[:SHOWN]]
    return one


def understanding(net: inf.Net, test: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """What the net says of small sentences, and its accuracy on test sentences with and without a negation."""
    small = [f"this is {rest}" for rest in ("good", "not good", "bad", "not bad")]
    gaps = _text.scores(net, small) @ torch.tensor([-1.0, 1.0])
    with_it, without = ([pair for pair in test if is_negated(pair[0]) is wanted] for wanted in (True, False))
    return {
        "positive minus negative logit": dict(zip(small, gaps.tolist(), strict=True)),
        "accuracy with a negation, %": [_text.accuracy(net, with_it), len(with_it)],
        "accuracy without, %": [_text.accuracy(net, without), len(without)],
    }


# ---- results ----------------------------------------------------------------------------------------------


def alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """How far the filters of two phrases are the same."""
    return {
        "common, of the three": len(set(one["filters"]) & set(other["filters"])),
        f"common, of the {HIGH} of high conductance": len(
            set(one["of high conductance"]) & set(other["of high conductance"])
        ),
        f"expected by lot, of {HIGH}": HIGH * HIGH / 256,
        "correlation of conductances": float(torch.corrcoef(torch.stack([one["all"], other["all"]]))[0, 1]),
    }


def report(found: Mapping[str, Any], known: Mapping[str, Any], held: Held) -> str:
    """The tables."""
    lines = [f"{len(held.texts)} sentences; median relative gap of conductance {held.gap:.2%}"]
    for behaviour, by in found.items():
        for name, one in by.items():
            lines.append(f"\n{PHRASES[name]!r} ({one['predicted']}), {behaviour}")
            for unit in one["filters"]:
                words = " ".join(f"{value:+.3f}" for value in one["of the filters, by word"][unit])
                lines.append(
                    f"  filter {unit:3}: conductance {one['conductance'][unit]:.3f}, "
                    f"{one['share on the two words'][unit]:.0%} on {name!r}; by word {words}"
                )
            lines.append(f"  the best {BEST} sentences: {one['classes of ours']}")
            for title, s in one["shares"].items():
                bounds = f" [{s['low']:.1f}, {s['high']:.1f}]" if "low" in s else ""
                reached = f"; {s[key]:.1f} % of draws reach ours" if (key := "draws that reach ours, %") in s else ""
                lines.append(f"  with a negation, {title:<30}{s['percent']:5.1f} %{bounds}{reached}")
        lines.append(f"  the two phrases: {alike(*by.values())}")
    lines += [f"{key}: {value}" for key, value in known.items()]
    return "\n".join([*lines, *(f"deviation: {d}" for d in DEVIATIONS)])


def record(found: Mapping[str, Any], known: Mapping[str, Any], held: Held) -> dict[str, Any]:
    """What is stored: each number, and what it depends on."""
    return {
        "study": "negation",
        "about": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "versions": {name: version(name) for name in ("influent", "torch")},
        "settings": {
            "net": "textcnn-sentiment",
            "at": "filters/channel",
            "over": f"Line from the zero embedding, n={POINTS} (phrases {PHRASE_POINTS}), adaptive",
            "measure": "contribution",
            "sentences": len(held.texts),
            "negations": sorted(NEGATIONS),
            "diminishers": sorted(DIMINISHERS),
        },
        "deviations": DEVIATIONS,
        "median relative gap": held.gap,
        "the net": known,
        "behaviours": {
            behaviour: {
                "phrases": {name: {k: v for k, v in one.items() if k != "all"} for name, one in by.items()},
                "the two phrases": alike(*by.values()),
            }
            for behaviour, by in found.items()
        },
    }


def draw(net: inf.Net, by: Mapping[str, Any]) -> None:
    """For each phrase: its best sentences, coloured by what drives its filters, and the shares."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(16, 8), layout="constrained")
    for part, (name, one) in zip(figure.subfigures(2, 1), by.items(), strict=True):
        left, right = part.subplots(1, 2, width_ratios=[2.6, 1])
        left.set_title(f"best sentences of the filters {one['filters']} of “{name}”", fontsize=9, loc="left")
        coloured(left, net, one)
        shares = list(one["shares"].items())[::-1]
        means = [s["percent"] for _, s in shares]
        spans = [(m - s.get("low", m), s.get("high", m) - m) for m, (_, s) in zip(means, shares, strict=True)]
        colours = ["#d1495b" if title == "ours" else "#888888" for title, _ in shares]
        right.barh([title for title, _ in shares], means, xerr=list(zip(*spans, strict=True)), color=colours)
        right.set_title("sentences with a negation or a diminisher, %", fontsize=9)
        right.tick_params(labelsize=8)
        right.set_xlim(0, 100)
    figure.savefig(PICTURE, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def coloured(axes: Any, net: inf.Net, one: Mapping[str, Any]) -> None:
    """Sentences as lines of words, cut where the line ends; red is what drives the filters, words of the list bold."""
    axes.set(xlim=(0, 118), ylim=(SHOWN, -1))
    axes.axis("off")
    of = inf.Through(one["filters"], "filters", BEHAVIOURS[LOGIT])
    for row, text in enumerate(one["sentences"]):
        path, _ = line(net, [text], POINTS)
        values = inf.influence(net, "embedding/token", of, path, inf.contribution).values
        pieces = net.transform(text).pieces(values)
        most, at = max(abs(piece.value) for piece in pieces), 0.0
        for piece in pieces:
            if at + len(piece.text) > 112:
                axes.text(at, row, "…", fontsize=8, va="center")
                break
            shade = colormaps["RdBu_r"](0.5 + 0.38 * piece.value / most)
            weight = "bold" if is_negated(piece.text) else "normal"
            box = {"facecolor": shade, "edgecolor": "none", "pad": 1}
            axes.text(at, row, piece.text, fontsize=8, family="monospace", va="center", weight=weight, bbox=box)
            at += 0.80 * (len(piece.text) + 1.2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
