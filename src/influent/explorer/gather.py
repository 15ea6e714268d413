"""What is seen of the data at one place: influence and activation of its units, image by image, a part at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from influent.ask import influence
from influent.attribution import Attribution
from influent.cut import OUTPUT, Cut
from influent.dataset import Dataset
from influent.errors import InputError
from influent.measures import activation, gradient
from influent.nets import Net
from influent.quantities import Label
from influent.samples import Folder
from influent.selection import selected

PART, MOST = 32, 5000
"""Images that are looked at in one step, and how many of them are remembered at most."""


@dataclass(eq=False)
class Gathered:
    """Images that were looked at, by their number in the folder, `[sample]`, and their units, `[sample, unit]`.

    `influence` is the gradient of the label's score, `activation` the activation, both summed over a unit's positions;
    `label` is the image's class, `said` that of the highest score.
    """

    cut: Cut
    numbers: list[int] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    said: list[int] = field(default_factory=list)
    sure: list[float] = field(default_factory=list)
    influence: Attribution | None = None
    activation: Attribution | None = None
    unread: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.numbers)

    def look(
        self, net: Net, folder: Folder, classes: dict[str, int], wanted: Sequence[int], progress: Any
    ) -> Iterator[int]:
        """Look at those of `wanted` that were not looked at yet; yields how many that makes, after each part."""
        known = {*self.numbers, *self.unread}
        new = [k for k in wanted if k not in known][:MOST]
        for start in range(0, len(new), PART):
            known = {*self.numbers, *self.unread}  # another visitor's question may have come between
            part = [k for k in new[start : start + PART] if k not in known]
            if not part:
                continue
            self._make_room(len(part), {*wanted})
            number = {folder.files[k][0]: k for k in part}
            data = Dataset(selected(folder, part), by="sample")
            try:
                found = influence(net, [self.cut, OUTPUT], Label(), data, [gradient, activation], progress=progress)
            except InputError:  # none of them can be read
                self.unread |= set(part)
                continue
            seen, outputs = found[self.cut], found[OUTPUT][activation]
            names = [str(name) for name in seen[gradient].instances]
            self.numbers += [number[name] for name in names]
            self.label += [classes[folder.files[number[name]][1]] for name in names]
            p = torch.softmax(outputs.values.double(), 1).max(1)
            self.said, self.sure = self.said + p.indices.tolist(), self.sure + p.values.tolist()
            self.unread |= set(part) - set(self.numbers)
            self.influence = _joined(self.influence, seen[gradient])
            self.activation = _joined(self.activation, seen[activation])
            yield min(start + PART, len(new))

    def _make_room(self, count: int, wanted: set[int]) -> None:
        """Forget the images that were seen first, and are not wanted now, where there would be too many."""
        over = len(self) + count - MOST
        if over <= 0 or self.influence is None or self.activation is None:
            return
        gone = {row for row, k in enumerate(self.numbers) if k not in wanted}
        gone = {*sorted(gone)[:over]}
        rows = [row for row in range(len(self)) if row not in gone]
        self.numbers, self.label, self.said = ([x[row] for row in rows] for x in (self.numbers, self.label, self.said))
        self.sure = [self.sure[row] for row in rows]
        self.influence, self.activation = (taken(a, rows, None) for a in (self.influence, self.activation))

    def rows(self, index: int, among: Collection[int] | None = None) -> list[int]:
        """The rows of the images of a class, or of those `among` the numbers of images."""
        return [
            row
            for row, label in enumerate(self.label)
            if label == index and (among is None or self.numbers[row] in among)
        ]

    def of_class(
        self, index: int, net: Net, among: Collection[int] | None = None
    ) -> tuple[Attribution, Attribution] | None:
        """Mean influence and activation over the images of a class that were seen, one row each; None without any."""
        rows = self.rows(index, among)
        if not rows or self.influence is None or self.activation is None:
            return None
        influences, activations = (taken(a, rows, net) for a in (self.influence, self.activation))
        names = [net.label(index)] * len(rows)
        return influences.mean(names), activations.mean(names)


def _joined(before: Attribution | None, more: Attribution) -> Attribution:
    """Rows below rows, without what is not kept of single samples."""
    values = more.values.detach().cpu()
    more = replace(more, values=values, stderr=None, count=None, examples=None, residual=None, gap=None, net=None)
    if before is None:
        return more
    return replace(
        more, values=torch.cat([before.values, values]), instances=(*before.instances, *more.instances),
        left_out={**before.left_out, **more.left_out},
    )  # fmt: skip


def taken(a: Attribution, rows: Sequence[int], net: Net | None) -> Attribution:
    """Some rows of an attribution, with the net by which its units are called."""
    return replace(a, values=a.values[list(rows)], instances=tuple(a.instances[k] for k in rows), net=net)
