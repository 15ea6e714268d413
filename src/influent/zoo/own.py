"""A user's own net by name: `package.module:function`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from influent.errors import InputError, QuestionError
from influent.language import find_own
from influent.nets import Net

from .files import weights_for
from .library import RANDOM, ready, seeded


def own_net(name: str, weights: str | None = None, classes: int | None = None) -> Net:
    """What `package.module:function` gives when it is called without arguments (or is): a module or an `influent.Net`.

    The net is set to evaluation mode and its weights are frozen. `weights` is a file to load into it. The number of
    outputs is the function's own affair: `classes` changes nothing.

    Errors: `InputError` where there is no such function, or it fails, or gives something else.
    """
    module_name, _, attribute = name.partition(":")
    with seeded():
        try:
            made = find_own(module_name, attribute)
        except QuestionError as error:
            raise InputError(str(error)) from error
        if not isinstance(made, nn.Module | Net):
            made = _called(name, made)
    net = made if isinstance(made, Net) else Net(made)
    if weights not in (None, RANDOM):
        net.module.load_state_dict(weights_for(net.module, weights or ""), strict=False)
    return replace(net, module=ready(net.module))


def _called(name: str, function: Any) -> nn.Module | Net:
    try:
        made = function()
    except Exception as error:
        raise InputError(f"{name} was called to make the net, and failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module | Net):
        raise InputError(f"{name} gives a {type(made).__name__}. A net is a torch module or influent.Net(module, ...).")
    return made
