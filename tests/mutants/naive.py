"""A naive machine for the same questions, right but slow, and the mistakes that have been made with it.

`Naive` answers one question with one loop: no code of src but the nouns. Each mutant overrides one step of it by a
mistake that was seen in a published implementation, in a source, or in our own drafts. The laws must tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

import influent as inf
from tests import oracles


@dataclass
class Gap:
    signed: Tensor
    change: Tensor


@dataclass
class Answer:
    values: Tensor
    gap: Gap | None = None
    residual: Tensor | None = None
    stderr: Tensor | None = None


PRODUCTS = {
    inf.gradient: lambda slope, y, rate: slope,
    inf.magnitude: lambda slope, y, rate: slope,
    inf.contribution: lambda slope, y, rate: slope * rate,
    inf.gradient_times_activation: lambda slope, y, rate: slope * y,
    inf.activation: lambda slope, y, rate: y,
}


class Naive:
    """Point, Line (uniform, graded) and Gaussian, and mixtures; cuts at a module or INPUT, by neuron or by channel."""

    rule: Any = None

    def __call__(self, net: nn.Module, at: str, of: Any, over: Any, measure: Any, chunk: int = 16) -> Answer:
        if isinstance(measure, inf.Ruled):
            self.rule, measure = measure.rule, measure.measure
        if len(over.parts) > 1:
            weights = self.mixture_weights([w for w, _ in over.parts])
            answers = [self(net, at, of, part, measure, chunk) for _, part in over.parts]
            return Answer(sum(w * a.values for w, a in zip(weights, answers, strict=True)))
        asking = [p for p in net.parameters() if p.requires_grad]
        try:
            return self.rows(net, at, of, over, measure, chunk)
        finally:
            for p in asking:
                p.requires_grad_(True)

    def mixture_weights(self, weights: list[float]) -> list[float]:
        return [w / sum(weights) for w in weights]

    def rows(self, net: nn.Module, at: str, of: Any, over: Any, measure: Any, chunk: int) -> Answer:
        for p in net.parameters():
            p.requires_grad_(False)
        answers = []
        for i, x in enumerate(over.x):
            chosen = self.choose(net, of, over.x, i)
            if isinstance(over, inf.Line):
                start = over.baseline.expand_as(over.x)[i]
                answers.append(self.line(net, at, of, chosen, start, x, over, measure))
            else:
                answers.append(self.cloud(net, at, of, chosen, i, x, over, measure, chunk))
        joined = {
            name: torch.stack([getattr(a, name) for a in answers])
            for name in ("values", "residual", "stderr")
            if getattr(answers[0], name) is not None
        }
        gap = answers[0].gap and Gap(*(torch.stack([getattr(a.gap, k) for a in answers]) for k in ("signed", "change")))
        return Answer(gap=gap, **joined)

    # --- one path

    def line(
        self, net: nn.Module, at: str, of: Any, chosen: Any, start: Tensor, end: Tensor, over: Any, measure: Any
    ) -> Answer:
        alphas = [(k / (over.n - 1)) ** (3 if over.rule == "graded" else 1) for k in range(over.n)]
        seen = [self.look(net, at, of, chosen, torch.lerp(start, end, a)) for a in alphas]
        weights = self.weights(alphas)
        last = len(alphas) - 1
        total, residual, inside = 0.0, 0.0, 0.0
        for k, (y, slope, _) in enumerate(seen):
            low, high = max(k - 1, 0), min(k + 1, last)
            rate = (seen[high][0] - seen[low][0]) / (alphas[high] - alphas[low])
            total = total + self.weighted(weights[k], self.units(at, slope, y, rate, measure))
        if measure is inf.contribution:
            total = self.segments(at, seen)
        for (y0, g0, f0), (y1, g1, f1) in pairwise(seen):
            segment = self.segment(g0, g1, y1 - y0).sum()
            residual, inside = residual + self.error(f1 - f0 - segment), inside + segment
        change = seen[-1][2] - seen[0][2]
        return Answer(self.average(total, measure), Gap(inside - change, change), residual)

    def weights(self, alphas: list[float]) -> list[float]:
        ends = [alphas[0], *alphas, alphas[-1]]
        return [(b - a) / 2 for a, b in zip(ends[:-2], ends[2:], strict=True)]

    def segments(self, at: str, seen: list[Any]) -> Tensor:
        total = 0.0
        for (y0, g0, _), (y1, g1, _) in pairwise(seen):
            total = total + self.group(at, self.segment(g0, g1, y1 - y0))
        return total

    def segment(self, g0: Tensor, g1: Tensor, step: Tensor) -> Tensor:
        return (g0 + g1) / 2 * step

    def error(self, x: Tensor) -> Tensor:
        return x.abs()

    # --- one cloud of points

    def cloud(
        self, net: nn.Module, at: str, of: Any, chosen: Any, i: int, x: Tensor, over: Any, measure: Any, chunk: int
    ) -> Answer:
        if isinstance(over, inf.Point):
            y, slope, _ = self.look(net, at, of, chosen, x)
            return Answer(self.average(self.units(at, slope, y, None, measure), measure))
        points = list(self.noisy(x, i, over, chunk))
        found = torch.stack(
            [self.units(at, s, y, None, measure) for y, s, _ in self.looks(net, at, of, chosen, points)]
        )
        return Answer(self.average(found.mean(0), measure), stderr=self.standard_error(found))

    def looks(self, net: nn.Module, at: str, of: Any, chosen: Any, points: list[Tensor]) -> list[Any]:
        return [self.look(net, at, of, chosen, p) for p in points]

    def noisy(self, x: Tensor, i: int, over: Any, chunk: int) -> Iterator[Tensor]:
        for k in range(over.n):
            dice = torch.Generator().manual_seed(over.seed * 7919 + k)
            yield x + over.std * torch.randn(x.shape, generator=dice, dtype=x.dtype)

    def standard_error(self, found: Tensor) -> Tensor:
        return found.std(0, unbiased=True) / len(found) ** 0.5

    # --- one point

    def choose(self, net: nn.Module, of: Any, xs: Tensor, i: int) -> Any:
        with torch.no_grad():
            return of.choose(net(xs[i : i + 1].clone()), inf.Subject()) if isinstance(of, inf.Quantity) else None

    def value(self, of: Any, out: Tensor, chosen: Any) -> Tensor:
        return of.value(out, chosen)[0] if isinstance(of, inf.Quantity) else of(out)[0]

    def look(self, net: nn.Module, at: str, of: Any, chosen: Any, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The activation, its slope, and the quantity."""
        kept: list[Tensor] = []

        def watch(module: nn.Module, args: Any, y: Tensor) -> Tensor:
            kept.append(self.keep(y.detach()))
            return self.hand_on(kept[0])

        if at == "INPUT":
            kept.append(p[None].detach().clone().requires_grad_())
            out = net(kept[0].clone())
        else:
            handle = net.get_submodule(at.partition("/")[0]).register_forward_hook(watch)
            try:
                out = net(p[None].clone())
            finally:
                self.leave(handle)
        value = self.value(of, out, chosen)
        return kept[0].detach()[0], self.differentiate(net, value, kept[0])[0], value.detach()

    def keep(self, y: Tensor) -> Tensor:
        return y.clone().requires_grad_()

    def hand_on(self, y: Tensor) -> Tensor:
        return y.clone()

    def differentiate(self, net: nn.Module, value: Tensor, y: Tensor) -> Tensor:
        if self.rule is not None:
            for node in self.kinks(net, value):
                node.register_hook(self.handed_down)
        return torch.autograd.grad(value, y)[0]

    def kinks(self, net: nn.Module, value: Tensor) -> list[Any]:
        """The ReLUs in the graph below a value, however they were written."""
        stack, met = [value.grad_fn], []
        while stack:
            node = stack.pop()
            if node is not None and node not in met:
                met.append(node)
                stack += [after for after, _ in node.next_functions]
        return [node for node in met if node.name().startswith(("Relu", "Clamp"))]

    def handed_down(self, down: tuple[Tensor], arriving: tuple[Tensor]) -> tuple[Tensor]:
        """By the rule, from the plain gradient R · [activation > 0] and what arrives, R."""
        return (oracles.deconv(arriving[0] if self.rule == inf.Deconvnet() else down[0]),)

    def leave(self, handle: Any) -> None:
        handle.remove()

    # --- units

    def group(self, at: str, neurons: Tensor) -> Tensor:
        return neurons.flatten(1).sum(1) if at.endswith("/channel") else neurons

    def units(self, at: str, slope: Tensor, y: Tensor, rate: Any, measure: Any) -> Tensor:
        grouped = self.group(at, PRODUCTS[measure](slope, y, rate))
        return grouped.abs() if measure is inf.magnitude else grouped

    def weighted(self, weight: float, units: Tensor) -> Tensor:
        return weight * units

    def average(self, total: Tensor, measure: Any) -> Tensor:
        return total


# --- the mistakes ---------------------------------------------------------------------------------------------------


class LostWeight(Naive):
    """Trapezoid weights that sum to 1 − 1/n: the step is 1/n where it should be 1/(n − 1). (A peer's default.)"""

    def weights(self, alphas: list[float]) -> list[float]:
        return [w * (1 - 1 / len(alphas)) for w in super().weights(alphas)]


class WholeEnds(Naive):
    """Equal weights 1/n, the ends not halved: they sum to 1, and are no trapezoid."""

    def weights(self, alphas: list[float]) -> list[float]:
        return [1 / len(alphas) for _ in alphas]

    def segments(self, at: str, seen: list[Any]) -> Tensor:
        step = (seen[-1][0] - seen[0][0]) / len(seen)
        return sum(self.group(at, slope * step) for _, slope, _ in seen)


class LeftPoint(Naive):
    """Conductance by the left end of each segment: Shrikumar's formula as it is printed."""

    def segment(self, g0: Tensor, g1: Tensor, step: Tensor) -> Tensor:
        return g0 * step


class RetakenMax(Naive):
    """The predicted class, taken again at every point of the path."""

    def value(self, of: Any, out: Tensor, chosen: Any) -> Tensor:
        return out.max(1).values[0] if isinstance(of, inf.Predicted) else super().value(of, out, chosen)


class SizeAfterAverage(Naive):
    """Magnitude as |average|: what cancels along the path is gone."""

    def units(self, at: str, slope: Tensor, y: Tensor, rate: Any, measure: Any) -> Tensor:
        return self.group(at, PRODUCTS[measure](slope, y, rate))

    def average(self, total: Tensor, measure: Any) -> Tensor:
        return total.abs() if measure is inf.magnitude else total


class SizeBeforeGrouping(Naive):
    """Magnitude of a channel as the sum of its neurons' sizes."""

    def units(self, at: str, slope: Tensor, y: Tensor, rate: Any, measure: Any) -> Tensor:
        products = PRODUCTS[measure](slope, y, rate)
        return self.group(at, products.abs() if measure is inf.magnitude else products)


class ProductOfSums(Naive):
    """Gradient and activation of a channel summed apart, then multiplied."""

    def units(self, at: str, slope: Tensor, y: Tensor, rate: Any, measure: Any) -> Tensor:
        if measure is not inf.gradient_times_activation:
            return super().units(at, slope, y, rate, measure)
        return self.group(at, slope) * self.group(at, y)


class NotCloned(Naive):
    """The activation kept as it is: a ReLU that overwrites it afterwards has changed it."""

    def look(self, net: nn.Module, at: str, of: Any, chosen: Any, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, slope, value = super().look(net, at, of, chosen, p)
        kept: list[Tensor] = []
        with torch.no_grad():
            handle = net.get_submodule(at.partition("/")[0]).register_forward_hook(lambda m, a, out: kept.append(out))
            net(p[None].clone())
            handle.remove()
        return kept[0][0], slope, value


class SignedResidual(Naive):
    """Segment errors added with their signs: they cancel, and the sum is the gap once more."""

    def error(self, x: Tensor) -> Tensor:
        return x

    def line(self, *words: Any) -> Answer:
        answer = super().line(*words)
        answer.residual = answer.residual.abs()
        return answer


class ForgottenSegment(Naive):
    """The residual without its largest segment: the gap can be larger than it says."""

    def line(self, *words: Any) -> Answer:
        errors: list[Tensor] = []
        self.error = lambda x: errors.append(x.abs()) or x.abs()
        try:
            answer = super().line(*words)
        finally:
            del self.error
        answer.residual = answer.residual - max(errors)
        return answer


class HookLeft(Naive):
    """A hook that stays."""

    def leave(self, handle: Any) -> None:
        pass


class WeightsLeftFrozen(Naive):
    """Weights that ask for no gradient any more."""

    def __call__(self, net: nn.Module, at: str, of: Any, over: Any, measure: Any, chunk: int = 16) -> Answer:
        return self.rows(net, at, of, over, measure, chunk)


class AllWeightsThawed(Naive):
    """Weights that ask for a gradient afterwards though they did not before."""

    def __call__(self, net: nn.Module, at: str, of: Any, over: Any, measure: Any, chunk: int = 16) -> Answer:
        answer = super().__call__(net, at, of, over, measure, chunk)
        for p in net.parameters():
            p.requires_grad_(True)
        return answer


class GradientsLeft(Naive):
    """`backward()` in place of `autograd.grad`: the weights' `.grad` is filled."""

    def rows(self, net: nn.Module, *words: Any) -> Answer:
        answer = super().rows(net, *words)
        for p in net.parameters():
            p.grad = torch.zeros_like(p)
        return answer


class FirstRowDecides(Naive):
    """The class predicted for the first input of the batch, used for all."""

    def choose(self, net: nn.Module, of: Any, xs: Tensor, i: int) -> Any:
        return super().choose(net, of, xs, 0)


class NoiseByRow(Naive):
    """Noise that depends on the input's place in the batch."""

    def noisy(self, x: Tensor, i: int, over: Any, chunk: int) -> Iterator[Tensor]:
        for k in range(over.n):
            dice = torch.Generator().manual_seed(1000 * i + k)
            yield x + over.std * torch.randn(x.shape, generator=dice, dtype=x.dtype)


class NoiseByChunk(Naive):
    """Noise drawn anew from the same seed in every pass: with small passes all draws are alike."""

    def noisy(self, x: Tensor, i: int, over: Any, chunk: int) -> Iterator[Tensor]:
        for k in range(over.n):
            dice = torch.Generator().manual_seed(k % chunk)
            yield x + over.std * torch.randn(x.shape, generator=dice, dtype=x.dtype)


class GlobalNoise(Naive):
    """Noise from torch's global generator: the caller's random numbers change."""

    def noisy(self, x: Tensor, i: int, over: Any, chunk: int) -> Iterator[Tensor]:
        for _ in range(over.n):
            yield x + over.std * torch.randn(x.shape, dtype=x.dtype)


class SpreadForError(Naive):
    """The standard deviation of the draws, not of their mean."""

    def standard_error(self, found: Tensor) -> Tensor:
        return found.std(0, unbiased=True)


class BiasedError(Naive):
    """The squared deviations divided by n, not by n − 1."""

    def standard_error(self, found: Tensor) -> Tensor:
        return found.std(0, unbiased=False) / len(found) ** 0.5


class RawMixture(Naive):
    """A mixture whose weights are taken as they are given."""

    def mixture_weights(self, weights: list[float]) -> list[float]:
        return weights


class RuleOfModules(Naive):
    """A backward rule that hooks modules, and so never meets a ReLU that is a function. (A peer's DeconvNet.)"""

    def kinks(self, net: nn.Module, value: Tensor) -> list[Any]:
        return super().kinks(net, value) if any(isinstance(m, nn.ReLU) for m in net.modules()) else []


class RuleForgotten(Naive):
    """The plain gradient, whatever the rule."""

    def kinks(self, net: nn.Module, value: Tensor) -> list[Any]:
        return []


class RuleOnce(Naive):
    """A module that is called twice has its rule once."""

    def kinks(self, net: nn.Module, value: Tensor) -> list[Any]:
        return super().kinks(net, value)[:1]


class GuidedForDeconvnet(Naive):
    """Both masks, whichever rule is asked for."""

    def handed_down(self, down: tuple[Tensor], arriving: tuple[Tensor]) -> tuple[Tensor]:
        return (oracles.deconv(down[0]),)
