"""Conductance beside integrated gradients and beside Captum: nine layers at once, eight quantities, a set of units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from captum.attr import LayerConductance
from torch import Tensor, nn

import influent as inf
from influent.errors import InputError

from .jobs import CHUNK, CLASS, Comparison, Size
from .workload import NINE, photos

UNITS = 128


@dataclass(frozen=True)
class Case:
    """A net, one input, where its path begins, nine layers of it, and the layer whose units are seen on the input."""

    name: str
    net: inf.Net
    x: Tensor
    start: Tensor
    layers: tuple[str, ...]
    units: str
    of: int


class WordsIn(nn.Module):
    """A small BERT with random weights, from embeddings to logits: the path runs at its input."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertForSequenceClassification

        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=1000, hidden_size=256, num_hidden_layers=9, num_attention_heads=4, intermediate_size=1024,
            num_labels=16,
        )  # fmt: skip
        self.bert = BertForSequenceClassification(config)

    def forward(self, embeddings: Tensor) -> Tensor:
        """`[point, token, 256] → [point, 16]`."""
        logits: Tensor = self.bert(inputs_embeds=embeddings).logits
        return logits


def cases(quick: bool) -> list[Case]:
    """EfficientNet-lite0, GoogLeNet where its weights are and time is, and a BERT of nine layers and 64 words."""
    lite = inf.zoo.load("efficientnet-lite0")
    made = [_photo_case("efficientnet-lite0", lite, NINE, "_blocks.12")]
    if not quick:
        made += _googlenet()
    net = inf.Net(WordsIn().eval().requires_grad_(False), axes={"*": ("token", "channel")})
    words = torch.randn(1, 64, 256, generator=torch.Generator().manual_seed(1))
    layers = tuple(f"bert.bert.encoder.layer.{k}" for k in range(9))
    made.append(Case("bert", net, words, torch.zeros_like(words), layers, f"{layers[4]}", 3))
    return made


def _googlenet() -> list[Case]:
    blocks = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    try:
        net = inf.zoo.load("googlenet")
    except InputError as error:
        print(f"googlenet: skipped. {error}\n")
        return []
    return [_photo_case("googlenet", net, tuple(f"inception_{b}" for b in blocks), "inception_4c")]


def _photo_case(name: str, net: inf.Net, layers: tuple[str, ...], units: str) -> Case:
    x = photos(net, 1)
    return Case(name, net, x, net.baseline_for("black", x), layers, units, CLASS)


def comparisons(case: Case, size: Size) -> list[Comparison]:
    """One case's comparisons, in the order of the table."""
    n, name = size.points_beside_captum, case.name
    alone = _asked(case, inf.INPUT, inf.Class(case.of), n)
    nine = _asked(case, list(case.layers), inf.Class(case.of), n)
    eight = [inf.Class(k) for k in range(8)]
    units = inf.Through(range(UNITS), case.units, inf.Class(case.of))
    channels, channel = [f"{layer}/channel" for layer in case.layers], f"{case.units}/channel"
    return [
        Comparison(
            f"{name} nine", f"conductance of nine layers / integrated gradients alone, {n} uniform points", nine, alone,
            bar=1.10,
        ),
        Comparison(
            f"{name} captum", f"nine calls of Captum's LayerConductance / one sweep, {n} points", _captum(case, n),
            _asked(case, list(case.layers), inf.Class(case.of), n, chunk=n), bar=5.0, at_least=True, most=3,
        ),
        Comparison(
            f"{name} eight", f"eight quantities / one, at {case.units}, {n} points",
            _asked(case, channel, eight, n), _asked(case, channel, eight[:1], n), bar=2.7,
        ),
        Comparison(
            f"{name} eight nine", f"eight quantities / one, nine layers by channel, {n} points",
            _asked(case, channels, eight, n), _asked(case, channels, eight[:1], n), bar=2.7,
        ),
        Comparison(
            f"{name} units", f"conductance of {UNITS} channels on the input / integrated gradients, {n} points",
            lambda: _asked(case, inf.INPUT, units, n)().values, alone, bar=1.6,
        ),
    ]  # fmt: skip


def _asked(case: Case, at: object, of: object, n: int, chunk: int = CHUNK) -> Callable[[], inf.Attribution]:
    over = inf.Line(case.start, case.x, n=n, rule="uniform")
    return lambda: inf.influence(case.net, at, of, over, inf.contribution, chunk=chunk)


def _captum(case: Case, n: int) -> Callable[[], list[Tensor]]:
    """Captum's total conductance, layer by layer; it adds a point of its own to `n_steps`."""
    modules = [case.net.module.get_submodule(layer) for layer in case.layers]

    def run() -> list[Tensor]:
        methods = [LayerConductance(case.net.module, module) for module in modules]
        found = [m.attribute(case.x, case.start, target=case.of, n_steps=n - 1) for m in methods]
        return [(f[0] if isinstance(f, tuple) else f).detach() for f in found]

    return run
