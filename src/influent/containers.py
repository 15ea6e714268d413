"""Tuples, dictionaries and data classes that nets take and give: finding the tensor that is meant."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .cut import Cut
from .errors import CutError

Way = tuple[int | str, ...]


def pick(value: Any, way: Way, cut: Cut) -> tuple[Way, Tensor]:
    """The tensor that a cut means inside what a module takes or gives, and the way to it.

    `way` is what of the cut's element is left to go. A tensor is itself; a dictionary's default is `logits`; a
    container with one tensor is that tensor.
    Errors: `CutError` that lists the elements.
    """
    verb = "takes" if cut.is_input_side else "gives"
    # INPUT alone means its first tensor, INPUT[0].
    gone = cut.element[: len(cut.element) - len(way)] or ((0,) if cut.name == "INPUT" else ())
    at = cut.place.text.partition("[")[0] + "".join(f"[{key}]" for key in gone)
    for key in way:
        try:
            value = _step(value, key)
        except (KeyError, IndexError, TypeError, AttributeError):
            if isinstance(value, Tensor):
                raise CutError(f"{cut.text!r}: {at} {verb} a tensor, no tuple. Drop [{key}].") from None
            raise CutError(f"{cut.text!r}: {at} has no element {key!r}. {_listing(value, at)}") from None
        at += f"[{key}]"
    while not isinstance(value, Tensor):
        inside = {k: v for k, v in _elements(value).items() if isinstance(v, Tensor) and v.is_floating_point()}
        if "logits" in inside:
            key = "logits"
        elif len(inside) == 1:
            key = next(iter(inside))
        else:
            raise CutError(f"{cut.text!r} {verb} a {type(value).__name__}, not one tensor. {_listing(value, at)}")
        way, value = (*way, key), inside[key]
    return way, value


def put(value: Any, way: Way, new: Any) -> Any:
    """`value` with the tensor at `way` replaced, in a copy of the containers around it."""
    if not way:
        return new
    key, inner = way[0], put(_step(value, way[0]), way[1:], new)
    if isinstance(value, tuple):
        # By place, not by identity: a net may give the same tensor twice. Names are those of named tuples.
        place = _place(value, key)
        make = getattr(type(value), "_make", type(value))
        return make(inner if k == place else item for k, item in enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, Mapping):
        changed = copy.copy(value)
        object.__setattr__(changed, str(key), inner)
        return changed
    changed = copy.copy(value)
    changed[key] = inner
    return changed


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`value` with every tensor inside it changed, in the order of `all_tensors`, in copies of the containers.

    >>> mapped((torch.ones(1), {"a": torch.ones(1)}, 3), lambda x: 2 * x)
    (tensor([2.]), {'a': tensor([2.])}, 3)
    """
    if isinstance(value, Tensor):
        return change(value)
    for key, inner in _elements(value).items():
        if first_tensor(inner) is not None:
            value = put(value, (key,), mapped(inner, change))
    return value


def rows_of(given: Any, rows: Tensor, subjects: int) -> Any:
    """What the net is called with beside the points: tensors with a row a subject, indexed by `rows`.

    Every other value passes as it is.
    """
    if isinstance(given, Tensor):
        # A copy either way: nets may overwrite what they are called with; all but one number seen many times, where
        # torch refuses to write.
        if given.dim() and len(given) == subjects:
            return given[rows.to(given.device)]
        return given if given.numel() > 1 and not any(given.stride()) else given.clone()
    if isinstance(given, Mapping):
        return {key: rows_of(value, rows, subjects) for key, value in given.items()}
    if isinstance(given, tuple | list):
        return tuple(rows_of(value, rows, subjects) for value in given)
    return given


def all_tensors(value: Any) -> Iterator[Tensor]:
    """The tensors inside nested containers."""
    if isinstance(value, Tensor):
        yield value
    for inner in _elements(value).values():
        yield from all_tensors(inner)


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor inside nested containers, or None."""
    return next(all_tensors(value), None)


def _step(value: Any, key: int | str) -> Any:
    if isinstance(value, Tensor):
        raise TypeError
    if isinstance(key, str) and not isinstance(value, Mapping):
        return getattr(value, key)
    return value[key]


def _place(value: tuple[Any, ...], key: int | str) -> int:
    """The position of an element in a tuple: `key` itself, from the end where negative, or that of a field's name."""
    if isinstance(key, int):
        return range(len(value))[key]
    names: tuple[str, ...] = getattr(value, "_fields", ()) or getattr(type(value), "__match_args__", ())
    return names.index(key) if key in names else [item is getattr(value, key) for item in value].index(True)


def _elements(value: Any) -> dict[int | str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | list):
        return dict(enumerate(value))
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {}


def _listing(value: Any, at: str) -> str:
    inside = [f"[{k}]" for k, v in _elements(value).items() if not (v is None or isinstance(v, torch.Size))]
    if not inside:
        return "It holds no tensor: cut at another module."
    return f"Name an element: {', '.join(at + k for k in inside[:8])}."
