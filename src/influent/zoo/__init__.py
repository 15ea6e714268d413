"""Nets with their labels, transforms and baselines, ours and other people's: `influent.zoo.load("googlenet")`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from influent.errors import InputError, nearest
from influent.language import find_own
from influent.nets import Net

from .efficientnet import efficientnet_lite0
from .files import read_labels
from .googlenet import googlenet
from .huggingface import huggingface_net
from .minilm import minilm
from .own import own_net
from .squeezenet import squeezenet
from .textcnn import text_cnn_questions, text_cnn_sentiment
from .timm import timm_net
from .torchvision import torchvision_net
from .transforms import taken_apart

__all__ = [
    "efficientnet_lite0", "googlenet", "load", "minilm", "squeezenet", "text_cnn_questions", "text_cnn_sentiment",
]  # fmt: skip

_OURS = {
    "efficientnet-lite0": efficientnet_lite0, "googlenet": googlenet, "squeezenet": squeezenet,
    "textcnn-sentiment": text_cnn_sentiment, "textcnn-questions": text_cnn_questions, "minilm": minilm,
}  # fmt: skip
_LIBRARIES = {"torchvision": torchvision_net, "timm": timm_net}
_DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    name: str, weights: str | os.PathLike[str] | None = None, labels: str | os.PathLike[str] | None = None,
    transform: str | Callable[..., Any] | None = None, dtype: str | None = None,
) -> Net:  # fmt: skip
    """A net by name, as the command line's `--net` writes it, in evaluation mode with frozen weights.

    - `name`: one of the zoo (`efficientnet-lite0`, `googlenet`, `squeezenet`; `textcnn-sentiment`, `textcnn-questions`
      and `minilm`, which read texts); `torchvision:NAME`, `timm:NAME`, `hf:NAME_OR_FOLDER`, where those libraries are
      installed; or `package.module:function`, your own;
    - `weights`: a file, safetensors or a `.pth` of tensors, instead of the net's own; "random" for none. Own ones are
      looked for on this machine and never downloaded; nothing is unpickled but tensors;
    - `labels`: a file of class names, one a line, or JSON;
    - `transform`: `package.module:function` or a function, photo (PIL, RGB) → tensor;
    - `dtype`: "float32" (as they come), "float64", or "bfloat16" and "float16" for nets that do not fit otherwise:
      influence is coarse then.

    Errors: `InputError` for what is not there: which library, net or file, and how to get it.

    >>> load("efficientnet-lite0").layer
    '_blocks.10/channel'
    """
    given = None if labels is None else read_labels(labels)
    file = None if weights is None else os.fspath(weights)
    library, colon, inside = name.partition(":")
    if dtype not in (None, *_DTYPES):
        raise InputError(f"--dtype {dtype} is not known: {', '.join(_DTYPES)}.")
    if library == "hf" and colon:
        net = huggingface_net(inside, file, None if given is None else len(given), _DTYPES[dtype or "float32"])
    elif library in _LIBRARIES and colon:
        net = _LIBRARIES[library](inside, file, None if given is None else len(given))
    elif colon:
        net = own_net(name, file)
    elif name in _OURS:
        net = _OURS[name]() if file is None else _OURS[name](file)
    else:
        raise InputError(
            f"The zoo has no net {name!r}; it has {', '.join(_OURS)}.{nearest(name, _OURS, most=1)} Others are named "
            "torchvision:NAME, timm:NAME, hf:NAME_OR_FOLDER, or package.module:function for one of your own."
        )
    if isinstance(transform, str):
        transform = _function(transform)
    net = replace(net, labels=given or net.labels, transform=taken_apart(transform or net.transform))
    pixels = hasattr(net.transform, "encode")
    if dtype is not None:
        net.module.to(_DTYPES[dtype])
    return replace(net, baseline=net.baseline or ("black" if pixels else None))


def _function(text: str) -> Callable[..., Any]:
    module, colon, name = text.partition(":")
    found = find_own(module, name) if colon else None
    if not callable(found):
        raise InputError(
            f"--transform {text}: write package.module:function, a function of a photo that gives a tensor."
        )
    made: Callable[..., Any] = found
    return made
