"""The axioms of influence and conductance, measured on one's own net: each a function that says by how much it fails.

What is small enough is the caller's to say. Premises are measured at the explained inputs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from .ablation import Completed, Moves, one_by_one
from .ask import influence
from .cut import INPUT, Cut, as_cut
from .distribution import Distribution
from .distributions import Line
from .errors import QuestionError
from .mask import by_unit, flat_index
from .measures import Evidence, contribution, gradient
from .nets import Net, as_net
from .probe import activations
from .quantities import Classes
from .quantity import Combination, Quantity
from .shapes import per_point, spell_shape
from .sweep import Measure
from .through import Through

Module = Net | nn.Module
Place = Cut | str
Of = Quantity | Callable[[Tensor], Tensor]
Index = int | tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Check:
    """An axiom, measured: `gap = found − expected`, row by row, in the units of the measure.

    - `found`, `expected`, `[instance, *unit]`: the two sides; `scale`, of the same shape: what `relative` divides by;
    - `premises`: by how much each thing that the axiom presupposes fails, `[instance, ...]`;
    - `note`: what was compared, where that is not plain.

    >>> Check("completeness", torch.tensor([1.9]), torch.tensor([2.0]), torch.tensor([2.0])).holds(0.1)
    True
    """

    name: str
    found: Tensor
    expected: Tensor
    scale: Tensor
    premises: Mapping[str, Tensor] = field(default_factory=dict)
    note: str = ""

    @property
    def gap(self) -> Tensor:
        """found − expected."""
        return self.found - self.expected

    @property
    def relative(self) -> Tensor:
        """|gap| / scale, and 0 where the gap is 0."""
        return (self.gap.abs() / self.scale).where(self.gap != 0, 0.0)

    @property
    def worst(self) -> tuple[int, ...]:
        """Where the relative gap is largest: the row, and the unit in it."""
        return tuple(int(i) for i in torch.unravel_index(self.relative.argmax(), self.found.shape))

    def holds(self, within: float) -> bool:
        """Whether no relative gap is larger than `within`."""
        return bool((self.relative <= within).all())

    def __repr__(self) -> str:
        w = self.worst
        found, expected, gap = (f"{float(x[w]):.6g}" for x in (self.found, self.expected, self.gap))
        lines = [f"{self.name}: {found} for {expected}, gap {gap} ({float(self.relative[w]):.2g}) at {w}"]
        lines += [f"  premise: |{name}| ≤ {float(x.abs().max()):.3g}" for name, x in self.premises.items()]
        return "\n".join(lines + [f"  {self.note}"] * bool(self.note))


def _check(name: str, found: Tensor, expected: Tensor, scale: Tensor | None = None, **more: Any) -> Check:
    """A check; without a scale `[instance]`, that is the largest unit of each row on either side."""
    if scale is None:
        scale = torch.maximum(found.abs(), expected.abs()).reshape(len(found), -1).amax(1)
    return Check(name, found, expected, per_point(scale, found).expand_as(found), **more)


def _exact(x: Tensor) -> Tensor:
    return x.detach().cpu().double()


def _asked(net: Module, at: Any, of: Any, over: Distribution, *measures: Any) -> dict[Any, Any]:
    """Attributions by measure, of the same points."""
    for word, given in (("at", at), ("of", of), *(("measure", m) for m in measures)):
        if isinstance(given, list | tuple | Classes):
            raise QuestionError(f"An axiom is measured on one question: {word}= is several. Give them one by one.")
    answers: dict[Any, Any] = influence(net, at, of, over, list(dict.fromkeys(measures)))
    return answers


def _values(net: Module, at: Any, of: Any, over: Distribution, measure: Any) -> Tensor:
    """`[instance, *unit]` of one question, in float64 on the CPU."""
    return _exact(_asked(net, at, of, over, measure)[measure].values)


def completeness(net: Module, at: Place, of: Of, over: Distribution, measure: Measure = contribution) -> Check:
    """Σ units = F(x) − F(x′), `[instance]`, in units of F; `scale` is |F(x) − F(x′)|.

    `over` is a path; any measure may be held against it. Errors: `QuestionError` off a path, and at a cut that is not
    full. Source: Dhamdhere et al. 2018, section 4.2, Axiom 3.

    >>> net, x = nn.Linear(3, 2).eval(), torch.ones(1, 3)
    >>> completeness(net, "INPUT", Class(1), Line(0 * x, x, n=5)).holds(1e-5)
    True
    """
    found = _asked(net, at, of, over, measure, contribution)
    gap = found[contribution].gap
    if gap is None:
        raise QuestionError(f"Completeness does not apply at {as_cut(at).text}: {found[contribution].note}.")
    return _check("completeness", _exact(found[measure].values).flatten(1).sum(1), gap.change, gap.change.abs())


def sensitivity(
    net: Module, of: Of, over: Line, measure: Measure = contribution, units: Sequence[Index] | None = None
) -> Check:
    """value ≠ 0 where x and x′ differ in one unit alone and F(x) ≠ F(x′), `[instance, unit]`, in units of F.

    Each of `units` in turn (without it, all that differ) goes alone from the path's beginning to its end. `found` is
    |value|, but no more than `expected`, |F(x) − F(x′)|: a relative gap of 1 says that the value is 0, and that the
    axiom fails. Errors: `QuestionError` for what is no `Line`, and where nothing differs. Source: Sensitivity (a),
    Sundararajan et al. 2017, section 2.1.

    >>> x = torch.ones(1, 3)
    >>> sensitivity(nn.Linear(3, 2).eval(), Class(1), Line(0 * x, x, n=5)).holds(1e-5)
    True
    """
    if not isinstance(over, Line):
        raise QuestionError(f"Sensitivity moves one unit along a Line, and over= is {over!r}.")
    end = (line := over.resolve(as_net(net))).subjects()
    which = (line.baseline != end).flatten(1).any(0).nonzero()[:, 0].tolist()
    which = which if units is None else [flat_index(unit, end.shape[1:]) for unit in units]
    if not which:
        raise QuestionError("No unit differs between the two ends of the path. Choose another baseline.")
    found = _asked(net, line.place, of, one_by_one(line, which), measure, contribution)
    shape = (len(end), len(which))
    change = found[contribution].gap.change.abs().reshape(shape)
    own = torch.tensor(which).repeat(len(end))[:, None]
    value = _exact(found[measure].values).flatten(1).gather(1, own).abs().reshape(shape)
    return Check("sensitivity", torch.minimum(value, change), change, change, note=f"units, flattened: {which[:20]}")


def insensitivity(
    net: Module, at: Place, of: Of, over: Distribution, measure: Measure = gradient, ignored: Tensor | None = None
) -> Check:
    """value = 0 for units that F ignores, `[instance, *unit]`; `scale` is the row's largest value at any unit.

    `ignored` is a mask `[*unit]`; without it, those count that leave F as it is, bit for bit, when they are moved up
    and down by the size of the largest unit. Premise: what moving them changes. Errors: `QuestionError` for a mask of
    another shape, and where F ignores no unit. Source: Dhamdhere et al. 2018, section 4.2, Axiom 2.

    >>> insensitivity(nn.Linear(3, 2).eval(), "OUTPUT", Class(1), Point(torch.ones(1, 3)))
    insensitivity: 0 for 0, gap 0 (0) at (0, 0)
      premise: |F(unit moved) − F| ≤ 0
      1 of 2 units are ignored
    """
    values = _values(net, at, of, over, measure)
    shape = values.shape[1:]
    if ignored is not None and (ignored.shape != shape or not bool(ignored.any())):
        raise QuestionError(f"ignored= is {spell_shape(ignored)}: give a mask {list(shape)} with a unit in it.")
    flat = torch.arange(shape.numel()) if ignored is None else ignored.flatten().nonzero()[:, 0].cpu()
    f = Moves(as_net(net), as_cut(at), of, over).both_ways(flat.tolist())
    moved = (f[:, 1:] - f[:, :1]).reshape(len(f), -1, 2).abs().amax(2)
    if ignored is None:
        still = (moved == 0).all(0)
        flat, moved = flat[still], moved[:, still]
    if not len(flat):
        raise QuestionError(f"F depends on every unit of {as_cut(at).text}. Name those to look at: ignored=mask.")
    found = torch.zeros_like(values).flatten(1).index_copy(1, flat, values.flatten(1)[:, flat]).reshape(values.shape)
    scale, note = values.abs().flatten(1).amax(1), f"{len(flat)} of {shape.numel()} units are ignored"
    return _check("insensitivity", found, 0 * found, scale, premises={"F(unit moved) − F": moved}, note=note)


def symmetry(
    net: Module, at: Place, of: Of, over: Distribution, pair: tuple[Index, Index], measure: Measure = gradient
) -> Check:
    """value_i = value_j for two units with equal activations that F treats alike, `[instance]`.

    `scale` is the row's largest value at any unit. Premises: what swapping the two changes in F, one having been moved
    up or down by the size of the largest unit; and the mean of |y_i − y_j| over the distribution. Errors:
    `QuestionError` for units out of range. Source: Sundararajan et al. 2017, section 4.1; inside a net it depends on
    the net below, too: Dhamdhere et al. 2018, footnote 4.

    >>> symmetry(nn.Identity().eval(), "INPUT", lambda y: y[:, 0] * y[:, 1], Point(torch.ones(1, 2)), (0, 1)).gap
    tensor([0.], dtype=torch.float64)
    """
    values = _values(net, at, of, over, measure)
    i, j = (flat_index(unit, values.shape[1:]) for unit in pair)
    moves, flat = Moves(as_net(net), as_cut(at), of, over), values.flatten(1)

    def swap(units: Tensor, rows: Tensor, k: Tensor) -> None:
        units[:, i] += (moves.step[rows] * per_point(1 - 2 * (k % 2), units)).squeeze(1)
        units[:, [i, j]] = units[:, [j, i]].where(per_point(k >= 2, units), units[:, [i, j]])

    def apart(e: Evidence) -> Tensor:
        y = e.activation.flatten(1)
        return (y[:, [i]] - y[:, [j]]).abs()

    f, distance = moves.values(swap, 4), _values(net, at, of, over, apart)
    premises, scale = {"F(swapped) − F": f[:, 3:] - f[:, 1:3], "y_i − y_j": distance}, flat.abs().amax(1)
    return _check("symmetry", flat[:, i], flat[:, j], scale, premises=premises)


def linear_agreement(
    net: Module, at: Place, of: Of, over: Distribution, measure: Measure = gradient, weights: Tensor | None = None
) -> Check:
    """χ_j = a_j where F = Σ a_j y_j + const, `[instance, *unit]`, in units of F per unit.

    `weights [*unit]` are the a_j; without them, what F gains when that unit grows by 1. Premise: the error of the
    linear form, F(y + s) − F(y) − a · s, for one random step s. Errors: `QuestionError` for weights of another shape.
    Source: Leino et al. 2018, Axiom 1.

    >>> net = nn.Linear(3, 2).eval()
    >>> linear_agreement(net, "INPUT", Class(1), Point(torch.ones(1, 3)), weights=net.weight[1]).holds(0)
    True
    """
    values = _values(net, at, of, over, measure)
    if weights is not None and weights.shape != values.shape[1:]:
        raise QuestionError(f"weights= is {spell_shape(weights)}, and the units have shape {list(values.shape[1:])}.")
    moves, count = Moves(as_net(net), as_cut(at), of, over), values[0].numel()
    if weights is None:
        f = moves.both_ways(range(count), torch.ones_like(moves.step))
        weights = (f[:, 1::2] - f[:, :1]).reshape(values.shape)
    expected = _exact(weights).expand_as(values)
    step = torch.randn(1, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def move(units: Tensor, rows: Tensor, k: Tensor) -> None:
        units += step.to(units).reshape(1, -1, *[1] * (units.dim() - 2))

    f = moves.values(move, 1)
    premises = {"F(y + s) − F(y) − a · s": f[:, 1] - f[:, 0] - (expected.flatten(1) * step).sum(1)}
    return _check("linear agreement", values, expected, premises=premises)


def linearity(net: Module, at: Place, of: Quantity, over: Distribution, measure: Measure = contribution) -> Check:
    """χ(Σ w_k q_k) = Σ w_k χ(q_k), `[instance, *unit]`, all at the same points; `of` is a sum of quantities.

    Errors: `QuestionError` for a quantity that is no sum. Source: Dhamdhere et al. 2018, section 4.2, Axiom 1.

    >>> net, x = nn.Linear(3, 2).eval(), torch.ones(1, 3)
    >>> linearity(net, "INPUT", Class(1) - 0.5 * Class(0), Point(x), gradient).holds(1e-6)
    True
    """
    if not isinstance(of, Combination):
        raise QuestionError(f"Linearity is asked of a sum, Class(3) - 0.5 * Class(5), not of {of!r}.")
    found = influence(net, at, list(dict.fromkeys([of, *(q for _, q in of.terms)])), over, measure)
    expected = torch.stack([weight * _exact(found[q].values) for weight, q in of.terms]).sum(0)
    return _check("linearity", _exact(found[of].values), expected)


def distribution_linearity(net: Module, at: Place, of: Of, over: Distribution, measure: Measure = gradient) -> Check:
    """χ(Σ w_k P_k) = Σ w_k χ(P_k), weights divided by their sum, `[instance, *unit]`; `over` is a mixture.

    Errors: `QuestionError` for what is no mixture. Source: Leino et al. 2018, Axiom 3.

    >>> net, x = nn.Linear(3, 2).eval(), torch.ones(1, 3)
    >>> distribution_linearity(net, "INPUT", Class(1), 0.25 * Point(x) + 0.75 * Point(2 * x)).holds(1e-6)
    True
    """
    if len(over.parts) < 2:
        raise QuestionError(f"Distribution linearity needs a mixture, 0.25 * Point(a) + 0.75 * Point(b), not {over!r}.")
    total = sum(weight for weight, _ in over.parts)
    each = [weight / total * _values(net, at, of, part, measure) for weight, part in over.parts]
    return _check("distribution linearity", _values(net, at, of, over, measure), torch.stack(each).sum(0))


def slice_invariance(
    first: tuple[Module, Place], second: tuple[Module, Place], of: Of, over: Distribution,
    pairs: Sequence[tuple[Index, Index]], measure: Measure = gradient,
) -> Check:  # fmt: skip
    """χ_j of a slice = χ_j of another that is j-equivalent to it, `[instance, pair]`.

    A slice is a net and a cut; a pair is a unit of the first and its like in the second. Premises, each the difference
    between the slices: F, also with one unit of a pair moved alone; and the units' activations. Errors: `QuestionError`
    for units out of range. Source: Leino et al. 2018, Axiom 4.

    >>> net, x = nn.Sequential(nn.Linear(3, 2), nn.Identity()).eval(), torch.ones(1, 3)
    >>> slice_invariance((net, "0"), (net, "1"), Class(1), Point(x), [(0, 0), (1, 1)]).holds(0)
    True
    """
    values, held, f = [], [], []
    for side, (net, at) in enumerate((first, second)):
        found, moves = _values(net, at, of, over, measure), Moves(as_net(net), as_cut(at), of, over)
        which = [flat_index(pair[side], found.shape[1:]) for pair in pairs]
        values.append(found.flatten(1)[:, which])
        held.append(_exact(by_unit(moves.y, moves.axis)[:, which]).flatten(1))
        f.append(moves.both_ways(which, torch.ones_like(moves.step)))
    premises = {"F of both": f[0] - f[1], "y_j of both": held[0] - held[1]}
    return _check("slice invariance", values[0], values[1], premises=premises)


def preprocessing(
    net: Module, of: Of, over: Distribution, index: Index, predictor: Callable[[Tensor], Tensor],
    measure: Measure = gradient,
) -> Check:  # fmt: skip
    """χ_i(f) = χ_i of the slice ⟨f, h⟩ that computes x_i from the other inputs, `[instance]`.

    `predictor` is h_i, `[point, *shape] → [point]`; it sees inputs with x_i put to 0. Premise: the mean of
    |x_i − h_i(x_{−i})| over the distribution. Errors: `QuestionError` for a path inside the net and an index out of
    range. Source: Leino et al. 2018, Axiom 5.

    >>> net, x = nn.Linear(2, 1).eval(), torch.tensor([[1.0, 2.0]])
    >>> preprocessing(net, Class(0), Point(x), 1, lambda x: 2 * x[:, 0]).gap
    tensor([0.], dtype=torch.float64)
    """
    if any(part.place != INPUT or part.given is not None for _, part in over.parts):
        raise QuestionError("Preprocessing is about the net's own input, one tensor. Let the distribution run there.")
    net, values = as_net(net), _values(net, INPUT, of, over, measure)
    i = flat_index(index, values.shape[1:])
    completed = Completed(i, predictor).eval()
    sliced = replace(net, module=nn.Sequential(OrderedDict(completed=completed, net=net.module)).eval())

    def error(e: Evidence) -> Tensor:
        return (e.value - completed(e.value)).flatten(1)[:, [i]].abs()

    expected = _values(sliced, "completed", of, over, measure)
    premises = {"x_i − h_i": _values(net, INPUT, of, over, error)}
    return _check("preprocessing", values.flatten(1)[:, i], expected.flatten(1)[:, i], premises=premises)


def partition_consistency(
    net: Module, at: Place, of: Of, over: Distribution, parts: Sequence[tuple[Sequence[Index], Sequence[Index]]]
) -> Check:
    """Σ conductance of the units Q_k = Σ of the inputs P_k where Q_k depends on P_k only, `[instance, part]`.

    `parts` are pairs of inputs P_k and units Q_k, `over` a `Line`. Premise: what the Q_k lose when all inputs but the
    P_k go back to the path's beginning. Errors: `QuestionError` for parts that overlap, and for what is no path of the
    net's own input. Source: Dhamdhere et al. 2018, section 4.2, Axiom 4.

    >>> x = torch.ones(1, 2)
    >>> over, parts = Line(0 * x, x, n=65), [([0], [0]), ([1], [1])]
    >>> partition_consistency(nn.Tanh().eval(), "OUTPUT", lambda y: y.prod(1), over, parts).holds(1e-3)
    True
    """
    line, cut = over.resolve(as_net(net)), as_cut(at)
    if not isinstance(line, Line) or line.place != INPUT or line.given is not None:
        raise QuestionError("Partition consistency compares a layer with the net's own input: over=Line(baseline, x).")
    x, sums, sides = line.subjects(), [], []
    answers = influence(net, list(dict.fromkeys([INPUT, cut])), of, over, contribution)
    for place, side in ((INPUT, 0), (cut, 1)):
        values = _exact(answers[place].values)
        flat = [[flat_index(unit, values.shape[1:]) for unit in part[side]] for part in parts]
        if len({i for part in flat for i in part}) < sum(map(len, flat)):
            raise QuestionError("The parts overlap: give each input, and each unit, to one part.")
        sums.append(torch.stack([values.flatten(1)[:, part].sum(1) for part in flat], 1))
        sides.append(flat)
    moves, lost = Moves(as_net(net), cut, of, over), []
    for inputs, units in zip(*sides, strict=True):
        there = torch.tensor(inputs, device=x.device)
        alone = line.baseline.flatten(1).index_copy(1, there, x.flatten(1)[:, there]).reshape(x.shape)
        loss = by_unit(moves.y - activations(net, cut.place, alone), moves.axis)[:, units]
        lost.append(_exact(loss).flatten(1).abs().amax(1))
    return _check("partition consistency", sums[1], sums[0], premises={"Q_k lost": torch.stack(lost, 1)})


def additivity(net: Module, parts: Sequence[Sequence[Any]], place: Place, of: Quantity, over: Distribution) -> Check:
    """The flow through a set of units = Σ over its parts, seen where the path runs, `[instance, *input]`.

    `parts` are lists of units as `Through` takes them. Errors: as `Through`. Source: conductance of a set, Dhamdhere et
    al. 2018, Eq 2.

    >>> net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval(), torch.ones(1, 3)
    >>> additivity(net, [[0], [1, 3]], "1", Class(0), Line(0 * x, x, n=5)).holds(1e-5)
    True
    """
    flows = [Through(list(part), place, of) for part in [[u for part in parts for u in part], *parts]]
    found = influence(net, over.parts[0][1].place, list(dict.fromkeys(flows)), over, contribution)
    whole, *each = [_exact(found[flow].values) for flow in flows]
    return _check("additivity", whole, torch.stack(each).sum(0))


def implementation_invariance(
    first: Module, second: Module, of: Of, over: Distribution, measure: Measure = gradient
) -> Check:
    """χ_i of a net = χ_i of another that computes the same function, at the place of the points: `[instance, *input]`.

    Premise: the difference of their F. Of units inside only those may be compared that both nets have: that is
    `slice_invariance`. Source: Dhamdhere et al. 2018, section 8.2; Sundararajan et al. 2017, section 2.2.

    >>> net, x = nn.Linear(3, 2).eval(), torch.ones(1, 3)
    >>> implementation_invariance(net, nn.Sequential(net, nn.Identity()).eval(), Class(1), Point(x)).holds(0)
    True
    """
    place = over.parts[0][1].place
    values = [_values(net, place, of, over, measure) for net in (first, second)]
    f = [Moves(as_net(net), place, of, over).values() for net in (first, second)]
    return _check("implementation invariance", values[0], values[1], premises={"F of both": f[0] - f[1]})
