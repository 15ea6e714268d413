"""Finished parts of a long piece of work, kept as files: started again after a kill, it goes on where it was.

A part is a frozen dataclass of numbers, texts, tensors, tuples and other such dataclasses. What belongs to another
question is not read: each question has a folder of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .atomic import write_whole
from .errors import InfluentError, InfluentWarning, StoreError

SCHEMA = 1
T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """The parts of one piece of work: `once` gives a part that is known, and makes and keeps one that is not.

    `folder` is where they are kept; without one, all is made anew.

    >>> Parts().once("one", int, lambda: 1)
    1
    """

    folder: Path | None = None

    @classmethod
    def beside(cls, out: Path, about: Mapping[str, str]) -> Parts:
        """Beside the result `out`, in a folder for what `about` says: question, net, data."""
        words = json.dumps({"schema": SCHEMA, **about}, sort_keys=True)
        place = out.expanduser().absolute()
        return cls(place.parent / f".{place.name}-parts-{hashlib.sha256(words.encode()).hexdigest()[:12]}")

    def once(self, name: str, kind: Any, make: Callable[[], T]) -> T:
        """The part `name`, of type `kind`. A file that is damaged is named, and the part is made again.

        Errors: `StoreError` where it cannot be written.
        """
        if self.folder is None:
            return make()
        file = self.folder / f"{name}.safetensors"
        if file.exists():
            try:
                return typing.cast(T, _read(file, kind))
            except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
                warnings.warn(f"{file} is damaged ({error}): that part is made again.", InfluentWarning, stacklevel=2)
        made = make()
        _write(file, made)
        return made

    def known(self, name: str) -> bool:
        """Whether a part is there."""
        return self.folder is not None and (self.folder / f"{name}.safetensors").exists()

    def clear(self) -> None:
        """Remove the parts: the work is done."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def kept_until_done(parts: Sequence[Parts]) -> Iterator[None]:
    """Parts that go when the block ends well; or with an error in the question, if the block had begun them.

    What is finished stays where the block is stopped, where files cannot be written, and where the net itself fails.
    """
    new = [one for one in parts if one.folder is None or not one.folder.exists()]
    try:
        yield
    except InfluentError as error:
        if not isinstance(error, StoreError) and error.__cause__ is None:
            for one in new:
                one.clear()
        raise
    for one in parts:
        one.clear()


def _write(file: Path, value: Any) -> None:
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_plain(value, tensors))
    digest = hashlib.sha256(tree.encode() + b"".join(_bytes(t) for t in tensors.values())).hexdigest()
    write_whole(file, save(tensors, metadata={"influent": tree, "sha256": digest}))


def _read(file: Path, kind: Any) -> Any:
    with safe_open(file, framework="pt") as stored:
        words = stored.metadata() or {}
        tensors = {str(k): stored.get_tensor(str(k)) for k in range(len(stored.keys()))}
    tree = words["influent"]
    if hashlib.sha256(tree.encode() + b"".join(_bytes(t) for t in tensors.values())).hexdigest() != words["sha256"]:
        raise ValueError("its content is not what was written")
    return _typed(json.loads(tree), kind, tensors)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def _plain(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON; its tensors by number."""
    if isinstance(value, Tensor):
        tensors[str(len(tensors))] = value.detach().cpu().contiguous().clone()
        return len(tensors) - 1
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name), tensors) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(one, tensors) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one, tensors) for key, one in value.items()}
    return value


def _typed(value: Any, kind: Any, tensors: Mapping[str, Tensor]) -> Any:
    """JSON as the type that its annotation says."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _typed(value, next(a for a in args if a is not type(None)), tensors)
    if kind is Tensor:
        return tensors[str(value)]
    if origin is tuple:
        kinds = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else args
        return tuple(_typed(one, k, tensors) for one, k in zip(value, kinds, strict=True))
    if origin is dict:
        return {key: _typed(one, args[1], tensors) for key, one in value.items()}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return typing.cast(Any, kind)(**{key: _typed(one, hints[key], tensors) for key, one in value.items()})
    return value
