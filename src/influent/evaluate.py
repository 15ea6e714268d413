"""Quantities at the points of one pass: their values, and the flows through units that they follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .containers import rows_of
from .cut import Cut
from .errors import QuestionError
from .probe import Pass
from .quantity import Quantity, Subject
from .shapes import spell_shape
from .through import Through

Chosen = Callable[[Quantity], Tensor | None]


@dataclass(frozen=True)
class Valued:
    """A quantity at some points: `value [point]` to differentiate, and `plain [point]`, what of it is no flow.

    `flows[cut] [point, *neuron]` are the slopes of the units that its flows go through.
    """

    value: Tensor
    plain: Tensor
    flows: dict[Cut, Tensor]


def stacked_values(values: Sequence[Valued]) -> Tensor:
    """What of several quantities is no flow, `[point, of]` in float64 on the CPU."""
    return torch.stack([v.plain.detach().double().cpu() for v in values], dim=1)


def leaves_of(of: Sequence[Quantity]) -> list[Quantity]:
    """The quantities that are read at one place each, also those whose flow is followed."""
    terms = [term for q in of for _, term in q.terms]
    inner = [leaf for term in terms if isinstance(term, Through) for leaf in leaves_of([term.of])]
    return list(dict.fromkeys([term for term in terms if not isinstance(term, Through)] + inner))


def about(labels: Tensor | None, given: Any, rows: Tensor, subjects: int) -> Subject:
    """What quantities may look at of the explained inputs number `rows`."""
    return Subject(None if labels is None else labels[rows.to(labels.device)], rows_of(given, rows, subjects))


def looks_at_subject(q: Quantity) -> bool:
    """Whether the quantity takes anything from the explained input."""
    return any(type(leaf).choose is not Quantity.choose for leaf in leaves_of([q]))


def evaluated(q: Quantity, done: Pass, chosen: Chosen, points: int, slopes: bool = True) -> Valued:
    """Σ weight · term, each term at its own cut, checked to be one number a point; flows only where `slopes`."""
    plain = torch.zeros(points, dtype=torch.float64)
    flows: dict[Cut, Tensor] = {}
    parts: list[Tensor] = []
    for weight, term in q.terms:
        y = done.read[term.place]
        check_points(y, term, points)
        if not isinstance(term, Through):
            parts.append(weight * _value(term, y, chosen(term)))
        elif slopes:
            flow = weight * term.flow(_slope(term, done, chosen, points))
            flows[term.place] = flow + flows[term.place] if term.place in flows else flow
    plain = sum(parts[1:], parts[0]) if parts else plain
    parts += [(flow * done.read[cut]).flatten(1).sum(1) for cut, flow in flows.items()]
    if not q.terms:
        raise QuestionError("A quantity without terms explains nothing.")
    return Valued(sum(parts[1:], parts[0]) if parts else plain, plain, flows)


def _value(term: Quantity, y: Tensor, chosen: Tensor | None) -> Tensor:
    value = term.value(y, chosen)
    if not isinstance(value, Tensor) or value.shape != y.shape[:1] or y.dim() == 0:
        got = spell_shape(value) if isinstance(value, Tensor) else type(value).__name__
        raise QuestionError(
            f"{term!r} gives {got} on outputs {spell_shape(y)}. A quantity gives one number a point, "
            f"{list(y.shape[:1]) or '[point]'}: lambda y: y[:, 3], or a sum over the other dimensions."
        )
    return value


def _slope(term: Through, done: Pass, chosen: Chosen, points: int) -> Tensor:
    """∂of/∂y at the units' place, taken once a pass for all flows of the same behaviour there."""
    key = (term.of, term.place)
    if key not in done.slopes:
        found = done.slope(evaluated(term.of, done, chosen, points).value, term.place)
        if found is None:
            raise QuestionError(
                f"{term!r}: {term.of!r} does not depend on {term.place.text}, or that is not between the cut and the "
                "behaviour. Name units that lie on the way."
            )
        done.slopes[key] = found
    return done.slopes[key]


def check_points(y: Tensor, leaf: Quantity, points: int) -> None:
    """Refuse a place whose first dimension does not count points."""
    if y.dim() == 0 or len(y) != points:
        raise QuestionError(
            f"{leaf!r} reads {spell_shape(y)}, but {points} points were run: its first dimension is no batch."
        )
