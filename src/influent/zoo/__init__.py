"""Nets with their labels, transforms and baselines: `influent.zoo.efficientnet_lite0()`, `.googlenet()`."""

from __future__ import annotations

from influent.errors import InputError, nearest
from influent.nets import Net

from .efficientnet import efficientnet_lite0
from .googlenet import googlenet

__all__ = ["efficientnet_lite0", "googlenet", "load"]


def load(name: str) -> Net:
    """The zoo's net of that name, as the command line's `--net` writes it.

    Errors: `InputError` for a name that is not in the zoo, with the list and the nearest.

    >>> load("efficientnet-lite0").layer
    '_blocks.10/channel'
    """
    nets = {"efficientnet-lite0": efficientnet_lite0, "googlenet": googlenet}
    if name not in nets:
        raise InputError(
            f"The zoo has no net {name!r}; it has {', '.join(nets)}.{nearest(name, nets, most=1)} A net of "
            "your own goes into `influent.Net(module, labels, transform)`."
        )
    return nets[name]()
