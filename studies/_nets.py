"""Nets that studies train: kept in studies/nets/, which git ignores, so that a study goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor, nn

from influent.atomic import write_whole

NETS = Path(__file__).parent / "nets"


def kept(name: str, made: nn.Module, train: Callable[[], nn.Module]) -> nn.Module:
    """`made` with the weights of an earlier run, or the net that `train` gives, whose weights are then written down."""
    file = NETS / f"{name}.safetensors"
    if file.exists():
        made.load_state_dict(load_file(file))
        return made.eval()
    net = train()
    weights: dict[str, Tensor] = {key: value.contiguous() for key, value in net.state_dict().items()}
    write_whole(file, save(weights))
    return net.eval()
