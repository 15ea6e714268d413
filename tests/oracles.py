"""The same numbers, computed another way: plain loops, one point and one neuron at a time. No code of src here."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Map = Callable[[Tensor], Tensor]


def gradient(f: Map, x: Tensor) -> Tensor:
    """∂f(x_i)/∂x_i for each row by itself; f gives one number: `[1, *shape] → []`."""
    rows = []
    for row in x:
        leaf = row[None].detach().clone().requires_grad_()
        rows.append(torch.autograd.grad(f(leaf), leaf)[0][0])
    return torch.stack(rows)


def central_difference(f: Map, x: Tensor, h: float = 1e-5) -> Tensor:
    """(f(x + h e_j) − f(x − h e_j)) / 2h for each entry of one row `x [1, *shape]`: error h²/6 · f‴ + eps/h."""
    flat = torch.zeros(x.numel(), dtype=x.dtype)
    for j in range(x.numel()):
        step = torch.zeros(x.numel(), dtype=x.dtype)
        step[j] = h
        step = step.reshape(x.shape)
        with torch.no_grad():
            flat[j] = (float(f(x + step)) - float(f(x - step))) / (2 * h)
    return flat.reshape(x.shape)


def gauss(n: int) -> tuple[list[float], list[float]]:
    """Gauss–Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return [float(a) for a in (nodes + 1) / 2], [float(w) for w in weights / 2]


def dense_integrated_gradients(f: Map, x: Tensor, baseline: Tensor, n: int = 2000) -> Tensor:
    """(x − x′) · mean of ∂f at the n midpoints of equal steps, one row at a time."""
    out = []
    for end, start in zip(x, baseline.expand_as(x), strict=True):
        alpha = ((torch.arange(n, dtype=x.dtype) + 0.5) / n).reshape(-1, *[1] * end.dim())
        leaf = (start + alpha * (end - start)).requires_grad_()
        out.append((end - start) * torch.autograd.grad(f(leaf).sum(), leaf)[0].mean(0))
    return torch.stack(out)


def conductance_gauss(below: Map, above: Map, x: Tensor, baseline: Tensor, n: int) -> Tensor:
    """Σ_k w_k ∂g/∂y_j · ∇y_j · (x − x′) for each neuron j by itself, by reverse mode: a double loop.

    `below` is h: `[1, *shape] → [1, *neuron]`, `above` is g, one number.
    """
    total = None
    for alpha, weight in zip(*gauss(n), strict=True):
        p = (baseline + alpha * (x - baseline)).detach().requires_grad_()
        y = below(p)
        leaf = y.detach().clone().requires_grad_()
        slope = torch.autograd.grad(above(leaf), leaf)[0].flatten()
        flow = torch.zeros_like(slope)
        for j in range(slope.numel()):
            row = torch.autograd.grad(y.flatten()[j], p, retain_graph=True, allow_unused=True)[0]
            flow[j] = 0.0 if row is None else slope[j] * (row * (x - baseline)).sum()
        total = weight * flow if total is None else total + weight * flow
    return total.reshape(below(x).shape).detach()


def conductance_secant(below: Map, above: Map, x: Tensor, baseline: Tensor, alphas: list[float]) -> Tensor:
    """Σ over segments of ½(G_a + G_b)·(y_b − y_a), neuron by neuron, segment by segment: a double loop."""
    ys, slopes = [], []
    for alpha in alphas:
        y = below(torch.lerp(baseline, x, alpha)).detach()
        leaf = y.clone().requires_grad_()
        slopes.append(torch.autograd.grad(above(leaf), leaf)[0].flatten())
        ys.append(y.flatten())
    total = torch.zeros_like(ys[0])
    for j in range(len(total)):
        for k in range(len(alphas) - 1):
            total[j] += (slopes[k][j] + slopes[k + 1][j]) / 2 * (ys[k + 1][j] - ys[k][j])
    return total.reshape(below(x).shape)


def residual_secant(below: Map, above: Map, x: Tensor, baseline: Tensor, alphas: list[float]) -> float:
    """Σ over segments of |ΔF − Σ_j ½(G_a + G_b)·(y_b − y_a)|."""
    total = 0.0
    for a, b in pairwise(alphas):
        inside = float(
            conductance_secant(below, above, torch.lerp(baseline, x, b), torch.lerp(baseline, x, a), [0, 1]).sum()
        )
        with torch.no_grad():
            change = float(above(below(torch.lerp(baseline, x, b)))) - float(above(below(torch.lerp(baseline, x, a))))
        total += abs(change - inside)
    return total


def mean_and_standard_error(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean over the first axis and its standard error, s / √n with s² over n − 1."""
    n = len(samples)
    return samples.mean(0), samples.std(0, ddof=1) / np.sqrt(n)


def jump_bound(rule: str, n: int) -> float:
    """How far a rule's mean of a unit step function on [0, 1] can be from the truth, wherever the jump is.

    Trapezoid rules: in the segment that holds the jump, at θ of its width w, the rule gives w/2 and the truth is
    θw: at most w/2; a jump on a node is counted whole on one side: w/2 again. The jump's segment is the widest of a
    static grid; "adaptive" starts from min(n, 9) equal points and halves it once in every full round of 8.
    Gauss–Legendre: Σ_{i<k} w_i ≤ α_k ≤ Σ_{i≤k} w_i (Chebyshev, Markov and Stieltjes): at most one weight.
    """
    if rule == "uniform":
        return 0.5 / (n - 1)
    if rule == "graded":
        return 0.5 * (1 - ((n - 2) / (n - 1)) ** 3)
    if rule == "adaptive":
        first = min(n, 9)
        return 0.5 / (first - 1) / 2 ** ((n - first) // 8)
    return max(gauss(n)[1])


KERNELS: dict[str, Callable[[float], float]] = {
    "1/d2": lambda d: 1 / (d * d),
    "1/d": lambda d: 1 / d,
    "exp": lambda d: math.exp(-d),
}


def monotone(x: Tensor, data: Tensor, signs: Tensor, kernel: Callable[[float], float]) -> tuple[Tensor, Tensor, Tensor]:
    """φ = Σ (y − x) · a(‖y − x‖) · s, Σ |a · s| · ‖y − x‖ and max ‖y − x‖ over y ≠ x: pair by pair, neuron by neuron.

    `x [instance, neuron]`, `data [point, neuron]`, `signs [instance, point]`; sums are `math.fsum`, which rounds once.
    """
    phi, length, farthest = [], [], []
    for row, own in zip(x.double().tolist(), signs.double().tolist(), strict=True):
        steps = [[b - a for a, b in zip(row, y, strict=True)] for y in data.double().tolist()]
        distances = [math.sqrt(math.fsum(e * e for e in step)) for step in steps]
        weights = [kernel(d) * s if d else 0.0 for d, s in zip(distances, own, strict=True)]
        phi.append([math.fsum(w * step[j] for w, step in zip(weights, steps, strict=True)) for j in range(len(row))])
        length.append(math.fsum(abs(w) * d for w, d in zip(weights, distances, strict=True)))
        farthest.append(max(distances))
    return tuple(torch.tensor(found, dtype=torch.float64) for found in (phi, length, farthest))


# Backward passes by hand: what arrives at an operation, carried down to what it was given.


def deconv(arriving: Tensor) -> Tensor:
    """R · [R > 0], number by number."""
    return torch.where(arriving > 0, arriving, torch.zeros_like(arriving))


def guided(arriving: Tensor, before: Tensor) -> Tensor:
    """R · [R > 0] · [activation > 0], `before` being what the ReLU was given."""
    return torch.where(before > 0, deconv(arriving), torch.zeros_like(arriving))


def transposed(arriving: Tensor, weight: Tensor, given: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """A convolution's transpose, `[point, out, ...] → [point, in, ...]` of the size that the convolution was given."""
    short = [(n - 1) * stride - 2 * padding + k for n, k in zip(arriving.shape[2:], weight.shape[2:], strict=True)]
    rest = [n - s for n, s in zip(given.shape[2:], short, strict=True)]
    return F.conv_transpose2d(arriving, weight, stride=stride, padding=padding, output_padding=rest)


def unpooled(arriving: Tensor, switches: Tensor, given: Tensor) -> Tensor:
    """Each number put to where its maximum was; where windows overlap and share a maximum, their sum."""
    flat = torch.zeros(given.shape, dtype=given.dtype).flatten(2)
    return flat.scatter_add(2, switches.flatten(2), arriving.flatten(2)).reshape(given.shape)


def normalised_back(arriving: Tensor, x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """Local response norm, y_i = x_i d_i^−β with d_i = k + α/n Σ_{j near i} x_j², backward, channel by channel.

    ∂y_i/∂x_j = [i = j] d_i^−β − 2αβ/n x_i x_j d_i^(−β−1) for j within (n − 1)/2 of i, n odd.
    """
    half, channels = size // 2, x.shape[1]
    near = [range(max(0, i - half), min(channels, i + half + 1)) for i in range(channels)]
    d = [k + alpha / size * sum(x[:, j] ** 2 for j in near[i]) for i in range(channels)]
    down = []
    for j in range(channels):
        own = arriving[:, j] * d[j] ** -beta
        for i in near[j]:
            own = own - 2 * alpha * beta / size * arriving[:, i] * x[:, i] * x[:, j] * d[i] ** (-beta - 1)
        down.append(own)
    return torch.stack(down, 1)
