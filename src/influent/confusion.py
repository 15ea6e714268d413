"""One pass over labelled data: what a net says of each sample, and which classes it takes for which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .axes import unit_axis
from .cut import OUTPUT, Cut, as_cut
from .dataset import Dataset
from .errors import InputError, NetError, QuestionError
from .mask import by_unit
from .nets import Net, as_net
from .probe import Probe
from .rates import wilson
from .samples import LeftOut, Samples, known_source, spell_left_out, warn_left_out
from .shapes import spell_shape


@dataclass(frozen=True, eq=False)
class Seen:
    """What is kept of each sample: `label`, `said`, `probability` of what is said, `index`, all `[sample]`.

    `units [sample, unit]` are the activations at the cut, each unit summed over its positions; `outputs` is how many
    classes the net has. Nothing else of a sample is held.
    """

    label: Tensor
    said: Tensor
    probability: Tensor
    units: Tensor
    index: Tensor
    names: tuple[str, ...]
    outputs: int
    left_out: LeftOut

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes that occur, as a label or as what the net says."""
        return tuple(torch.cat([self.label, self.said]).unique().tolist())

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
    net: Net | nn.Module, at: Cut | str, data: Dataset, chunk: int = 64, progress: Callable[[int], None] | None = None
) -> Seen:
    """One pass over `data`: label, what is said, its probability, and the units at `at`, sample by sample.

    Errors: `QuestionError` for data without labels or of one class, for labels that the net has no output for, and
    for cuts without units; `NetError` where the net gives no scores `[point, class]`; `InputError` for no sample.

    >>> net = nn.Sequential(nn.Linear(2, 2, bias=False)).eval()
    >>> net[0].weight.data = torch.eye(2)
    >>> see(net, "0/channel", Dataset([(torch.eye(2), torch.tensor([0, 1]))])).said
    tensor([0, 1])
    """
    net, at, left_out = as_net(net), as_cut(at), LeftOut()
    kept: list[Samples] = []
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    outputs = 0
    for block in known_source(data.source).blocks(net, data.block, left_out):
        found = [_heard(net, at, x) for x in net.placed(block.x).split(chunk)]
        outputs = found[0][0].shape[1]
        _check_labels(block, outputs)
        p = torch.cat([logits for logits, _ in found]).double().softmax(1).max(1)
        units = torch.cat([units for _, units in found])
        # Only what is kept: the samples themselves go.
        kept.append(Samples(torch.empty(len(block), 0), block.label, block.index, block.names))
        parts.append((p.indices.cpu(), p.values.cpu(), units.cpu()))
        if progress is not None:
            progress(len(block))
    if not parts:
        raise InputError(f"{data.source!r} gave no sample" + (f": {spell_left_out(left_out)}" if left_out else "."))
    samples = Samples.cat(kept)
    label = torch.tensor([-1 if k is None else k for k in samples.labels])
    if len(label.unique()) < 2:
        raise QuestionError(
            f"All {len(label)} samples are of one class, {net.label(int(label[0]))}: what a net takes for what shows "
            "in two classes or more."
        )
    warn_left_out(left_out, len(samples))
    said, probability, units = (torch.cat(column) for column in zip(*parts, strict=True))
    return Seen(label, said, probability, units, samples.index, samples.names, outputs, left_out)


def _heard(net: Net, at: Cut, x: Tensor) -> tuple[Tensor, Tensor]:
    """Scores `[point, class]`, and activations at the cut summed by unit, `[point, unit]`."""
    with Probe(net, [], [at.place, OUTPUT], None, x, -1) as probe:
        read = probe.run(torch.empty(0), torch.empty(0), mode="value").read
    y, h = read[OUTPUT], read[at.place]
    if y.dim() != 2 or y.shape[1] < 2 or not y.is_floating_point():
        raise NetError(
            f"This net gives {spell_shape(y)}, and a classification is scores [point, class], two classes or more. "
            "Wrap it in a module that gives these."
        )
    if not bool(y.isfinite().all()):
        raise NetError("This net gives NaN or infinite scores: there is nothing that it says. Look at its weights.")
    axis = unit_axis(net.module, at, h.shape, net.axes)
    if at.units is None or axis is None:
        raise QuestionError(
            f"{at.text!r} names no units that are counted here, {spell_shape(h)}. Type '{at.place.text}/channel', or "
            f'declare the axes: inf.Net(module, axes={{"{at.place.text}": ("token", "channel")}}).'
        )
    apart = by_unit(h.contiguous(), axis)
    return y, apart.flatten(2).sum(2) if apart.dim() > 2 else apart


def _check_labels(block: Samples, outputs: int) -> None:
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


def matrix(seen: Seen) -> Tensor:
    """How many samples of each class (rows) are said to be of each (columns), `[class, class]` in `seen.classes`."""
    classes = torch.tensor(seen.classes)
    rows, columns = torch.searchsorted(classes, seen.label), torch.searchsorted(classes, seen.said)
    return (rows * len(classes) + columns).bincount(minlength=len(classes) ** 2).reshape(len(classes), -1)


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
