"""A data set going through the net: block after block a sweep, its samples counted in their rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .cut import Cut
from .dataset import Dataset
from .distribution import Distribution
from .distributions import Line, Point
from .errors import InfluentWarning, InputError
from .ledger import Ledger
from .partial import Moments, Partial, Row
from .probe import Cost
from .rows import Key
from .samples import Folder, LeftOut, Samples, known_source, spell_left_out, warn_left_out
from .shapes import per_point
from .sweep import Job, Sweep


@dataclass(frozen=True)
class Means:
    """The rows of one cut, quantity and measure: what `Tally` is for inputs that are at hand."""

    rows: list[Moments]
    dtype: torch.dtype

    def mean(self) -> Tensor:
        """`[instance, *unit]`."""
        return torch.stack([row.mean for row in self.rows]).to(self.dtype)

    def variance_of_mean(self) -> Tensor | None:
        """The squared standard error of the mean, `[instance, *unit]`; None where rows are single samples."""
        errors = [row.stderr for row in self.rows]
        return None if any(e is None for e in errors) else torch.stack([e for e in errors if e is not None]) ** 2

    @property
    def count(self) -> Tensor:
        """Samples in each row, `[instance]`."""
        return torch.tensor([row.count for row in self.rows])


@dataclass
class Stream:
    """One distribution over a data set, gone through once: what `Sweep` is for inputs that are at hand.

    Each block's samples are counted alone, in float64, and the blocks are added up in their order.
    """

    job: Job
    over: Distribution
    chunk: int
    progress: Callable[[int], None]
    partial: Partial = field(default_factory=Partial)
    full: dict[Key, bool] = field(default_factory=dict)
    axes: dict[Cut, tuple[str, ...] | None] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    dtypes: dict[tuple[Cut, int, int], torch.dtype] = field(default_factory=dict)
    ledger: Ledger | None = None

    @property
    def names(self) -> tuple[Any, ...]:
        """The rows of the result: classes in their order, by name where they have one; else in order of appearance."""
        keys = self._keys
        if self.data.by != "label" or self._of_inputs:
            return tuple(keys)
        labels = self.job.net.labels or ()
        said = [self.job.net.label(int(k)) if int(k) < len(labels) else int(k) for k in keys]
        return tuple(f"{name} ({k})" if said.count(name) > 1 else name for k, name in zip(keys, said, strict=True))

    @property
    def _keys(self) -> list[Any]:
        keys: list[Any] = list(self.partial.rows)
        return sorted(keys) if all(isinstance(k, int) for k in keys) else keys

    @property
    def _of_inputs(self) -> bool:
        """Whether rows are the explained inputs, and the data set gives their baselines."""
        return isinstance(self.over, Line) and self.over.baseline is self.data

    @property
    def sampled(self) -> bool:
        """Whether rows are means over samples, with standard errors."""
        return self._of_inputs or self.data.by != "sample"

    @property
    def tallies(self) -> dict[tuple[Cut, int, int], Means]:
        """The means of every cut, quantity and measure."""
        rows = [self.partial.rows[key] for key in self._keys]
        places = {(self.job.at.index(c), q, m): (c, q, m) for c, q, m in self.dtypes}
        return {own: Means([row.moments[place] for row in rows], self.dtypes[own]) for place, own in places.items()}

    @property
    def change(self) -> Tensor:
        """The mean of F(x) − F(x′), `[instance, of]`."""
        return torch.stack([row.change / row.weight for row in map(self.partial.rows.__getitem__, self._keys)])

    @property
    def residual(self) -> dict[Key, Tensor]:
        """The mean of the samples' residuals, `[instance]` for each cut and quantity."""
        means = torch.stack([row.residual / row.weight for row in map(self.partial.rows.__getitem__, self._keys)])
        return {(cut, q): means[:, c, q] for c, cut in enumerate(self.job.at) for q in range(len(self.job.of))}

    @property
    def data(self) -> Dataset:
        """The data set."""
        data: Dataset = self.over.data
        return data

    def run(self) -> Stream:
        """Everything, once; or until the rows are as stable as was asked for."""
        left_out: LeftOut = {}
        looked = met = 0
        blocks = known_source(self.data.source).blocks(self.job.net, self.data.block, left_out)
        for number, samples in enumerate(blocks):
            self.partial = self.partial.merge(self._found(number, samples))
            # Looked at when there is a quarter more, and believed the second time: who looks often, sees it by chance.
            if self.data.until is not None and self.partial.samples >= 1.25 * looked:
                looked = self.partial.samples
                met = met + 1 if self._is_met() else 0
                if met == 2:
                    break
        self.partial = replace(self.partial, left_out=left_out)
        self._report(met == 2 or self.data.until is None)
        return self

    def _found(self, number: int, samples: Samples) -> Partial:
        """What a block gives: from the ledger, where it is known there; the first always anew, for axes and types."""
        known = self.ledger.known(number) if self.ledger is not None and number else None
        if known is not None:
            self.progress(len(samples))
            return known
        partial = self._block(samples)
        if self.ledger is not None:
            self.ledger.keep(number, partial)
        return partial

    def _block(self, samples: Samples) -> Partial:
        """What one block gives."""
        counted = len(samples)
        # Baselines have no rows of their own; a function may still leave some out.
        rowless = self._of_inputs and not callable(self.data.by)
        names: list[Any] = [True] * counted if rowless else self.data.rows(samples)
        keep = [k for k, name in enumerate(names) if name is not None]
        if not keep:
            return Partial(samples=counted)
        samples, names = samples[keep], [names[k] for k in keep]
        weight = torch.tensor(self.data.weights(samples), dtype=torch.float64)
        over, own = self._on(samples)
        sweep = Sweep(self.job, over.resolve(self.job.net), self.chunk, self.progress).run()
        self.axes |= sweep.axes
        self.full |= {key: full and self.full.get(key, True) for key, full in sweep.full.items()}
        self.dtypes |= {key: tally.dtype for key, tally in sweep.tallies.items()}
        self.cost = Cost(self.cost.forward + sweep.probe.cost.forward, self.cost.backward + sweep.probe.cost.backward)
        rows = [(names[s], s) for s in range(len(samples))] if own is None else own
        return self._counted(sweep, rows, weight, samples, counted)

    def _on(self, samples: Samples) -> tuple[Distribution, list[tuple[Hashable, int]] | None]:
        """The distribution on some samples; and for each of its inputs the row and the sample, where not its own."""
        over: Any = self.over
        label = None if samples.label is None else samples.label.tolist()
        if isinstance(over, Dataset):
            return Point(samples.x, label=label), None
        if isinstance(over, Line) and isinstance(over.baseline, Dataset):
            if isinstance(over.x, Dataset):
                raise InputError("A line runs from one data set or to one, not both: give the baselines as a tensor.")
            inputs, baselines = len(over.x), len(samples)
            pairs: list[tuple[Hashable, int]] = [(i, s) for s in range(baselines) for i in range(inputs)]
            start = samples.x.repeat_interleave(inputs, 0)
            end = over.x.repeat(baselines, *[1] * (over.x.dim() - 1)).to(start)
            labels = None if over.label is None else list(over.label) * baselines
            return replace(over, baseline=start, x=end, label=labels), pairs
        return replace(over, x=samples.x, label=label), None

    def _counted(
        self, sweep: Sweep, rows: list[tuple[Hashable, int]], weight: Tensor, samples: Samples, counted: int
    ) -> Partial:
        of = len(self.job.of)
        residual = torch.stack([
            torch.stack([sweep.residual[cut, q] for q in range(of)], 1) for cut in self.job.at
        ], 1)  # fmt: skip
        found: dict[Hashable, Row] = {}
        for name in dict.fromkeys(name for name, _ in rows):
            here = torch.tensor([k for k, (row, _) in enumerate(rows) if row == name])
            of_samples = torch.tensor([rows[int(k)][1] for k in here])
            w, index = weight[of_samples], samples.index[of_samples]
            moments = {}
            for (cut, q, m), tally in sweep.tallies.items():
                units = tally.exact_mean()[here.to(tally.total.device)]
                found_here = Moments.of(units, w, index, self.sampled, self.data.examples)
                moments[self.job.at.index(cut), q, m] = found_here
            change, error = sweep.change[here], residual[here]
            found[name] = Row(moments, (w[:, None] * change).sum(0), (per_point(w, error) * error).sum(0))
        names = dict(zip(samples.index.tolist(), samples.names, strict=True)) if self.data.examples else {}
        return Partial(found, {}, names, counted)

    def _is_met(self) -> bool:
        """Whether every row is stable, those included of which the folder has classes and no sample has come yet."""
        source = self.data.source
        if self.data.by == "label" and isinstance(source, Folder) and not self._of_inputs:
            classes = source.classes(self.job.net)
            if {classes[name] for _, name in source.files} > set(self.partial.rows):
                return False
        return all(met for met, _ in self._stability())

    def _stability(self) -> Iterator[tuple[bool, float]]:
        """For every row and every cut, quantity and measure: whether it is stable enough, and its expected overlap."""
        for row in self.partial.rows.values():
            for m in row.moments.values():
                if self.data.until is not None and m.stderr is not None:
                    yield self.data.until.met(m.mean[None], m.stderr[None], torch.tensor([m.count]))

    def _report(self, met: bool) -> None:
        """What the user should know of the pass: samples that were left out, a stop that was not reached."""
        if not self.partial.rows:
            raise InputError(
                f"{self.data.source!r} gave no sample"
                + (
                    f": {spell_left_out(self.partial.left_out)}"
                    if self.partial.left_out
                    else " that is counted in a row."
                )
            )
        warn_left_out(self.partial.left_out, self.partial.samples)
        if self.data.until is not None and not met:
            known = [overlap for _, overlap in self._stability() if overlap == overlap]
            worst = f"the least of those that are known is {min(known):.2f}" if known else "none is known"
            warnings.warn(
                f"After all {self.partial.samples} samples the rows are not as stable as {self.data.until!r} asks for: "
                f"of the expected overlaps, {worst}.",
                InfluentWarning, stacklevel=2,
            )  # fmt: skip
