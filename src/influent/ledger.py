"""Partial results on disk: one file each, whole or not at all, refused where it answers another question."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .atomic import write_whole
from .attribution import Question
from .errors import InfluentWarning, StoreError
from .nets import Net, weights_hash
from .partial import Moments, Partial, Row

SCHEMA = 1
_TENSORS = ("total", "squares", "best", "best_values")


def identity(questions: Sequence[Question], net: Net) -> dict[str, str]:
    """What a partial belongs to: the four words as text, data by its checksum, and the checksum of the net's weights.

    >>> from torch import nn
    >>> from influent import INPUT, Class, Point, gradient
    >>> identity([Question(INPUT, Class(0), Point(torch.zeros(1, 2)), gradient)], Net(nn.Linear(2, 2)))["of"]
    'Class(0)'
    """
    texts = [question.text for question in questions]
    words = {word: " | ".join(dict.fromkeys(text[word] for text in texts)) for word in texts[0]}
    return {**words, "net": weights_hash(net.module)}


@dataclass(frozen=True)
class Ledger:
    """The partials of a data set's blocks in a folder: what is there is not computed again."""

    folder: Path
    about: Mapping[str, str]

    def file(self, block: int) -> Path:
        """Where the partial of a block stands."""
        return self.folder / f"block-{block:08}.safetensors"

    def known(self, block: int) -> Partial | None:
        """The partial of a block, or None where it must be computed; a damaged one is named and computed again."""
        if not self.file(block).exists():
            return None
        try:
            return read_partial(self.file(block), self.about)
        except DamagedError as error:
            warnings.warn(str(error), InfluentWarning, stacklevel=2)
            return None

    def keep(self, block: int, partial: Partial) -> None:
        """Write the partial of a block down."""
        write_partial(partial, self.file(block), self.about)


class DamagedError(StoreError):
    """A partial that cannot be read, whosever it is."""


def write_partial(partial: Partial, file: str | os.PathLike[str], about: Mapping[str, str]) -> Path:
    """Write a partial with what it belongs to (`identity`) as one safetensors file, in one step.

    Errors: `StoreError` where rows are not named by numbers or text, and where the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    rows: list[dict[str, Any]] = []
    for r, (name, row) in enumerate(partial.rows.items()):
        if not isinstance(name, str | int | bool):
            raise StoreError(f"The row {name!r} is no number and no text: name rows so, and the partial can be stored.")
        places = []
        for (c, q, m), moments in row.moments.items():
            places.append([c, q, m, moments.count, moments.weight, moments.weight2])
            for field in _TENSORS:
                if (value := getattr(moments, field)) is not None:
                    tensors[f"{r}/{c}.{q}.{m}/{field}"] = value.detach().cpu().contiguous().clone()
        tensors[f"{r}/change"], tensors[f"{r}/residual"] = row.change.clone(), row.residual.clone()
        rows.append({"name": name, "places": places})
    words = {
        "schema": SCHEMA, "about": dict(about), "rows": rows, "left_out": partial.left_out,
        "names": [[index, name] for index, name in partial.names.items()], "samples": partial.samples,
        "sha256": _digest(tensors),
    }  # fmt: skip
    return write_whole(file, save(tensors, metadata={"influent": json.dumps(words, ensure_ascii=False)}))


def read_partial(file: str | os.PathLike[str], about: Mapping[str, str]) -> Partial:
    """A partial as it was written, if it belongs to what `about` says.

    Errors: `StoreError` for a file that is missing, damaged, of another format, or of another question, net or data,
    with what differs.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            words = json.loads((stored.metadata() or {})["influent"])
            names = stored.keys()
            tensors = {name: stored.get_tensor(name) for name in names}
        schema, digest = words["schema"], words["sha256"]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DamagedError(f"{file} is no partial result, or damaged: {error}. It is made again.") from None
    if schema != SCHEMA:
        raise StoreError(f"{file} is of format {schema}, and this version reads format {SCHEMA}. Update influent.")
    if digest != _digest(tensors):
        raise DamagedError(f"{file} is damaged: its numbers are not those that were written. It is made again.")
    for word, here in about.items():
        if (there := words["about"].get(word)) != here:
            raise StoreError(f"{file} belongs to another {word}: {there} and not {here}. Name another folder.")
    return Partial(
        dict(_row(tensors, r, said) for r, said in enumerate(words["rows"])),
        words["left_out"], {int(index): name for index, name in words["names"]}, words["samples"],
    )  # fmt: skip


def _row(tensors: Mapping[str, Tensor], r: int, said: Mapping[str, Any]) -> tuple[Any, Row]:
    moments = {}
    for c, q, m, count, weight, weight2 in said["places"]:
        own = {field: tensors.get(f"{r}/{c}.{q}.{m}/{field}") for field in _TENSORS}
        total = own.pop("total")
        moments[c, q, m] = Moments(count, weight, weight2, torch.zeros(()) if total is None else total, **own)
    return said["name"], Row(moments, tensors[f"{r}/change"], tensors[f"{r}/residual"])


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()
