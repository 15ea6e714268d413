"""The net and the photos that every benchmark uses, the floor, and a count of samples that trusts nobody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

import influent as inf
from influent.errors import InputError

NET = "efficientnet-lite0"
MIDDLE = "_blocks.10"
NINE = tuple(f"_blocks.{k}" for k in (0, 2, 4, 6, 8, 10, 12, 14, 15))
EARLIEST = NINE[0]
PHOTOS = ("coffee", "chelsea", "astronaut", "rocket")
CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5), (0.5, 0.0), (0.0, 0.5), (1.0, 0.5))


@dataclass
class Samples:
    """Samples that went through a net, seen from its outside."""

    forward: int = 0
    backward: int = 0

    def per(self, other: Samples) -> tuple[float, float]:
        """How many times as many as `other`, forward and backward."""
        return self.forward / other.forward, self.backward / max(1, other.backward)


def photos(net: inf.Net, count: int) -> Tensor:
    """`count` (at most 64) different inputs `[count, 3, 224, 224]`: crops and mirror images of four photos."""
    inputs = []
    for corner in CORNERS:
        for flip in (False, True):
            for name in PHOTOS:
                if len(inputs) < count:
                    inputs.append(net.read(_crop(inf.example(name), corner, flip)))
    return torch.cat(inputs)


def _crop(file: object, corner: tuple[float, float], flip: bool) -> Image.Image:
    """Nine tenths of a photo, cut out at a corner, perhaps mirrored."""
    with Image.open(str(file)) as photo:
        picture = photo.convert("RGB")
    width, height = (round(0.9 * side) for side in picture.size)
    left, top = ((side - cut) * c for side, cut, c in zip(picture.size, (width, height), corner, strict=True))
    picture = picture.crop((round(left), round(top), round(left) + width, round(top) + height))
    return ImageOps.mirror(picture) if flip else picture


def real_photos(net: inf.Net, count: int) -> list[tuple[str, Tensor]]:
    """`count` photos of a thousand, one of each class of ImageNet, evenly spaced: names and inputs `[1, 3, 224, 224]`.

    Errors: `InputError` where INFLUENT_DATA does not name the folder that holds them.
    """
    folder = Path(os.environ.get("INFLUENT_DATA", "")) / "imagenet-1000-samples" / "images"
    if "INFLUENT_DATA" not in os.environ or not folder.is_dir():
        raise InputError(
            "The real photos are not here. Type `export INFLUENT_DATA=FOLDER`, where FOLDER/imagenet-1000-samples/"
            "images/ holds them (studies/README.md says where they come from)."
        )
    files = sorted(folder.iterdir())
    return [(files[k].name, net.read(files[k])) for k in evenly(len(files), count)]


def evenly(total: int, count: int) -> list[int]:
    """The middles of `count` equal parts of `range(total)`.

    >>> evenly(1000, 4)
    [125, 375, 625, 875]
    """
    return [(2 * k + 1) * total // (2 * count) for k in range(count)]


def predicted(net: inf.Net, x: Tensor) -> int:
    """The class that the net gives one input `[1, *shape]`."""
    with torch.no_grad():
        return int(net.module(net.placed(x)).argmax(1))


def floor(module: nn.Module, cut: str, inputs: Tensor, class_index: int, chunk: int) -> list[Tensor]:
    """The least that gradients at one cut can cost: a bare pass forward, and back down to that cut.

    The weights are frozen (the zoo's are) and nothing below the cut is taped.
    """
    leaf: list[Tensor] = []

    def detach(layer: nn.Module, args: object, output: Tensor) -> Tensor:
        leaf[:] = [output.detach().requires_grad_()]
        return leaf[0]

    handle = module.get_submodule(cut).register_forward_hook(detach)
    try:
        return [torch.autograd.grad(module(part)[:, class_index].sum(), leaf)[0] for part in inputs.split(chunk)]
    finally:
        handle.remove()


@contextmanager
def counted(module: nn.Module) -> Iterator[Samples]:
    """Samples through a module while the block runs: in at its front, and gradients back in at its output."""
    seen = Samples()

    def went_back(gradient: Tensor) -> None:
        seen.backward += len(gradient)

    def hook(layer: nn.Module, args: object, output: Tensor) -> None:
        seen.forward += len(output)
        if output.requires_grad:
            output.register_hook(went_back)

    handle = module.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()
