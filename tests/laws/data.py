"""The laws of data sets, as functions of an implementation: ours must keep them, each mutant must break its own.

`ask(net, at, batches, by="label")` gives the mean gradient of the label's score: rows by name in `instances`, `values
[instance, *unit]`, `stderr` of the same shape, `count [instance]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import influent as inf
from tests import worlds
from tests.laws.laws import close
from tests.worlds import noise

Ask = Callable[..., Any]


def samples(n: int = 23, seed: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs of a small net, and labels that are not equally frequent."""
    label = torch.randint(0, 2, (n,), generator=torch.Generator().manual_seed(seed))
    label[:4] = torch.tensor([0, 1, 2, 2])
    return noise(n, 4, seed=seed), label


def singles(x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """∂ the label's score at layer 1, sample by sample, by plain autograd."""
    net, rows = worlds.smooth_mlp(), []
    for one, c in zip(x, label.tolist(), strict=True):
        y = net[:2](one[None]).detach().requires_grad_()
        rows.append(torch.autograd.grad(net[2:](y)[0, c], y)[0][0])
    return torch.stack(rows)


def cut(x: torch.Tensor, label: torch.Tensor, sizes: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of given sizes."""
    return list(zip(x.split(sizes), label.split(sizes), strict=True))


def law_rows_are_means_over_their_class(ask: Ask) -> None:
    """χ_c = (1/n_c) Σ_{label = c} ∂F_c/∂y, whatever sizes the batches have, and in the order of the classes."""
    x, label = samples()
    a, each = ask(worlds.smooth_mlp(), "1", cut(x, label, [10, 1, 12])), singles(x, label)
    close(a.values, torch.stack([each[label == c].mean(0) for c in range(3)]))
    assert list(a.instances) == [0, 1, 2] and a.count.tolist() == [int((label == c).sum()) for c in range(3)]


def law_errors_are_those_of_samples(ask: Ask) -> None:
    """stderr² = Σ (u − mean)² / (n (n − 1)), over the samples of a row."""
    x, label = samples()
    a, each = ask(worlds.smooth_mlp(), "1", cut(x, label, [10, 1, 12])), singles(x, label)
    close(a.stderr, torch.stack([each[label == c].std(0) / int((label == c).sum()) ** 0.5 for c in range(3)]))


def law_a_mixture_of_halves_is_the_whole(ask: Ask) -> None:
    """T9: P = (n₁/n) P₁ + (n₂/n) P₂ gives (n₁/n) χ(P₁) + (n₂/n) χ(P₂)."""
    x, label = samples(20)
    whole = ask(worlds.smooth_mlp(), "1", cut(x, label, [20]), by="all").values
    first, second = (ask(worlds.smooth_mlp(), "1", [b], by="all").values for b in cut(x, label, [5, 15]))
    close(whole, 0.25 * first + 0.75 * second)


def law_of_two_nets_only_their_slopes_on_the_data_matter(ask: Ask) -> None:
    """T12: f₁ = x² and f₂ = ½ x⁴ have one slope at x = ±1, where the data lie: equal influence."""
    x = torch.tensor([[1.0], [-1.0], [1.0]], dtype=torch.float64)
    label = torch.zeros(3, dtype=torch.long)
    one = worlds.Formula(lambda x: x**2).double()
    other = worlds.Formula(lambda x: x**4 / 2).double()
    first, second = (ask(net.eval(), "INPUT", [(x, label)]).values for net in (one, other))
    close(first, second)
    close(first, torch.tensor([[2 / 3]], dtype=torch.float64))


def ours(net: Any, at: str, batches: Any, by: str = "label") -> Any:
    """`influence` over a `Dataset`."""
    return inf.influence(net, at, inf.Label(), inf.Dataset(batches, by=by), inf.gradient)
