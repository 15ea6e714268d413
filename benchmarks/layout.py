"""Channels-last memory beside the default: time of a net forward, and forward and backward, and how results differ."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import influent as inf
from influent.errors import InputError

from .jobs import CHUNK, CLASS
from .timing import Ratio, clock_for, interleaved
from .unit_error import relative
from .workload import photos

LAYERS = {"efficientnet-lite0": "_blocks.7", "googlenet": "inception_4c", "resnet-18": "resnet.resnet.encoder.stages.2"}
FORMATS = {"default": torch.contiguous_format, "channels last": torch.channels_last}


class Logits(nn.Module):
    """A ResNet-18 with random weights, `[point, 3, 224, 224] → [point, 1000]`."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import ResNetConfig, ResNetForImageClassification

        torch.manual_seed(0)
        config = ResNetConfig(
            depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", num_labels=1000
        )
        self.resnet = ResNetForImageClassification(config)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, out of what the library wraps them in."""
        logits: Tensor = self.resnet(x).logits
        return logits


def run(quick: bool) -> dict[str, Any]:
    """The part of the suite: prints as it goes."""
    threads = torch.get_num_threads()
    rounds, report = 1 if quick else 3, {}
    print(f"\nlayout: time in default memory / in channels last, {CHUNK} photos, and how far results are apart")
    for name in LAYERS if not quick else ("efficientnet-lite0", "resnet-18"):
        try:
            net = inf.Net(Logits().eval().requires_grad_(False)) if name == "resnet-18" else inf.zoo.load(name)
        except InputError as error:
            print(f"{name}: skipped. {error}")
            continue
        x = photos(inf.zoo.load("efficientnet-lite0") if name == "resnet-18" else net, 4 if quick else CHUNK)
        report[name] = {str(n): _times(name, net.module, x, n, rounds) for n in (1, 2)}
        torch.set_num_threads(threads)
        report[name] |= _differences(name, net.module, x[:1])
    return report


def _laid(module: nn.Module, x: Tensor, layout: torch.memory_format) -> tuple[nn.Module, Tensor]:
    return copy.deepcopy(module).to(memory_format=layout), x.contiguous(memory_format=layout)


def _times(name: str, module: nn.Module, x: Tensor, threads: int, rounds: int) -> dict[str, str]:
    torch.set_num_threads(threads)
    jobs: dict[str, Callable[[], object]] = {}
    for kind, layout in FORMATS.items():
        laid, y = _laid(module, x, layout)
        jobs[f"forward, {kind}"] = lambda laid=laid, y=y: _forward(laid, y)
        jobs[f"both, {kind}"] = lambda laid=laid, y=y: _both(laid, y)
    jobs["both, again"] = jobs["both, channels last"]
    times = interleaved(jobs, rounds, clock_for(threads))
    found = {
        way: str(Ratio.of(times[f"{way}, default"], times[f"{way}, channels last"])) for way in ("forward", "both")
    }
    found["same job twice"] = str(Ratio.of(times["both, again"], times["both, channels last"]))
    print(
        f"{name:<20} {threads} thread(s): forward {found['forward']}, forward and backward {found['both']}, "
        f"A/A {found['same job twice']}",
        flush=True,
    )
    return found


@torch.no_grad()
def _forward(module: nn.Module, x: Tensor) -> Tensor:
    return module(x)


def _both(module: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(module(x)[:, CLASS].sum(), x)[0]


def _differences(name: str, module: nn.Module, x: Tensor) -> dict[str, Any]:
    """Gradients and conductance in both layouts, and whether points reach the net in the layout of the input."""
    found: dict[str, Any] = {}
    for dtype in (torch.float32, torch.float64):
        plain, last = (_laid(copy.deepcopy(module).to(dtype), x.to(dtype), layout) for layout in FORMATS.values())
        key = str(dtype).removeprefix("torch.")
        found[f"gradient, {key}"] = relative(_both(*last), _both(*plain))
        one, two = (_conductance(*laid, LAYERS[name]) for laid in (plain, last))
        found[f"conductance, {key}"] = relative(two[0], one[0])
        found["points keep the layout"] = two[1]
    print(f"{name:<20} " + ", ".join(f"{k} {v:.1e}" if isinstance(v, float) else f"{k}: {v}" for k, v in found.items()))
    return found


def _conductance(module: nn.Module, x: Tensor, layer: str) -> tuple[Tensor, str]:
    """Values on five uniform points, and of how many passes the points are channels last."""
    kept: list[bool] = []

    def look(net: nn.Module, args: tuple[Tensor, ...]) -> None:
        kept.append(args[0].is_contiguous(memory_format=torch.channels_last))

    handle = module.register_forward_pre_hook(look)
    try:
        over = inf.Line(torch.full_like(x, 0.1), x, n=5, rule="uniform")
        found = inf.influence(inf.Net(module), layer, inf.Class(CLASS), over, inf.contribution, chunk=2)
    finally:
        handle.remove()
    return found.values, f"{sum(kept)} of {len(kept)}"
