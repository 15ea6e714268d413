"""Right for a wrong reason? Units of a class's essence whose evidence is in the training data alone, in a few of its
samples, or beside the object.

Evidence of a unit on a sample is gradient × activation of the score of the sample's own class. The essence of a class
are its units of largest mean evidence over the data that the net was trained on, where these are given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .confusion import Seen
from .drowning import Bench, Told
from .fidelity import auroc
from .limits import Limits
from .mask import Mask
from .rates import mann_whitney

TENTH = 0.1


@dataclass(frozen=True)
class Reason:
    """One unit of the essence of a class, and where its evidence is.

    - `share`: its part of the positive evidence of the class's essence data, over `count` samples;
    - `shifted`: P(evidence in training > evidence in held-out data), of the class's samples (AUROC); `gone`: 1 − mean
      held out / mean in training; `p`: Mann and Whitney's test; over `held` samples held out;
    - `few`: the share of its positive evidence that a tenth of the samples carries;
    - `outside`: the share of its positive evidence outside of the objects; `beside`: the share of positions there.

    NaN where it was not asked. `names` are the samples of most evidence.
    """

    index: int
    unit: int
    share: float
    count: int
    names: tuple[str, ...]
    few: float
    held: int = 0
    shifted: float = math.nan
    gone: float = math.nan
    p: float = math.nan
    outside: float = math.nan
    beside: float = math.nan

    def why(self, limits: Limits, tests: int) -> tuple[str, ...]:
        """What is wrong with it: "training alone", "few samples", "beside the object"; `tests` were made in all."""
        known = {
            "training alone": self.shifted >= limits.shifted
            and self.gone >= limits.gone
            and self.p <= limits.level / max(1, tests),
            "few samples": self.few >= limits.few,
            "beside the object": self.outside >= limits.outside and self.outside > self.beside,
        }
        return tuple(name for name, wrong in known.items() if wrong)


@dataclass(frozen=True)
class Checked:
    """What units of a class do: how it is told with them silenced, `without`, and as it is, `as_is`.

    On the data of the essence, and on held-out data, where there are any: `held_without`, `held_as_is`.
    """

    index: int
    units: tuple[int, ...]
    as_is: Told
    without: Told
    held_as_is: Told | None = None
    held_without: Told | None = None


def reasons(seen: Seen, held: Seen | None, limits: Limits, keep: int = 4) -> tuple[Reason, ...]:
    """The essence of every class with samples enough, unit by unit, held against the held-out data where there are any.

    `seen` is what the net was trained on, or the only data there are.

    >>> from influent.confusion import see
    >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 2, bias=False)).eval()
    >>> net[1].weight.data = torch.eye(2)
    >>> seen = see(net, "0/channel", Dataset([(torch.eye(2).repeat(20, 1), torch.arange(40) % 2)]))
    >>> [(one.index, one.unit, one.share) for one in reasons(seen, None, Limits())]
    [(0, 0, 1.0), (1, 1, 1.0)]
    """
    made = []
    for index in seen.label.unique().tolist():
        rows = seen.where(index)
        if len(rows) < limits.least:
            continue
        evidence = seen.evidence[rows].double()
        beside = held.evidence[held.where(index)].double() if held is not None else None
        positive = evidence.clamp(min=0)
        order = evidence.mean(0).argsort(descending=True, stable=True)[: limits.essence]
        for unit in [u for u in order.tolist() if float(evidence[:, u].mean()) > 0]:
            own = evidence[:, unit]
            best = own.argsort(descending=True, stable=True)
            tenth = max(1, round(TENTH * len(rows)))
            one = Reason(
                index, unit, float(positive[:, unit].sum() / positive.sum()), len(rows),
                tuple(seen.names[int(rows[k])] for k in best[:keep]),
                float(positive[best[:tenth], unit].sum() / positive[:, unit].sum()),
            )  # fmt: skip
            if beside is not None and len(beside) > 1:
                one = _held_against(one, own, beside[:, unit])
            made.append(_placed(one, seen, rows))
    return tuple(made)


def _held_against(one: Reason, own: Tensor, other: Tensor) -> Reason:
    """With what becomes of the evidence on held-out samples."""
    area = auroc(torch.cat([own, other]), torch.arange(len(own) + len(other)) < len(own))
    gone = 1 - float(other.mean() / own.mean())
    return replace(one, held=len(other), shifted=area, gone=gone, p=mann_whitney(area, len(own), len(other)))


def _placed(one: Reason, seen: Seen, rows: Tensor) -> Reason:
    """With where in the picture the evidence lies, over the samples with a marked object."""
    known = rows[~seen.beside[rows].isnan()]
    if not seen.located.numel() or not len(known):
        return one
    beside, whole = seen.located[known, :, one.unit].double().sum(0)
    return replace(one, outside=float(beside / whole), beside=float(seen.beside[known].double().mean()))


def check(bench: Bench, held: Bench | None, index: int, units: tuple[int, ...]) -> Checked:
    """How a class is told from all others with some units silenced, in both data; at most `most` samples of each."""
    as_is, without = _told(bench, index, units)
    if held is None or not len(held.seen.where(index)):
        return Checked(index, units, as_is, without)
    return Checked(index, units, as_is, without, *_told(held, index, units))


def _told(bench: Bench, index: int, units: tuple[int, ...]) -> tuple[Told, Told]:
    size = bench.seen.units.shape[1]
    masks = [Mask(bench.at, range(size)), Mask(bench.at, units, keep=False)]
    as_is, without = bench.told(index, masks, bench.some(index))
    return as_is, without
