"""Saturation: the score and the size of its gradients on the way from a baseline to an input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .ask import check_chunk, influence
from .cut import INPUT, OUTPUT, Cut, as_cut
from .distributions import Line, Point
from .errors import QuestionError
from .measures import magnitude
from .nets import Net, as_net
from .probe import activations
from .quantities import Predicted
from .quantity import Combination, Quantity, Subject, as_quantity
from .through import Through

WITHIN = 0.1
"""The share of its range within which a settled score stays of where it ends."""

SATURATED = 0.5
"""The gradient at the input, as a share of the largest, below which a sentence says that the score saturates."""


@dataclass(frozen=True, eq=False)
class Saturation:
    """One score F, and how much it depends on what, at each α of the path x′ + α (x − x′).

    - `of`: the score, fixed at the input x for the whole path;
    - `alpha [point]`, from 0 at the baseline to 1 at the input;
    - `score [instance, point]`, in units of F;
    - `gradient[cut] [instance, point]`: mean over the cut's units of |∂F/∂unit|, in units of F per unit of the cut.

    >>> Saturation(Predicted(), torch.tensor([0.0, 0.5, 1.0]), torch.tensor([[0.0, 9.5, 10.0]]), {}).settled
    tensor([0.5000])
    """

    of: Quantity
    alpha: Tensor
    score: Tensor
    gradient: Mapping[str, Tensor]

    @property
    def settled(self) -> Tensor:
        """The smallest α from which on the score stays within `WITHIN` of its range of where it ends, `[instance]`."""
        near = WITHIN * (self.score.amax(1, keepdim=True) - self.score.amin(1, keepdim=True))
        away = (self.score - self.score[:, -1:]).abs() > near
        steps = torch.arange(1, len(self.alpha) + 1, device=away.device)
        return self.alpha[(away * steps).amax(1)]

    @property
    def largest_at(self) -> dict[str, Tensor]:
        """The α of the largest gradient by cut, the first of several, `[instance]`."""
        return {cut: self.alpha[size.argmax(1)] for cut, size in self.gradient.items()}

    @property
    def remaining(self) -> dict[str, Tensor]:
        """The gradient at the input, a share of the path's largest, by cut, `[instance]`; NaN where all are 0."""
        return {cut: size[:, -1] / size.amax(1) for cut, size in self.gradient.items()}

    def sentence(self, row: int = 0) -> str:
        """What one row of the curves means, in words."""
        if not float(self.score[row].max() - self.score[row].min()):
            return "The score does not change on the path."
        told = f"The score is settled from α = {float(self.settled[row]):.2f} on."
        shares = {cut: float(share[row]) for cut, share in self.remaining.items() if float(share[row]) >= 0}
        if not shares:
            return told
        cut, share = min(shares.items(), key=lambda item: item[1])
        size = f"at α = 1 the gradient at {cut} is {share:.1%} of its largest"
        if share < SATURATED:
            where = f"α = {float(self.largest_at[cut][row]):.2f}"
            return f"{told} It saturates: {size}, which is at {where}. What made the score rise is seen there."
        return f"{told} It does not saturate: {size}."


def saturation(
    net: Net | nn.Module, x: Tensor, at: Cut | str | Sequence[Cut | str] = INPUT, of: Any = None,
    baseline: Any = "black", n: int = 51, chunk: int = 16, progress: Callable[[int], None] | None = None,
) -> Any:  # fmt: skip
    """F and mean |∂F/∂unit| at n equal steps of x′ + α (x − x′): where the score is flat, gradients say little.

    - `x [instance, *shape]`, `baseline`: a name, a tensor, a photo's file, as for a `Line`;
    - `at`: one cut or several; units are part of a cut, "inception_4c/channel" takes |Σ over the channel's neurons|;
    - `of`: the score; None for the output of the class predicted at x; a list gives `{of: Saturation}`.

    What a quantity takes from the explained input (its predicted class) is taken at x. Returns a `Saturation`.
    Errors: `QuestionError` for n < 3, for `Through`, which has no value at a point, and as `influence`.
    Source: Taly's slides on gradients that saturate; Sundararajan et al. 2017, section 2 ("sensitivity").

    >>> class Square(nn.Module):
    ...     def forward(self, x):
    ...         return (x**2).sum(1, keepdim=True)
    >>> s = saturation(Square().eval(), torch.ones(1, 2), of=Class(0), baseline=torch.zeros(1, 2), n=3)
    >>> s.score, s.gradient["INPUT"], float(s.remaining["INPUT"])
    (tensor([[0.0000, 0.5000, 2.0000]]), tensor([[0., 1., 2.]]), 1.0)
    """
    net = as_net(net)
    if not isinstance(n, int) or isinstance(n, bool) or n < 3:
        raise QuestionError(f"n={n!r}: two ends make no curve. Type 3 or more.")
    check_chunk(chunk)
    several = isinstance(of, list | tuple)
    ofs = [as_quantity(o) for o in of] if several else [Predicted() if of is None else as_quantity(of)]
    cuts = [as_cut(at)] if isinstance(at, Cut | str) else [as_cut(cut) for cut in at]
    line = Line(baseline, x, n, "uniform").resolve(net)
    rows = [_row(net, line, row, cuts, ofs, chunk, progress) for row in range(len(line.x))]
    alpha = _alphas(line)
    made = {
        of: Saturation(
            of,
            alpha,
            torch.stack([scores[q] for scores, _ in rows]),
            {cut.text: torch.stack([sizes[cut][q] for _, sizes in rows]) for cut in cuts},
        )
        for q, of in enumerate(ofs)
    }
    return made if several else made[ofs[0]]


def _alphas(line: Line) -> Tensor:
    return torch.linspace(0, 1, line.n, dtype=line.x.dtype, device=line.x.device)


def _row(
    net: Net, line: Line, row: int, cuts: Sequence[Cut], ofs: Sequence[Quantity], chunk: int,
    progress: Callable[[int], None] | None,
) -> tuple[list[Tensor], dict[Cut, list[Tensor]]]:  # fmt: skip
    """Scores of each quantity `[point]`, and sizes of their gradients by cut, of one input."""
    fixed = [held(net, q, line.x[row : row + 1]) for q in ofs]
    scores: list[list[Tensor]] = [[] for _ in ofs]
    sizes: dict[Cut, list[list[Tensor]]] = {cut: [[] for _ in ofs] for cut in cuts}
    for alpha in _alphas(line).split(chunk):
        points = line.at(torch.full((len(alpha),), row), alpha)
        found = influence(net, list(cuts), fixed, Point(points), magnitude, chunk=chunk, progress=progress)
        read = {place: activations(net, place, points) for place in dict.fromkeys(p for q in fixed for p in q.places)}
        for k, q in enumerate(fixed):
            values = [weight * term.value(read[term.place], None) for weight, term in q.terms]
            scores[k].append(torch.stack(values).sum(0))
            for cut in cuts:
                sizes[cut][k].append(found[cut][q].values.flatten(1).mean(1))
    return [torch.cat(s) for s in scores], {cut: [torch.cat(s) for s in of] for cut, of in sizes.items()}


@dataclass(frozen=True, repr=False, eq=False)
class Held(Quantity):
    """A quantity with what it takes from the explained input, `chosen [1]`, held for every point."""

    of: Quantity
    chosen: Tensor | None
    cut: Cut | str = OUTPUT

    def value(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        """The quantity's own value, for what was chosen at the explained input."""
        return self.of.value(y, None if self.chosen is None else self.chosen.expand(len(y)))


def held(net: Net, of: Quantity, x: Tensor) -> Quantity:
    """`of` with classes and units chosen at `x [1, *shape]`, wherever it is evaluated afterwards.

    Errors: `QuestionError` for `Through`, whose value is known along a path only.

    >>> held(as_net(nn.Identity().eval()), Predicted(), torch.tensor([[1.0, 3.0]])).terms[0][1].chosen
    tensor([1])
    """
    terms = [(weight, term.bind(net)) for weight, term in of.terms]
    for _, term in terms:
        if isinstance(term, Through):
            raise QuestionError(f"{term!r} is a flow along a path, and has no value at one point. Ask for a class.")
    return Combination(
        tuple((w, Held(term, term.choose(activations(net, term.place, x), Subject()), term.place)) for w, term in terms)
    )
