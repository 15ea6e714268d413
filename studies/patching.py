"""Attribution patching beside real patching: do slopes foretell what replacing a head or a neuron does?

    python3 dev.py study patching [--small]

A clean sentence and the same with one word turned ("good" becomes "bad") differ in what the net says. Real patching
puts one unit's clean activation into the corrupted run, and runs the net again, unit after unit; or its corrupted one
into the clean run, with the sign turned. Attribution patching (Nanda 2023) foretells that from one slope, at the end
that is run; conductance along the path between the two sentences takes the slopes on the whole way.

Fixed before any result was seen:

- Net: the small encoder that `text_nets` trained (3 layers, 4 heads each, 256 MLP neurons each).
- Pairs: of the 4,011 held-out sentences of the treebank, those with exactly one of the words below (a word and its
  opposite, either way), in the order of the file, the first 200; the sentence is clean, the turned one corrupted.
- Behaviour: the logit of positive minus that of negative. A unit is replaced at all positions at once.
- Real: into the corrupted run, into the clean run (what is lost there), and the mean of both.
- Estimates: 1 point at the corrupted end, 1 point at the clean end, and 3, 9 and 33 points of the path (uniform rule).
- By pair: correlation with what is real over the units of one kind, all heads or all neurons of the three layers; mean
  over pairs with 95 % intervals (bootstrap over pairs). Error: Σ|estimate − real| / Σ|real|.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _text
import torch
from localisation import version
from tqdm import tqdm

import influent as inf
from influent.fidelity import mean_interval

HERE = Path(__file__).parent
RESULT, PICTURE = (HERE / "results" / f"patching.{kind}" for kind in ("json", "png"))
OPPOSITES = (
    ("good", "bad"), ("best", "worst"), ("funny", "boring"), ("great", "terrible"), ("better", "worse"),
    ("interesting", "dull"), ("smart", "stupid"), ("fresh", "stale"), ("strong", "weak"), ("success", "failure"),
    ("love", "hate"), ("beautiful", "ugly"), ("more", "less"), ("always", "never"), ("entertaining", "tedious"),
)  # fmt: skip
TURNED = {a: b for pair in OPPOSITES for a, b in (pair, pair[::-1])}
PAIRS, PAIRS_SMALL, POINTS, CHUNK, BATCH = 200, 8, (3, 9, 33), 256, 20
REAL = ("into the corrupted run", "into the clean run", "mean of both")
ONE, OTHER = "1 point, corrupted end", "1 point, clean end"
OF = inf.Class("positive") - inf.Class("negative")


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the table, the file and the picture."""
    parser = argparse.ArgumentParser(description="Attribution patching beside real patching.")
    parser.add_argument("--small", action="store_true", help="8 pairs, heads alone; no file")
    options = parser.parse_args(arguments)
    try:
        net = _text.encoder()
        pairs = turned_pairs(net, _text.sentiments().held_out, PAIRS_SMALL if options.small else PAIRS)
    except inf.InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    places = inf.transformer(net)
    kinds = {"heads": places.heads} if options.small else {"heads": places.heads, "neurons": places.neurons}
    found = {kind: compared(net, cuts, pairs) for kind, cuts in kinds.items()}
    told = {kind: summary(ways) for kind, ways in found.items()}
    print(table(told, len(pairs)))
    if not options.small:
        kept = {
            "study": "patching", "versions": {"influent": version("influent"), "torch": torch.__version__},
            "settings": {"points": POINTS, "pairs": len(pairs), "opposites": OPPOSITES}, "found": told,
            "examples": [{"corrupted": a, "clean": b} for a, b in pairs[:5]],
        }  # fmt: skip
        RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        draw(told)
        print(f"\nwritten: studies/results/{RESULT.name} and {PICTURE.name}")
    return 0


def turned_pairs(net: inf.Net, sentences: Sequence[str], most: int) -> list[tuple[str, str]]:
    """Corrupted and clean: sentences with exactly one word that has an opposite, both words known to the net."""
    known = set(net.transform.tokenizer.vocabulary)
    found = []
    for clean in sentences:
        words = [m for m in re.finditer(r"\w+", clean) if m[0].lower() in TURNED]
        if len(words) == 1 and {words[0][0].lower(), TURNED[words[0][0].lower()]} <= known:
            start, end = words[0].span()
            found.append((clean[:start] + TURNED[words[0][0].lower()] + clean[end:], clean))
    return found[:most]


def compared(net: inf.Net, cuts: Sequence[str], pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Real and estimated effects by name, `[pair, unit]`, over the units of all cuts."""
    found: dict[str, dict[str, list[torch.Tensor]]] = {"real": {}, "estimated": {}}
    order = sorted(pairs, key=lambda pair: len(pair[1]))
    for first in tqdm(range(0, len(order), BATCH), desc=cuts[0].rpartition("/")[2], mininterval=10):
        batch = order[first : first + BATCH]
        bad, good = (net.read([pair[side] for pair in batch]) for side in (0, 1))
        there, back = (
            inf.fidelity.patching(net, list(cuts), OF, inf.Line(a, b, POINTS[-1], "uniform"), chunk=CHUNK)
            for a, b in ((bad, good), (good, bad))
        )
        into, out = joined(there.real), -joined(back.real)
        real = dict(zip(REAL, (into, out, (into + out) / 2), strict=True))
        along = {f"{n} points": inf.Line(bad, good, n, "uniform") for n in POINTS}
        estimated = {ONE: joined(there.estimated["1 point"]), OTHER: -joined(back.estimated["1 point"])} | {
            name: joined(inf.influence(net, list(cuts), OF, line, inf.contribution, chunk=CHUNK))
            for name, line in along.items()
        }
        for kind, parts in (("real", real), ("estimated", estimated)):
            for name, values in parts.items():
                found[kind].setdefault(name, []).append(values)
    return {kind: {name: torch.cat(parts) for name, parts in ways.items()} for kind, ways in found.items()}


def joined(found: Any) -> torch.Tensor:
    """The units of all cuts side by side, `[pair, unit]`."""
    return torch.cat([a.values.double().flatten(1) for a in found.values()], 1)


def correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Pearson's correlation, pair by pair, `[pair]`."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def summary(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """By what is real and by estimate, correlation and error with their intervals."""
    told: dict[str, Any] = {}
    for name, real in found["real"].items():
        told[name] = {}
        for way, estimate in found["estimated"].items():
            error = (estimate - real).abs().sum(1) / real.abs().sum(1)
            told[name][way] = {
                "correlation": mean_interval(correlation(estimate, real)), "error": mean_interval(error),
            }  # fmt: skip
    return told


def table(told: dict[str, Any], pairs: int) -> str:
    """The numbers as text."""
    lines = [f"{pairs} pairs; means over pairs with 95 % intervals"]
    for kind, reals in told.items():
        for real, ways in reals.items():
            lines.append(f"{kind}, {real}")
            for way, numbers in ways.items():
                cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*values) for values in numbers.values()]
                lines.append(f"  {way:<26} correlation {cells[0]}  error {cells[1]}")
    return "\n".join(lines)


def draw(told: dict[str, Any]) -> None:
    """The correlations with their intervals, each kind of unit a panel, each real effect a colour."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(told), figsize=(5.2 * len(told), 3.6), squeeze=False, sharey=True)
    for panel, (kind, reals) in zip(axes[0], told.items(), strict=True):
        for k, (real, ways) in enumerate(reals.items()):
            means, lows, highs = zip(*(numbers["correlation"] for numbers in ways.values()), strict=True)
            errors = [
                [m - low for m, low in zip(means, lows, strict=True)],
                [h - m for m, h in zip(means, highs, strict=True)],
            ]
            at = [j + 0.14 * (k - 1) for j in range(len(ways))]
            panel.errorbar(at, means, yerr=errors, fmt="osD"[k], markersize=5, capsize=3, label=real)
        panel.set_xticks(range(len(ways)), list(ways), rotation=20, ha="right", fontsize=8)
        panel.set(title=kind, ylabel="correlation with the real effect" if kind == next(iter(told)) else "")
        panel.grid(axis="y", alpha=0.3)
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
