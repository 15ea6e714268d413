"""Right for a wrong reason: one person has a pink background in training. Which units see it? (Leino, slides)

    python3 dev.py study wrong_reason [--small]

The slides show a net that knows Tony Blair by "the distinctive pink background" of his photographs. Here nets learn
twelve people (LFW) of which he alone has such a background, half pink outside of an ellipse where heads are, and in
training alone. For each seed 1100 photographs are drawn to train on, and 444 are held out. A second net of the seed
is trained on the photographs as they are: the clean control.

- By held-out data (`train=`): the report is right where it names units of Tony Blair whose evidence is in training
  alone. Whether these are units of the background is tried on each: on his held-out photographs, given the
  background, it is to be higher by half or more of what it is in training.
- By masks (`objects=`), with the training photographs alone: whether units of his essence look beside the head.
- False alarms: any wrong reason of any of the twelve in the control, and any of the other eleven in the faulty net.

Fixed before any result was seen: 20 seeds are reported; the limits were set on ten others (100 to 109).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import torch
from _faces import SIDE, WHO, outside, read, recogniser, shown, split, tinted
from _reports import SEEDS, Photos, rate, spelt, written
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import influent as inf
from influent.confusion import see
from influent.finding import WRONG_REASON

TRAINING, BESIDE = "training alone", "beside the object"


def main(arguments: Sequence[str]) -> int:
    """The study, from the command line to the table and the file."""
    parser = argparse.ArgumentParser(description="Right for a wrong reason.")
    parser.add_argument("--small", action="store_true", help="one seed; no file")
    parser.add_argument("--calibration", action="store_true", help="the seeds that limits were set on; no file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        photos, label, names = read()
    except inf.InfluentError as error:
        print(error, file=sys.stderr)
        return 2
    seeds = range(100, 110) if options.calibration else SEEDS[:1] if options.small else SEEDS
    rows = [one(seed, photos, label, names) for seed in tqdm(seeds, desc="seeds", mininterval=10)]
    found = {
        "held out: his units are named": rate(bool(row["pink"][TRAINING]) for row in rows),
        "held out: all of these see the background": rate(
            bool(row["pink"][TRAINING]) and row["see it"] == len(row["pink"][TRAINING]) for row in rows
        ),
        "held out: another person is accused": rate(row["pink"]["others"][TRAINING] > 0 for row in rows),
        "masks: his units are named": rate(bool(row["pink"][BESIDE]) for row in rows),
        "masks: another person is accused": rate(row["pink"]["others"][BESIDE] > 0 for row in rows),
        "control, held out: anybody is accused": rate(
            bool(row["plain"][TRAINING]) or row["plain"]["others"][TRAINING] > 0 for row in rows
        ),
        "control, masks: anybody is accused": rate(
            bool(row["plain"][BESIDE]) or row["plain"]["others"][BESIDE] > 0 for row in rows
        ),
        "control: a wrong reason of any kind": rate(row["plain"]["any"] for row in rows),
    }
    for name, share in found.items():
        print(f"{name:<44} {spelt(share)}")
    if not options.small and not options.calibration:
        written("wrong_reason", __doc__.splitlines()[0], {"rates": found, "seeds": rows})
    return 0


def one(seed: int, photos: list[Image.Image], label: Tensor, names: list[str]) -> dict[str, Any]:
    """Both nets of a seed."""
    train, held = split(label, seed)
    who = names.index(WHO)
    rest = [photos[k] for k in held], label[held]
    told: dict[str, Any] = {"seed": seed}
    for name, tint in (("pink", True), ("plain", False)):
        trained_on = shown([photos[k] for k in train], label[train], names, tint)
        net = recogniser(seed, tint, trained_on, label[train], names)
        report = inf.debug(
            net, Photos(*rest), train=Photos(trained_on, label[train]), objects=lambda _: 1 - outside(SIDE)
        )
        own = {why: units(report, who, why) for why in (TRAINING, BESIDE)}
        others = {why: sum(bool(units(report, k, why)) for k in range(len(names)) if k != who) for why in own}
        told[name] = {
            **own, "others": others, "accuracy held out": report.accuracy,
            "his recall held out": next(r.recall for r in report.rates if r.index == who),
            "findings on him": [f"{f.kind}: {f.subject}" for f in report.findings if f.subject.startswith(WHO)],
            "any": any(f.kind == WRONG_REASON for f in report.findings),
        }  # fmt: skip
        if tint:
            his = [photos[k] for k in held if int(label[k]) == who]
            told["see it"] = sees(net, report.at, Photos(trained_on, label[train]), his, own[TRAINING], who)
            told["silenced"] = [vars(c) | {"as_is": c.as_is.hits, "without": c.without.hits, "held_as_is": None,
                                           "held_without": None} for c in report.checked if c.index == who]  # fmt: skip
    return told


def units(report: inf.Report, index: int, why: str) -> list[int]:
    """The units of one person that are named for one kind of why."""
    tests = len(report.reasons)
    return [r.unit for r in report.reasons if r.index == index and why in r.why(report.limits, tests)]


def sees(net: inf.Net, at: str, train: Photos, held: list[Image.Image], named: list[int], who: int) -> int:
    """How many units say more for him once held-out photographs are pink, by half of what they say in training."""
    label = torch.tensor([who] * len(held) + [0])
    pairs = [Photos([*made, held[0]], label) for made in (held, [tinted(photo) for photo in held])]
    plain, pink = (see(net, at, inf.Dataset(one)).evidence[:-1].double().mean(0) for one in pairs)
    seen = see(net, at, inf.Dataset(train))
    trained = seen.evidence[seen.where(who)].double().mean(0)
    return sum(float(pink[u] - plain[u]) >= 0.5 * float(trained[u]) for u in named)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
