"""Retina-like photographs drawn by a formula, in five grades by the number and the size of their lesions, and small
Inception-style nets that are trained on them.

Grade 1 has none; grade 2 a few dark dots of about a pixel, which a Gaussian blur erases; from grade 3 on lesions are
larger. The background varies on the scale of the blur, so that a blurred dot is one dark spot among many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from _nets import kept
from PIL import Image
from torch import Tensor, nn

import influent as inf

SIDE, GRADES = 96, ("grade 1", "grade 2", "grade 3", "grade 4", "grade 5")


Kinds = Mapping[int, tuple[int, ...]]
NESTED: Kinds = {grade: tuple(range(grade)) for grade in range(5)}
ALONE: Kinds = {0: (), **{grade: (grade - 1,) for grade in range(1, 5)}}
"""The kinds of lesions of each grade: those of the lower ones, too; or one kind alone."""


def drawn(counts: Mapping[int, int], seed: int, kinds: Kinds = NESTED) -> tuple[Tensor, Tensor]:
    """Photographs in bytes `[photo, 3, row, column]` and grades, 0 to 4, `[photo]`, mixed: `counts` of each grade."""
    dice = torch.Generator().manual_seed(seed)
    grades = torch.cat([torch.full((count,), grade) for grade, count in counts.items()])
    grades = grades[torch.randperm(len(grades), generator=dice)]
    return torch.stack([_photo(kinds[int(grade)], dice) for grade in grades]), grades


def _photo(kinds: tuple[int, ...], dice: torch.Generator) -> Tensor:
    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*(shape or (1,)), generator=dice)

    rows, columns = torch.meshgrid(torch.arange(SIDE) - 47.5, torch.arange(SIDE) - 47.5, indexing="ij")
    light = between(0.85, 1.1) * (1 + (rows * between(-1, 1) + columns * between(-1, 1)) / 400)
    picture = torch.tensor([180.0, 95.0, 45.0])[:, None, None] * light
    # The background of a retina is uneven: smooth noise, of the width that the blur has.
    noise = torch.randn(1, 1, SIDE, SIDE, generator=dice)
    picture = picture + 8 * _smooth(noise, 2.0)[0] + 8 * _smooth(torch.randn(1, 1, SIDE, SIDE, generator=dice), 8.0)[0]
    side = 1.0 if torch.rand(1, generator=dice) < 0.5 else -1.0
    disc = between(-6, 6) - rows, side * between(22, 30) - columns
    picture = picture + torch.tensor([60.0, 75.0, 50.0])[:, None, None] * _bell(*disc, 5.5)
    for _ in range(5):  # vessels leave the disc in bent lines
        slope, bend = between(-1.2, 1.2), between(-0.02, 0.02)
        across = -disc[1] * -side
        middle = -disc[0] - (slope * across + bend * across**2) * (across > 0)
        picture = picture - 40 * torch.exp(-(middle**2) / 2.5) * (across > 0) * (1 + 0 * across)
    for dark, size, count in _lesions(kinds, dice):
        for _ in range(count):
            radius, angle = 40 * float(between(0.05, 1)) ** 0.5, float(between(0, 2 * math.pi))
            spot = _bell(rows - radius * math.sin(angle), columns - radius * math.cos(angle), float(size))
            colour = torch.tensor([-60.0, -50.0, -20.0]) if dark else torch.tensor([40.0, 70.0, 40.0])
            picture = picture + colour[:, None, None] * spot
    inside = torch.sigmoid(46 - (rows**2 + columns**2).sqrt())
    return (picture * inside + 2 * torch.randn(3, SIDE, SIDE, generator=dice)).clamp(0, 255).round().byte()


def _lesions(kinds: tuple[int, ...], dice: torch.Generator) -> list[tuple[bool, float, int]]:
    """Groups of lesions: whether they are dark, their size in pixels, how many."""

    def some(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=dice))

    all_kinds = [(True, 0.5, some(5, 9)), (True, 2.2, some(4, 7)), (False, 2.8, some(3, 6)), (True, 6.0, some(2, 3))]
    return [all_kinds[k] for k in kinds]


def _bell(rows: Tensor, columns: Tensor, size: float) -> Tensor:
    return torch.exp(-(rows**2 + columns**2) / (2 * size**2))


def _smooth(noise: Tensor, std: float) -> Tensor:
    """Noise of one deviation whose neighbours are alike over `std` pixels."""
    radius = math.ceil(3 * std)
    line = torch.exp(-(torch.arange(-radius, radius + 1.0) ** 2) / (2 * std**2))
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        kernel = (line / line.sum()).reshape(shape)
        pad = (0, 0, radius, radius) if shape[2] == -1 else (radius, radius, 0, 0)
        noise = nn.functional.conv2d(nn.functional.pad(noise, pad, mode="reflect"), kernel)
    return noise / noise.std()


class Mixed(nn.Module):
    """An Inception block: three branches, 1 × 1, 3 × 3 and pooled, `[point, c, y, x] → [point, 2 · width, y, x]`."""

    def __init__(self, incoming: int, width: int) -> None:
        super().__init__()
        half = width // 2
        self.one = _unit(incoming, half, 1)
        self.three = nn.Sequential(_unit(incoming, half, 1), _unit(half, width, 3))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), _unit(incoming, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.pooled(x)], 1)


def _unit(incoming: int, outgoing: int, side: int) -> nn.Sequential:
    convolution = nn.Conv2d(incoming, outgoing, side, padding=side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outgoing), nn.ReLU())


def inception(classes: int) -> nn.Sequential:
    """An Inception-style net: photographs `[point, 3, row, column]` → scores `[point, class]`."""
    halved = nn.MaxPool2d(2)
    parts = {"stem": _unit(3, 16, 3), "pool1": halved, "mixed1": Mixed(16, 16), "pool2": halved}
    parts |= {"mixed2": Mixed(32, 24), "pool3": halved, "mixed3": Mixed(48, 32), "pool4": nn.AdaptiveAvgPool2d(1)}
    net = nn.Sequential()
    for name, part in {**parts, "flat": nn.Flatten(), "head": nn.Linear(64, classes)}.items():
        net.add_module(name, part)
    return net


def trained(
    x: Tensor, label: Tensor, classes: int, epochs: int, seed: int, mirrored: tuple[int, ...] = (2, 3)
) -> nn.Sequential:
    """A net trained on inputs `[sample, 3, row, column]`: Adam, one cycle of the learning rate, batches of 32.

    Batches are mirrored by lot, along the dimensions `mirrored`.
    """
    torch.manual_seed(seed)
    net, dice = inception(classes), torch.Generator().manual_seed(seed)
    net = net.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    steps = epochs * math.ceil(len(x) / 32)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.01, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=dice).split(32):
            turned = torch.rand(len(mirrored), generator=dice) < 0.5
            here = x[rows].flip([d for d, on in zip(mirrored, turned, strict=True) if on])
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(here), label[rows]).backward()
            optimiser.step()
            cycle.step()
    return net.eval()


def pictures(x: Tensor) -> list[Image.Image]:
    """Photographs `[photo, 3, row, column]` in bytes as pictures."""
    return [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in x]


def seen_by(blur: bool) -> inf.PixelTransform:
    """The way of a photograph into the net: as it is, or blurred, as in the paper."""
    steps: tuple[Any, ...] = (inf.Blur(2.0),) if blur else ()
    return inf.PixelTransform((128.0,) * 3, (64.0,) * 3, see=inf.Compose(steps))


def doctor(seed: int, blur: bool, train: Mapping[int, int], epochs: int, name: str, kinds: Kinds = NESTED) -> inf.Net:
    """A net trained on photographs of its own draw, `train` of each grade, with its way of seeing them."""
    way = seen_by(blur)

    def train_it() -> nn.Module:
        x, grade = drawn(train, 100_000 + seed, kinds)
        return trained(torch.cat([way(one) for one in pictures(x)]), grade, len(GRADES), epochs, seed)

    net = kept(f"{name}-{'blurred' if blur else 'sharp'}-{seed}", inception(len(GRADES)), train_it)
    return inf.Net(net, labels=GRADES, transform=way, layer="mixed3/channel")
