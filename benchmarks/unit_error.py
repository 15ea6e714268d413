"""How far single units are off: our points beside Captum's steps, both held against a very fine path.

The error of a layer is Σ |a − reference| / Σ |reference| over its units, neurons or channels. Captum's
LayerConductance adds up G_k (y_{k+1} − y_k) over the Gauss-Legendre nodes that it takes by default. `left_sums` does
that for four layers and two quantities in one pass a node, so that many numbers of steps can be tried; one real call a
layer is compared with it. Captum's cost is that of its own calls, one for each layer.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import LayerConductance
from torch import Tensor, nn

import influent as inf
from influent.quadrature import gauss_nodes

from .workload import predicted, real_photos

LAYERS = ("_blocks.2", "_blocks.7", "_blocks.12", "_blocks.15")
REFERENCE, COARSER = 800, 400
PASSES = {"logit": 65, "probability": 129}
BAR, SHARE, CHUNK = 0.06, 1 / 8, 16
FURTHER, COARSER_PHOTOS = 2, 4  # photos that also see 1024 steps, and the coarser reference
Found = dict[tuple[str, str], Tensor]  # what was found, by quantity and layer


@dataclass(frozen=True)
class Size:
    """How much work: photos, points of the reference and of its check, Captum's steps."""

    photos: int
    reference: int
    coarser: int
    steps: tuple[int, ...]
    further: tuple[int, ...]


def steps_at(cost: int, layers: int) -> int:
    """The most of Captum's steps, whose calls (one a layer, each a pass more than its steps) cost at most `cost`.

    >>> steps_at(8 * (66 + 65), layers=4)
    130
    """
    return cost // (2 * layers) - 1


def relative(found: Tensor, reference: Tensor, channels: bool = False) -> float:
    """Σ |found − reference| / Σ |reference|, over neurons `[1, channel, *position]` or over channels."""
    a, b = found.detach().double(), reference.detach().double()
    if channels and a.dim() > 2:
        a, b = a.flatten(2).sum(2), b.flatten(2).sum(2)
    return float((a - b).abs().sum() / b.abs().sum())


def as_good(ours: Mapping[str, float], theirs: Mapping[int, Mapping[str, float]]) -> int | None:
    """The least number of steps whose error is at most ours at every layer; None where none that was tried is."""
    return next((n for n in sorted(theirs) if all(theirs[n][layer] <= ours[layer] for layer in ours)), None)


def left_sums(
    net: nn.Module,
    layers: Sequence[str],
    of: Sequence[Callable[[Tensor], Tensor]],
    start: Tensor,
    x: Tensor,
    steps: int,
) -> list[list[tuple[Tensor, Tensor]]]:
    """Σ_k G_k (y_{k+1} − y_k) over the steps + 1 nodes, by quantity and layer, and beside it the trapezoid's sum."""
    totals = [[(torch.zeros(()), torch.zeros(())) for _ in layers] for _ in of]
    last: tuple[list[Tensor], list[list[Tensor]]] | None = None
    alphas = gauss_nodes(steps + 1)[0].tolist()
    for first in range(0, len(alphas), CHUNK):
        points = torch.cat([start + a * (x - start) for a in alphas[first : first + CHUNK]])
        seen, slopes = _watched(net, layers, of, points)
        if last is not None:
            seen = [torch.cat(pair) for pair in zip(last[0], seen, strict=True)]
            slopes = [
                [torch.cat(pair) for pair in zip(a, b, strict=True)] for a, b in zip(last[1], slopes, strict=True)
            ]
        for q, own in enumerate(slopes):
            for k, (y, g) in enumerate(zip(seen, own, strict=True)):
                step = (y[1:] - y[:-1]).double()
                left, both = (g[:-1] * step).sum(0), ((g[:-1] + g[1:]) * step).sum(0) / 2
                totals[q][k] = (totals[q][k][0] + left[None], totals[q][k][1] + both[None])
        last = [y[-1:] for y in seen], [[g[-1:] for g in own] for own in slopes]
    return totals


def _watched(
    net: nn.Module, layers: Sequence[str], of: Sequence[Callable[[Tensor], Tensor]], points: Tensor
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Activations at each layer, and their slopes by quantity and layer."""
    kept: dict[str, Tensor] = {}

    def keep(layer: str) -> Callable[..., Tensor]:
        def hook(module: nn.Module, args: object, output: Tensor) -> Tensor:
            kept[layer] = output if output.requires_grad else output.detach().requires_grad_()
            return kept[layer]

        return hook

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(net.get_submodule(layer).register_forward_hook(keep(layer)).remove)
        outputs = net(points)
    watched = [kept[layer] for layer in layers]
    slopes = [torch.autograd.grad(f(outputs).sum(), watched, retain_graph=True) for f in of]
    return [y.detach() for y in watched], [list(own) for own in slopes]


def run(quick: bool) -> dict[str, Any]:
    """The part of the suite: prints as it goes."""
    net = inf.zoo.load("efficientnet-lite0")
    tried = {name: steps_at(int((2 * n + 1) / SHARE), len(LAYERS)) for name, n in PASSES.items()}
    steps = tuple(sorted({50, *tried.values(), 512}))
    size = Size(1, 129, 65, steps[:1], ()) if quick else Size(10, REFERENCE, COARSER, steps, (1024,))
    photos = real_photos(net, size.photos)
    print(
        f"\nunits: efficientnet-lite0, {len(photos)} photos, layers {', '.join(LAYERS)}; error of a layer, against "
        f"{size.reference} adaptive points: sum |a - ref| / sum |ref|"
    )
    errors: list[dict[str, Any]] = []
    for k, (name, x) in enumerate(photos):
        more = size.further if k < FURTHER else ()
        errors.append(_photo(net, x, size, (*size.steps, *more), k < COARSER_PHOTOS))
        worst = max(v for (q, _, way), v in errors[-1]["neuron"].items() if way == "ours")
        print(f"{name}: worst of ours {worst:.2%}", flush=True)
    call = _captums_call(net, photos[0][1])
    return {"photos": [name for name, _ in photos], **_report(errors, tried), "a real call": call}


def _photo(net: inf.Net, x: Tensor, size: Size, steps: Iterable[int], check: bool) -> dict[str, Any]:
    """One photo's errors, by (quantity, layer, way), over neurons and over channels."""
    c = predicted(net, x)
    of = {"logit": inf.Class(c), "probability": inf.Probability(c)}
    start = net.baseline_for("black", x)
    reference = _ours(net, x, of, size.reference)
    ways: dict[str, Found] = {"ours": {}}
    for name, n in PASSES.items():
        ways["ours"] |= _ours(net, x, {name: of[name]}, n)
    if check:
        ways["coarser reference"] = _ours(net, x, of, size.coarser)
    functions = (lambda y: y[:, c], lambda y: y.softmax(1)[:, c])
    for n in steps:
        sums = left_sums(net.module, LAYERS, functions, start, x, n)
        keys = [(name, layer) for name in of for layer in LAYERS]
        pairs = dict(zip(keys, [pair for own in sums for pair in own], strict=True))
        ways[f"captum {n}"] = {key: left for key, (left, _) in pairs.items()}
        ways[f"trapezoid {n}"] = {key: both for key, (_, both) in pairs.items()}
    found = {(*key, way): (a, reference[key]) for way, by_key in ways.items() for key, a in by_key.items()}
    return {
        unit: {key: relative(a, b, unit == "channel") for key, (a, b) in found.items()}
        for unit in ("neuron", "channel")
    }


def _ours(net: inf.Net, x: Tensor, of: Mapping[str, inf.Quantity], n: int) -> Found:
    """Total conductance by the default rule, all layers and quantities out of one sweep."""
    found = inf.influence(net, list(LAYERS), list(of.values()), inf.Line("black", x, n=n), inf.contribution)
    return {(name, layer): found[layer][q].values for name, q in of.items() for layer in LAYERS}


def _captums_call(net: inf.Net, x: Tensor, steps: int = 50) -> dict[str, float]:
    """A real call a layer beside `left_sums`, and its time beside ours."""
    c, start = predicted(net, x), net.baseline_for("black", x)
    began = time.process_time()
    found = [
        LayerConductance(net.module, net.module.get_submodule(layer)).attribute(
            x, start, target=c, n_steps=steps, internal_batch_size=CHUNK
        )
        for layer in LAYERS
    ]
    theirs = time.process_time() - began
    began = time.process_time()
    _ours(net, x, {"logit": inf.Class(c)}, PASSES["logit"])
    ours = time.process_time() - began
    (sums,) = left_sums(net.module, LAYERS, [lambda y: y[:, c]], start, x, steps)
    apart = max(relative(left, a) for (left, _), a in zip(sums, found, strict=True))
    print(
        f"four real calls of Captum's with {steps} steps: {theirs / ours:.2f} times the time of ours with "
        f"{PASSES['logit']} points, and apart from the sums above by at most {apart:.1e}",
        flush=True,
    )
    return {"time of theirs / ours": theirs / ours, "apart": apart}


def _report(errors: Sequence[Mapping[str, Any]], tried: Mapping[str, int]) -> dict[str, Any]:
    report = {}
    for name in PASSES:
        medians = {unit: _medians(errors, unit, name) for unit in ("neuron", "channel")}
        print(f"\n{name}: {'':<22} {'  '.join(f'{layer:>10}' for layer in LAYERS)}   by channel")
        for way, by_layer in medians["neuron"].items():
            row = "  ".join(f"{v:>10.2%}" for v in by_layer.values())
            print(f"  {way:<28} {row}   {'  '.join(f'{v:.2%}' for v in medians['channel'][way].values())}")
        report[name] = {"medians": medians, **_bars(errors, name, medians["neuron"], tried[name])}
    return report


def _medians(errors: Sequence[Mapping[str, Any]], unit: str, name: str) -> dict[str, dict[str, float]]:
    """The median over photos, by way and layer; a way that only some photos saw counts those."""
    ways = dict.fromkeys(way for e in errors for q, _, way in e[unit] if q == name)
    return {
        way: {layer: statistics.median(e[unit][name, layer, way] for e in errors if (name, layer, way) in e[unit])
              for layer in LAYERS}
        for way in ways
    }  # fmt: skip


def _bars(
    errors: Sequence[Mapping[str, Any]], name: str, medians: Mapping[str, Mapping[str, float]], at_bar: int
) -> dict[str, Any]:
    """The two bars of a quantity: its own error, and what Captum's calls cost where they are as good."""
    own = [e["neuron"][name, layer, "ours"] for e in errors for layer in LAYERS]
    median, cost = statistics.median(own), 2 * PASSES[name] + 1
    every = {n: f"captum {n}" for n in sorted(int(way.split()[1]) for way in medians if way.startswith("captum"))}
    theirs = {n: medians[way] for n, way in every.items() if all(_saw(e, name, way) for e in errors)}
    good, last = as_good(medians["ours"], theirs), max(theirs)
    steps = {layer: as_good({layer: medians["ours"][layer]}, theirs) for layer in LAYERS}
    behind = good is None or good > at_bar
    times = 2 * len(LAYERS) * ((good or last) + 1) / cost
    named = ", ".join(f"{layer} {n if n else f'more than {last}'} steps" for layer, n in steps.items())
    first = "met" if median <= BAR else "MISSED"
    second = ("met" if behind else "MISSED") if at_bar in theirs else "not tried"
    print(
        f"  median over layers and photos at {PASSES[name]} points: {median:.2%}, bar <= {BAR:.0%}: {first}\n"
        f"  Captum as good, by layer: {named}\n"
        f"  its calls then cost {'' if good else 'more than '}{times:.1f} times ours ({cost} samples); bar >= "
        f"{1 / SHARE:.0f}, which is more than {at_bar} steps: {second}",
        flush=True,
    )
    return {
        "median error": median, "met": median <= BAR, "steps where Captum is as good": steps, "tried up to": last,
        "cost of Captum's calls there / ours": f"{'' if good else 'more than '}{times:.1f}", "cost met": second,
        "ours, photo by photo": [[e["neuron"][name, layer, "ours"] for layer in LAYERS] for e in errors],
    }  # fmt: skip


def _saw(errors: Mapping[str, Any], name: str, way: str) -> bool:
    return (name, LAYERS[0], way) in errors["neuron"]
