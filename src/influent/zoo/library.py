"""What is the same for nets by name: importing their library, and building them without a trace."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
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
        fits = f", in the release that fits torch {torch.__version__}" if library == "torchvision" else ""
        raise InputError(f"{library} is not installed here: pip install {library}{fits}") from None
    except (ImportError, RuntimeError, OSError) as error:
        raise InputError(f"{library} is installed, but cannot be loaded: {error}") from error


@contextmanager
def seeded() -> Iterator[None]:
    """Random numbers from a fixed seed; the user's go on afterwards as if none had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def ready(module: nn.Module) -> nn.Module:
    """The module in evaluation mode with frozen weights, laid out for speed."""
    for weight in module.parameters():
        if weight.dim() == 4:  # convolutions run faster on CPUs in this layout; values stay the same
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return module.eval().requires_grad_(False)
