"""The page of shared units: for each, the photos whose score flows through it, and others that fire it, with where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional

from influent.nets import Net
from influent.shared import Look, SharedUnit

from .figure import Cell
from .page import rendered
from .palette import limit
from .units import as_picture

MOST, PHOTOS, SIDE = 12, 6, 160
"""Units that are shown, photos in a row of a unit, pixels of a photo."""

OFTEN = 0.5
"""The part of all photos above which a unit is said to serve most of them."""


@dataclass(frozen=True)
class Sharing:
    """What the command found: shared units by name, photos read, and what could not be."""

    net: Net
    top: int
    looks: Sequence[Look]
    units: Sequence[SharedUnit]
    failures: Sequence[tuple[str, str]]

    def name(self, s: SharedUnit) -> str:
        """`channel 52 of inception_3a`, with the user's own name for it."""
        nickname = self.net.nicknames.get(s.cut.place.text, {}).get(s.unit)
        return f"{s.cut.units} {s.unit}{f' ({nickname})' if nickname else ''} of {s.cut.place.text}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The head of the table."""
        return "unit", "labels", "mean share", f"among the first {self.top} of", "other photos that fire it most"

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The table, one line for each unit that is shown."""
        return [
            (
                self.name(s),
                _some([self.net.label(label) for label in s.labels]),
                f"{s.share:.1%}",
                f"{len(s.members)} of {len(self.looks)} photos",
                _some(list(dict.fromkeys(self.net.label(seen.label) for seen in s.outside)), 3),
            )
            for s in self.units[:MOST]
        ]

    @property
    def sentences(self) -> list[str]:
        """What was found, and what it is worth."""
        labels = len({seen.label for seen in self.looks})
        unread = f"; {len(self.failures)} could not be read" if self.failures else ""
        told = [f"The net gives {len(self.looks)} photos {labels} different labels{unread}."]
        if not self.units:
            return [*told, f"No unit is among the first {self.top} of two labels. A larger --top looks further."]
        shown = f"; the first {MOST} are shown" if len(self.units) > MOST else ""
        told.append(
            f"Units among the first {self.top} by conductance for two labels or more: {len(self.units)}{shown}."
        )
        often = [self.name(s) for s in self.units[:MOST] if s.among > OFTEN]
        if often:
            told.append(f"Among the first of most photos, which says nothing about these labels: {', '.join(often)}.")
        return told

    def heading(self, s: SharedUnit) -> str:
        """One unit in words."""
        return f"{self.name(s)}: {_some([self.net.label(label) for label in s.labels])}"


def _some(names: Sequence[str], most: int = 4) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def lit(net: Net, x: Tensor, fired: Tensor | None) -> np.ndarray:
    """The photo as the net sees it, dimmed where a unit is silent: `fired [row, column]` → RGB `[row, column, 3]`.

    White in `fired` is its 99.5th percentile; without `fired`, or where nothing fires, the plain photo.
    """
    photo = as_picture(net, x)
    if fired is None or not bool((fired > 0).any()):
        return photo
    firing = fired.clamp(min=0)
    light = (firing / limit(firing)).clamp(max=1)[None, None].float()
    mask = functional.interpolate(light, size=photo.shape[:2], mode="bilinear", align_corners=False)[0, 0]
    return np.asarray(photo * (0.25 + 0.75 * mask.double().cpu().numpy()[..., None]))


@dataclass(frozen=True)
class Pictured:
    """One photo of a unit: a data URI, what stands below it, and its file's name."""

    uri: str
    caption: str
    name: str


def thumbnail(picture: np.ndarray) -> str:
    """A small JPEG as a data URI."""
    return Cell(picture, "").jpeg(SIDE)


def shared_page(
    title: str, made: Sharing, pictured: Sequence[tuple[Sequence[Pictured], Sequence[Pictured]]], facts: dict[str, str],
    seconds: float,
) -> str:  # fmt: skip
    """The HTML: a table, then for each unit shown its own photos and those outside, `pictured` in the units' order."""
    sections = [(made.heading(s), s, *pictures) for s, pictures in zip(made.units[:MOST], pictured, strict=True)]
    return rendered("shared.html", title=title, made=made, sections=sections, facts=facts, seconds=seconds)
