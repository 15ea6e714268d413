"""The result: `Attribution`, values for each unit with the question they answer and the error they carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .cut import Cut
from .distribution import Distribution
from .errors import InputError, QuestionError
from .measures import Monotone, spell_measure
from .nets import Net
from .probe import Cost
from .quantities import Classes
from .quantity import Quantity
from .shapes import key_of

NOT_FULL = "not a full cut"


@dataclass(frozen=True, eq=False)
class Question:
    """The four words: which units, which behaviour, over which inputs, counted how.

    Two questions are equal when their words are, tensors by checksum.

    >>> Question(Cut("conv1"), Class(3), Point(torch.zeros(1, 2)), gradient).text["of"]
    'Class(3)'
    """

    at: Cut
    of: Quantity | Classes
    over: Distribution
    measure: Callable[..., Any] | Monotone

    @property
    def text(self) -> dict[str, str]:
        """The words as text that `influent.parse` reads back."""
        return {
            "at": self.at.text,
            "of": repr(self.of),
            "over": repr(self.over),
            "measure": spell_measure(self.measure),
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Question) and key_of(self) == key_of(other)

    def __hash__(self) -> int:
        return hash(key_of(self))

    def __repr__(self) -> str:
        return ", ".join(f"{word}={text}" for word, text in self.text.items())


@dataclass(frozen=True)
class Gap:
    """How far Σ units is from F(x) − F(x′), in units of F: `[instance]` (`[instance, class]` for `Classes`).

    Source: completeness, Dhamdhere et al. 2018, section 3.

    >>> Gap(signed=torch.tensor([-0.5]), change=torch.tensor([2.0])).relative
    tensor([0.2500])
    """

    signed: Tensor
    change: Tensor

    @property
    def absolute(self) -> Tensor:
        """|gap|."""
        return self.signed.abs()

    @property
    def relative(self) -> Tensor:
        """|gap| / |F(x) − F(x′)|."""
        return self.signed.abs() / self.change.abs()


@dataclass(frozen=True)
class Examples:
    """The samples of largest magnitude for each unit: `index [instance, k, *unit]` in the data, -1 where too few.

    `value` has the same shape; `names` the sample of each index. The order is by magnitude, the earlier first.

    >>> Examples(torch.tensor([[[7], [-1]]]), torch.tensor([[[0.5], [0.0]]]), {7: "cat.jpg"}).of(0)
    (('cat.jpg', 0.5),)
    """

    index: Tensor
    value: Tensor
    names: Mapping[int, str]

    def of(self, *unit: int, row: int = 0) -> tuple[tuple[str, float], ...]:
        """The names and values of a unit's best samples."""
        index, value = (x[row].movedim(0, -1)[unit].tolist() for x in (self.index, self.value))
        return tuple((self.names[i], v) for i, v in zip(index, value, strict=True) if i >= 0)


@dataclass(frozen=True)
class Ranked:
    """One entry of a ranking: the unit's index, its value, and its share of Σ |values|."""

    index: tuple[int, ...]
    value: float
    share: float
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name or self.index}  {self.value:+.4g}  {self.share:.1%}"


class Ranking(tuple[Ranked, ...]):
    """The units of `top`, best first; prints as a table."""

    def __repr__(self) -> str:
        return "\n".join(map(str, self))


@dataclass(frozen=True, eq=False)
class Attribution:
    """Values for each unit, `values [instance, *unit]` (`[instance, class, *unit]` for `Classes`).

    - `question`: the words it answers; `instances`: names of the rows; `axes`: names of the unit axes, where known;
    - `gap`: completeness (None where it does not apply: `note` says why, for instance "not a full cut");
    - `residual [instance]`: Σ over the path's segments of |ΔF − Σ units|, which does not cancel as the gap does;
    - `stderr` (same shape as values) and `count [instance]`: of a mean over samples;
    - `cost`: samples run forward and backward by the whole sweep; `velocity`: "secant" or "exact" on a path;
    - `examples`: of a data set, the best samples of each unit, where it keeps them;
    - `left_out`: of a data set, the samples that could not be used, with the reason;
    - `net`: the net, for pictures; not stored on disk.

    >>> from torch import nn
    >>> net, x = nn.Linear(3, 2).eval(), torch.ones(2, 3)
    >>> a = influence(net, "INPUT", Class(1), Line(0 * x, x, n=5), measure=contribution)
    >>> a.values.shape, a.instances, a.axes, a.gap.signed.shape
    (torch.Size([2, 3]), (0, 1), ('channel',), torch.Size([2]))
    """

    values: Tensor
    question: Question
    instances: tuple[Any, ...]
    axes: tuple[str, ...] | None = None
    gap: Gap | None = None
    note: str = ""
    residual: Tensor | None = None
    stderr: Tensor | None = None
    count: Tensor | None = None
    cost: Cost = field(default_factory=Cost)
    velocity: str = ""
    net: Net | None = field(default=None, repr=False)
    examples: Examples | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, instance: Any) -> Attribution:
        """One row, still with its row dimension: `a["cat"]`, `a[3]`."""
        if isinstance(instance, Tensor) or instance not in self.instances:
            raise QuestionError(f"There is no row {instance!r}. Rows: {', '.join(map(repr, self.instances[:20]))}.")
        k = self.instances.index(instance)

        def row(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[k : k + 1]

        gap = self.gap and Gap(self.gap.signed[k : k + 1], self.gap.change[k : k + 1])
        return replace(
            self, values=self.values[k : k + 1], instances=(instance,), gap=gap, residual=row(self.residual),
            stderr=row(self.stderr), count=row(self.count),
            examples=self.examples and replace(
                self.examples, index=self.examples.index[k : k + 1], value=self.examples.value[k : k + 1]
            ),
        )  # fmt: skip

    def __iter__(self) -> Iterator[Attribution]:
        """The rows, one after another."""
        return (self[instance] for instance in self.instances)

    @property
    def _class_axis(self) -> int:
        return int(isinstance(self.question.of, Classes))

    def by(self, axis: str) -> Attribution:
        """Values summed over all unit axes but one: a plain sum, afterwards.

        Standard errors and `magnitude` cannot be summed: ask for the units in the question, `at="layer/channel"`.
        Errors: `QuestionError` for axes that are not there, with those that are.
        """
        if self.axes is None or axis not in self.axes:
            known = (
                ", ".join(self.axes)
                if self.axes
                else f"unknown; declare them: inf.Net(module, axes={{{self.question.at!r}: (...)}})"
            )
            raise QuestionError(f"These units have no axis {axis!r}. Their axes: {known}.")
        first = self.values.dim() - len(self.axes)
        others = [first + k for k, name in enumerate(self.axes) if name != axis]
        at = Cut(f"{self.question.at.place.text}/{axis}")
        values = self.values.sum(others) if others else self.values
        return replace(
            self, values=values, axes=(axis,), stderr=self.stderr if not others else None,
            examples=self.examples if not others else None,
            question=replace(self.question, at=at),
        )  # fmt: skip

    def groups(self, groups: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
        """Sums over named groups of units, `[instance]` each, of units along one axis: `{"warm": [3, 17]}`.

        Errors: `QuestionError` where units have several axes (sum them first, `a.by("channel")`), or are not there.
        """
        if self.axes is None or len(self.axes) != 1:
            raise QuestionError(
                f"Groups are of units along one axis, and these have {self.axes}: a.by('channel') first."
            )
        size = self.values.shape[-1]
        for name, units in groups.items():
            if bad := [u for u in units if not -size <= u < size]:
                raise QuestionError(f"The group {name!r} has the unit {bad[0]}, and there are {size} units, from 0.")
        return {name: self.values[..., list(units)].sum(-1) for name, units in groups.items()}

    def mean(self, labels: Sequence[Any]) -> Attribution:
        """The mean over the rows of each label, `labels [instance]`: one row a label, in the order of their first rows.

        With `count`, and `stderr` between the rows of a label. Gap, change and residual are means, too. Errors:
        `QuestionError` where there is not one label a row.
        """
        if len(labels) != len(self.instances):
            raise QuestionError(f"There are {len(labels)} labels for {len(self.instances)} rows. Give one for each.")
        names = tuple(dict.fromkeys(labels))
        rows = [torch.tensor([k for k, label in enumerate(labels) if label == name]) for name in names]

        def means(x: Tensor) -> Tensor:
            return torch.stack([x[r.to(x.device)].mean(0) for r in rows])

        values = self.values.double() if self.values.device.type != "mps" else self.values
        spread = [
            values[r.to(values.device)].std(0) / len(r) ** 0.5 if len(r) > 1 else values[0] * torch.nan for r in rows
        ]
        gap = self.gap and Gap(means(self.gap.signed), means(self.gap.change))
        return replace(
            self, values=means(values).to(self.values.dtype), instances=names, gap=gap,
            residual=None if self.residual is None else means(self.residual),
            stderr=torch.stack(spread).to(self.values.dtype), count=torch.tensor([len(r) for r in rows]), examples=None,
        )  # fmt: skip

    def top(self, k: int, sign: str | None = None, of_class: int = 0) -> Ranking:
        """The k units of largest magnitude, sign shown; `sign="+"` or `"-"` takes one side only.

        Errors: `QuestionError` where there are several rows: choose one first, `a[3].top(5)`.
        """
        if len(self.instances) != 1:
            raise QuestionError(f"There are {len(self.instances)} rows. Choose one: a[{self.instances[0]!r}].top({k}).")
        if not isinstance(k, int) or k < 0:
            raise QuestionError(f"top({k!r}): give the number of units, top(5).")
        if self._class_axis and of_class not in range(self.values.shape[1]):
            raise QuestionError(f"of_class={of_class!r}: this question has {self.values.shape[1]} classes, from 0.")
        if sign not in (None, "+", "-"):
            raise QuestionError(f"sign={sign!r} is not known: '+', '-', or None for both.")
        values = self.values[0, of_class] if self._class_axis else self.values[0]
        flat = values.flatten()
        key = {None: flat.abs(), "+": flat, "-": -flat}[sign]
        order = key.argsort(descending=True, stable=True)[:k]
        order = order if sign is None else order[key[order] > 0]
        total = float(flat.abs().sum()) or 1.0
        places = [tuple(int(i) for i in torch.unravel_index(j, values.shape)) for j in order]
        return Ranking(Ranked(p, float(values[p]), abs(float(values[p])) / total, self._name(p)) for p in places)

    def _name(self, index: tuple[int, ...]) -> str:
        nicknames = {} if self.net is None else self.net.nicknames.get(self.question.at.place.text, {})
        if self.axes == (self.question.at.units,) and index[0] in nicknames:
            return f"{self.axes[0]} {index[0]} ({nicknames[index[0]]})"
        if self.axes and len(self.axes) == len(index):
            return ", ".join(f"{axis} {i}" for axis, i in zip(self.axes, index, strict=True))
        return str(index[0] if len(index) == 1 else index)

    def sentence(self, k: int = 3, of_class: int = 0) -> str:
        """How much of the change of the score flows through the k units of largest magnitude, in words.

        Shares are of F(x) − F(x′), signed, so that all units' shares add up to 100 % but for the gap; where
        completeness does not apply, of Σ |values|. Errors: as `top`.
        """
        ranked = [unit for unit in self.top(k, of_class=of_class) if unit.value]
        if not ranked:
            return f"Nothing flows through the units of {self.question.at.place.text}."
        axis = f"{self.axes[0]} " if self.axes and len(self.axes) == 1 else ""
        names = ", ".join((unit.name or str(unit.index)).removeprefix(axis) for unit in ranked)
        names = f"{axis.strip()}{'s' * (len(ranked) > 1)} {names}" if axis else f"units {names}"
        place = f"of {self.question.at.place.text}"
        if self.gap is None:
            share = sum(u.share for u in ranked)
            return f"{share:.0%} of all influence, whatever its sign, is that of {names} {place}."
        change = float(self.gap.change.flatten()[of_class])
        whole = sum(u.value for u in ranked)
        if not change:
            return f"The score does not change on the path; {names} {place} carry {whole:+.3g}."
        parts = ", ".join(f"{u.value / change:+.0%}" for u in ranked)
        return f"{whole / change:.0%} of the score's change flows through {names} {place} ({parts})."

    def to_frame(self) -> Any:
        """A pandas table, one line for each instance and unit. Errors: `InputError` where pandas is missing."""
        try:
            import pandas
        except ImportError:
            raise InputError('to_frame() needs pandas: pip install "influent[frame]".') from None
        shape = self.values.shape[1:]
        names = list(self.axes or [f"unit_{d}" for d in range(len(shape) - self._class_axis)])
        names = ["class"] * self._class_axis + names
        index = pandas.MultiIndex.from_product([self.instances, *map(range, shape)], names=["instance", *names])
        columns = {"value": self.values.flatten().cpu().double().numpy()}
        if self.stderr is not None:
            columns["stderr"] = self.stderr.flatten().cpu().double().numpy()
        return pandas.DataFrame(columns, index=index).reset_index()

    def summary(self) -> str:
        """The error it carries, in one line."""
        if self.gap is None:
            return self.note
        worst = int(self.gap.absolute.flatten().argmax())
        gap, change = float(self.gap.signed.flatten()[worst]), float(self.gap.change.flatten()[worst])
        text = f"gap {gap:+.3g} of ΔF {change:+.4g} ({abs(gap / change) if change else float('nan'):.2%})"
        if self.residual is not None:
            text += f", residual {float(self.residual.flatten()[worst]):.3g}"
        return text

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.values.shape[1:]))
        lines = [f"Attribution: {len(self.instances)} × [{shape}] units", f"  {self.question!r}"]
        lines += [f"  {self.summary()}"] if self.summary() else []
        lines += [f"  velocity: {self.velocity}"] if self.velocity else []
        return "\n".join(lines)


Results = Attribution | Mapping[Any, Any]
