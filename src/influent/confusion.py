"""One pass over labelled data: what a net says of each sample, and which classes it takes for which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from .axes import unit_axis
from .cut import OUTPUT, Cut, as_cut
from .dataset import Dataset
from .errors import InputError, NetError, QuestionError
from .mask import by_unit
from .nets import Net, as_net
from .parts import Parts
from .probe import Pass, Probe
from .rates import wilson
from .samples import LeftOut, Samples, Source, known_source, spell_left_out, warn_left_out
from .selection import split
from .shapes import spell_shape
from .shards import Share

Progress = Callable[[int], None]
Objects = Callable[[str], Tensor | None]
PART = 256
"""Samples of a part that is kept by itself: a multiple of a block."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What is kept of each sample: `label`, `said`, `probability` of what is said, `index`, all `[sample]`.

    Of the units at the cut, each summed over its positions, `[sample, unit]`: activations (`units`), gradients of the
    score of what is said (`slopes`), and gradient × activation of the score of the label (`evidence`). Where objects
    are marked, `located [sample, 2, unit]` is the positive evidence outside of the object and all of it, and
    `beside [sample]` the share of positions outside. `outputs` is how many classes the net has. Nothing else of a
    sample is held.
    """

    label: Tensor
    said: Tensor
    probability: Tensor
    units: Tensor
    slopes: Tensor
    evidence: Tensor
    located: Tensor
    beside: Tensor
    index: Tensor
    names: tuple[str, ...]
    outputs: int
    left_out: LeftOut

    def where(self, label: int, said: int | None = None) -> Tensor:
        """The rows of the samples of a class, of those that are said to be another, in the order of the data."""
        rows = self.label == label
        return (rows if said is None else rows & (self.said == said)).nonzero().flatten()

    def lost(self, label: int) -> Tensor:
        """The rows of the samples of a class of which the net says something else."""
        return ((self.label == label) & (self.said != label)).nonzero().flatten()


@dataclass(frozen=True)
class ClassRate:
    """A class in the data: of `count` samples `found` are said rightly, and it is `said` of so many samples in all.

    `low` and `high` are the ends of Wilson's 95 % interval of the recall.
    """

    index: int
    name: str
    count: int
    found: int
    said: int
    low: float
    high: float

    @property
    def recall(self) -> float:
        """found / count; NaN where the class does not occur."""
        return self.found / self.count if self.count else float("nan")


@dataclass(frozen=True)
class Confusion:
    """A class taken for another: of the `of` samples of class `true`, `count` are said to be of class `said`.

    `low` and `high` are the ends of Wilson's 95 % interval of that share.
    """

    true: int
    said: int
    count: int
    of: int
    low: float
    high: float


def see(
    net: Net | nn.Module, at: Cut | str, data: Dataset, chunk: int = 64, progress: Progress | None = None,
    objects: Objects | None = None, parts: Parts | None = None, name: str = "seen",
) -> Seen:  # fmt: skip
    """One pass over `data`: label, what is said, its probability, and the units at `at`, sample by sample.

    `objects` gives for the name of a sample where its object is, `[row, column]` from 0 to 1, or None where that is
    not marked. What `parts` knows under `name` is not run again. Errors: `QuestionError` for data without labels or of
    one class, for labels that the net has no output for, and for cuts without units; `NetError` where the net gives no
    scores `[point, class]`; `InputError` for no sample.

    >>> net = nn.Sequential(nn.Linear(2, 2, bias=False)).eval()
    >>> net[0].weight.data = torch.eye(2)
    >>> see(net, "0/channel", Dataset([(torch.eye(2), torch.tensor([0, 1]))])).said
    tensor([0, 1])
    """
    look = _Look(as_net(net), as_cut(at), data.block, chunk, objects)
    found = list(look.parts(known_source(data.source), parts or Parts(), name, progress))
    left_out = {key: why for one in found for key, why in one.left_out.items()}
    seen = _joined([one for one in found if len(one.index)], left_out)
    if seen is None:
        raise InputError(f"{data.source!r} gave no sample" + (f": {spell_left_out(left_out)}" if left_out else "."))
    if len(seen.label.unique()) < 2:
        raise QuestionError(
            f"All {len(seen.label)} samples are of one class, {look.net.label(int(seen.label[0]))}: what a net takes "
            "for what shows in two classes or more."
        )
    warn_left_out(seen.left_out, len(seen.label))
    return seen


def see_share(
    net: Net | nn.Module, at: Cut | str, data: Dataset, share: Share, parts: Parts, chunk: int = 64,
    progress: Progress | None = None, objects: Objects | None = None, name: str = "seen",
) -> int:  # fmt: skip
    """One worker's share of the parts that `see` puts together; returns how many these are. Errors as `see`."""
    look = _Look(as_net(net), as_cut(at), data.block, chunk, objects)
    return len(list(look.parts(known_source(data.source), parts, name, progress, share)))


def _joined(parts: Sequence[Seen], left_out: LeftOut) -> Seen | None:
    """Parts one after another; None for none."""
    if not parts:
        return None
    columns = {f.name: [getattr(one, f.name) for one in parts] for f in fields(Seen)}
    tensors = {key: torch.cat(those) for key, those in columns.items() if isinstance(those[0], Tensor)}
    names = tuple(name for one in parts for name in one.names)
    return Seen(**tensors, names=names, outputs=parts[0].outputs, left_out=left_out)


@dataclass(frozen=True)
class _Look:
    """How samples are looked at."""

    net: Net
    at: Cut
    block: int
    chunk: int
    objects: Objects | None

    def parts(
        self, source: Source, kept: Parts, name: str, progress: Progress | None, share: Share | None = None
    ) -> Iterator[Seen]:
        """Part after part, those that are known not run again; of several workers, the share of one."""
        for k, some in enumerate(split(source, PART)):
            if share is not None and not share.has(k):
                continue
            known = kept.known(f"{name}-{k}")
            one = kept.once(f"{name}-{k}", Seen, partial(self.through, some, None if known else progress))
            if known and progress is not None:
                progress(len(one.index))
            yield one

    def through(self, source: Source, progress: Progress | None) -> Seen:
        """All samples of a source, which may be none."""
        left_out, found = LeftOut(), list[Seen]()
        for block in source.blocks(self.net, self.block, left_out):
            for rows in torch.arange(len(block)).split(self.chunk):
                found.append(self.at_once(block[rows.tolist()]))
            if progress is not None:
                progress(len(block))
        none, number = torch.zeros(0), torch.zeros(0, dtype=torch.long)
        empty = Seen(number, number, none, none, none, none, none, none, number, (), 0, left_out)
        return _joined(found, left_out) or empty

    def at_once(self, block: Samples) -> Seen:
        """A few samples in one pass, forward, and back from the score that is said, and from the label's."""
        place, x = self.at.place, self.net.placed(block.x)
        with Probe(self.net, [place], [OUTPUT], None, x, -1) as probe:
            done = probe.run(torch.empty(0), torch.empty(0))
            y, h = done.read[OUTPUT], done.seen[place]
            _check_scores(y)
            label = _checked_labels(block, y.shape[1])
            p, said = y.detach().double().softmax(1).max(1)
            wrong = bool((said.cpu() != label).any())
            slope = self._slope(done, y, said, wrong)
            own = self._slope(done, y, label.to(said.device), False) if wrong else slope
        values, evidence = h.detach(), own * h.detach()
        located, beside = self._located(block.names, evidence)
        summed = (self._by_unit(one).flatten(2).sum(2).cpu() for one in (values, slope, evidence))
        units, slopes, own_evidence = summed
        return Seen(
            label, said.cpu(), p.cpu(), units, slopes, own_evidence, located, beside, block.index, block.names,
            y.shape[1], {},
        )  # fmt: skip

    def _slope(self, done: Pass, y: Tensor, index: Tensor, again: bool) -> Tensor:
        found = done.gradients(y.gather(1, index[:, None]), again)[self.at.place]
        return torch.zeros_like(done.seen[self.at.place]) if found is None else found

    def _by_unit(self, h: Tensor) -> Tensor:
        """`[point, unit, ...]`, with a last axis where there are no positions."""
        axis = unit_axis(self.net.module, self.at, h.shape, self.net.axes)
        if self.at.units is None or axis is None:
            raise QuestionError(
                f"{self.at.text!r} names no units that are counted here, {spell_shape(h)}. Type "
                f"'{self.at.place.text}/channel', or declare the axes: inf.Net(module, axes={{"
                f'"{self.at.place.text}": ("token", "channel")}}).'
            )
        apart = by_unit(h.contiguous(), axis)
        return apart if apart.dim() > 2 else apart[..., None]

    def _located(self, names: Sequence[str], evidence: Tensor) -> tuple[Tensor, Tensor]:
        """Positive evidence outside of the objects and all of it, by unit; and the share of positions outside."""
        if self.objects is None:
            return torch.zeros(len(names), 0, 0), torch.zeros(len(names))
        units = self._by_unit(evidence.clamp(min=0)).cpu()
        if units.dim() != 4:
            raise QuestionError(
                f"{self.at.text!r} has no rows and columns, and masks say where in the picture an object is. Ask at a "
                "layer that has: `influent cuts` lists them."
            )
        size = units.shape[2], units.shape[3]
        masks = [self.objects(name) for name in names]
        outside = torch.stack([
            torch.full(size, torch.nan) if mask is None
            else 1 - adaptive_avg_pool2d(mask[None, None].to(units), size)[0, 0]
            for mask in masks
        ])  # fmt: skip
        share = (units * outside[:, None]).sum((2, 3))
        return torch.stack([share, units.sum((2, 3))], 1), outside.mean((1, 2))


def _check_scores(y: Tensor) -> None:
    if y.dim() != 2 or y.shape[1] < 2 or not y.is_floating_point():
        raise NetError(
            f"This net gives {spell_shape(y)}, and a classification is scores [point, class], two classes or more. "
            "Wrap it in a module that gives these."
        )
    if not bool(y.isfinite().all()):
        raise NetError("This net gives NaN or infinite scores: there is nothing that it says. Look at its weights.")


def _checked_labels(block: Samples, outputs: int) -> Tensor:
    if block.label is None:
        raise QuestionError(
            "What a net takes for what needs labels, and these samples have none. Give batches (x, label), or a folder "
            "with a folder for each class."
        )
    bad = (block.label < 0) | (block.label >= outputs)
    if bool(bad.any()):
        k = int(bad.nonzero()[0])
        raise QuestionError(
            f"{block.names[k]} has the label {int(block.label[k])}, and the net has {outputs} outputs, 0 to "
            f"{outputs - 1}. Is this the net for these data?"
        )
    return block.label


def matrix(seen: Seen, classes: Sequence[int]) -> Tensor:
    """How many samples of each class (rows) are said to be of each (columns), `[class, class]`; classes rising."""
    known = torch.tensor(classes)
    rows, columns = torch.searchsorted(known, seen.label), torch.searchsorted(known, seen.said)
    return (rows * len(known) + columns).bincount(minlength=len(known) ** 2).reshape(len(known), -1)


def class_rates(net: Net, seen: Seen) -> tuple[ClassRate, ...]:
    """The recall of each class that has samples, with its interval, in the order of the classes."""
    made = []
    for index in seen.label.unique().tolist():
        count, found = len(seen.where(index)), len(seen.where(index, index))
        said = int((seen.said == index).sum())
        made.append(ClassRate(index, net.label(index), count, found, said, *wilson(found, count)))
    return tuple(made)


def confusions(seen: Seen) -> tuple[Confusion, ...]:
    """Every pair of classes of which one is taken for the other, those with most mistakes first."""
    pairs, counts = torch.stack([seen.label, seen.said]).unique(dim=1, return_counts=True)
    made = []
    for (true, said), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        if true != said:
            of = len(seen.where(true))
            made.append(Confusion(true, said, count, of, *wilson(count, of)))
    return tuple(sorted(made, key=lambda c: -c.count))
