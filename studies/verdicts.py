"""How often is a verdict of `inf.debug` right? Nets whose fault is made by hand, and many draws of their data.

    python3 dev.py study verdicts [--small]

A net of one convolution, 1 × 1, and a linear layer looks at images of one colour: warm, cold, and rare, which is warm
with green in it. Red and blue are read by two units each, green by one. Four nets: in "blind" no unit sees green (the
truth is: not learned); in "outweighed" the green unit says rare, less loudly than the red ones say warm (drowning); in
"biased" it does as in the healthy net, and a bias holds the class down (held down); "healthy" has no fault (no doubt).

Fixed before any result was seen: 100 draws of data, 20, 40 or 100 images of each class, noise of 0.1 and 0.3 beside
colours that differ by 0.4; the limits are the defaults. What is counted is the verdict on the rare class.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from localisation import version
from torch import Tensor, nn
from tqdm import tqdm

import influent as inf

RESULT = Path(__file__).parent / "results" / "verdicts.json"
COLOURS = {"warm": (0.8, 0.1, 0.1), "cold": (0.1, 0.1, 0.8), "rare": (0.8, 0.5, 0.1)}
TRUTH = {"blind": "not learned", "outweighed": "drowning", "biased": "held down", "healthy": "no doubt"}
VERDICTS = ("not learned", "drowning", "held down", "undecided", "too few samples")
COUNTS, NOISES, DRAWS, DRAWS_SMALL = (20, 40, 100), (0.1, 0.3), 100, 2


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the table and the file."""
    parser = argparse.ArgumentParser(description="How often is a verdict right?")
    parser.add_argument("--small", action="store_true", help="two draws; no file")
    options = parser.parse_args(arguments)
    draws = DRAWS_SMALL if options.small else DRAWS
    rows = [
        {"net": kind, "truth": truth, "images of a class": count, "noise": noise}
        | told(made(kind), count, noise, draws)
        for noise in NOISES
        for count in COUNTS
        for kind, truth in tqdm(TRUTH.items(), desc=f"noise {noise}, {count} images", mininterval=10)
    ]
    for row in rows:
        right = row["verdicts"].get(row["truth"], 0)
        print(f"noise {row['noise']}, {row['images of a class']:>3} images, {row['net']:<10} {row['truth']:<11} "
              f"{right:>3} of {draws}   {row['verdicts']}, with confusions {row['with confusions']}")  # fmt: skip
    if not options.small:
        kept = {"study": "verdicts", "versions": {"influent": version("influent"), "torch": torch.__version__},
                "draws": draws, "rows": rows}  # fmt: skip
        RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten: studies/results/{RESULT.name}")
    return 0


def made(kind: str) -> inf.Net:
    """A net of one kind; eleven of its sixteen units read colours at random, and hardly say anything."""
    conv, head = nn.Conv2d(3, 16, 1, bias=False), nn.Linear(16 * 4, 3)
    dice = torch.Generator().manual_seed(0)
    reads = torch.rand(16, 3, generator=dice)
    reads[:5] = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0]])
    reads[4:, 1] *= kind != "blind"
    conv.weight.data = reads[:, :, None, None]
    says = 0.05 * torch.randn(3, 16, generator=dice)
    says[:, :5] = torch.tensor([[3.0, 3, 0, 0, 0], [0, 0, 3, 3, 0], [0, 0, 0, 0, 3]])
    says[2, 4] = 12.0 if kind == "healthy" else 3.0
    head.weight.data, head.bias.data = says.repeat_interleave(4, 1) / 4, torch.zeros(3)
    head.bias.data[2] = -9.0 if kind == "biased" else 0.0
    return inf.Net(nn.Sequential(conv, nn.Flatten(), head).eval(), labels=list(COLOURS), layer="0/channel")


def images(count: int, noise: float, seed: int) -> list[tuple[Tensor, Tensor]]:
    """One batch of images of 2 × 2 pixels, `count` of each class."""
    label = torch.arange(3 * count) % 3
    spread = torch.randn(3 * count, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    return [(torch.tensor(list(COLOURS.values()))[label][:, :, None, None] + noise * spread, label)]


def told(net: inf.Net, count: int, noise: float, draws: int) -> dict[str, Any]:
    """How often each verdict is given on the rare class, and in how many draws a confusion is found."""
    verdicts: Counter[str] = Counter()
    confused = 0
    for seed in range(draws):
        found = inf.debug(net, images(count, noise, seed)).findings
        given = [f.kind for f in found if f.subject == "rare" and f.kind in VERDICTS]
        doubted = any(f.subject == "rare" and f.kind in ("never said", "little recall") for f in found)
        verdicts[" and ".join(given) or ("doubt alone" if doubted else "no doubt")] += 1
        confused += any(f.kind == "confusion" for f in found)
    return {"verdicts": dict(verdicts.most_common()), "with confusions": confused}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
