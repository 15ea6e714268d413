"""What the studies of `inf.debug` share: photographs as data, and rates of what is found over seeds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from localisation import version
from PIL import Image
from torch import Tensor

import influent as inf
from influent.rates import wilson

RESULTS = Path(__file__).parent / "results"
SEEDS, CALIBRATION = range(20), range(100, 110)
"""Nets that are reported; nets that the limits were set on, and that no figure counts."""

FAULTS = (
    "never said",
    "little recall",
    "not learned",
    "drowning",
    "held down",
    "undecided",
    "preprocessing",
    "wrong reason",
)
"""Findings that accuse a net; a confusion is a fact of the data."""


class Photos(torch.utils.data.Dataset[tuple[Image.Image, int]]):
    """Pictures and their classes, as a data set with an index."""

    def __init__(self, pictures: Sequence[Image.Image], label: Tensor) -> None:
        self.pictures, self.label = pictures, label

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, k: int) -> tuple[Image.Image, int]:
        return self.pictures[k], int(self.label[k])


def kinds(report: inf.Report, subject: str) -> list[str]:
    """The findings on one class that accuse the net."""
    return [f.kind for f in report.findings if f.subject.split(", ")[0] == subject and f.kind in FAULTS]


def accused(report: inf.Report) -> list[str]:
    """All findings that accuse the net."""
    return [f"{f.kind}: {f.subject}" for f in report.findings if f.kind in FAULTS]


def rate(hits: Iterable[bool]) -> dict[str, Any]:
    """How often, with Wilson's 95 % interval."""
    told = list(hits)
    low, high = wilson(sum(told), len(told))
    return {"hits": sum(told), "of": len(told), "low": low, "high": high}


def spelt(found: dict[str, Any]) -> str:
    """A rate as text: `19 of 20 (76% to 99%)`."""
    return f"{found['hits']} of {found['of']} ({found['low']:.0%} to {found['high']:.0%})"


def written(name: str, about: str, found: dict[str, Any]) -> None:
    """Write a study's numbers down."""
    kept = {
        "study": name, "about": about, "versions": {"influent": version("influent"), "torch": torch.__version__},
        "limits": vars(inf.Limits()), **found,
    }  # fmt: skip
    (RESULTS / f"{name.replace('_', '-')}.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: studies/results/{name.replace('_', '-')}.json")
