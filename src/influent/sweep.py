"""One sweep: draws through the probe, evidence through the measures, weighted sums out.

Everything that is asked (all cuts, quantities and measures) is answered from the same passes. Off a path a
point is counted as soon as it has been run. On a path a point's velocity and weight come from its two
neighbours, so that one point waits for the next (`Ribbon`); an adaptive path waits until it is complete.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .axes import Axis, axis_names, unit_axis
from .cut import Cut
from .distribution import Distribution, Draw
from .errors import CutError, InfluentWarning, InputError, NetError, QuestionError
from .evaluate import Valued, about, check_points, evaluated, leaves_of, looks_at_subject, stacked_values
from .measures import Evidence, activation, contribution, rule_of
from .nets import Net
from .path import Path, Ribbon
from .probe import Cost, Pass, Probe
from .quantity import Quantity, Subject
from .rows import Key, Rows, Tally, take
from .rules import BackwardRule
from .shapes import spell_shape
from .through import Through

Measure = Callable[[Evidence], Tensor]


@dataclass(frozen=True)
class Job:
    """What a sweep answers: every cut × every quantity × every measure, all of one backward rule or of none."""

    net: Net
    at: tuple[Cut, ...]
    of: tuple[Quantity, ...]
    measures: tuple[Measure, ...]

    @property
    def reads(self) -> tuple[Cut, ...]:
        """The cuts that the quantities read."""
        return tuple(dict.fromkeys(cut for q in self.of for cut in q.places))

    @property
    def rule(self) -> BackwardRule | None:
        """The backward rule by which slopes are taken, None for the gradient; one for all measures."""
        return rule_of(self.measures[0])

    @property
    def flowing(self) -> tuple[int, ...]:
        """The quantities with a flow through units in them: they have changes along a path, and no values."""
        return tuple(q for q, of in enumerate(self.of) if any(isinstance(term, Through) for _, term in of.terms))


@dataclass
class Sweep:
    """One elementary distribution going through the net."""

    job: Job
    over: Distribution
    chunk: int
    progress: Callable[[int], None]
    tallies: dict[tuple[Cut, int, int], Tally] = field(default_factory=dict)
    chosen: dict[Quantity, Tensor] = field(default_factory=dict)
    full: dict[Key, bool] = field(default_factory=dict)
    axes: dict[Cut, tuple[str, ...] | None] = field(default_factory=dict)
    groups: dict[tuple[Cut, torch.Size], tuple[Axis | None, tuple[int, ...]]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[Any, ...]:
        """The rows of the result."""
        return tuple(range(self.instances))

    @property
    def sampled(self) -> bool:
        """Whether rows are means over samples, with standard errors."""
        return self.over.sampled

    @property
    def cost(self) -> Cost:
        """What went through the net."""
        return self.probe.cost

    def run(self) -> Sweep:
        """Everything, once."""
        if self.over.path and self.job.rule is not None:
            raise QuestionError(
                f"By {self.job.rule!r} slopes are no gradients, and nothing adds up along a path. Ask at points: "
                "over=Point(x), a Gaussian, or a Dataset."
            )
        with torch.inference_mode(False), torch.enable_grad():
            subjects = self.over.subjects()
            self.instances = len(subjects)
            self.change = torch.zeros(self.instances, len(self.job.of), dtype=torch.float64)
            self.residual, self.boundary = (
                {key: torch.zeros(self.instances, dtype=torch.float64) for key in self._keys()} for _ in range(2)
            )
            self.probe = Probe(
                self.job.net, self.job.at, self.job.reads, self.over.place, self.over.given, self.instances,
                rule=self.job.rule,
            )  # fmt: skip
            with self.probe:
                self._prepare(subjects)
                if self.over.adaptive:
                    self._run_adaptive()
                else:
                    self._run_stream()
        self._warn_of_boundary()
        return self

    def _warn_of_boundary(self) -> None:
        """Say where the path's first segment alone is further off than the whole answer changes: no bound is there."""
        if not self.over.path or self.over.exact or contribution not in self.job.measures:
            return
        for key in (k for k, full in self.full.items() if full and k[1] not in self.job.flowing):
            off, change = self.boundary[key], self.change[:, key[1]].abs()
            bad = (off > change) & (off > 0.5 * self.residual[key]) & (self.residual[key] > off)
            for row in bad.nonzero()[:1, 0].tolist():
                warnings.warn(
                    f"Input {row}: between the baseline and the point next to it the units of {key[0].text} miss the "
                    f"change by {float(off[row] / change[row]):.0%} of F(x) − F(x′), more than on all the rest of the "
                    "path. The net has no bound there, as near a zero embedding under RMSNorm. Take another "
                    "baseline; for texts 'mask', 'mean', or another text: Line(net.read('...'), text).",
                    InfluentWarning, stacklevel=2,
                )  # fmt: skip
                return

    def _keys(self) -> list[Key]:
        return [(cut, q) for cut in self.job.at for q in range(len(self.job.of))]

    def _prepare(self, subjects: Tensor) -> None:
        """What must be known before the first point: full cuts, ends that are no points, choices at the subject."""
        if self.over.path:
            self._find_full(subjects[:1])
        for draw in self.over.ends(self.chunk):
            self._forward(draw)
        if not self.over.visits_subjects and not self.over.exact and any(looks_at_subject(q) for q in self.job.of):
            for rows in torch.arange(len(subjects)).split(self.chunk):
                done = self.probe.run(subjects[rows.to(subjects.device)], rows, mode="value")
                self._choose(done, len(rows), rows)

    def _run_stream(self) -> None:
        ribbon = self._ribbon()
        for draw in self.over.draws(self.chunk):
            rows = self._rows(draw)
            if self.over.path and not self.over.exact:
                ribbon.push(rows)
            else:
                self.count(rows, self._exact_rates(draw) if self.over.exact else None)

    def _ribbon(self) -> Ribbon:
        # Where no gap is told, no residual is needed: off full cuts, and of other measures.
        told = contribution in self.job.measures
        residual = {key: total for key, total in self.residual.items() if told and self.full.get(key)}
        return Ribbon(self.count, residual, self.change, self.job.flowing, self.boundary, self.over.left)

    def _run_adaptive(self) -> None:
        draws = self.over.draws(self.chunk)
        paths: dict[int, Path] = {}
        draw = next(draws, None)
        while draw is not None:
            subjects = dict.fromkeys(draw.subject.tolist())
            if not subjects.keys() <= paths.keys():
                self._finish(paths)
                paths = {s: Path(self.full) for s in subjects}
            for part in torch.arange(len(draw.points)).split(self.chunk):
                rows = self._rows(_part(draw, part))
                # The path's own points can be made again: they are not kept until it is complete.
                rows = replace(rows, seen={c: y for c, y in rows.seen.items() if c.place != self.over.place})
                for k, s in enumerate(rows.subject.tolist()):
                    paths[s].add(rows[k : k + 1])
            try:
                draw = draws.send({s: paths[s].heard() for s in subjects})
            except StopIteration:
                draw = None
        self._finish(paths)

    def _finish(self, paths: dict[int, Path]) -> None:
        """Complete adaptive paths, counted a few points at a time, each with its neighbours."""
        ribbon = self._ribbon()
        for path in paths.values():
            rows = [row for _, row in path.rows]
            for first in range(0, len(rows), self.chunk):
                last, low = min(first + self.chunk, len(rows)), max(0, first - 1)
                part = Rows.cat(rows[low : last + 1])
                own = [cut for cut in self.job.at if cut.place == self.over.place]
                points = dict.fromkeys(own, self.over.at(part.subject, part.alpha)) if own else {}
                ribbon.take(replace(part, seen={**part.seen, **points}), first - low, last - low)

    def _find_full(self, subject: Tensor) -> None:
        """Which cuts all paths cross: from one taped pass at the first input."""
        row = torch.zeros(1, dtype=torch.long)

        def values(done: Pass) -> list[Tensor]:
            chosen = {q: q.choose(done.read[q.place], self._about(row)) for q in leaves_of(self.job.of)}
            found = [evaluated(q, done, lambda leaf: chosen[leaf], 1).value for q in self.job.of]
            self.probe.cost.backward += len(done.slopes)
            return found

        found = self.probe.full(subject, row, values)
        self.full = {(c, q): c.place == self.over.place or found[c.place][q] for c, q in self._keys()}

    def _forward(self, draw: Draw) -> None:
        """Ends of paths, values only: F(x) − F(x′), and what is chosen at the subject."""
        done = self.probe.run(draw.points, draw.subject, mode="value")
        self._note(draw, done)
        self._measure_change(draw.instance, draw.alpha, stacked_values(self._values(done, draw.subject, slopes=False)))

    def _rows(self, draw: Draw) -> Rows:
        """Run one draw: values and slopes of every quantity at every cut."""
        needed = self.over.adaptive or any(m is not activation for m in self.job.measures)
        done = self.probe.run(draw.points, draw.subject, mode="graph" if needed else "value")
        self._note(draw, done)
        check_batch(done, len(draw.points))
        values = self._values(done, draw.subject, slopes=needed)
        slopes: dict[Key, Tensor] = {}
        for q, valued in enumerate(values):
            if needed:
                found = done.gradients(valued.value, again=q + 1 < len(values))
                self.probe.cost.backward += len(draw.points)
            for cut in self.job.at:
                slope = found[cut.place] if needed else torch.zeros_like(done.seen[cut.place])
                slopes[cut, q] = self._reached(slope, cut, q)
        stacked = stacked_values(values)
        check_result(stacked, self.job.net, "The quantity")
        if draw.alpha is not None and not self.over.exact:
            self._measure_change(draw.instance, draw.alpha, stacked)
        self.progress(len(draw.points))
        seen = {cut: done.seen[cut.place].detach() for cut in self.job.at}
        # Where the path itself runs, a point's speed is known: only there is it kept.
        speed = draw.speed if any(cut.place == self.over.place for cut in self.job.at) else None
        along = {}
        for key, slope in slopes.items():
            if speed is not None and key[0].place == self.over.place:
                along[key] = (slope * speed).flatten(1).sum(1).double().cpu()
        alpha = torch.zeros(len(stacked), dtype=torch.float64) if draw.alpha is None else draw.alpha
        self.probe.cost.backward += len(draw.points) * len(done.slopes)
        flows = {(cut, q): flow for q, valued in enumerate(values) for cut, flow in valued.flows.items()}
        held = {cut: done.read[cut].detach() for cut, _ in flows}
        return Rows(draw.subject, draw.instance, draw.weight, stacked, seen, slopes, along, alpha, speed, flows, held)

    def _reached(self, slope: Tensor | None, cut: Cut, q: int) -> Tensor:
        if slope is None:
            raise QuestionError(
                f"{self.job.of[q]!r} does not depend on {cut.text!r}: that place is not on the way from the cut to the "
                "quantity. Choose a cut before the place that the quantity reads."
            )
        return slope

    def _measure_change(self, instance: Tensor, alpha: Tensor | None, values: Tensor) -> None:
        if alpha is not None:
            sign = (alpha == 1.0).double() - (alpha == 0.0).double()
            changes = values * sign[:, None]
            changes[:, list(self.job.flowing)] = 0  # added up segment by segment
            self.change.index_add_(0, instance.cpu(), changes)

    def _about(self, rows: Tensor) -> Subject:
        return about(self.over.labels, self.over.given, rows, self.instances)

    def _note(self, draw: Draw, done: Pass) -> None:
        """Fix what quantities take from the subject, at the points that are their own subjects."""
        if draw.alpha is not None:
            own = (draw.alpha == 1.0).nonzero()[:, 0]
            self._choose(done, len(draw.points), draw.subject[own], own)
        elif self.over.visits_subjects:
            self._choose(done, len(draw.points), draw.subject)

    def _choose(self, done: Pass, points: int, subjects: Tensor, own: Tensor | None = None) -> None:
        if len(subjects) == 0:
            return
        for leaf in leaves_of(self.job.of):
            y = done.read[leaf.place].detach()
            check_points(y, leaf, points)
            picked = leaf.choose(y if own is None else y[own.to(y.device)], self._about(subjects))
            if picked is not None:
                known = self.chosen.setdefault(leaf, torch.full((self.instances,), -1, device=picked.device))
                known[subjects.to(picked.device)] = picked

    def _values(self, done: Pass, subject: Tensor, slopes: bool) -> list[Valued]:
        def chosen(leaf: Quantity) -> Tensor | None:
            return self.chosen[leaf][subject.to(self.chosen[leaf].device)] if leaf in self.chosen else None

        return [evaluated(q, done, chosen, len(subject), slopes) for q in self.job.of]

    def _exact_rates(self, draw: Draw) -> Callable[[Cut], Tensor]:
        """Velocities by forward mode: one more pass, for all cuts, only if a measure asks for one."""
        found: dict[Cut, Tensor] = {}

        def rate(cut: Cut) -> Tensor:
            if cut.place == self.over.place and draw.speed is not None:
                return draw.speed
            if not found and draw.speed is not None:
                found.update(self.probe.rates(draw.points, draw.speed, draw.subject))
            return found[cut.place]

        return rate

    def count(self, rows: Rows, rate: Callable[[Cut], Tensor] | None) -> None:
        """Measure finished points and add them up."""
        for cut in self.job.at:
            shape = rows.seen[cut].shape
            # Looked up once: it takes a walk through all modules.
            if (cut, shape[1:]) not in self.groups:
                self.groups[cut, shape[1:]] = self._grouped(cut, shape)
            axis, grouped = self.groups[cut, shape[1:]]
            for q in range(len(self.job.of)):
                speed = None if rate is None else (lambda cut=cut: rate(cut))
                evidence = Evidence(rows.slopes[cut, q], rows.seen[cut], speed, grouped, axis)
                for m, measure in enumerate(self.job.measures):
                    units = _units(measure, evidence, len(rows))
                    tally = self.tallies.get((cut, q, m))
                    if tally is None:
                        tally = self.tallies[cut, q, m] = Tally.empty(self.instances, units, self.over.sampled)
                    tally.add(units, rows.weight, rows.instance)

    def _grouped(self, cut: Cut, shape: torch.Size) -> tuple[Axis | None, tuple[int, ...]]:
        """The axis that counts the cut's units, and the dimensions that are summed to make them."""
        self.axes[cut], axis, dims = grouping(self.job.net, cut, shape)
        return axis, dims


def check_batch(done: Pass, points: int) -> None:
    """Refuse watched places whose first dimension does not count points."""
    for cut, y in done.seen.items():
        if len(y) != points:
            raise CutError(
                f"{cut.text!r} gives {spell_shape(y)} for {points} points: its first dimension is no batch. Cut where "
                "the first dimension counts points."
            )


def grouping(net: Net, cut: Cut, shape: torch.Size) -> tuple[tuple[str, ...] | None, Axis | None, tuple[int, ...]]:
    """Names of the units' axes, the axis that counts them where the cut names one, and the dimensions summed for them.

    `shape` is that of activations `[point, *neuron]`. Errors: `QuestionError` for units that they do not have.

    >>> grouping(Net(nn.Conv2d(3, 8, 3)), Cut("OUTPUT/channel"), torch.Size((1, 8, 5, 5)))
    (('channel',), Axis(dim=1, heads=0), (2, 3))
    """
    names = axis_names(net.module, cut, shape, net.axes)
    if cut.units is None:
        return names, None, ()
    axis = unit_axis(net.module, cut, shape, net.axes)
    if axis is None:
        known = f"its axes are {', '.join(names)}" if names else "its axes are not known"
        raise QuestionError(
            f"{cut.text!r} asks for units by {cut.units!r}, but {known} (activation {list(shape)}). "
            f"Type one of them, or say what they are: inf.Net(module, axes={{{cut.place.text!r}: (...)}})."
        )
    dims = len(shape) + bool(axis.heads)
    return (cut.units,), axis, tuple(d for d in range(1, dims) if d != axis.dim)


def _part(draw: Draw, index: Tensor) -> Draw:
    return replace(
        draw, points=take(draw.points, index), subject=draw.subject[index], instance=draw.instance[index],
        weight=draw.weight[index], alpha=None if draw.alpha is None else draw.alpha[index],
        speed=None if draw.speed is None else take(draw.speed, index),
    )  # fmt: skip


def _units(measure: Measure, evidence: Evidence, points: int) -> Tensor:
    units = measure(evidence)
    if not isinstance(units, Tensor) or units.dim() < 1 or len(units) != points:
        got = spell_shape(units) if isinstance(units, Tensor) else type(units).__name__
        raise QuestionError(f"The measure {measure} gives {got}, not [point, *unit] with {points} points.")
    return units.detach()


def check_result(values: Tensor, net: Net, what: str) -> None:
    """Refuse NaN and infinity, and say whose they are: the weights', or the question's."""
    if bool(torch.isfinite(values).all()):
        return
    for name, weight in net.module.state_dict().items():
        known = isinstance(weight, Tensor) and weight.is_floating_point() and not weight.is_meta
        if known and not bool(torch.isfinite(weight).all()):
            raise NetError(f"The net's weights are broken: {name!r} holds NaN or infinite values. Load them again.")
    bad = int((~torch.isfinite(values)).sum())
    raise InputError(
        f"{what} holds {bad} NaN or infinite values of {values.numel()}: somewhere on the way the net or its gradient "
        'has no bound (a root at 0, a log of 0). Try Line(..., rule="gauss"), which leaves out the ends, another '
        "baseline, or float64."
    )
