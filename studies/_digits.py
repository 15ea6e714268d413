"""Zeros and sevens, and the net of the layered study: used by `layered_digits`; no study by itself."""

from __future__ import annotations

import gzip
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

import influent as inf
from influent.zoo.files import data_file, weights_for

WEIGHTS = Path(__file__).parent / "results" / "digits.safetensors"
DIGITS, CHANNELS = (0, 7), (16, 32, 32, 64, 64)
ADVICE = "Set INFLUENT_DATA to a folder with mnist/: studies/README.md says where to get it."


def read(part: str) -> tuple[Tensor, Tensor]:
    """Images `[digit, 1, 32, 32]`, 0 to 1, and whether each is a seven, `[digit]`: of "train" or "t10k", 0 and 7 alone.

    28 rows and columns get two of black on every side: five poolings need 32.
    """
    raw = [
        gzip.decompress(data_file(f"mnist/{part}-{kind}-ubyte.gz", ADVICE).read_bytes())
        for kind in ("images-idx3", "labels-idx1")
    ]
    labels = torch.frombuffer(bytearray(raw[1][8:]), dtype=torch.uint8)
    images = torch.frombuffer(bytearray(raw[0][16:]), dtype=torch.uint8).reshape(-1, 1, 28, 28)
    kept = (labels == DIGITS[0]) | (labels == DIGITS[1])
    return nn.functional.pad(images[kept].float() / 255, (2, 2, 2, 2)), (labels[kept] == DIGITS[1]).long()


def module() -> nn.Module:
    """Five times convolution 3 × 3, ReLU, max-pooling by two; then a linear layer: `[point, 1, 32, 32]` → logits."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    before = 1
    for k, channels in enumerate(CHANNELS, 1):
        layers |= {
            f"conv{k}": nn.Conv2d(before, channels, 3, padding=1), f"relu{k}": nn.ReLU(), f"pool{k}": nn.MaxPool2d(2),
        }  # fmt: skip
        before = channels
    return nn.Sequential(layers | {"flat": nn.Flatten(), "classify": nn.Linear(before, len(DIGITS))})


def trained(x: Tensor, label: Tensor, epochs: int = 2, seed: int = 0) -> nn.Module:
    """The net trained by Adam, batches of 64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = module().train()
        solver = torch.optim.Adam(net.parameters(), lr=1e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(64):
                solver.zero_grad()
                nn.functional.cross_entropy(net(x[rows]), label[rows]).backward()
                solver.step()
    return net.eval().requires_grad_(False)


def digits_net() -> inf.Net:
    """The trained net, from the file that the study wrote."""
    net = module()
    found = weights_for(net, WEIGHTS, "python3 dev.py study layered_digits makes it.")
    net.load_state_dict({name: weight.float() for name, weight in found.items()})
    return inf.Net(net.eval().requires_grad_(False), labels=("zero", "seven"), layer="pool3")
