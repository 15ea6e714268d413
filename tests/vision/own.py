"""Nets that no library has at hand, each with the shape that real ones of its kind have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Stage(nn.Sequential):
    """Two convolutions, each with a norm and a ReLU: what a U-Net is made of."""

    def __init__(self, inside: int, out: int) -> None:
        layers = []
        for first in (inside, out):
            layers += [nn.Conv2d(first, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class UNet(nn.Module):
    """Ronneberger et al. 2015, a quarter as wide: images → [point, class, row, column]; a skip from each level."""

    def __init__(self, classes: int, width: int = 16, levels: int = 4) -> None:
        super().__init__()
        sizes = [width * 2**k for k in range(levels + 1)]
        self.enter = nn.Conv2d(3, width, 1)
        self.down = nn.ModuleList(Stage(a, b) for a, b in zip([width, *sizes], sizes, strict=False))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * n, n, 2, 2) for n in sizes[-2::-1])
        self.join = nn.ModuleList(Stage(2 * n, n) for n in sizes[-2::-1])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        x = self.enter(x)
        for k, stage in enumerate(self.down):
            x = stage(x if k == 0 else self.pool(x))
            skips.append(x)
        skips.pop()
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([skips.pop(), up(x)], 1))
        return self.head(x)


class Reader(nn.Module):
    """Words [point, word] → embeddings, an LSTM in both directions, attention over its states, [point, class]."""

    def __init__(self, classes: int, words: int = 50, width: int = 24) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(words, width), nn.LayerNorm(width)
        self.lstm = nn.LSTM(width, width, num_layers=2, bidirectional=True, batch_first=True, dropout=0.2)
        self.turn, self.curve, self.score = nn.Linear(2 * width, width), nn.Tanh(), nn.Linear(width, 1)
        self.fc1, self.act, self.fc2 = nn.Linear(width, width), nn.GELU(), nn.Linear(width, classes)

    def forward(self, ids: Tensor) -> Tensor:
        states, _ = self.lstm(self.norm(self.embed(ids)))
        y = self.curve(self.turn(states))
        pooled = (y * self.score(y).softmax(1)).sum(1)
        return self.fc2(self.act(self.fc1(pooled)))


class Residual(nn.Module):
    """relu(x + norm2(conv2(relu(norm1(conv1(x)))))), with ReLU as a module in place, or as a function."""

    def __init__(self, width: int, functional: bool) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.relu = F.relu if functional else nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x))))) + x)


class Recurring(nn.Module):
    """One residual block, called again and again between a stem and a head: weights shared over depth."""

    def __init__(self, classes: int, width: int = 24, times: int = 3) -> None:
        super().__init__()
        self.times = times
        self.stem = nn.Conv2d(3, width, 4, stride=4)
        self.block = Residual(width, functional=True)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(self.times):
            x = self.block(x)
        return self.head(self.pool(x).flatten(1))


class Plain(nn.Module):
    """A residual net of three stages whose ReLUs are functions, or overwrite their input: the same function of x."""

    def __init__(self, classes: int, functional: bool) -> None:
        super().__init__()
        self.relu = F.relu if functional else nn.ReLU(inplace=True)
        self.stem, self.norm = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16)
        self.stage1, self.turn1 = Residual(16, functional), nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.stage2, self.turn2 = Residual(32, functional), nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.stage3, self.head = Residual(64, functional), nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(self.relu(self.norm(self.stem(x))))
        x = self.stage3(self.relu(self.turn2(self.stage2(self.relu(self.turn1(x))))))
        return self.head(x.mean((2, 3)))


class Conditioned(nn.Module):
    """An image, words (whole numbers) and, by keyword, a mask and a strength: [point, class] by name, and features.

    logits = head(norm(features(image) · (1 + strength · tanh(says(mean of the words not masked)))).
    """

    def __init__(self, classes: int, words: int = 50, width: int = 32) -> None:
        super().__init__()
        self.stem, self.norm1 = nn.Conv2d(3, width, 4, stride=4), nn.BatchNorm2d(width)
        self.mix, self.act = nn.Conv2d(width, width, 3, padding=1), nn.SiLU()
        self.embed, self.says = nn.Embedding(words, width), nn.Linear(width, width)
        self.joined, self.norm2, self.head = nn.Identity(), nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, image: Tensor, words: Tensor, *, mask: Tensor, strength: float = 1.0) -> dict[str, Tensor]:
        features = self.act(self.mix(self.act(self.norm1(self.stem(image)))))
        weight = mask / mask.sum(1, keepdim=True)
        said = self.says((self.embed(words) * weight[..., None]).sum(1))
        y = self.joined(features.mean((2, 3)) * (1 + strength * said.tanh()))
        return {"features": features, "logits": self.head(self.norm2(y))}
