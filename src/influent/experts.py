"""Experts: the units that carry a class, isolated from the rest of the net, against the net itself.

Which units, says a class-wide influence; how many, a sweep over α and β; whether they are enough, recall and precision
of "class i against the rest". Source: Leino et al. 2018, section 3.3.1 and figures 4 and 5.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .ask import influence
from .attribution import Attribution
from .counting import Counts, Data, Evaluation, evaluate, index_of, says
from .cut import Cut, as_cut
from .dataset import Dataset
from .embedding import called_with
from .errors import InfluentError, InfluentWarning, QuestionError, StoreError
from .language import parse
from .mask import Mask
from .measures import gradient
from .nets import Net, as_net, weights_hash
from .probe import Cost, Probe
from .pruning import prune
from .quantities import Classes, Label
from .quantity import Quantity
from .store import META, SCHEMA, VALUES, check_unchanged, fresh_folder, read_meta, seal, versions
from .sweep import Measure

Influence = Tensor | Attribution
Progress = Callable[[int], None]
CRITERIA = ("recall", "relaxed", "f1")


def chosen(influence: Influence, alpha: int, beta: int) -> tuple[int, ...]:
    """The α units of largest positive influence, then the β of most negative; fewer where there are fewer.

    `influence [unit]`, or an attribution of one row; of equal units the first comes first; units of influence 0 are
    never taken. An `InfluentWarning` says where there are fewer. Source: Leino et al. 2018, section 3.3.1.

    >>> chosen(torch.tensor([0.5, -2.0, 0.0, 3.0, -1.0]), alpha=2, beta=1)
    (3, 0, 1)
    """
    positive, negative = _ranked(influence)
    for name, count, side in (("alpha", alpha, positive), ("beta", beta, negative)):
        _check_count(name, count)
        if count > len(side):
            sign = "positive" if name == "alpha" else "negative"
            warnings.warn(
                f"{name}={count}, and {len(side)} units have a {sign} influence: these are taken.",
                InfluentWarning,
                stacklevel=2,
            )
    return (*positive[:alpha], *negative[:beta])


def random_units(count: int, of: int, seed: int) -> tuple[int, ...]:
    """`count` different units out of `of`, drawn with `seed`: the control without any influence.

    >>> len(set(random_units(5, of=8, seed=0)))
    5
    """
    if not 0 <= count <= of:
        raise QuestionError(f"{count} units cannot be drawn out of {of}.")
    return tuple(sorted(torch.randperm(of, generator=torch.Generator().manual_seed(seed))[:count].tolist()))


def _ranked(influence: Influence) -> tuple[list[int], list[int]]:
    """Units of positive influence, the largest first, and of negative, the most negative first."""
    if isinstance(influence, Attribution):
        if len(influence.instances) != 1 or isinstance(influence.question.of, Classes):
            raise QuestionError(
                f"An expert is of one class: choose one of the {len(influence.instances)} rows, a[...], of a question "
                "about one quantity."
            )
        influence = influence.values[0]
    values = influence.detach().flatten().cpu()
    if not bool(torch.isfinite(values).all()):
        raise QuestionError("This influence holds NaN or infinite values: there is no order among its units.")
    falling = values.argsort(descending=True, stable=True)
    rising = values.argsort(stable=True)
    return falling[values[falling] > 0].tolist(), rising[values[rising] < 0].tolist()


def _check_count(name: str, count: int) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise QuestionError(f"{name}={count!r}: give a number of units, {name}=20.")


@dataclass(frozen=True)
class Cell:
    """One expert of a grid: α and β as they were asked for, its units and mask, and what it reaches."""

    alpha: int
    beta: int
    units: tuple[int, ...]
    mask: Mask
    recall: float
    precision: float


@dataclass(frozen=True, eq=False)
class Grid:
    """Recall and precision for each α and β, beside the `original` net's: counts `[alpha, beta]`.

    `units[a][b]` are those of a cell, out of `size`. Source: Leino et al. 2018, figure 5.
    """

    at: Cut
    of: Quantity
    alphas: tuple[int, ...]
    betas: tuple[int, ...]
    units: tuple[tuple[tuple[int, ...], ...], ...] = field(repr=False)
    counts: Counts = field(repr=False)
    original: Counts
    fill: str = "zero"
    cost: Cost = field(default_factory=Cost)
    replayed: int = 0
    size: int = 0

    @property
    def recall(self) -> Tensor:
        """`[alpha, beta]`; NaN where the class does not occur."""
        return self.counts.recall

    @property
    def precision(self) -> Tensor:
        """`[alpha, beta]`; NaN where the class is never said."""
        return self.counts.precision

    def cell(self, a: int, b: int) -> Cell:
        """The expert of the a-th α and the b-th β."""
        units, one = self.units[a][b], self.counts[a, b]
        mask = Mask(self.at, units, fill=self.fill)
        return Cell(self.alphas[a], self.betas[b], units, mask, float(one.recall), float(one.precision))

    def best(self, criterion: str = "recall", slack: float = 0.0) -> Cell | None:
        """The best expert; of equal ones, that of the fewest units. None where no cell will do.

        `"recall"`: best recall at a precision no more than `slack` below the original's (any, where the original never
        says the class); `"relaxed"`: best recall, whatever the precision; `"f1"`: best 2·tp / (2·tp + fp + fn).
        Source: experts and relaxed experts, Leino et al. 2018, sections 3.3.1 and 3.4.
        """
        if criterion not in CRITERIA:
            raise QuestionError(f"criterion={criterion!r} is not known: {', '.join(map(repr, CRITERIA))}.")
        score, c = self.recall, self.counts
        if criterion == "f1":
            score = 2.0 * c.tp.double() / (2 * c.tp + c.fp + c.fn)
        allowed = ~score.isnan() & ~self.precision.isnan()
        if criterion == "recall" and not bool(self.original.precision.isnan()):
            allowed &= self.precision >= self.original.precision - slack
        cells = [
            (-float(score[a, b]), len(units), a, b)
            for a, row in enumerate(self.units)
            for b, units in enumerate(row)
            if units and bool(allowed[a, b])
        ]
        return self.cell(*min(cells)[2:]) if cells else None


@dataclass(frozen=True)
class OfClasses:
    """Rows by the number of a class (names may be missing, or occur twice), some classes alone.

    >>> OfClasses((3, 5))(torch.zeros(2), 3), OfClasses((3, 5))(torch.zeros(2), 4)
    (3, None)
    """

    classes: tuple[int, ...]

    def __call__(self, x: Tensor, label: int | None) -> int | None:
        return label if label in self.classes else None


def essences(
    net: Net | nn.Module, at: Cut | str, data: Data, of: Sequence[Quantity], measures: Sequence[Measure] = (gradient,),
    chunk: int = 64, progress: Progress | None = None, ledger: str | os.PathLike[str] | None = None,
) -> list[list[Attribution]]:  # fmt: skip
    """The mean influence of units on the label's score over the samples of each class: for each measure a row for each.

    What `ledger` holds is not computed again.
    Errors: `QuestionError` for a class without a sample in `data`. Source: Leino et al. 2018, section 3.3.
    """
    net, classes = as_net(net), [index_of(as_net(net), q) for q in of]
    dataset = data if isinstance(data, Dataset) else Dataset(data)
    rows = replace(dataset, by=OfClasses(tuple(classes)))
    found = influence(net, at, Label(), rows, list(measures), chunk=chunk, progress=progress, ledger=ledger)
    for index, q in zip(classes, of, strict=True):
        if any(index not in a.instances for a in found.values()):
            raise QuestionError(f"{q!r}: there is no sample of {net.label(index)} in these data, so no influence.")
    return [[found[measure][index] for index in classes] for measure in measures]


def sweep(
    net: Net | nn.Module, at: Cut | str, data: Data, of: Any, alphas: Sequence[int], betas: Sequence[int], *,
    influence: Any = None, fill: str = "zero", mean: Tensor | None = None, chunk: int = 64,
    progress: Progress | None = None, counted: Callable[..., Evaluation] = evaluate,
) -> Any:  # fmt: skip
    """Recall and precision of the experts of all α × β, in one pass over `data`: a `Grid`.

    `influence [unit]` (or an attribution of one row) orders the units at `at`; without one it is the mean gradient of
    the label's score over the samples of the class in `data`, which is then gone through twice. By activation or
    gradient × activation it is the control. `of` is `Class(i)`; given a list of classes, and of influences, the result
    is a list of grids, out of the same pass; a class may stand there with several influences. Equal cells (α beyond all
    positive units) run once. `progress` is called with the number of samples that are done; `counted`, in place of
    `evaluate`, may keep its parts. Errors: as `evaluate`;
    `QuestionError` for an influence asked elsewhere.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Identity()).eval()
    >>> x, label = torch.randn(10, 2), torch.arange(10) % 2
    >>> grid = sweep(net, "0/channel", [(x, label)], Class(1), [1, 2], [0, 1], influence=torch.tensor([-1.0, 1.0]))
    >>> grid.recall.shape, grid.units[1][0], grid.units[0][1]
    (torch.Size([2, 2]), (1,), (1, 0))
    """
    at, several = as_cut(at), isinstance(of, list | tuple)
    classes = list(of) if several else [of]
    if influence is None:
        influences = essences(net, at, data, classes, chunk=chunk, progress=progress)[0]
    else:
        influences = list(influence) if several else [influence]
    if not classes or len(classes) != len(influences) or not alphas or not betas:
        raise QuestionError("A sweep takes one influence for each class, and at least one alpha and one beta.")
    for value in influences:
        if isinstance(value, Attribution) and value.question.at.text != at.text:
            raise QuestionError(
                f"The influence is of {value.question.at.text!r}, the masks are at {at.text!r}. Ask at the same cut."
            )
    for name, numbers in (("alpha", alphas), ("beta", betas)):
        for number in numbers:
            _check_count(name, number)
    sizes = {(v.values[0] if isinstance(v, Attribution) else v).numel() for v in influences}
    if len(sizes) != 1:
        raise QuestionError(f"The influences have different numbers of units: {sorted(sizes)}.")
    size = sizes.pop()
    ranked = [_ranked(value) for value in influences]
    units = [[[(*p[:a], *n[:b]) for b in betas] for a in alphas] for p, n in ranked]
    flat = [cell for grid in units for row in grid for cell in row]
    masks = [Mask(at, u, fill=fill) if u else Mask(at, range(size), False, fill) for u in flat]
    per = len(alphas) * len(betas)
    done = counted(net, data, masks, [c for c in classes for _ in range(per)], mean, chunk, size, progress)
    grids = [
        Grid(
            at, c, tuple(alphas), tuple(betas), tuple(tuple(row) for row in units[k]),
            done.masked[k * per : (k + 1) * per].reshape(len(alphas), len(betas)), done.original[k * per], fill,
            done.cost, done.replayed, size,
        )
        for k, c in enumerate(classes)
    ]  # fmt: skip
    return grids if several else grids[0]


class Expert(nn.Module):
    """The net with a mask, to be called: inputs (or texts) → masked logits `[point, class]`, differentiable in inputs.

    It is a view of the net, which it leaves as it is, and has no weights of its own: `prune()` and `compress` make
    modules that stand alone. `mean [*neuron]` goes with `fill="mean"`. Errors: `QuestionError` where `of` is not one
    class; as `Mask`. Source: class-specific experts, Leino et al. 2018, section 3.3.1.

    >>> net, x = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval(), torch.ones(1, 2)
    >>> torch.equal(Expert(net, Mask("1/channel", [0, 1, 2]), Class(1))(x), net(x))
    True
    """

    def __init__(self, net: Net | nn.Module, mask: Mask, of: Quantity, mean: Tensor | None = None) -> None:
        super().__init__()
        self.net, self.mask, self.of, self.mean = as_net(net), mask, of, mean
        self.index = index_of(self.net, of)
        self.train(False)

    def forward(self, x: Any) -> Tensor:
        edits = {self.mask.at.place: lambda h: self.mask.apply(self.net, h, self.mean)}
        with Probe(self.net, [], [self.of.place], None, called_with(self.net, x), -1, edits) as probe:
            mode = "graph" if torch.is_grad_enabled() else "value"
            return probe.run(torch.empty(0), torch.empty(0), mode).read[self.of.place]

    def says(self, x: Any) -> Tensor:
        """Whether each input is of the expert's class: p_i > Σ_{j≠i} p_j, `[point]`."""
        return says(self(x), self.index)

    def prune(self) -> nn.Module:
        """The same logits by a net with really fewer channels. Errors: as `prune`."""
        return prune(self.net, self.mask)

    def compare(self, data: Data, chunk: int = 64) -> Evaluation:
        """Recall and precision of the expert, `masked`, and of the net, `original`, over batches (x, label)."""
        return evaluate(self.net, data, [self.mask], [self.of], self.mean, chunk)[0]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write mask, class and the net's hash as a folder, whole or not at all; the net's weights are not in it.

        Errors: `StoreError` where it cannot be written, or other files are in the way.
        """
        mask = {"cut": self.mask.at.text, "units": self.mask.units, "keep": self.mask.keep, "fill": self.mask.fill}
        meta = {
            "schema": SCHEMA,
            "kind": "expert",
            "question": {"at": self.mask.at.text, "of": repr(self.of)},
            "mask": {**mask, "seed": self.mask.seed},
            "versions": versions(),
            "net": {"class": type(self.net.module).__name__, "weights": weights_hash(self.net.module)},
        }
        with fresh_folder(folder) as work:
            (work / META).write_text(json.dumps(meta, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            save_file({} if self.mean is None else {"mean": self.mean.detach().cpu().contiguous()}, work / VALUES)
            os.chmod(work / VALUES, 0o644)  # safetensors leaves a file that only its owner reads
            seal(work)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], net: Net | nn.Module) -> Expert:
        """Read an expert back, for the net that it was made of.

        Errors: `StoreError` for another net, and for folders that hold no expert or are damaged.
        """
        place, meta = Path(folder).expanduser(), read_meta(folder)
        if meta.get("kind") != "expert":
            raise StoreError(f"{folder} holds no expert, but an attribution. Type inf.load({str(folder)!r}).")
        check_unchanged(place, meta)
        try:
            words, weights = dict(meta["mask"]), meta["net"]["weights"]
            units = [tuple(unit) if isinstance(unit, list) else unit for unit in words.pop("units")]
            mask, of = Mask(units=units, **words), parse(meta["question"]["of"], imports=False)
            mean = load_file(place / VALUES).get("mean")
        except (InfluentError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{folder} is damaged: {error}. Make it again.") from error
        found = weights_hash(as_net(net).module)
        if found != weights:
            raise StoreError(
                f"{folder} holds an expert of a net with weights {weights}, and this net has {found}. Load it with the "
                "net that it was made of."
            )
        return cls(net, mask, of, mean)
