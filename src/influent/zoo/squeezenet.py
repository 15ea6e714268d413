"""SqueezeNet 1.1: a small net of plain convolutions, with neither batch norm nor residuals."""

from __future__ import annotations

import os
from collections import OrderedDict

import torch
from torch import Tensor, nn

from influent.nets import Net

from .files import data_file, filled
from .imagenet import caffe_net

WEIGHTS = "squeezenet-1.1/squeezenet_v1.1.safetensors"
_ADVICE = (
    "The weights are SqueezeNet v1.1 of forresti/SqueezeNet (Caffe) as safetensors, sha256 "
    "10c86e6a6ef8133dcfccd76e888f2c0fa9edf0b32c3742f55df9c269cfc16145. Put the file at FOLDER/"
    f"{WEIGHTS} and type `export INFLUENT_DATA=FOLDER`; or take the net that installs with pip: "
    "`influent.zoo.efficientnet_lite0()`."
)


class Fire(nn.Module):
    """A 1x1 squeeze, then 1x1 and 3x3 expansions side by side, `[point, channel, y, x] → [point, 2 · expand, y, x]`.

    A convolution such as `fire5.expand3x3` gives its values before the ReLU, `fire5.relu_expand3x3` after it.

    Source: Iandola et al. 2016, "SqueezeNet", figure 1.

    >>> Fire(64, 16, 64)(torch.zeros(1, 64, 5, 5)).shape
    torch.Size([1, 128, 5, 5])
    """

    def __init__(self, incoming: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze1x1, self.relu_squeeze1x1 = nn.Conv2d(incoming, squeeze, 1), nn.ReLU()
        self.expand1x1, self.relu_expand1x1 = nn.Conv2d(squeeze, expand, 1), nn.ReLU()
        self.expand3x3, self.relu_expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu_squeeze1x1(self.squeeze1x1(x))
        return torch.cat([self.relu_expand1x1(self.expand1x1(x)), self.relu_expand3x3(self.expand3x3(x))], dim=1)


class SqueezeNet(nn.Sequential):
    """Class scores of ImageNet, `[point, 3, 227, 227] → [point, 1000]`: means of the last ReLU's maps, none negative.

    `fire2` … `fire9` give values after their ReLUs. State-dict keys are Caffe's layer names with `/` replaced by `.`.
    The dropout of training is left out.

    Source: Iandola et al. 2016, table 1; SqueezeNet v1.1 of forresti/SqueezeNet.

    >>> with torch.device("meta"):
    ...     net = SqueezeNet()
    >>> sum(parameter.numel() for parameter in net.parameters())
    1235496
    """

    def __init__(self) -> None:
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        stages["conv1"], stages["relu_conv1"] = nn.Conv2d(3, 64, 3, stride=2), nn.ReLU()
        channels = 64
        for k, (squeeze, expand) in enumerate([(16, 64), (32, 128), (48, 192), (64, 256)]):
            if k < 3:  # Caffe rounds pooled sizes up
                stages[f"pool{2 * k + 1}"] = nn.MaxPool2d(3, stride=2, ceil_mode=True)
            for name in (f"fire{2 * k + 2}", f"fire{2 * k + 3}"):
                stages[name] = Fire(channels, squeeze, expand)
                channels = 2 * expand
        stages["conv10"], stages["relu_conv10"] = nn.Conv2d(channels, 1000, 1), nn.ReLU()
        stages["pool10"], stages["flat"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        super().__init__(stages)


def squeezenet(weights: str | os.PathLike[str] | None = None) -> Net:
    """SqueezeNet 1.1 with its manners: weights, class names, pixel transform, baseline, default cut.

    The net maps `[point, 3, 227, 227]` (BGR, 0..255, minus (104, 117, 123)) to class scores `[point, 1000]`. It is in
    evaluation mode, its parameters are frozen, and it lies in channels-last memory. The weights are read from the file
    `weights`, by default `$INFLUENT_DATA/squeezenet-1.1/squeezenet_v1.1.safetensors`.

    Errors: `InputError` where the variable, the file, or a tensor in the file is missing or of another shape.
    Source: Iandola et al. 2016; forresti/SqueezeNet, `SqueezeNet_v1.1`.

    >>> if "INFLUENT_DATA" in os.environ:
    ...     net = squeezenet()
    ...     assert net.layer == "fire7/channel" and net.labels[281] == "tabby"
    """
    with torch.device("meta"):  # no time and no random numbers spent on weights that are replaced at once
        module = SqueezeNet()
    filled(module, weights or data_file(WEIGHTS, _ADVICE), _ADVICE)
    return caffe_net(module, "fire7/channel", crop=227)
