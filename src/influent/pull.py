"""Sums of (y − x) · a(‖y − x‖) · s(x, y) over points y: what near points pull at, in two matrix products a tile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .cut import Cut
from .errors import QuestionError
from .rows import exact_type
from .shapes import check_finite, spell_shape

Kernel = Callable[[Tensor], Tensor]

KERNELS: Mapping[str, Kernel] = {"1/d2": lambda d: 1 / d**2, "1/d": lambda d: 1 / d, "exp": lambda d: torch.exp(-d)}
# A squared distance below this share of ‖y − c‖² + ‖x − c‖² has lost digits as a difference of products.
_CLOSE = {torch.float64: 1e-3, torch.float32: 2e-2}
_ROOM = 2**21  # bytes of y − c at a time: gone through three times, they should stay in the processor's cache


def as_kernel(kernel: str | Kernel) -> Kernel:
    """The function of distances that a name means, or one's own. Errors: `QuestionError` for other names.

    >>> as_kernel("1/d")(torch.tensor([4.0]))
    tensor([0.2500])
    """
    if callable(kernel):
        return kernel
    if kernel not in KERNELS:
        raise QuestionError(
            f"kernel={kernel!r} is not known: {', '.join(map(repr, KERNELS))}, or a function of distances, "
            "kernel=lambda d: 1 / d**3."
        )
    return KERNELS[kernel]


@dataclass(frozen=True)
class Pulled:
    """What all data points together do at one cut, row by row.

    `phi [instance, *neuron]`; `length [instance]` is Σ |w|·‖y − x‖, `farthest [instance]` the greatest distance, `count
    [instance]` how many points were counted, and `alike [instance]` how many of them with s > 0.
    """

    phi: Tensor
    length: Tensor
    farthest: Tensor
    count: Tensor
    alike: Tensor

    @property
    def size(self) -> Tensor:
        """‖φ‖₂, `[instance]`."""
        exact = self.phi.to(self.length).flatten(1)
        most = exact.abs().amax(1)
        return torch.linalg.vector_norm(exact / most.where(most > 0, 1.0)[:, None], dim=1) * most

    @property
    def coherence(self) -> Tensor:
        """‖φ‖₂ / Σ |w|·‖y − x‖, at most 1 but for rounding."""
        return (self.size / self.length).clamp(max=1.0)

    @property
    def norm(self) -> Tensor:
        """‖φ‖₂ / max ‖y − x‖."""
        return self.size / self.farthest


class Sums:
    """Σ w (y − x) and Σ |w|·‖y − x‖ at one place over the data so far, w = a(‖y − x‖) · s: two matrix products.

    From a centre c, ‖y − x‖² is ‖y − c‖² + ‖x − c‖² − 2 (y − c)·(x − c), and Σ w (y − x) is Σ w (y − c) − (x − c) Σ w:
    exact but where y is so close to x that either is a small difference of large numbers. Those pairs are subtracted
    one by one. c is 0 as long as they are few; far from the origin it becomes the mean of x, for as long as data come.
    Products are in the type of the activations; what is added up over passes is in float64. Inside a net two points may
    differ by rounding alone, which 1/d² would blow up: a distance below 64 roundings of ‖x‖ is 0 there.

    >>> sums = Sums(torch.zeros(1, 1), as_kernel("1/d"), Cut("conv1"))
    >>> sums.add(torch.tensor([[1.0], [-4.0], [0.0]]), torch.tensor([[1.0, -1.0, 1.0]]))
    >>> sums.done().phi, sums.done().count
    (tensor([[2.]]), tensor([2]))
    """

    def __init__(self, x: Tensor, kernel: Kernel, place: Cut) -> None:
        self.place, self.kernel, self.shape = place, kernel, x.shape
        check_finite(x, f"At {place.text} the activation of x", "Look where it comes from: the net makes it.")
        self.x, self.exact, self.dtype = x.flatten(1), exact_type(x), torch.promote_types(x.dtype, torch.float32)
        # Products that a user has made coarser (TF32) are no good for differences.
        coarse = self.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest"
        self.type = self.exact if coarse else self.dtype
        self.centre: Tensor | None = None
        noise = 0.0 if place.name == "INPUT" else 64 * torch.finfo(x.dtype).eps
        self.least = noise * torch.linalg.vector_norm(self.x.to(self.exact), dim=1)
        self.away = self.x.to(self.type)
        self.square = self._squares(self.away)
        self.total = torch.zeros(self.x.shape, dtype=self.exact, device=x.device)
        self.weight, self.length, self.farthest = (self.total.new_zeros(len(x)) for _ in range(3))
        self.count, self.alike = (torch.zeros(len(x), dtype=torch.long, device=x.device) for _ in range(2))

    def add(self, y: Tensor, signs: Tensor, same: Tensor | None = None) -> None:
        """Count activations `y [point, *neuron]` with `signs [instance, point]`; not the pairs that are the `same`."""
        if y.shape[1:] != self.shape[1:]:
            raise QuestionError(
                f"At {self.place.text} the data have activations {list(y.shape[1:])} and x has {list(self.shape[1:])}: "
                "points are compared neuron by neuron. Give x and the data one shape."
            )
        flat, signs = y.flatten(1), signs.to(self.total)
        other = torch.ones_like(signs, dtype=torch.bool) if same is None else ~same
        if self.centre is None and self._counted(flat, signs, other):
            return
        if self.centre is None:
            self._move()
        rows = max(_ROOM // (self.type.itemsize * flat.shape[1]), 8 * len(self.x), 1)
        for part, own, those in zip(flat.split(rows), signs.split(rows, 1), other.split(rows, 1), strict=True):
            self._counted(part, own, those)

    def _move(self) -> None:
        """The centre from 0 to the mean of x."""
        self.total -= self.away.to(self.exact) * self.weight[:, None]
        self.weight.zero_()
        self.centre = self.x.to(self.exact).mean(0).to(self.type)
        self.away = self.x.to(self.type) - self.centre
        self.square = self._squares(self.away)

    def _counted(self, y: Tensor, signs: Tensor, other: Tensor) -> bool:
        """Count some points; or nothing, and False, where too many pairs are close as seen from 0."""
        far = y.to(self.type) if self.centre is None else y.to(self.type) - self.centre
        square = self._squares(far)
        if not bool(torch.isfinite(square).all()):
            check_finite(y, f"At {self.place.text} the activation of the data", "Look which sample the net fails on.")
        bound = self.square[:, None] + square
        apart = bound - 2 * (self.away @ far.T).to(self.exact)
        # Written so that what is no number counts as close, and is subtracted below; and what the type can hardly hold.
        kept = torch.finfo(self.type)
        fine = apart > (_CLOSE[self.type] * bound).clamp(min=kept.tiny / kept.eps)
        close, fine = other & ~fine, other & fine
        if self.centre is None and int(close.sum()) > len(y) // 4:
            return False
        weight = self._weights(apart.where(fine, 1.0).sqrt(), signs, fine)
        if self.type == self.exact:
            self.total.addmm_(weight, far)
        else:
            # Weights may be larger or smaller than the type of the products can hold.
            scale = float(weight.abs().max()) or 1.0
            self.total.add_((weight / scale).to(self.type) @ far, alpha=scale)
        self.weight += weight.sum(1)
        for k in close.any(1).nonzero()[:, 0].tolist():
            self._subtracted(k, y[close[k]], signs[k : k + 1, close[k]])
        return True

    def _subtracted(self, k: int, y: Tensor, signs: Tensor) -> None:
        """Count points close to x number `k`, by their differences; not those that are x itself."""
        for part, own in zip(y.split(64), signs.split(64, 1), strict=True):
            step = part.to(self.exact) - self.x[k].to(self.exact)
            distance = torch.linalg.vector_norm(step, dim=1)
            there = distance > self.least[k]
            weight = self._weights(distance.where(there, 1.0)[None], own, there[None], k)
            # From x itself, not from the centre: nothing of these is put right at the end.
            self.total[k] += (weight @ step)[0]

    def _weights(self, distance: Tensor, signs: Tensor, there: Tensor, row: int | None = None) -> Tensor:
        """w = a · s `[instance, point]`, 0 where a pair is not `there`; and what is counted of them."""
        rows = slice(None) if row is None else slice(row, row + 1)
        kernel = self.kernel(distance)
        if not isinstance(kernel, Tensor) or kernel.shape != distance.shape or not bool(torch.isfinite(kernel).all()):
            got = spell_shape(kernel) if isinstance(kernel, Tensor) else type(kernel).__name__
            raise QuestionError(
                f"The kernel gives {got} for distances {list(distance.shape)} between {float(distance.min()):.3g} and "
                f"{float(distance.max()):.3g}. It is a function of distances that gives one finite number for each: "
                "kernel=lambda d: 1 / d**3."
            )
        weight = (kernel.to(self.exact) * signs).where(there, 0.0)
        self.length[rows] += (weight.abs() * distance).sum(1)
        self.farthest[rows] = torch.maximum(self.farthest[rows], distance.where(there, 0.0).amax(1))
        self.count[rows] += there.sum(1)
        self.alike[rows] += (there & (signs > 0)).sum(1)
        return weight

    def _squares(self, far: Tensor) -> Tensor:
        return torch.linalg.vector_norm(far, dim=1).to(self.exact).square()

    def done(self) -> Pulled:
        """What came out, φ in the type of the activations, float32 at least."""
        phi = (self.total - self.away.to(self.exact) * self.weight[:, None]).to(self.dtype).reshape(self.shape)
        return Pulled(phi, self.length, self.farthest, self.count, self.alike)
