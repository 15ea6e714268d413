"""What a distribution of interest is: draws of points in the place of the net's input, or inside the net.

Distributions mix: `0.25 * P + 0.75 * Q`. A new one is a frozen dataclass with `cut`, `given`, `resolve`, `subjects` and
`draws`, in any file. Ours stand in `distributions.py`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .cut import INPUT, Cut, as_cut
from .errors import QuestionError
from .nets import Net
from .shapes import key_of, spell_noun


@dataclass(frozen=True)
class Draw:
    """Points at which the net is run, and what each stands for.

    - `points [point, *shape]`, fed at the distribution's cut;
    - `subject [point]`: which explained input the point belongs to (and which row of `given` goes with it); this and
      all further indices and weights are on the CPU;
    - `instance [point]`: which row of the result it is counted in;
    - `weight [point]`: relative weight; on a path with secants, the trapezoid rule multiplies it;
    - `alpha [point]`: the position on the subject's path, from baseline 0 to input 1; None off a path;
    - `speed [point, *shape]`: d points / dα on a path.

    >>> first = torch.tensor([0])
    >>> Draw(torch.zeros(1, 3), subject=first, instance=first, weight=torch.ones(1)).alpha is None
    True
    """

    points: Tensor
    subject: Tensor
    instance: Tensor
    weight: Tensor
    alpha: Tensor | None = None
    speed: Tensor | None = None


@dataclass(frozen=True)
class Heard:
    """What an adaptive distribution hears of one path: `alpha` ascending, `residual` of each segment between.

    Residuals are in units of F's range on the path, and 0 where they are rounding errors; `error` is the completeness
    gap in units of |F(x) − F(x′)|, the largest over everything that is asked.
    """

    alpha: list[float]
    residual: list[float]
    error: float


Draws = Generator[Draw, dict[int, Heard], None]


class Distribution(ABC):
    """Weighted points in the place of the net's input, or at a cut inside it.

    Source: distribution of interest, Leino et al. 2018, section 2.1.

    >>> x = torch.ones(1, 2)
    >>> len((0.25 * Point(x) + 0.75 * Point(2 * x)).parts)
    2
    """

    cut: Cut | str = INPUT
    given: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cut", as_cut(self.cut))

    @property
    def place(self) -> Cut:
        """The cut at which the points are fed."""
        return as_cut(self.cut)

    @property
    def parts(self) -> tuple[tuple[float, Distribution], ...]:
        """The distribution as a weighted mixture of elementary ones."""
        return ((1.0, self),)

    @property
    def path(self) -> bool:
        """Whether the points lie on paths from a baseline, α = 0, to each input, α = 1."""
        return False

    @property
    def exact(self) -> bool:
        """Whether velocities on the path are taken in forward mode, and weights as drawn, instead of by secants."""
        return False

    @property
    def adaptive(self) -> bool:
        """Whether `draws` listens to the residuals of what it proposed."""
        return False

    @property
    def left(self) -> bool:
        """Whether a segment of the path counts with the slope at its beginning alone, instead of with both ends'."""
        return False

    @property
    def visits_subjects(self) -> bool:
        """Whether each subject is among its own points, and first: then it needs no pass of its own."""
        return False

    @property
    def sampled(self) -> bool:
        """Whether the points are independent samples, so that the mean has a standard error."""
        return False

    @property
    def data(self) -> Any:
        """The data set that the points come from, where they come from one: it is then gone through in blocks."""
        return None

    @property
    def labels(self) -> Tensor | None:
        """The subjects' own classes, `[subject]`, where they are known."""
        return None

    @abstractmethod
    def resolve(self, net: Net) -> Distribution:
        """This distribution on the net's device and type, with named baselines made."""

    @abstractmethod
    def subjects(self) -> Tensor:
        """The explained inputs themselves, `[subject, *shape]`."""

    def at(self, subject: Tensor, alpha: Tensor) -> Tensor:
        """The points at positions `alpha [point]` of the paths of `subject [point]`: needed of adaptive ones."""
        raise QuestionError(f"{type(self).__name__} is adaptive, and needs a method `at(subject, alpha)`: its points.")

    def ends(self, chunk: int) -> Iterator[Draw]:
        """The ends of paths, input first, where `draws` leaves them out: run forward only, for F(x) − F(x′)."""
        yield from ()

    @abstractmethod
    def draws(self, chunk: int) -> Draws:
        """The points, at most `chunk` at a time (an adaptive distribution: as many as a round needs)."""

    def __add__(self, other: Distribution) -> Distribution:
        if not isinstance(other, Distribution):
            raise QuestionError(f"{other!r} is no distribution. Mix distributions: 0.5 * Point(a) + 0.5 * Point(b).")
        return Mixture((*self.parts, *other.parts))

    def __radd__(self, other: Any) -> Distribution:
        raise QuestionError(f"{other!r} is no distribution. Mix distributions: 0.5 * Point(a) + 0.5 * Point(b).")

    def __sub__(self, other: Any) -> Distribution:
        raise QuestionError(
            "Distributions have no difference. Mix distributions, or subtract quantities: of=Class(3) - Class(5)."
        )

    def __mul__(self, factor: float) -> Distribution:
        if not isinstance(factor, int | float) or not 0 < factor < math.inf:
            raise QuestionError(f"A distribution is weighted by a positive number, not by {factor!r}.")
        return Mixture(tuple((factor * weight, part) for weight, part in self.parts))

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return spell_noun(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Distribution) and key_of(self) == key_of(other)

    def __hash__(self) -> int:
        return hash(key_of(self))


@dataclass(frozen=True, repr=False, eq=False)
class Mixture(Distribution):
    """Σ weight · distribution, weights divided by their sum: what `+` and `*` make.

    Source: distribution linearity, Leino et al. 2018, Axiom 3.
    """

    mixed: tuple[tuple[float, Distribution], ...]

    def __post_init__(self) -> None:
        if not isinstance(self.mixed, tuple) or not all(isinstance(p, tuple) and len(p) == 2 for p in self.mixed):
            raise QuestionError("A Mixture is written as a sum: 0.25 * Point(a) + 0.75 * Point(b).")

    @property
    def parts(self) -> tuple[tuple[float, Distribution], ...]:
        return self.mixed

    def resolve(self, net: Net) -> Distribution:
        total = sum(weight for weight, _ in self.mixed)
        return Mixture(tuple((weight / total, part.resolve(net)) for weight, part in self.mixed))

    def subjects(self) -> Tensor:
        return self.mixed[0][1].subjects()

    def draws(self, chunk: int) -> Draws:
        raise QuestionError("A mixture is drawn part by part.")
        yield

    def __repr__(self) -> str:
        return " + ".join(f"{weight!r} * {part!r}" for weight, part in self.mixed)
