"""Partial results on disk: one file a shard, whole or not at all, refused where it answers another question.

A shard is a range of the fixed blocks of a data set. Its file holds the nodes of the tree in which blocks are added up
(`influent.partial.Fold`), so that any cover of all blocks by shards, made anywhere and in any order, gives the sum that
one pass gives, to the last bit.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .atomic import write_once, write_whole
from .attribution import Question
from .codes import codes_in
from .errors import InfluentError, InfluentWarning, StoreError
from .nets import Net, identity_of
from .partial import Moments, Node, Partial, Row
from .samples import Folder, Source

SCHEMA = 2
SHARD = 8
"""Blocks of a shard, where nothing else is said."""
QUESTION, LISTING = "question.json", "data.json"
_TENSORS = ("total", "squares", "best", "best_values")
_OURS = re.compile(r"\.?(blocks-\d{8}-\d{8}\.safetensors|question\.json|data\.json|command\.json)(-\w+)?")
_NAME = re.compile(r"blocks-(\d{8})-(\d{8})\.safetensors")


def identity(questions: Sequence[Question], net: Net, chunk: int = 16) -> dict[str, str]:
    """What a shard belongs to: the four words as text, data by its checksum; the net; what changes bits.

    >>> from torch import nn
    >>> from influent import INPUT, Class, Point, gradient
    >>> identity([Question(INPUT, Class(0), Point(torch.zeros(1, 2)), gradient)], Net(nn.Linear(2, 2)))["of"]
    'Class(0)'
    """
    texts = [question.text for question in questions]
    words = {word: " | ".join(dict.fromkeys(text[word] for text in texts)) for word in texts[0]}
    words["code"] = " ".join(dict.fromkeys(codes_in((q.of, q.over, q.measure)) for q in questions))
    # Points of a pass, and threads of the net: other ones give other last bits.
    bits = {"chunk": str(chunk), "threads": str(torch.get_num_threads())}
    return {**words, **{f"net's {key}": text for key, text in identity_of(net).items()}, **bits}


@dataclass(frozen=True)
class Facts:
    """What a pass learns of its cuts and quantities, by their places in the question: the same for every block.

    `axes [cut]` are the names of neuron axes; `full [cut][of]`, whether all paths cross the cut; `dtypes [cut][of]
    [measure]`, the types of results.
    """

    axes: tuple[tuple[str, ...] | None, ...] = ()
    full: tuple[tuple[bool, ...], ...] = ()
    dtypes: tuple[tuple[tuple[str, ...], ...], ...] = ()


@dataclass(frozen=True)
class Shard:
    """The blocks from `start` to before `stop`: their nodes, and the facts, which are empty where no sample was."""

    start: int
    stop: int
    nodes: tuple[Node, ...]
    facts: Facts = field(default_factory=Facts)


@dataclass(frozen=True)
class Ledger:
    """The shards of a data set in a folder: what is there is not computed again.

    `about` says what they belong to, `size` is how many blocks a new shard has.
    """

    folder: Path
    about: Mapping[str, str]
    size: int = SHARD

    def file(self, start: int, stop: int) -> Path:
        """Where a shard stands."""
        return self.folder / f"blocks-{start:08}-{stop:08}.safetensors"

    def ranges(self) -> list[tuple[int, int]]:
        """The ranges of blocks that have a file, by their start, the longer first."""
        found = []
        for file in self.folder.iterdir() if self.folder.is_dir() else ():
            if match := _NAME.fullmatch(file.name):
                found.append((int(match[1]), int(match[2])))
        return sorted(found, key=lambda r: (r[0], -r[1]))

    def plan(self, blocks: int) -> Iterator[tuple[int, int, bool]]:
        """All blocks in ranges `(start, stop, known)`: those that have a file, and between them new ones to compute."""
        start, known = 0, [r for r in self.ranges() if r[1] <= blocks]
        while start < blocks:
            here = next((r for r in known if r[0] == start), None)
            if here is not None:
                yield (*here, True)
                start = here[1]
                continue
            # New shards end at multiples of their size: who computes which does not depend on what is there.
            stop = min([blocks, (start // self.size + 1) * self.size, *(r[0] for r in known if r[0] > start)])
            yield start, stop, False
            start = stop

    def known(self, start: int, stop: int) -> Shard | None:
        """A shard, or None where it must be computed; a damaged one is named, put aside, and computed again."""
        file = self.file(start, stop)
        if not file.exists():
            return None
        try:
            return read_shard(file, self.about)
        except DamagedError as error:
            warnings.warn(str(error), InfluentWarning, stacklevel=2)
            file.unlink(missing_ok=True)
            return None

    def keep(self, shard: Shard) -> None:
        """Write a shard down, once: what is there already stays."""
        write_shard(shard, self.file(shard.start, shard.stop), self.about)

    @contextmanager
    def kept_until_done(self, whole: bool) -> Iterator[None]:
        """The folder goes when the block ends well, if the `whole` result then stands; with an error, if it is empty.

        What is computed stays where the block is stopped.
        """
        begun = self.folder.exists()
        try:
            yield
        except InfluentError:
            # A worker's folder is that of other workers, too.
            if whole and not begun and not self.ranges():
                self._clear()
            raise
        if whole:
            self._clear()

    def _clear(self) -> None:
        """Remove what is ours, and the folder if nothing else is in it."""
        for file in list(self.folder.iterdir()) if self.folder.is_dir() else []:
            if _OURS.fullmatch(file.name):
                file.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def begin(self, source: Source) -> None:
        """Write down what is asked, and of which files; or refuse a folder of another question, or of other files.

        Errors: `StoreError`, with what differs.
        """
        if self.folder.is_dir():
            strangers = sorted(f.name for f in self.folder.iterdir() if not _OURS.fullmatch(f.name))
            if strangers:
                raise StoreError(
                    f"{self.folder} holds files that are no shards ({', '.join(strangers[:3])}). Name another folder "
                    "for the result: shards are kept beside it until it stands."
                )
            if not self.ranges():  # begun, and nothing is finished: what was asked does not matter
                self._clear()
        if isinstance(source, Folder):
            self._check_files(source)
        place = self.folder / QUESTION
        if place.exists():
            try:
                check_about(self.folder, json.loads(place.read_text(encoding="utf-8")), self.about)
            except (ValueError, AttributeError):
                raise StoreError(f"{place} is damaged. Remove {self.folder} and begin anew.") from None
        else:
            write_whole(place, (json.dumps(dict(self.about), ensure_ascii=False, indent=1) + "\n").encode())

    def _check_files(self, source: Folder) -> None:
        here = dict(source.sizes)
        place = self.folder / LISTING
        if not place.exists():
            write_whole(place, (json.dumps(here, ensure_ascii=False, indent=0) + "\n").encode())
            return
        try:
            there = dict(json.loads(place.read_text(encoding="utf-8")))
        except ValueError:
            raise StoreError(f"{place} is damaged. Remove {self.folder} and begin anew.") from None
        changed = {
            "new": [f for f in here if f not in there], "gone": [f for f in there if f not in here],
            "of another size": [f for f in here if f in there and here[f] != there[f]],
        }  # fmt: skip
        told = [f"{len(files)} {word} ({', '.join(files[:3])})" for word, files in changed.items() if files]
        if told:
            raise StoreError(
                f"{source.path} has changed since {self.folder} was begun: {'; '.join(told)}. Parts of two data sets "
                f"do not add up. Put the files back, or remove {self.folder} and begin anew."
            )


class DamagedError(StoreError):
    """A shard that cannot be read, whosever it is."""


def write_shard(shard: Shard, file: str | os.PathLike[str], about: Mapping[str, str]) -> bool:
    """Write a shard with what it belongs to (`identity`) as one safetensors file, in one step; False if it is there.

    Errors: `StoreError` where rows are not named by numbers or text, and where the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    nodes = [_told(node, f"{k}/", tensors) for k, node in enumerate(shard.nodes)]
    words = {
        "schema": SCHEMA, "about": dict(about), "start": shard.start, "stop": shard.stop, "nodes": nodes,
        "facts": vars(shard.facts),
    }  # fmt: skip
    text = json.dumps(words, ensure_ascii=False)
    # One word of metadata: several are written in any order.
    return write_once(file, save(tensors, metadata={"influent": f"{_digest(text, tensors)} {text}"}))


def _told(node: Node, prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """A node as JSON, its tensors put beside under `prefix`."""
    rows: list[dict[str, Any]] = []
    for r, (name, row) in enumerate(node.partial.rows.items()):
        if not isinstance(name, str | int | bool):
            raise StoreError(f"The row {name!r} is no number and no text: name rows so, and the partial can be stored.")
        places = []
        for (c, q, m), moments in row.moments.items():
            places.append([c, q, m, moments.count, moments.weight, moments.weight2])
            for key in _TENSORS:
                if (value := getattr(moments, key)) is not None:
                    tensors[f"{prefix}{r}/{c}.{q}.{m}/{key}"] = value.detach().cpu().contiguous().clone()
        tensors[f"{prefix}{r}/change"], tensors[f"{prefix}{r}/residual"] = row.change.clone(), row.residual.clone()
        rows.append({"name": name, "places": places})
    partial = node.partial
    return {
        "level": node.level, "place": node.place, "rows": rows, "left_out": partial.left_out,
        "names": [[index, name] for index, name in partial.names.items()], "samples": partial.samples,
    }  # fmt: skip


def read_shard(file: str | os.PathLike[str], about: Mapping[str, str]) -> Shard:
    """A shard as it was written, if it belongs to what `about` says.

    Errors: `StoreError` for a file that is missing, damaged, of another format, or of another question, net or data,
    with what differs.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            digest, _, text = (stored.metadata() or {})["influent"].partition(" ")
            names = stored.keys()
            tensors = {name: stored.get_tensor(name) for name in names}
        words = json.loads(text)
        schema = words["schema"]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DamagedError(f"{file} is no partial result, or damaged: {error}. It is made again.") from None
    if schema != SCHEMA:
        raise StoreError(f"{file} is of format {schema}, and this version reads format {SCHEMA}. Update influent.")
    if digest != _digest(text, tensors):
        raise DamagedError(f"{file} is damaged: its numbers are not those that were written. It is made again.")
    check_about(file, words["about"], about)
    nodes = tuple(_node(said, f"{k}/", tensors) for k, said in enumerate(words["nodes"]))
    facts = words["facts"]
    return Shard(words["start"], words["stop"], nodes, Facts(
        tuple(names and tuple(names) for names in facts["axes"]), tuple(map(tuple, facts["full"])),
        tuple(tuple(map(tuple, column)) for column in facts["dtypes"]),
    ))  # fmt: skip


def check_about(place: str | os.PathLike[str], there: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Refuse what belongs to another question, net or data, by a `StoreError` that names it."""
    for word, own in here.items():
        if there.get(word) != own:
            raise StoreError(
                f"{place} belongs to another {word}: {there.get(word)} and not {own}. Name another folder."
            )


def _node(said: Mapping[str, Any], prefix: str, tensors: Mapping[str, Tensor]) -> Node:
    rows = dict(_row(tensors, f"{prefix}{r}", row) for r, row in enumerate(said["rows"]))
    names = {int(index): name for index, name in said["names"]}
    return Node(said["level"], said["place"], Partial(rows, said["left_out"], names, said["samples"]))


def _row(tensors: Mapping[str, Tensor], prefix: str, said: Mapping[str, Any]) -> tuple[Any, Row]:
    moments = {}
    for c, q, m, count, weight, weight2 in said["places"]:
        own = {key: tensors.get(f"{prefix}/{c}.{q}.{m}/{key}") for key in _TENSORS}
        total = own.pop("total")
        moments[c, q, m] = Moments(count, weight, weight2, torch.zeros(()) if total is None else total, **own)
    return said["name"], Row(moments, tensors[f"{prefix}/change"], tensors[f"{prefix}/residual"])


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()
