"""One class against the rest, under masks: what a masked net says, counted beside what the net itself says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .dataset import Dataset
from .errors import QuestionError
from .mask import Mask
from .nets import Net, as_net
from .parts import Parts
from .probe import Cost
from .quantities import Class, Probability
from .quantity import Quantity
from .replay import Replay
from .samples import LeftOut, known_source, warn_left_out
from .selection import length, split
from .shapes import spell_shape
from .shards import Share

PART = 256
"""Samples of a part that is kept by itself."""
Progress = Callable[[int], None]
Data = Dataset | Iterable[tuple[Any, Tensor]]


def batches_of(net: Net, data: Data) -> Iterator[tuple[Any, Tensor]]:
    """Batches (x, label) of a `Dataset`, block by block, or as they are given; what is left out is named."""
    if not isinstance(data, Dataset):
        yield from data
        return
    left_out: LeftOut = {}
    read = 0
    for block in known_source(data.source).blocks(net, data.block, left_out):
        if block.label is None:
            raise QuestionError(
                "Recall and precision need labels, and these samples have none. Give batches (x, label)."
            )
        read += len(block)
        yield net.placed(block.x), block.label
    warn_left_out(left_out, read)


def spoken(logits: Tensor) -> Tensor:
    """The class i with p_i > Σ_{j≠i} p_j, or −1 where no class is: logits `[point, class] → [point]`.

    Compared as logits, f_i > log Σ_{j≠i} exp f_j, which no rounding of probabilities to 0 and 1 can upset. Source:
    f^i = (f|_i, Σ_{j≠i} f|_j), Leino et al. 2018, section 3.3.1.

    >>> spoken(torch.tensor([[0.0, 2.0, 1.0], [0.0, 2.0, 1.9]]))
    tensor([ 1, -1])
    """
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise QuestionError(
            f'"Class i against the rest" needs logits [point, class], two classes or more, not {spell_shape(logits)}.'
        )
    top, best = logits.max(1)
    rest = logits.scatter(1, best[:, None], -torch.inf).logsumexp(1)
    return torch.where(top > rest, best, -1)


def says(logits: Tensor, i: int) -> Tensor:
    """Whether class `i` is said, p_i > Σ_{j≠i} p_j: the binary classifier f^i, `[point, class] → [point]`.

    >>> says(torch.tensor([[0.0, 2.0, 1.0], [0.0, 2.0, 1.9]]), 1)
    tensor([ True, False])
    """
    return spoken(logits) == i


@dataclass(frozen=True, eq=False)
class Counts:
    """How often a class was said rightly, `tp`, wrongly, `fp`, and not said where it was right, `fn`: any shape.

    >>> Counts(torch.tensor(3), torch.tensor(1), torch.tensor(0)).precision
    tensor(0.7500, dtype=torch.float64)
    """

    tp: Tensor
    fp: Tensor
    fn: Tensor

    @property
    def recall(self) -> Tensor:
        """tp / (tp + fn); NaN where the class does not occur."""
        return self.tp.double() / (self.tp + self.fn)

    @property
    def precision(self) -> Tensor:
        """tp / (tp + fp); NaN where the class is never said."""
        return self.tp.double() / (self.tp + self.fp)

    def __getitem__(self, index: Any) -> Counts:
        return Counts(self.tp[index], self.fp[index], self.fn[index])

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    def reshape(self, *shape: int) -> Counts:
        """The same counts in another shape."""
        return Counts(self.tp.reshape(shape), self.fp.reshape(shape), self.fn.reshape(shape))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """`masked` counts beside those of the `original` net for the same class, one a mask; `cost` through the whole net.

    `replayed` counts samples through what is after the cut alone.
    """

    masked: Counts
    original: Counts
    cost: Cost = field(default_factory=Cost)
    replayed: int = 0

    def __add__(self, other: Evaluation) -> Evaluation:
        cost = Cost(self.cost.forward + other.cost.forward, self.cost.backward + other.cost.backward)
        return Evaluation(
            self.masked + other.masked, self.original + other.original, cost, self.replayed + other.replayed
        )  # fmt: skip

    def __getitem__(self, index: Any) -> Evaluation:
        return Evaluation(self.masked[index], self.original[index], self.cost, self.replayed)


def evaluate(
    net: Net | nn.Module, data: Data, masks: Sequence[Mask], of: Sequence[Quantity], mean: Tensor | None = None,
    chunk: int = 64, units: int | None = None, progress: Callable[[int], None] | None = None,
) -> Evaluation:  # fmt: skip
    """Recall and precision of "class against the rest" under each of `masks`, in one pass over `data`.

    `data` is a `Dataset`, or gives batches `(x [sample, *shape], label [sample])`; `of` names one class a mask,
    `Class(3)`; all masks are at one cut. h(x) is computed once a sample, masks that keep the same units run once, and
    what is held is one batch and the counts. `mean [*neuron]` is for masks with `fill="mean"`; `"resample"` draws from
    the batch. `units`, where given, is how many the cut must have; `progress` is called with the number of samples that
    are done. Errors: `QuestionError` for data and classes of another form; as `Replay` and `Mask`.

    >>> net, x = nn.Linear(2, 2, bias=False).eval(), 3 * torch.eye(2)
    >>> net.weight.data = torch.eye(2)
    >>> evaluate(net, [(x, torch.tensor([0, 1]))], [Mask("INPUT/channel", 0)], [Class(1)]).masked.recall
    tensor([0.], dtype=torch.float64)
    """
    net, places = as_net(net), {mask.at for mask in masks}
    if len(places) != 1 or len(of) != len(masks):
        raise QuestionError(
            f"Masks and classes do not fit: {len(masks)} masks at {len(places)} cuts, {len(of)} classes. Give masks at "
            "one cut, and one class for each."
        )
    reads, classes = {q.place for q in of}, torch.tensor([index_of(net, q) for q in of])
    if len(reads) != 1:
        raise QuestionError("All classes are read at one output.")
    trial = _Trial(net, masks, mean, chunk, units)
    counts = torch.zeros(2, 3, len(masks), dtype=torch.long)
    with Replay(net, places.pop().place, reads.pop()) as replay:
        for batch in batches_of(net, data):
            x, label = _checked(batch)
            h = replay.record(x)
            said = trial.said(replay, h).cpu()
            heard = torch.stack([said, spoken(replay.outputs).cpu().expand_as(said)]) == classes[:, None]
            truth = label.cpu() == classes[:, None]
            counts += torch.stack([heard & truth, heard & ~truth, ~heard & truth], 1).sum(3)
            if progress is not None:
                progress(len(label))
    if replay.cost.forward == 0:
        raise QuestionError("There is no batch in these data. A generator runs once: give a list, or a DataLoader.")
    return Evaluation(Counts(*counts[0]), Counts(*counts[1]), replay.cost, replay.replayed)


@dataclass(frozen=True)
class InParts:
    """`evaluate` over a folder part by part: what `parts` knows under `name` is not counted again.

    With a `share` of several workers, its parts alone are counted; the result is that of the parts which are there.
    """

    parts: Parts
    name: str
    share: Share | None = None

    def __call__(
        self, net: Net | nn.Module, data: Dataset, masks: Sequence[Mask], of: Sequence[Quantity],
        mean: Tensor | None = None, chunk: int = 64, units: int | None = None, progress: Progress | None = None,
    ) -> Evaluation:  # fmt: skip
        """As `evaluate`, of a `Dataset`."""
        found = []
        for k, source in enumerate(split(known_source(data.source), PART)):
            name, some = f"{self.name}-{k}", replace(data, source=source)
            if self.share is not None and not self.share.has(k) and not self.parts.known(name):
                continue
            known = self.parts.known(name)
            count = partial(evaluate, net, some, masks, of, mean, chunk, units, None if known else progress)
            found.append(self.parts.once(name, Evaluation, count))
            if known and progress is not None:
                progress(length(source) or 0)
        none = Counts(*torch.zeros(3, len(masks), dtype=torch.long))
        return sum(found, Evaluation(none, none))

    def whole(self, data: Dataset) -> bool:
        """Whether every part is there."""
        return all(self.parts.known(f"{self.name}-{k}") for k, _ in enumerate(split(known_source(data.source), PART)))


class _Trial:
    """Masks, those that keep the same units only once, tried on one batch after another."""

    def __init__(self, net: Net, masks: Sequence[Mask], mean: Tensor | None, chunk: int, units: int | None) -> None:
        self.net, self.masks, self.mean, self.chunk, self.units = net, masks, mean, chunk, units
        self.shape: torch.Size | None = None
        self.kept: list[Tensor] = []
        self.first: list[Mask] = []
        self.same: list[int] = []

    def said(self, replay: Replay, h: Tensor) -> Tensor:
        """Which class each mask says at each sample, `[mask, sample]`, −1 for none."""
        if h.shape[1:] != self.shape:
            self._settle(h)
        count, parts = len(h), []
        fillings = {mask: mask.filling(h, self.mean if mask.fill == "mean" else None) for mask in set(self.first)}
        for pairs in torch.arange(len(self.first) * count).split(self.chunk):
            points = []
            for k in (pairs // count).unique().tolist():
                rows = pairs[pairs // count == k] % count
                filling = fillings[self.first[k]]
                filling = filling if len(filling) == 1 else filling[rows.to(h.device)]
                points.append(torch.where(self.kept[k], h[rows.to(h.device)], filling))
            parts.append(spoken(replay.run(torch.cat(points), (pairs % count).to(h.device))))
        return torch.cat(parts).reshape(-1, count)[self.same]

    def _settle(self, h: Tensor) -> None:
        self.shape, found = h.shape[1:], dict[Any, int]()
        self.kept, self.first, self.same = [], [], []
        for mask in self.masks:
            kept = mask.kept(self.net, h)
            if self.units not in (None, kept.numel()):
                raise QuestionError(
                    f"The influence has {self.units} units, and {mask.at.text} has {kept.numel()}. Ask for it at the "
                    f"same cut, at={mask.at.text!r}."
                )
            key = (kept.cpu().numpy().tobytes(), mask.fill, mask.seed)
            if key not in found:
                found[key] = len(self.kept)
                self.kept.append(kept)
                self.first.append(mask)
            self.same.append(found[key])


def index_of(net: Net, of: Quantity) -> int:
    """The class that `Class(3)`, `Class("cat")` or `Probability(3)` names in a net."""
    bound = of.bind(net) if isinstance(of, Class | Probability) else None
    if not isinstance(bound, Class | Probability) or not isinstance(bound.index, int) or bound.index < 0:
        raise QuestionError(f"of={of!r}: an expert is of one class, Class(3) or Class('cat'), counted from 0.")
    return bound.index


def _checked(batch: Any) -> tuple[Any, Tensor]:
    """A batch's inputs and labels."""
    x, label = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (None, None)
    if not isinstance(label, Tensor) or label.dim() != 1 or label.is_floating_point():
        raise QuestionError("Data are batches (x [sample, ...], label [sample]), the labels being whole numbers.")
    if isinstance(x, Tensor) and len(x) != len(label):
        raise QuestionError(f"This batch has {len(x)} samples and {len(label)} labels.")
    return x, label
