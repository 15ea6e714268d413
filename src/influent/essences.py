"""What `influent essence` does: the units that are the essence of each class of a folder, written down with pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from .ask import influence
from .attribution import Attribution, Ranked
from .cut import Cut
from .dataset import Dataset
from .errors import InputError, QuestionError
from .explain import PAGE
from .language import parse
from .measures import activation, gradient
from .nets import Net
from .places import units_at
from .quantities import Label
from .quantity import Quantity, as_quantity
from .samples import Folder, LeftOut, spell_left_out
from .shards import Work
from .shared import where
from .stability import Until, rank_intervals, significant
from .store import fresh_folder, seal, write
from .views.essence import class_page, essence_page
from .views.shared import Pictured, lit, thumbnail

Progress = Callable[[int], None]
MEASURES = [gradient, activation]


@dataclass(frozen=True)
class Survey:
    """What is asked about a folder of images by class: a net by name, the words as text, and how much is shown."""

    net: Net
    name: str
    at: str | None = None
    of: str | None = None
    until: str | None = None
    top: int = 3
    examples: int = 4
    chunk: int = 16

    def data(self, folder: Folder) -> Dataset:
        """The images as a distribution. Errors: `QuestionError` for what is no `Until`."""
        until = None if self.until is None else parse(self.until)
        if until is not None and not isinstance(until, Until):
            raise QuestionError(f'--until {self.until}: type "Until(top=20, overlap=0.9)".')
        return Dataset(folder, examples=self.examples, until=until)

    def work(self, folder: Folder, ledger: Path, progress: Progress | None = None, size: int = 256) -> Work:
        """The question as shards of `size` images, in whole blocks, kept in `ledger`. Errors as `influence`."""
        data = self.data(folder)
        if size < 1:
            raise InputError(f"--shard-size {size}: give a number of images, 1 or more.")
        return Work.of(
            self.net, cut_of(self.net, self.at, folder), self.quantity, data, MEASURES, ledger=ledger,
            shard=-(-size // data.block), chunk=self.chunk, progress=progress,
        )  # fmt: skip

    @property
    def quantity(self) -> Quantity:
        """The behaviour that is asked about."""
        return Label() if self.of is None else as_quantity(parse(self.of))


@dataclass(frozen=True)
class Essence:
    """The mean influence and the mean activation of units, class by class, and what the errors say of both."""

    influence: Attribution
    activation: Attribution
    top: int

    @cached_property
    def ranked(self) -> dict[Any, tuple[Ranked, ...]]:
        """The units of largest mean influence of each class."""
        return {row.instances[0]: row.top(self.top) for row in self.influence}

    def stderr(self, row: int, unit: Ranked) -> float:
        """The standard error of a unit's mean; NaN where a class has one image."""
        return float("nan") if self.influence.stderr is None else float(self.influence.stderr[row][unit.index])

    @cached_property
    def intervals(self) -> list[tuple[Tensor, Tensor]]:
        """For each class the lowest and the highest rank of each unit, at 95 %."""
        return [rank_intervals(v, s) for v, s in zip(self.influence.values, self._errors, strict=True)]

    @cached_property
    def significant(self) -> list[Tensor]:
        """For each class which units' means are not 0, at a false discovery rate of 5 %."""
        rows = zip(self.influence.values, self._errors, self._count, strict=True)
        return [significant(values, errors, max(2, n)) for values, errors, n in rows]

    @property
    def _errors(self) -> Tensor:
        errors = self.influence.stderr
        return torch.full_like(self.influence.values, torch.nan) if errors is None else errors

    @property
    def _count(self) -> list[int]:
        return [] if self.influence.count is None else self.influence.count.tolist()

    def summary(self, row: int) -> str:
        """How sure a class's row is, in words."""
        n, units = self._count[row], self.influence.values[row].numel()
        if n < 2:
            return f"{n} image: no standard error, and no order that could be relied on"
        return f"{n} images; {int(self.significant[row].sum())} of {units} units have a mean influence that is not 0"


def cut_of(net: Net, at: str | None, folder: Folder) -> Cut:
    """The units that are asked about: one layer, named or the net's own; its middle is looked for with a first image.

    Errors: `QuestionError` for several layers; `InputError` where no image can be read.
    """
    left_out: LeftOut = {}
    first = next(folder.samples(net, 1, left_out), None)
    if first is None:
        raise InputError(f"{folder.path}: no image can be read: {spell_left_out(left_out)}")
    cuts = units_at(net, at, first.x)
    if len(cuts) > 1:
        raise QuestionError(f"--at {at}: one layer at a time. Type --at {cuts[0].text}")
    return cuts[0]


def essence_of_folder(
    survey: Survey, folder: Folder, out: Path, progress: Progress | None = None, ledger: Path | None = None,
    size: int = 256,
) -> Essence:  # fmt: skip
    """Influence and activation by class in one pass over a folder; stored in `out`, with a page for each class.

    What `ledger` holds is not computed again; `size` images are a shard. Errors as `influence`, and `InputError` where
    no image can be read.
    """
    started, net, data, cut = perf_counter(), survey.net, survey.data(folder), cut_of(survey.net, survey.at, folder)
    with fresh_folder(out) as work:
        found = influence(
            net, cut, survey.quantity, data, MEASURES, chunk=survey.chunk, progress=progress, ledger=ledger,
            shard=-(-size // data.block),
        )  # fmt: skip
        made = Essence(found[gradient], found[activation], survey.top)
        told = {"said": essence_lines(made), "net_name": survey.name, "data": str(folder.stored)}
        write(made.influence, work, **told)
        (work / "activation").mkdir()
        write(made.activation, work / "activation", **told)
        seal(work / "activation")
        facts = {**made.influence.question.text, "net": survey.name, "images": str(folder.stored)}
        title = f"{folder.path.resolve().name}: the essence of {len(made.influence.instances)} classes"
        for k, name in enumerate(made.influence.instances):
            pictured = _pictured(net, folder, made, k)
            page = class_page(f"The essence of {name}", made, k, pictured, facts, perf_counter() - started)
            (work / f"class-{k}.html").write_text(page, encoding="utf-8")
        page = essence_page(title, made, facts, folder.empty, perf_counter() - started)
        (work / PAGE).write_text(page, encoding="utf-8")
        seal(work)
    return made


def _pictured(net: Net, folder: Folder, made: Essence, row: int) -> list[list[Pictured]]:
    """For each top unit of a class its images of largest activation, dimmed where it is silent."""
    examples, name = made.activation.examples, made.influence.instances[row]
    at = made.influence.question.at
    found: list[list[Pictured]] = []
    read: dict[str, Tensor] = {}
    for unit in made.ranked[name]:
        best = () if examples is None else examples.of(*unit.index, row=row)
        pictures = []
        for file, value in best:
            read[file] = read[file] if file in read else net.read(folder.path / file)
            fired = where(net, read[file], [(at, unit.index[0])])[0] if at.units else None
            uri = thumbnail(lit(net, read[file], fired))
            pictures.append(Pictured(uri, f"activation {value:.3g}", Path(file).name))
        found.append(pictures)
    return found


def essence_lines(made: Essence) -> list[str]:
    """What the command prints: a line for each class."""
    lines = []
    for k, (name, ranked) in enumerate(made.ranked.items()):
        units = ", ".join(f"{u.name or u.index} {u.value:+.3g} ± {made.stderr(k, u):.2g}" for u in ranked)
        lines.append(f"{name}: {units} ({made.summary(k)})")
    return lines
