"""The laws, as functions of an implementation: ours must keep them all, each mutant must break the one that names it.

`ask(net, at, of, over, measure, chunk=16)` is `influent.influence`, or what pretends to be it: its answers carry
`values`, `gap.signed`, `residual` and `stderr`.

`ROUNDING`: a result is a sum of N products of order 1, N = points × neurons < 40 000 here, and each addition errs by
at most eps = 2.2e-16 of it: together below 1e-11.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import influent as inf
from tests import oracles, worlds
from tests.worlds import noise

Ask = Callable[..., Any]
ROUNDING = 1e-11


def close(a: Tensor, b: Tensor, within: float = ROUNDING) -> None:
    """Both of one shape, and nowhere further apart than `within` times their size (at least 1)."""
    assert a.shape == b.shape, (a.shape, b.shape)
    scale = max(1.0, float(a.abs().max()), float(b.abs().max()))
    assert float((a - b).abs().max()) <= within * scale, float((a - b).abs().max())


def law_weights_sum_to_one(ask: Ask, rule: str = "uniform", n: int = 10, seed: int = 0) -> None:
    """F = a · x: E ∂F/∂x = Σ w_k a = a, for any weights that sum to 1 and for no others."""
    a, x = noise(5, seed=seed), noise(2, 5, seed=seed + 1)
    got = ask(worlds.linear(a), "INPUT", inf.Class(0), inf.Line(0 * x, x, n, rule), inf.gradient)
    close(got.values, a.expand(2, 5))


def law_ends_weigh_one_half(ask: Ask, n: int = 6) -> None:
    """F = x³, n equal steps h: the trapezoid of 3α² is 1 + h²/2, and of no other symmetric weights of sum 1.

    Each segment adds h³/12 · f″ with f″ = 6, and there are 1/h of them.
    """
    x = worlds.ones(1, 1)
    got = ask(worlds.cube(), "INPUT", inf.Class(0), inf.Line(0 * x, x, n, "uniform"), inf.contribution)
    close(got.values, 0 * x + 1 + 0.5 / (n - 1) ** 2)


def law_completeness(ask: Ask, net: nn.Module, at: str, of: Any, over: inf.Line) -> None:
    """|Σ_units contribution − (F(x) − F(x′))| ≤ residual, at every full cut, for every secant rule.

    A result is Σ_segments S_k with S_k = Σ_units ½ (G_a + G_b)(y_b − y_a), and F(x) − F(x′) telescopes to
    Σ_segments ΔF_k. So gap = −Σ (ΔF_k − S_k), and |gap| ≤ Σ |ΔF_k − S_k| = residual, up to rounding.
    """
    a = ask(net, at, of, over, inf.contribution)
    excess = a.gap.signed.abs() - a.residual
    assert float(excess.max()) <= ROUNDING * max(1.0, float(a.values.abs().max())), float(excess.max())
    total = a.values.flatten(1).sum(1).double()
    close(total - a.gap.change, a.gap.signed)


def law_reversed_path_negates(ask: Ask, n: int = 9) -> None:
    """∫ from x to x′ = −∫ from x′ to x: true of each trapezoid segment by itself, false of left-point sums."""
    net, x = worlds.smooth_mlp(), noise(1, 4, seed=3)
    start = noise(1, 4, seed=4)
    there = ask(net, "1", inf.Class(0), inf.Line(start, x, n, "uniform"), inf.contribution).values
    back = ask(net, "1", inf.Class(0), inf.Line(x, start, n, "uniform"), inf.contribution).values
    close(there, -back)
    assert float(there.abs().max()) > 1e-3


def law_predicted_is_fixed(ask: Ask) -> None:
    """T16: integrated gradients of the class predicted at x = 1 are 3; taken again at each point they are about ½."""
    x = worlds.ones(1, 1)
    got = ask(worlds.crossing(), "INPUT", inf.Predicted(), inf.Line(0 * x, x, 65, "uniform"), inf.contribution)
    close(got.values, 3 * x)


def law_magnitude_is_taken_at_each_point(ask: Ask, seed: int = 0) -> None:
    """The magnitude of a channel is E |Σ_positions ∂F/∂y|: not |E Σ|, and not E Σ |·|."""
    net, x = worlds.relu_conv(seed=seed), noise(2, 2, 5, 5, seed=seed)
    over = inf.Line(0 * x, x, 7, "uniform")
    alphas = torch.linspace(0, 1, 7, dtype=torch.float64)
    weights = torch.tensor([0.5, 1, 1, 1, 1, 1, 0.5], dtype=torch.float64) / 6
    want = torch.zeros(2, 4, dtype=torch.float64)
    for i in range(2):
        for alpha, weight in zip(alphas, weights, strict=True):
            y = net.conv1(alpha * x[i : i + 1]).detach()
            slope = oracles.gradient(lambda y: net.above_conv1(y.clone())[0, 1], y)
            want[i] += weight * slope[0].sum((1, 2)).abs()
    close(ask(net, "conv1/channel", inf.Class(1), over, inf.magnitude).values, want)


def law_groups_are_plain_sums(ask: Ask, measure: Any = inf.gradient_times_activation, seed: int = 0) -> None:
    """For a measure that is linear in the neurons' products, a channel is the sum over its positions."""
    net, x = worlds.relu_conv(seed=seed), noise(2, 2, 5, 5, seed=seed)
    over = inf.Line(0 * x, x, 6, "uniform")
    grouped = ask(net, "conv1/channel", inf.Class(1), over, measure).values
    close(grouped, ask(net, "conv1", inf.Class(1), over, measure).values.sum((2, 3)))


def law_overwriting_changes_nothing(ask: Ask, at: str = "conv1", seed: int = 0) -> None:
    """A net whose ReLUs overwrite their input is the same function, so its units have the same influence."""
    x = noise(2, 2, 5, 5, seed=seed)
    plain, inplace = worlds.relu_conv(False, seed), worlds.relu_conv(True, seed)
    measures = [inf.gradient, inf.contribution, inf.gradient_times_activation, inf.activation]
    for measure in measures:
        over = inf.Line(0 * x, x, 6, "uniform")
        close(*(ask(net, at, inf.Class(0), over, measure).values for net in (plain, inplace)))


def law_residual_does_not_cancel(ask: Ask) -> None:
    """Residual = Σ_segments |ΔF − S|, which a net that errs as much up as down does not bring to zero.

    F = (α − ½)⁴ · (α − ½) is odd about the middle of the path: the gap is 0 by symmetry, the residual is not.
    """

    def below(x: Tensor) -> Tensor:
        return 1.0 * x

    def above(y: Tensor) -> Tensor:
        return (y - 0.5) ** 4

    x = worlds.ones(1, 1)
    over = inf.Line(0 * x, x, 4, "uniform")
    even = ask(worlds.sliced(below, above), "h", inf.Class(0), over, inf.contribution)
    alphas = [k / 3 for k in range(4)]
    want = oracles.residual_secant(below, lambda y: above(y)[0, 0], x, 0 * x, alphas)
    assert want > 1e-2
    assert abs(float(even.gap.signed)) < ROUNDING  # F(0) = F(1), and up and down cancel
    assert abs(float(even.residual) - want) < ROUNDING


def snapshot(net: nn.Module) -> dict[str, Any]:
    """Everything about a net that a question could disturb."""
    raw = io.BytesIO()
    torch.save(net.state_dict(), raw)
    modules = dict(net.named_modules())
    return {
        "weights": raw.getvalue(),
        "buffers": {name: b.clone().numpy().tobytes() for name, b in net.named_buffers()},
        "asking": {name: p.requires_grad for name, p in net.named_parameters()},
        "grad": {name: p.grad is None for name, p in net.named_parameters()},
        "training": {name: m.training for name, m in modules.items()},
        "hooks": {
            name: [
                len(getattr(m, kind))
                for kind in (
                    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
                    "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called",
                )
            ]
            for name, m in modules.items()
        },
        "attributes": {name: sorted(vars(m)) for name, m in modules.items()},
        "globals": (
            torch.is_grad_enabled(), torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.enabled,
            torch.get_default_dtype(), torch.random.get_rng_state().numpy().tobytes(),
        ),
    }  # fmt: skip


def law_net_is_left_alone(ask: Ask, over: Any = None, measure: Any = inf.gradient, fails: bool = False) -> None:
    """Weights, buffers, gradients, hooks, flags and random numbers are as they were, whatever happened."""
    net, x = worlds.relu_conv(), noise(2, 2, 5, 5)
    net.head.bias.requires_grad_(False)
    # torch's own default, whatever an earlier question left behind: else a switch left off would not be seen here.
    torch.backends.mha.set_fastpath_enabled(True)
    before = snapshot(net)
    over = inf.Line(0 * x, x, 4, "uniform") if over is None else over(x)
    failed = False
    try:
        ask(net, "conv1", inf.Class(0) if not fails else _broken, over, measure)
    except Exception:
        failed = True
    assert failed == fails
    after = snapshot(net)
    assert {k for k in before if before[k] != after[k]} == set()


def _broken(y: Tensor) -> Tensor:
    raise RuntimeError("a quantity that fails")


def law_batch_equals_singles(ask: Ask, over: Callable[[Tensor], Any], of: Any = None, seed: int = 0) -> None:
    """Each row of a batch is what the input gives alone, and rows follow the inputs' order."""
    net, x = worlds.relu_mlp(seed), noise(4, 4, seed=seed)
    of = inf.Predicted() if of is None else of
    together = ask(net, "1", of, over(x), inf.gradient).values
    order = [2, 0, 3, 1]
    close(ask(net, "1", of, over(x[order]), inf.gradient).values, together[order])
    for i in range(4):
        close(ask(net, "1", of, over(x[i : i + 1]), inf.gradient).values, together[i : i + 1])


def law_chunk_does_not_matter(
    ask: Ask, over: Callable[[Tensor], Any], measure: Any = inf.gradient, at: str = "1", seed: int = 0
) -> None:
    """Points per pass change time and memory only: another batch size reorders the sums inside a matrix product.

    Each activation then errs by a few eps of its size, and weights sum to 1: 1e-12 is a thousand times that.
    """
    net, x = worlds.smooth_mlp(seed=seed), noise(3, 4, seed=seed)
    answers = [ask(net, at, inf.Predicted(), over(x), measure, chunk=chunk) for chunk in (1, 2, 3, 7, 64)]
    for other in answers[1:]:
        for name in ("values", "stderr", "residual", "count"):
            first, now = getattr(answers[0], name, None), getattr(other, name, None)
            assert (first is None) == (now is None)
            if first is not None:
                close(first.double(), now.double(), 1e-12)
        if answers[0].gap is not None:
            close(answers[0].gap.signed, other.gap.signed, 1e-12)


class Recorded:
    """A function of the outputs that keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, y: Tensor) -> Tensor:
        self.seen.append(y.detach().clone())
        return (y**3).sum(1)


def law_standard_error(ask: Ask, n: int = 12, seed: int = 0) -> None:
    """Mean and standard error are those that numpy finds from the same draws, caught by the quantity as they pass.

    F = Σ x³, so the influence of x_j at a draw is 3 x_j². The draws come input by input, n each.
    """
    net, x = worlds.through(), noise(2, 3, seed=seed)
    caught = Recorded()
    a = ask(net, "INPUT", caught, inf.Gaussian(x, std=0.4, n=n, seed=seed), inf.gradient, chunk=5)
    drawn = torch.cat(caught.seen).numpy().reshape(2, n, 3)
    for i in range(2):
        mean, error = oracles.mean_and_standard_error(3 * drawn[i] ** 2)
        close(a.values[i], torch.from_numpy(mean))
        # The variance is a difference of second moments: it loses the digits that they share, here less than 4.
        assert np.abs(a.stderr[i].numpy() - error).max() < 1e-10
    # The draws are those of a Gaussian of that width: 6 standard errors, of the mean and of the standard deviation.
    spread = (drawn - x.numpy()[:, None]) / 0.4
    assert abs(spread.mean()) < 6 / np.sqrt(spread.size)
    assert abs(spread.std() - 1) < 6 / np.sqrt(2 * spread.size)


def law_mixture_weights_are_divided_by_their_sum(ask: Ask) -> None:
    """2P + 6Q is ¼P + ¾Q: a distribution weighs 1 in all."""
    net, a, b = worlds.smooth_mlp(), noise(1, 4, seed=1), noise(1, 4, seed=2)
    over = 2.0 * inf.Point(a) + 6.0 * inf.Point(b)
    parts = [ask(net, "1", inf.Class(0), inf.Point(x), inf.gradient).values for x in (a, b)]
    close(ask(net, "1", inf.Class(0), over, inf.gradient).values, 0.25 * parts[0] + 0.75 * parts[1])


def law_a_backward_rule_holds_however_a_relu_is_written(ask: Ask, seed: int = 0) -> None:
    """R_in = R_out · [R_out > 0], for guided backpropagation also · [activation > 0], at every ReLU of the net.

    Module or function, in place or not: layer by layer, by hand. The plain gradient, R_out · [activation > 0], is
    another picture: here more than a tenth of the largest number off.
    """
    relus = (nn.ReLU(), torch.relu, nn.ReLU(inplace=True), torch.relu_, lambda x: x.clamp(min=0))
    for relu, rule in itertools.product(relus, (inf.Deconvnet(), inf.Guided())):
        net, x = worlds.rectified(relu, seed), noise(3, 4, seed=seed)
        with torch.no_grad():
            a = net.first(x)
            b = net.again(a.clamp(min=0))
            arriving = net.last.weight[1].expand(3, 6)
            plain = arriving
            for before, layer in ((b, net.again), (a, net.first)):
                arriving = oracles.guided(arriving, before) if rule == inf.Guided() else oracles.deconv(arriving)
                arriving, plain = arriving @ layer.weight, (plain * (before > 0)) @ layer.weight
        assert float((arriving - plain).abs().max()) > 0.1 * float(arriving.abs().max())
        close(ask(net, "INPUT", inf.Class(1), inf.Point(x), inf.Ruled(inf.gradient, rule)).values, arriving)
