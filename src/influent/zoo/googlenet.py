"""GoogLeNet: the net of the paper's pictures, block for block and name for name as Caffe has it."""

from __future__ import annotations

import os
from collections import OrderedDict

import torch
from torch import Tensor, nn

from influent.nets import Net

from .files import data_file, filled
from .imagenet import caffe_net

WEIGHTS = "googlenet-bvlc/googlenet_bvlc.safetensors"
_ADVICE = (
    "The weights are the BVLC GoogLeNet of the Caffe model zoo (bvlc_googlenet, snapshot 2,400,000) as safetensors, "
    "sha256 690eb3158870779f01aa3b52299db0d03e04d315c074b30c41ab3d70ba8e8cd8. Put the file at FOLDER/"
    f"{WEIGHTS} and type `export INFLUENT_DATA=FOLDER`; or take the net that installs with pip: "
    "`influent.zoo.efficientnet_lite0()`."
)


class Inception(nn.Module):
    """Concatenation of four ReLU'd branches, `[point, channel, y, x] → [point, a + c + e + p, y, x]`.

    `widths` are the channels of (1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5, pool_proj). A convolution such as
    `inception_4c.3x3` gives its values before the ReLU, `inception_4c.relu_3x3` after it.

    Source: Szegedy et al. 2015, "Going deeper with convolutions", figure 2b; names: BVLC's prototxt.

    >>> block = Inception(192, (64, 96, 128, 16, 32, 32))
    >>> block(torch.zeros(1, 192, 28, 28)).shape
    torch.Size([1, 256, 28, 28])
    """

    def __init__(self, incoming: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        one, three_reduce, three, five_reduce, five, proj = widths
        convolutions = {
            "1x1": nn.Conv2d(incoming, one, 1),
            "3x3_reduce": nn.Conv2d(incoming, three_reduce, 1),
            "3x3": nn.Conv2d(three_reduce, three, 3, padding=1),
            "5x5_reduce": nn.Conv2d(incoming, five_reduce, 1),
            "5x5": nn.Conv2d(five_reduce, five, 5, padding=2),
            "pool_proj": nn.Conv2d(incoming, proj, 1),
        }
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        for name, convolution in convolutions.items():
            self.add_module(name, convolution)
            # One ReLU each, never in place: every one can be cut, and none overwrites what a cut watches.
            self.add_module(f"relu_{name}", nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        one = self._rectified("1x1", x)
        three = self._rectified("3x3", self._rectified("3x3_reduce", x))
        five = self._rectified("5x5", self._rectified("5x5_reduce", x))
        proj = self._rectified("pool_proj", self.pool(x))
        return torch.cat([one, three, five, proj], dim=1)

    def _rectified(self, name: str, x: Tensor) -> Tensor:
        # Sub-modules whose names start with a digit cannot be written as attributes.
        rectified: Tensor = self.get_submodule(f"relu_{name}")(self.get_submodule(name)(x))
        return rectified


class GoogLeNet(nn.Sequential):
    """Logits of the 1000 ImageNet classes, `[point, 3, 224, 224] → [point, 1000]`.

    Every stage is a module that can be cut: `conv1`, `conv2`, `inception_3a` … `inception_5b` give values
    after their ReLU (`conv2` after its normalisation too), `loss3` the logits. State-dict keys are Caffe's
    layer names with `/` replaced by `.`. The two auxiliary heads and the dropout of training are left out.

    Source: Szegedy et al. 2015, table 1; BVLC GoogLeNet of the Caffe model zoo.

    >>> with torch.device("meta"):
    ...     net = GoogLeNet()
    >>> sum(parameter.numel() for parameter in net.parameters())
    6998552
    """

    def __init__(self) -> None:
        super().__init__(_stages())


def _stages() -> OrderedDict[str, nn.Module]:
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
    stages["conv1"] = _chain({"7x7_s2": conv1, "relu_7x7": nn.ReLU()})
    stages["pool1"] = _chain({"3x3_s2": _halved(), "norm1": _normalised()})
    conv2: dict[str, nn.Module] = {"3x3_reduce": nn.Conv2d(64, 64, 1), "relu_3x3_reduce": nn.ReLU()}
    conv2 |= {"3x3": nn.Conv2d(64, 192, 3, padding=1), "relu_3x3": nn.ReLU(), "norm2": _normalised()}
    stages["conv2"] = _chain(conv2)
    stages["pool2"] = _halved()
    stages["inception_3a"] = Inception(192, (64, 96, 128, 16, 32, 32))
    stages["inception_3b"] = Inception(256, (128, 128, 192, 32, 96, 64))
    stages["pool3"] = _halved()
    stages["inception_4a"] = Inception(480, (192, 96, 208, 16, 48, 64))
    stages["inception_4b"] = Inception(512, (160, 112, 224, 24, 64, 64))
    stages["inception_4c"] = Inception(512, (128, 128, 256, 24, 64, 64))
    stages["inception_4d"] = Inception(512, (112, 144, 288, 32, 64, 64))
    stages["inception_4e"] = Inception(528, (256, 160, 320, 32, 128, 128))
    stages["pool4"] = _halved()
    stages["inception_5a"] = Inception(832, (256, 160, 320, 32, 128, 128))
    stages["inception_5b"] = Inception(832, (384, 192, 384, 48, 128, 128))
    stages["pool5"] = _chain({"7x7_s1": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()})
    stages["loss3"] = _chain({"classifier": nn.Linear(1024, 1000)})
    return stages


def _chain(modules: dict[str, nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def _halved() -> nn.MaxPool2d:
    # Caffe rounds pooled sizes up: 112 → 56, where torch's default would give 55.
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _normalised() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)


def googlenet(weights: str | os.PathLike[str] | None = None) -> Net:
    """The BVLC GoogLeNet with its manners: weights, class names, pixel transform, baseline, default cut.

    The net maps `[point, 3, 224, 224]` (BGR, 0..255, minus (104, 117, 123)) to logits `[point, 1000]`. It
    is in evaluation mode, its parameters are frozen, and it lies in channels-last memory. The weights are
    read from the file `weights`, by default `$INFLUENT_DATA/googlenet-bvlc/googlenet_bvlc.safetensors`.

    Errors: `InputError` where the variable, the file, or a tensor in the file is missing or of another shape.
    Source: Caffe model zoo, `bvlc_googlenet` (snapshot 2,400,000).

    >>> if "INFLUENT_DATA" in os.environ:
    ...     net = googlenet()
    ...     assert net.layer == "inception_4c/channel" and net.labels[281] == "tabby"
    """
    with torch.device("meta"):  # no time and no random numbers spent on weights that are replaced at once
        module = GoogLeNet()
    filled(module, weights or data_file(WEIGHTS, _ADVICE), _ADVICE)
    return caffe_net(module, "inception_4c/channel")
