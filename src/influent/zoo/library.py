"""What is the same for the nets of all libraries: importing the library, and building without a trace."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from influent.errors import InputError

RANDOM = "random"


def imported(library: str) -> Any:
    """A library that is not among ours. Errors: `InputError` where it is missing or broken."""
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != library:
            raise InputError(
                f"{library} needs {error.name}, which is not installed: pip install {error.name}"
            ) from None
        raise InputError(f"{library} is not installed here: pip install {library}") from None
    except (ImportError, RuntimeError, OSError) as error:
        raise InputError(f"{library} is installed, but cannot be loaded: {error}") from error


def built(make: Callable[[], nn.Module]) -> nn.Module:
    """A net in evaluation mode with frozen weights, from a fixed seed; the user's random numbers are left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make()
    for weight in module.parameters():
        if weight.dim() == 4:  # convolutions run faster on CPUs in this layout; values stay the same
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return module.eval().requires_grad_(False)
