"""A data set going through the net: block after block a sweep, its samples counted in their rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from .cut import Cut
from .dataset import Dataset
from .distribution import Distribution
from .distributions import Line, Point
from .errors import InfluentWarning, InputError, QuestionError
from .ledger import Facts, Ledger, Shard
from .partial import Fold, Moments, Node, Partial, Row
from .probe import Cost
from .rows import Key
from .samples import Folder, LeftOut, Samples, Source, known_source, spell_left_out, warn_left_out
from .selection import between, length
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

    Each block's samples are counted alone, in float64, and the blocks are added up as the nodes of a tree.
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
    left_out: LeftOut = field(default_factory=dict)

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
        fold, until = Fold(), self.data.until
        looked = met = samples = 0
        for node in self._nodes():
            fold.extend([node])
            samples += node.partial.samples
            # Looked at when there is a quarter more, and believed the second time: who looks often, sees it by chance.
            if until is not None and samples and samples >= 1.25 * looked:
                self.partial, looked = fold.total, samples
                met = met + 1 if self._is_met() else 0
                if met == 2:
                    break
        self.partial = replace(fold.total, left_out=fold.total.left_out | self.left_out)
        self._report(met == 2 or until is None)
        return self

    def _nodes(self) -> Iterator[Node]:
        """Blocks, or sums of some, in their order: from the ledger what is known there, and the rest out of the net."""
        source = known_source(self.data.source)
        count = length(source)
        if self.ledger is None:
            yield from self._leaves(source, 0, None if count is None else self._blocks(count))
            return
        if count is None:
            raise QuestionError(
                "A ledger keeps parts of data that can be read part by part: a folder, a list of batches, or a data "
                "set with an index. Give Dataset(folder), or a torch Dataset in place of its loader."
            )
        self.ledger.begin(source)
        for start, stop, known in self.ledger.plan(self._blocks(count)):
            yield from self.shard(start, stop, known).nodes

    def _blocks(self, samples: int) -> int:
        return -(-samples // self.data.block)

    def shard(self, start: int, stop: int, known: bool = False) -> Shard:
        """A range of blocks: read from the ledger where it is `known` there, else computed and written down."""
        ledger, source = self.ledger, known_source(self.data.source)
        found = ledger.known(start, stop) if ledger is not None and known else None
        if found is None:
            part = between(source, start * self.data.block, stop * self.data.block)
            nodes = list(self._leaves(part, start, stop))
            if self.left_out:  # behind the last sample that can be read
                last = nodes[-1].partial
                nodes[-1] = replace(nodes[-1], partial=replace(last, left_out=last.left_out | self.left_out))
                self.left_out = LeftOut()
            # With `until`, each block stays by itself: a pass may stop behind any of them.
            if self.data.until is None:
                fold = Fold()
                fold.extend(nodes)
                nodes = fold.nodes
            found = Shard(start, stop, tuple(nodes), self._facts())
            if ledger is not None:
                ledger.keep(found)
        else:
            self._learn(found.facts)
            self.progress(sum(node.partial.samples for node in found.nodes))
        return found

    def _leaves(self, source: Source, start: int, stop: int | None) -> Iterator[Node]:
        """Every block from `start` to before `stop`, one without a sample that can be read, too."""
        following, told, left_out = start, 0, LeftOut()

        def node(block: int, partial: Partial) -> Node:
            nonlocal told
            new = dict(islice(left_out.items(), told, None))
            told = len(left_out)
            return Node(0, block, replace(partial, left_out=new))

        for samples in source.blocks(self.job.net, self.data.block, left_out):
            number = int(samples.index[0]) // self.data.block
            yield from (node(k, Partial()) for k in range(following, number))
            yield node(number, self._block(samples))
            following = number + 1
        yield from (node(k, Partial()) for k in range(following, following if stop is None else stop))
        if len(left_out) > told:
            self.left_out |= left_out

    def _facts(self) -> Facts:
        """What has been learned of cuts and quantities, by their places."""
        cuts, of, measures = self.job.at, range(len(self.job.of)), range(len(self.job.measures))
        if not self.dtypes:
            return Facts()
        return Facts(
            tuple(self.axes[cut] for cut in cuts), tuple(tuple(self.full.get((c, q), False) for q in of) for c in cuts),
            tuple(tuple(tuple(str(self.dtypes[c, q, m])[6:] for m in measures) for q in of) for c in cuts),
        )  # fmt: skip

    def _learn(self, facts: Facts) -> None:
        """The same, from a shard that was computed elsewhere."""
        for c, (axes, full, dtypes) in enumerate(zip(facts.axes, facts.full, facts.dtypes, strict=True)):
            cut = self.job.at[c]
            self.axes[cut] = axes
            self.full |= {(cut, q): one and self.full.get((cut, q), True) for q, one in enumerate(full)}
            self.dtypes |= {(cut, q, m): getattr(torch, n) for q, row in enumerate(dtypes) for m, n in enumerate(row)}

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
