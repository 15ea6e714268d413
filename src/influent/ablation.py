"""Units changed and the net run again: ablation, the plain comparator of every measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .ask import influence
from .attribution import Attribution
from .axes import unit_axis
from .containers import rows_of
from .cut import INPUT, Cut, as_cut
from .distribution import Distribution
from .distributions import Line, Point
from .embedding import called_with
from .errors import QuestionError
from .evaluate import about, check_points, evaluated, leaves_of, stacked_values
from .mask import by_unit
from .measures import activation
from .nets import Net, as_net
from .probe import Cost, Probe, activations
from .quantity import Quantity, as_quantity
from .shapes import per_point, spell_shape
from .sweep import check_result
from .through import Through

Edit = Callable[[Tensor, Tensor, Tensor], Tensor]


def ablate(
    net: Net | nn.Module, at: Cut | str, of: Quantity | Callable[[Tensor], Tensor], x: Any, fill: str | Tensor = "zero",
    chunk: int = 16,
) -> Attribution:  # fmt: skip
    """F(x) − F(x with the unit silenced), unit by unit, in units of F: `[instance, *unit]`.

    `x` is a tensor, or texts, a tuple or a dictionary of inputs where `at` is inside the net. A silenced unit is put to
    0, to its mean over the inputs (`fill="mean"`), or to its part of a tensor `[instance, *neuron]` (one row serves all
    inputs); with `at="layer/channel"` all neurons of a channel at once. What looks at the input (`Predicted`) is fixed
    at x. The net runs once a unit, which `cost` counts. There is no gap: this is no expectation of a gradient.
    Errors: `QuestionError` for other fills, and as `influence`. Source: "naive approach: ablations", Taly's slides.

    >>> net, x = nn.Linear(2, 1, bias=False).eval(), torch.tensor([[3.0, 5.0]])
    >>> torch.allclose(ablate(net, "INPUT", Class(0), x).values, net.weight * x, atol=1e-5)
    True
    """
    net, cut, of = as_net(net), as_cut(at), as_quantity(of)
    if any(isinstance(term, Through) for _, term in of.terms):
        raise QuestionError("Ablation compares values, and Through has none. Ablate its behaviour: of=Class(3).")
    x = called_with(net, x)
    if isinstance(x, Tensor):
        x = Point(x).resolve(net).x
    elif cut.name == "INPUT":
        raise QuestionError("Ablation of INPUT takes one tensor x. For nets with several inputs, cut inside the net.")
    y = activations(net, cut.place, x).contiguous()
    over = Point(x) if isinstance(x, Tensor) else Point(y, cut=cut.place, given=x)
    frame = influence(net, cut, of, over, activation, chunk=chunk)
    silent, axis = _filled(y, fill), unit_axis(net.module, cut, y.shape, net.axes)

    def silence(points: Tensor, rows: Tensor, unit: Tensor) -> Tensor:
        here = torch.arange(len(points), device=points.device)
        by_unit(points, axis)[here, unit] = by_unit(silent[rows].contiguous(), axis)[here, unit]
        return points

    count = by_unit(y, axis).shape[1]
    fed = fed_values(net, of, cut.place, None if cut.place == INPUT else x, y, silence, count, chunk)
    values = (fed[:, :1] - fed[:, 1:]).reshape(frame.values.shape)
    check_result(values, net, f"The ablation of {cut.text}")
    how = fill if isinstance(fill, str) else spell_shape(fill)
    note = f"ablation (fill: {how}) is no expectation of a gradient: it has no gap"
    cost = Cost(frame.cost.forward + len(y) + fed.numel(), 0)
    values = values.to(frame.values)
    return replace(frame, values=values, question=replace(frame.question, measure=ablate), note=note, cost=cost)


def _filled(y: Tensor, fill: str | Tensor) -> Tensor:
    """What silenced units are put to, `[instance, *neuron]`."""
    if isinstance(fill, Tensor):
        if fill.shape not in (y.shape, (1, *y.shape[1:])):
            raise QuestionError(f"fill= is {spell_shape(fill)}, and the activations are {spell_shape(y)}.")
        return fill.to(y).expand_as(y)
    if fill not in ("zero", "mean"):
        raise QuestionError(f"fill={fill!r} is not known: 'zero', 'mean' (over the inputs), or a tensor.")
    if fill == "mean" and len(y) == 1:
        raise QuestionError("fill='mean' is the mean over the inputs, and there is one. Give several, or a tensor.")
    return (y.mean(0, keepdim=True) if fill == "mean" else torch.zeros_like(y[:1])).expand_as(y)


def fed_values(
    net: Net, of: Quantity, place: Cut, given: Any, y: Tensor, edit: Edit | None = None, count: int = 0,
    chunk: int = 16, labels: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """F at activations `y [instance, *neuron]` fed at a place, then at `count` edits of each: `[instance, 1 + count]`.

    `edit(points, rows, k)` changes `points [point, *neuron]`, copies of `y[rows]`, to their edit number `k [point]`.
    What looks at the input is fixed at `y` itself. In float64, on the CPU.

    >>> net = Net(nn.Sequential(nn.Flatten(), nn.Identity()).eval())
    >>> fed_values(net, Class(1), INPUT, None, torch.tensor([[3.0, 5.0]]), lambda y, rows, k: y + 1, count=1)
    tensor([[5., 6.]], dtype=torch.float64)
    """
    bound, y = of.bind(net), y.detach()
    found = []
    with torch.inference_mode(False), Probe(net, [], bound.places, place, given, len(y)) as probe:
        chosen, _ = _at_subjects(probe, y, bound, labels, given, chunk)
        for flat in torch.arange(len(y) * (1 + count)).split(chunk):
            rows, k = flat // (1 + count), (flat % (1 + count) - 1).to(y.device)
            points = y[rows.to(y.device)].contiguous()
            if edit is not None:
                edited = edit(points.clone(), rows.to(y.device), k.clamp(min=0))
                points = torch.where(per_point(k, y) < 0, points, edited)
            done = probe.run(points, rows, mode="value")
            picks = {leaf: c[rows.to(c.device)] for leaf, c in chosen.items()}
            found.append(stacked_values([evaluated(bound, done, picks.get, len(rows))]))
    return torch.cat(found).reshape(len(y), 1 + count)


def _at_subjects(
    probe: Probe, x: Tensor, of: Quantity, labels: Tensor | None, given: Any, chunk: int, place: Cut | None = None
) -> tuple[dict[Quantity, Tensor], list[Tensor]]:
    """What each term of a behaviour chooses at the explained inputs, and, of a place, the activations there."""
    fixed: dict[Quantity, list[Tensor]] = {}
    there = []
    for rows in torch.arange(len(x)).split(chunk):
        done = probe.run(x[rows.to(x.device)], rows, mode="value")
        there += [] if place is None else [done.read[place]]
        for leaf in leaves_of([of]):
            check_points(done.read[leaf.place], leaf, len(rows))
            picked = leaf.choose(done.read[leaf.place], about(labels, given, rows, len(x)))
            if picked is not None:
                fixed.setdefault(leaf, []).append(picked)
    return {leaf: torch.cat(parts) for leaf, parts in fixed.items()}, there


def one_by_one(line: Line, which: Sequence[int]) -> Line:
    """The resolved line with, for each input, one path for each unit of `which`: all others stay at the baseline.

    >>> one_by_one(Line(torch.zeros(1, 2), torch.tensor([[3.0, 5.0]])), [0, 1]).x
    tensor([[3., 0.],
            [0., 5.]])
    """
    rows = torch.arange(len(line.x)).repeat_interleave(len(which))
    there = torch.tensor(list(which), device=line.x.device).repeat(len(line.x))[:, None]
    start, end = (side[rows.to(side.device)] for side in (line.baseline, line.x))
    alone = start.flatten(1).scatter(1, there, end.flatten(1).gather(1, there)).reshape(end.shape)
    label = None if line.labels is None else line.labels.cpu()[rows].tolist()
    return replace(line, x=alone, baseline=start, given=rows_of(line.given, rows, len(line.x)), label=label)


class Completed(nn.Module):
    """x_{−i} h_i(x_{−i}): inputs `[point, *shape]` whose entry `index`, flattened, is computed from the others.

    >>> Completed(1, lambda x: 2 * x[:, 0])(torch.tensor([[3.0, 5.0]]))
    tensor([[3., 6.]])
    """

    def __init__(self, index: int, predictor: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.index, self.predictor = index, predictor

    def forward(self, x: Tensor) -> Tensor:
        here = torch.arange(x[0].numel(), device=x.device).reshape(1, *x.shape[1:]) == self.index
        rest = x.masked_fill(here, 0.0)
        return torch.where(here, per_point(self.predictor(rest), x), rest)


class Moves:
    """Units at a cut, moved at the explained inputs: what F becomes. Of a mixture, at the inputs of its first part.

    `y [instance, *neuron]` are the activations, `step [instance, 1, ...]` the size of each row's largest unit (1 where
    all are 0). Errors: `QuestionError` for a cut inside a net that is run on more than one tensor.
    """

    def __init__(self, net: Net, at: Cut, of: Quantity | Callable[[Tensor], Tensor], over: Distribution) -> None:
        self.net, self.at, self.of = net, at, as_quantity(of)
        part = over.resolve(net).parts[0][1]
        x, own = part.subjects(), at.place == part.place
        if not own and (part.place != INPUT or part.given is not None):
            raise QuestionError(
                f"Units are moved where the points run, at {part.place.text}, or inside a net that takes one tensor: "
                f"{at.text} is neither."
            )
        self.y = x.contiguous() if own else activations(net, at.place, x).contiguous()
        self.given, self.labels = part.given if own else x, part.labels
        self.axis = unit_axis(net.module, at, self.y.shape, net.axes)
        units = by_unit(self.y, self.axis)
        size = units.abs().flatten(1).amax(1)
        self.step = per_point(size.where(size > 0, 1.0), units)

    def values(self, edit: Callable[[Tensor, Tensor, Tensor], None] | None = None, count: int = 0) -> Tensor:
        """F, and F after each edit of the units `[point, unit, ...]`, in place: `[instance, 1 + count]`."""

        def edited(points: Tensor, rows: Tensor, k: Tensor) -> Tensor:
            if edit is not None:
                edit(by_unit(points, self.axis), rows, k)
            return points

        return fed_values(self.net, self.of, self.at.place, self.given, self.y, edited, count=count, labels=self.labels)

    def both_ways(self, which: Sequence[int], step: Tensor | None = None) -> Tensor:
        """F, and F with each of the units moved up, then down: `[instance, 1 + 2 · unit]`."""
        chosen = torch.tensor(list(which), device=self.y.device)
        size = self.step if step is None else step

        def move(units: Tensor, rows: Tensor, k: Tensor) -> None:
            here = torch.arange(len(units), device=units.device)
            units[here, chosen[k // 2]] += (size[rows] * per_point(1 - 2 * (k % 2), units)).squeeze(1)

        return self.values(move, 2 * len(chosen))


def patched(
    net: Net, at: Cut, of: Quantity, line: Line, chunk: int, progress: Callable[[int], None] | None = None
) -> Tensor:
    """F(baseline, one unit as at the input) − F(baseline), unit by unit, `[instance, unit]` in float64, on the CPU.

    `line` is resolved. What looks at the input is fixed at the line's end.

    >>> line = Line(torch.zeros(1, 2), torch.tensor([[3.0, 5.0]])).resolve(Net(nn.Identity()))
    >>> patched(Net(nn.Sequential(nn.Identity()).eval()), Cut("0"), Class(1), line, 4)
    tensor([[0., 5.]], dtype=torch.float64)
    """
    of, many, place = of.bind(net), len(line.x), at.place
    values = []
    with Probe(net, [], [place, *of.places], line.place, line.given, many) as probe:
        chosen, clean = _at_subjects(probe, line.x, of, line.labels, line.given, chunk, place)
    y = torch.cat(clean)
    axis = unit_axis(net.module, at, y.shape, net.axes)
    count, now = by_unit(y, axis).shape[1], torch.empty(0, 2, dtype=torch.long)

    def edit(points: Tensor) -> Tensor:
        rows, unit = now.T.to(points.device)
        changed, here = points.contiguous().clone(), torch.arange(len(points), device=points.device)
        to, clean = by_unit(changed, axis), by_unit(y[rows].contiguous(), axis)
        some = here[unit >= 0]
        to[some, unit[some]] = clean[some, unit[some]]
        return changed

    with Probe(net, [], of.places, line.place, line.given, many, edits={place: edit}) as probe:
        for flat in torch.arange(many * (1 + count)).split(chunk):
            rows = flat // (1 + count)
            now = torch.stack([rows, flat % (1 + count) - 1], 1)
            done = probe.run(line.baseline[rows.to(line.baseline.device)], rows, mode="value")
            picks = {leaf: c[rows.to(c.device)] for leaf, c in chosen.items()}
            values.append(stacked_values([evaluated(of, done, picks.get, len(rows))]))
            if progress is not None:
                progress(len(rows))
    found = torch.cat(values).reshape(many, 1 + count)
    return found[:, 1:] - found[:, :1]
