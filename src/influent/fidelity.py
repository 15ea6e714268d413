"""How far two answers agree: over units, over two kinds of instance, and slopes beside replaced units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .ablation import patched
from .ask import influence
from .attribution import Attribution
from .cut import Cut, as_cut
from .distributions import Line
from .errors import QuestionError
from .measures import contribution
from .nets import Net, as_net
from .quantity import as_quantity
from .shapes import spell_shape
from .sweep import check_result
from .through import Through


@dataclass(frozen=True, eq=False)
class Agreement:
    """Correlation of two attributions over their units: `pearson [instance]` of values, `spearman [instance]` of ranks.

    NaN where all units of one have the same value.

    >>> Agreement(torch.tensor([0.5]), torch.tensor([1.0])).spearman
    tensor([1.])
    """

    pearson: Tensor
    spearman: Tensor


def agreement(a: Attribution, b: Attribution) -> Agreement:
    """corr(a, b) over units, row by row: of values (Pearson), and of ranks, ties sharing theirs (Spearman).

    Both attributions have rows and units of one shape; values of any scale. Errors: `QuestionError` for other shapes.
    Source: Spearman 1904; the measures side by side, Dhamdhere et al. 2018, section 4.

    >>> net, x = nn.Linear(3, 2).eval(), torch.ones(1, 3)
    >>> agreement(ablate(net, "INPUT", Class(0), x), gradient_times_input(net, x, Class(0))).spearman.round(decimals=9)
    tensor([1.], dtype=torch.float64)
    """
    if a.values.shape != b.values.shape:
        raise QuestionError(
            f"These attributions are {list(a.values.shape)} and {list(b.values.shape)}: agreement compares the same "
            "rows and units. Ask both at the same cut."
        )
    first, second = _rows(a), _rows(b)
    return Agreement(_correlation(first, second), _correlation(_ranks(first), _ranks(second)))


def rank_agreement(instances: Attribution | Tensor, of_class: Attribution | Tensor) -> Tensor:
    """How well the influences of each instance follow the order of units over a class: Spearman's ρ, `[instance]`.

    `instances` has values `[instance, *unit]`, `of_class` `[*unit]` or one row of them, `[1, *unit]`. Values are
    signed: 1 is the same order from the most positive to the most negative unit, −1 the reverse; ties share their
    rank. NaN where all units of one side have the same value, and where a value is NaN.
    Errors: `QuestionError` for other shapes.
    Source: Leino et al. 2018, Fig 3, where the eye sees it; Spearman 1904.

    >>> rank_agreement(torch.tensor([[3.0, 2.0, -9.0], [-3.0, 0.0, 1.0]]), torch.tensor([5.0, 1.0, -1.0])).float()
    tensor([ 1., -1.])
    """
    rows, order = _values(instances), _values(of_class)
    if rows.dim() < 2 or order.shape not in (rows.shape[1:], (1, *rows.shape[1:])):
        raise QuestionError(
            f"The instances are {spell_shape(rows)}, the class {spell_shape(order)}: rank_agreement takes "
            "[instance, *unit] and [*unit], of the same cut. Of several classes choose one: a[817]."
        )
    first, second = _rows(rows), _rows(order.reshape(1, *rows.shape[1:]))
    known = ~(first.isnan().any(1) | second.isnan().any())
    return _correlation(_ranks(first), _ranks(second)).where(known, torch.nan)


def auroc(score: Tensor, positive: Tensor) -> float:
    """P(score of a positive > score of a negative) + ½ P(equal): 1 where `score [n]` tells them apart, ½ by chance.

    `positive [n]` is bool. The area under the ROC curve is Mann and Whitney's U by the number of pairs. NaN where a
    score is NaN. Errors: `QuestionError` for other shapes, and where there is none of one kind.
    Source: Mann & Whitney 1947; Hanley & McNeil 1982.

    >>> auroc(torch.tensor([0.9, 0.4, 0.4, 0.1]), torch.tensor([True, True, False, False]))
    0.875
    """
    if score.dim() != 1 or score.shape != positive.shape or positive.dtype != torch.bool:
        raise QuestionError(
            f"score is {spell_shape(score)}, positive {spell_shape(positive)}: give a number and a bool for each."
        )
    kind = positive.detach().cpu()
    hits, misses = int(kind.sum()), int((~kind).sum())
    if not hits or not misses:
        raise QuestionError(
            f"There are {hits} positive and {misses} negative scores: an AUROC compares the two, so give some of each."
        )
    values = score.detach().cpu().double()
    if values.isnan().any():
        return float("nan")
    over = float(_ranks(values[None])[0][kind].sum()) - hits * (hits + 1) / 2
    return over / (hits * misses)


def _values(x: Attribution | Tensor) -> Tensor:
    return x if isinstance(x, Tensor) else x.values


def _rows(x: Attribution | Tensor) -> Tensor:
    """Values as float64 `[instance, unit]`, on the CPU."""
    return _values(x).detach().cpu().double().flatten(1)


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1, row by row, `[row, unit]`; equal values share the mean of theirs."""
    found = []
    for row in values:
        _, place, count = row.unique(return_inverse=True, return_counts=True)
        found.append((count.cumsum(0) - (count - 1) / 2).double()[place])
    return torch.stack(found) if found else values


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Row by row; NaN where one side does not vary."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    size = a.norm(dim=1) * b.norm(dim=1)
    return ((a * b).sum(1) / size).where(size > 0, torch.nan)


@dataclass(frozen=True, eq=False)
class Patching:
    """What putting a unit's clean activation into the corrupted run does, beside what slopes say that it does.

    - `real`: F(corrupted, the unit clean) − F(corrupted), by cut, `values [instance, *unit]`, in units of F;
    - `estimated`: the same by `"1 point"`, (clean − corrupted) · slope at the corrupted end, which is attribution
      patching, and by the slopes along the whole path, which is the units' conductance.

    Prints, for each estimate over all units of all cuts, the correlation with what is real and Σ|estimate − real| /
    Σ|real|: means over the pairs, with 95 % intervals (bootstrap over pairs).
    """

    real: Mapping[Any, Attribution]
    estimated: Mapping[str, Mapping[Any, Attribution]]

    def agreement(self, estimate: str) -> Agreement:
        """The correlation of an estimate with what is real, over the units of all cuts, pair by pair."""
        a, b = _joined(self.estimated[estimate]), _joined(self.real)
        return Agreement(_correlation(a, b), _correlation(_ranks(a), _ranks(b)))

    def error(self, estimate: str) -> Tensor:
        """Σ|estimate − real| / Σ|real| over the units of all cuts, `[instance]`."""
        a, b = _joined(self.estimated[estimate]), _joined(self.real)
        return (a - b).abs().sum(1) / b.abs().sum(1)

    def __repr__(self) -> str:
        units = _joined(self.real)
        lines = [f"Patching: {len(units)} pairs, {units.shape[1]} units"]
        for name in self.estimated:
            found = self.agreement(name)
            told = {"Pearson": found.pearson, "Spearman": found.spearman, "error": self.error(name)}
            said = (f"{word} {_spelt(mean_interval(values))}" for word, values in told.items())
            lines.append(f"  {name:<10} {'  '.join(said)}")
        return "\n".join(lines)


def patching(
    net: Net | nn.Module, at: Cut | str | Sequence[Cut | str], of: Any, over: Line, chunk: int = 64,
    progress: Callable[[int], None] | None = None,
) -> Patching:  # fmt: skip
    """How well slopes foretell what replacing units does, on the path from a corrupted input to a clean one.

    `over` is the line between the two, `Line(net.read("…bad…"), net.read("…good…"))`, or between tensors; its rule and
    n are those of the estimate along the path. `at` names units in one layer or several, heads (`"….o_proj:in/head"`)
    or neurons (`"….down_proj:in/channel"`); a unit is replaced at all positions at once. The net runs once a unit and
    pair. What `of` takes from the input (`Predicted`) is fixed at the clean one.
    Errors: `QuestionError` for what is no line between two inputs, and as `influence`.
    Source: activation patching, Meng et al. 2022 (arXiv:2202.05262), section 2; attribution patching, Nanda 2023; Syed
    et al. 2023 (arXiv:2310.10348).

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).eval()
    >>> found = patching(net, "0", Class(0), Line(torch.zeros(1, 2), torch.ones(1, 2), n=3))
    >>> found.agreement("1 point").pearson.round(decimals=5)  # of a linear net, slopes say all
    tensor([1.], dtype=torch.float64)
    """
    net, of = as_net(net), as_quantity(of)
    places: list[Any] = list(at) if isinstance(at, list | tuple) else [at]
    ats = [as_cut(place) for place in places]
    if not isinstance(over, Line) or over.data is not None:
        raise QuestionError("Patching goes from one input to another: over=Line(corrupted, clean).")
    if any(isinstance(term, Through) for _, term in of.terms):
        raise QuestionError("Patching compares values, and Through has none. Ask for its behaviour: of=Class(3).")
    line = over.resolve(net)
    ways = {"1 point": replace(line, rule="left", n=2, tol=None), f"{line.n} points": line}
    found = {
        name: influence(net, ats, of, way, contribution, chunk=chunk, progress=progress) for name, way in ways.items()
    }
    real = {}
    for cut, frame in next(iter(found.values())).items():
        values = patched(net, cut, of, line, chunk, progress).reshape(frame.values.shape).to(frame.values)
        check_result(values, net, f"The patching of {cut.text}")
        question = replace(frame.question, over=over, measure=patching)
        real[cut] = replace(
            frame, values=values, question=question, gap=None, residual=None, velocity="", note="units replaced"
        )
    return Patching(real, found)


def mean_interval(values: Tensor, draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """The mean of `values [n]` and the ends of its 95 % interval, by the bootstrap; NaN for the ends of a single one.

    Values that are NaN are left out.

    Source: Efron 1979, the percentile interval.

    >>> mean_interval(torch.ones(5))
    (1.0, 1.0, 1.0)
    """
    known = values[~values.isnan()].double().cpu()
    if len(known) < 2:
        return (float(known.mean()), float("nan"), float("nan"))
    dice = torch.Generator().manual_seed(seed)
    means = known[torch.randint(len(known), (draws, len(known)), generator=dice)].mean(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return float(known.mean()), low, high


def _spelt(interval: tuple[float, float, float]) -> str:
    mean, low, high = interval
    return f"{mean:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low == low else "")


def _joined(found: Mapping[Any, Attribution]) -> Tensor:
    """The units of all cuts side by side, `[instance, unit]` in float64."""
    return torch.cat([_rows(a) for a in found.values()], 1)
