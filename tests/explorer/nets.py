"""Nets for the explorer's tests: small ones, slow ones, and one that takes its process with it."""

from __future__ import annotations

import os
import signal
import time
from collections import OrderedDict

import torch
from torch import Tensor, nn

from influent import Net, PixelTransform

COLOURS = ("red", "green", "blue")


class Eyes(nn.Module):
    """The mean of each colour, behind two layers; `pause` seconds a pass; dies of magenta, fails on yellow."""

    def __init__(self, pause: float = 0.0) -> None:
        super().__init__()
        self.pause = pause
        self.body = nn.Sequential(OrderedDict(first=nn.Conv2d(3, 6, 1), relu=nn.ReLU(), second=nn.Conv2d(6, 3, 1)))
        with torch.no_grad():
            for layer in (self.body.first, self.body.second):
                layer.weight.zero_()
                layer.bias.zero_()
            for k in range(3):
                self.body.first.weight[k, k] = 1.0
                self.body.first.weight[k + 3, k] = -1.0
                self.body.second.weight[k, k] = 4.0
                self.body.second.weight[k, k + 3] = -4.0

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.pause)
        colour = [float(mean) for mean in x[-1].detach().mean((1, 2))]
        if colour == [1.0, -1.0, 1.0]:
            os.kill(os.getpid(), signal.SIGKILL)
        if colour == [1.0, 1.0, -1.0]:
            raise RuntimeError("this net does not like yellow")
        return self.body(x).mean((2, 3))


def _net(pause: float) -> Net:
    transform = PixelTransform(mean=(127.5,) * 3, std=(127.5,) * 3, resize=16, crop=16)
    return Net(Eyes(pause).eval(), labels=COLOURS, transform=transform, baseline="grey", layer="body.relu/channel")


def quick() -> Net:
    """A net that answers at once."""
    return _net(0.0)


def slow() -> Net:
    """A net whose every pass takes a while."""
    return _net(0.2)
