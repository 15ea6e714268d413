"""Shapes, checks and the text form of tensors: what every other file stands on.

Dimension names used in docstrings: `point` (one run of the net), `instance` (one row of a result),
`*shape` (an input), `*y` (an output), `*neuron` (an activation), `*unit` (neurons, or groups of them).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .errors import InputError, QuestionError


def spell_shape(x: Tensor) -> str:
    """The text `float32 [1, 3, 224, 224]` of a tensor's type and shape.

    >>> spell_shape(torch.zeros(2, 3))
    'float32 [2, 3]'
    """
    return f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}"


def checksum(x: Tensor) -> str:
    """The first 16 hex digits of the SHA-256 of a tensor's type, shape and bytes.

    >>> checksum(torch.zeros(1)) == checksum(torch.zeros(5, 2)[:1, 0]) != checksum(torch.zeros(3))
    True
    """
    # A clone: one number cut out of a row counts as contiguous, and still has the row's stride.
    flat = x.detach().cpu().reshape(-1).clone(memory_format=torch.contiguous_format)
    raw = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return hashlib.sha256(spell_shape(x).encode() + raw).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Stored:
    """A tensor or a data set known by its checksum: what remains of one in a question's text form.

    It equals any tensor of the same type, shape and bytes inside a comparison of our nouns.

    >>> Stored("0123456789abcdef", "float32 [1, 3]")
    Stored('0123456789abcdef', 'float32 [1, 3]')
    """

    sha256: str
    shape: str

    @classmethod
    def of(cls, x: Tensor) -> Stored:
        """The stored form of a tensor."""
        return cls(checksum(x), spell_shape(x))

    def __repr__(self) -> str:
        return f"Stored({self.sha256!r}, {self.shape!r})"


def plain(value: Any) -> Any:
    """`value` with every tensor and data set in it replaced by its `Stored` form, hashable: what equality compares."""
    if isinstance(value, Tensor):
        return Stored.of(value)
    if isinstance(stored := getattr(value, "stored", None), Stored):
        return stored
    if isinstance(value, Mapping):
        return tuple(sorted((str(k), plain(v)) for k, v in value.items()))
    if isinstance(value, list | tuple):
        return tuple(plain(v) for v in value)
    return value


def spell(value: Any) -> str:
    """The text form of one value: `repr`, with tensors as their checksums and functions by their place.

    >>> spell((1, "black", torch.nn.functional.gelu))
    "(1, 'black', torch._C._nn:gelu)"
    """
    if isinstance(value, Tensor):
        return repr(Stored.of(value))
    if isinstance(stored := getattr(value, "stored", None), Stored):
        return repr(stored)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {spell(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(spell, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(spell, value)) + ("," if len(value) == 1 else "") + ")"
    if callable(value) and hasattr(value, "__qualname__"):
        return place_of(value)
    return repr(value)


def place_of(thing: Callable[..., Any]) -> str:
    """The text `package.module:Name` of a function or class."""
    return f"{thing.__module__}:{thing.__qualname__}"


def spell_noun(noun: Any) -> str:
    """The call that makes a frozen dataclass: `Class(817)`, `Line('black', Stored(...), n=33)`.

    Arguments at their defaults are left out, as are fields without a `repr`; required ones are positional. Our own
    nouns print bare, a user's as `package.module:Name(...)`, so that both can be read back by `influent.parse`.
    """
    words = []
    for f in _fields(noun):
        value = getattr(noun, f.name)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            words.append(spell(value))
        elif plain(value) != plain(f.default):
            words.append(f"{f.name}={spell(value)}")
    kind = type(noun)
    name = kind.__name__ if kind.__module__.startswith("influent.") else place_of(kind)
    return f"{name}({', '.join(words)})"


def key_of(noun: Any) -> tuple[Any, ...]:
    """What a frozen dataclass compares and hashes by: its type and its fields, tensors by checksum."""
    return (type(noun), *(plain(getattr(noun, f.name)) for f in _fields(noun)))


def _fields(noun: Any) -> tuple[dataclasses.Field[Any], ...]:
    if not dataclasses.is_dataclass(noun):
        raise QuestionError(
            f"{type(noun).__name__} is no dataclass, and so cannot be compared or printed. Write "
            "@dataclass(frozen=True, repr=False, eq=False) above its class."
        )
    return tuple(f for f in dataclasses.fields(noun) if f.repr)


def per_point(weights: Tensor, x: Tensor) -> Tensor:
    """`weights [point]` shaped to multiply `x [point, ...]`."""
    return weights.reshape(-1, *([1] * (x.dim() - 1)))


def check_finite(x: Tensor, what: str, advice: str) -> None:
    """Refuse NaN and infinity, saying how many and where the first one is."""
    # A sum is NaN or infinite where an element is, and takes a quarter of the time of looking at each.
    if not x.is_floating_point() or bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all()):
        return
    bad = ~torch.isfinite(x)
    first = [int(i) for i in bad.nonzero()[0]]
    raise InputError(f"{what} holds {int(bad.sum())} NaN or infinite values, the first at {first}. {advice}")


def check_same_shape(baseline: Tensor, x: Tensor) -> Tensor:
    """A baseline of the shape of `x [instance, *shape]`; one row serves all instances.

    >>> check_same_shape(torch.zeros(1, 3), torch.ones(4, 3)).shape
    torch.Size([4, 3])
    """
    if baseline.shape == x.shape:
        return baseline
    if baseline.dim() == x.dim() and baseline.shape[0] == 1 and baseline.shape[1:] == x.shape[1:]:
        return baseline.expand_as(x)
    raise QuestionError(
        f"The baseline is {spell_shape(baseline)}, the input {spell_shape(x)}. Give a baseline of the same "
        f"shape, [{', '.join(map(str, x.shape))}], or one row of it, [1, {', '.join(map(str, x.shape[1:]))}]."
    )
