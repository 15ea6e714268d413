"""Our distributions of interest: over which inputs influence is averaged.

Each may live inside the net: with `cut="embeddings", given=inputs` the net runs on `given` and the points are fed
at the cut.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from .cut import INPUT, Cut
from .dataset import Dataset
from .distribution import Distribution, Draw, Draws, Heard
from .embedding import baseline_of, called_with, vectors
from .errors import InfluentWarning, InputError, QuestionError
from .nets import Net
from .quadrature import RULES, Bisection, gauss_nodes, grid
from .shapes import check_finite, check_same_shape, per_point
from .text import Text, TextTransform


@dataclass(frozen=True, repr=False, eq=False)
class Point(Distribution):
    """The explained inputs themselves, `x [instance, *shape]`: "at x"; or texts, `net.read("...")`.

    `label [instance]` serves `Label()`. Errors: `InputError` for NaN and for what is no tensor.
    Source: Leino et al. 2018, section 2.1 (i); saliency maps.

    >>> Point(torch.zeros(1, 2))
    Point(Stored('49327510bd893c56', 'float32 [1, 2]'))
    """

    x: Any
    cut: Cut | str = INPUT
    given: Any = None
    label: Sequence[int] | None = None

    @property
    def visits_subjects(self) -> bool:
        return True

    @property
    def labels(self) -> Tensor | None:
        return _labels(self.label, self.x)

    def resolve(self, net: Net) -> Point:
        if isinstance(self.x, Text):
            return _at_embedding(self, net).resolve(net)
        return replace(self, x=_checked(self.x, net), given=_placed(self.given, net))

    def subjects(self) -> Tensor:
        return self.x

    def draws(self, chunk: int) -> Draws:
        for rows in torch.arange(len(self.x)).split(chunk):
            yield Draw(self.x[rows.to(self.x.device)], rows, rows, torch.ones(len(rows), dtype=torch.float64))


@dataclass(frozen=True, repr=False, eq=False)
class Gaussian(Distribution):
    """A Gaussian ball around each input: x + std · noise, n draws, `std` in the net's input units.

    `x` may be a `Dataset`: its samples' balls are averaged in its rows; or texts, around their vectors.

    Draw k is the same noise for every input, whatever the batch. Source: Leino's slides, "neighbourhood";
    SmoothGrad (Smilkov et al. 2017). Errors: `QuestionError` unless std > 0 and n ≥ 1.

    >>> Gaussian(torch.zeros(1, 2), std=0.1, n=20, seed=0).n
    20
    """

    x: Any
    std: float
    n: int = 50
    seed: int = 0
    cut: Cut | str = INPUT
    given: Any = None
    label: Sequence[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.std, int | float) or not 0 < self.std < math.inf or not _whole(self.n, 1):
            raise QuestionError(f"A Gaussian needs std > 0 and n ≥ 1, not std={self.std!r}, n={self.n!r}.")
        if not _whole(self.seed, 0) or self.seed >= 2**31:
            raise QuestionError(f"seed={self.seed!r}: give a whole number, 0 to 2147483647.")

    @property
    def data(self) -> Dataset | None:
        return self.x if isinstance(self.x, Dataset) else None

    @property
    def sampled(self) -> bool:
        return True

    @property
    def labels(self) -> Tensor | None:
        return _labels(self.label, self.x)

    def resolve(self, net: Net) -> Gaussian:
        if isinstance(self.x, Text):
            return _at_embedding(self, net).resolve(net)
        _check_smooth(x := _checked(self.x, net))
        return replace(self, x=x, given=_placed(self.given, net))

    def subjects(self) -> Tensor:
        return self.x

    def draws(self, chunk: int) -> Draws:
        for flat in torch.arange(len(self.x) * self.n).split(chunk):
            rows = flat // self.n
            noise = torch.stack([self._noise(int(k)) for k in flat % self.n]).to(self.x)
            points = self.x[rows.to(self.x.device)] + self.std * noise
            yield Draw(points, rows, rows, torch.ones(len(rows), dtype=torch.float64))

    def _noise(self, k: int) -> Tensor:
        dice = torch.Generator().manual_seed(self.seed * 1_000_003 + k)
        return torch.randn(self.x.shape[1:], generator=dice, dtype=torch.float64)


@dataclass(frozen=True, repr=False, eq=False)
class Line(Distribution):
    """The straight path from a baseline to each input, x′ + α(x − x′), α uniform on [0, 1].

    `baseline` is a tensor (one row serves all inputs), a name in pixel space ("black", "white", "grey", "mean",
    "blur"), or a photo's file; several are a mixture, `0.5 * Line("black", x) + 0.5 * Line("white", x)`. Texts,
    `x=net.read("...")`, begin at "pad", "mask", "mean", "zero" or another text of as many tokens, and their path runs
    at the net's embedding. Where `x` is a `Dataset`, its samples' paths are averaged in its rows; where the baseline is
    one, all its samples are baselines of each input. `n` counts runs of the net, both ends included; `rule` places
    them:

    - "adaptive": starts coarse and halves the segments with the largest residual until n, or until the gap has been at
      most `tol` times |F(x) − F(x′)| for two rounds at every full cut, input by input (an `InfluentWarning` where n
      came first); trapezoid weights, secants of the activation;
    - "graded": the static grid (k/(n−1))³; "uniform": equal steps; both trapezoid and secants;
    - "left": equal steps, each counted with the slope at its beginning; `n=2` is the step from one end to the other by
      the slope at the baseline: attribution patching, where the baseline is another prompt;
    - "gauss": n Gauss–Legendre nodes with exact velocity by forward mode, for smooth nets; the two ends are no
      nodes, and run forward only, for the gap.

    Errors: `QuestionError` for unknown rules, n < 2 and baselines of another shape.
    Source: Sundararajan et al. 2017; Dhamdhere et al. 2018, Eq 1 to 3; Shrikumar et al. 2018; attribution patching,
    Nanda 2023 and Syed et al. 2023 (arXiv:2310.10348).

    >>> Line("black", torch.zeros(1, 2), n=33).rule
    'adaptive'
    """

    baseline: Any
    x: Any
    n: int = 65
    rule: str = "adaptive"
    tol: float | None = None
    cut: Cut | str = INPUT
    given: Any = None
    label: Sequence[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rule not in RULES:
            raise QuestionError(f"A Line has no rule {self.rule!r}. Type one of {', '.join(map(repr, RULES))}.")
        if not _whole(self.n, 2):
            raise QuestionError(f"A Line needs n ≥ 2 runs of the net, its two ends; got n={self.n!r}.")
        if self.tol is not None and (not isinstance(self.tol, int | float) or not self.tol >= 0):
            raise QuestionError(f"tol={self.tol!r}: give a share of |F(x) − F(x′)|, such as tol=0.01 for 1 %.")
        if self.tol is not None and self.rule != "adaptive":
            raise QuestionError(f"tol= steers the adaptive rule only; rule={self.rule!r} runs all n points. Drop one.")

    @property
    def path(self) -> bool:
        return True

    @property
    def data(self) -> Dataset | None:
        return next((side for side in (self.x, self.baseline) if isinstance(side, Dataset)), None)

    @property
    def exact(self) -> bool:
        return self.rule == "gauss"

    @property
    def adaptive(self) -> bool:
        return self.rule == "adaptive"

    @property
    def left(self) -> bool:
        return self.rule == "left"

    @property
    def visits_subjects(self) -> bool:
        return not self.exact

    @property
    def labels(self) -> Tensor | None:
        return _labels(self.label, self.x)

    def resolve(self, net: Net) -> Line:
        if isinstance(self.x, Text):
            return replace(_at_embedding(self, net), baseline=baseline_of(net, self.x, self.baseline)).resolve(net)
        x = _checked(self.x, net)
        if isinstance(self.baseline, str) and self.place != INPUT:
            raise QuestionError(
                f"The baseline {self.baseline!r} is a name in pixel space, and this path runs at {self.place.text}. "
                "Give a tensor of the shape of that cut: inf.activations(net, cut, inputs) hands them out."
            )
        _check_smooth(x)
        baseline = net.baseline_for(self.baseline, x).detach().to(x.dtype)
        check_finite(baseline, "The baseline", "Look where it comes from before explaining it.")
        if (
            isinstance(self.baseline, Tensor)
            and self.place == INPUT
            and hasattr(net.transform, "decode")
            and not baseline.any()
        ):
            warnings.warn(
                "A baseline of zeros is the mean colour for this net's transform, not black. "
                "For black: Line('black', x).",
                InfluentWarning,
                stacklevel=2,
            )
        return replace(self, x=x, baseline=check_same_shape(baseline, x), given=_placed(self.given, net))

    def subjects(self) -> Tensor:
        return self.x

    def ends(self, chunk: int) -> Iterator[Draw]:
        if self.exact:
            yield from self._static(torch.tensor([1.0, 0.0], dtype=torch.float64), None, chunk)

    def draws(self, chunk: int) -> Draws:
        if self.adaptive:
            yield from self._adaptive(chunk)
        elif self.exact:
            yield from self._static(*gauss_nodes(self.n), chunk)
        else:
            yield from self._static(grid(self.rule, self.n).flip(0), None, chunk)

    def _static(self, alpha: Tensor, weight: Tensor | None, chunk: int) -> Draws:
        """Input by input, each path from its end to its baseline, so that the subject comes first."""
        for flat in torch.arange(len(self.x) * len(alpha)).split(chunk):
            steps = flat % len(alpha)
            given = torch.ones_like(steps, dtype=torch.float64) if weight is None else weight[steps]
            yield self._draw(flat // len(alpha), alpha[steps], given)

    def _draw(self, rows: Tensor, alpha: Tensor, weight: Tensor) -> Draw:
        points = self.at(rows, alpha)
        one = bool((rows == rows[0]).all())
        of = (rows[:1] if one else rows).to(self.x.device)
        # All points of one path share one speed, which is then kept once.
        speed = (self.x[of] - self.baseline[of]).expand_as(points)
        return Draw(points, rows, rows, weight, alpha, speed)

    def at(self, subject: Tensor, alpha: Tensor) -> Tensor:
        of = subject.to(self.x.device)
        # torch.lerp is exact at both ends; x′ + α(x − x′) is not.
        return torch.lerp(self.baseline[of], self.x[of], per_point(alpha.to(self.x), self.x).expand_as(self.x[of]))

    def _adaptive(self, chunk: int) -> Draws:
        bisection = Bisection()
        for group in range(0, len(self.x), max(1, chunk // bisection.round)):
            rows = range(group, min(len(self.x), group + max(1, chunk // bisection.round)))
            new = {row: bisection.start(self.n) for row in rows}
            met = dict.fromkeys(rows, False)
            while any(new.values()):
                pairs = [(row, a) for row in rows for a in reversed(new[row])]
                at, alpha = zip(*pairs, strict=True)
                heard = yield self._draw(
                    torch.tensor(at), torch.tensor(alpha, dtype=torch.float64), torch.ones(len(at), dtype=torch.float64)
                )
                for row in filter(new.get, rows):
                    new[row] = self._next(bisection, heard[row], met[row], row)
                    met[row] = self._is_met(heard[row])

    def _is_met(self, heard: Heard) -> bool:
        return self.tol is not None and heard.error <= self.tol

    def _next(self, bisection: Bisection, heard: Heard, met: bool, row: int) -> list[float]:
        # A gap that passes through zero is small once; one that stays small is met.
        if met and self._is_met(heard):
            return []
        new = bisection.halve(heard.alpha, heard.residual, self.n - len(heard.alpha))
        if self.tol is not None and not new and not self._is_met(heard):
            warnings.warn(
                f"Input {row}: after all {len(heard.alpha)} points the gap is {heard.error:.2%} of |F(x) − F(x′)|, "
                f"above tol={self.tol:g}. Give a larger n.",
                InfluentWarning,
                stacklevel=2,
            )
        return new


Own = TypeVar("Own", Point, Gaussian, Line)


def _at_embedding(over: Own, net: Net) -> Own:
    """A distribution over texts as one over their vectors, where the net makes them."""
    if over.given is not None or over.place != INPUT:
        raise QuestionError(
            f"A text says itself where its path runs, at the net's embedding. Without cut= and given=: "
            f"{type(over).__name__}(..., text); inside the net, give tensors: inf.activations(net, cut, text.inputs)."
        )
    return replace(over, x=vectors(net, over.x.ids), cut=net.embedding or INPUT, given=called_with(net, over.x))


def _check_smooth(x: Tensor) -> None:
    if not x.is_floating_point():
        raise QuestionError(
            f"A path or a ball needs numbers that can change smoothly, and this input is {x.dtype}. Let it run at the "
            'embedding: Line(b, e, cut="embeddings", given=ids).'
        )


def _whole(number: Any, least: float) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= least


def _labels(label: Sequence[int] | None, x: Tensor) -> Tensor | None:
    if label is None:
        return None
    label = label.tolist() if isinstance(label, Tensor) else label
    if not isinstance(label, list | tuple) or not all(_whole(i, -math.inf) for i in label):
        raise QuestionError(f"label={label!r}: give the class index of each input, label=[3, 7].")
    if len(label) != len(x):
        raise QuestionError(f"There are {len(label)} labels for {len(x)} inputs. Give one for each.")
    return torch.as_tensor(label, device=x.device, dtype=torch.long)


def _checked(x: Any, net: Net) -> Tensor:
    """The input on the net's device, or a lesson on what an input is."""
    if not isinstance(x, Tensor):
        what = "text" if isinstance(net.transform, TextTransform) else "photo"
        raise InputError(
            f"The input is a {type(x).__name__}, not a tensor. A {what} becomes one with net.read({what})."
        )
    if x.layout != torch.strided or x.is_meta:
        raise InputError(f"The input is a {'meta' if x.is_meta else 'sparse'} tensor. Give a plain one: x.to_dense().")
    if x.dim() < 2 or len(x) == 0:
        raise InputError(f"The input has shape {list(x.shape)}. Its first dimension counts instances: x[None] for one.")
    check_finite(x, "The input", "Look where they come from before explaining it.")
    return net.placed(x.detach())


def _placed(given: Any, net: Net) -> Any:
    """The other inputs on the net's device; integers stay integers."""
    if isinstance(given, Tensor):
        return net.placed(given.detach())
    if hasattr(given, "items"):
        return {key: _placed(value, net) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return tuple(_placed(value, net) for value in given)
    return given
