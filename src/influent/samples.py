"""Where real inputs come from: a folder of images by class, batches, a data set with an index; in fixed blocks."""

from __future__ import annotations

import csv
import hashlib
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .errors import InfluentWarning, InputError, QuestionError
from .nets import Net
from .photos import is_photo
from .shapes import Stored, plain, spell_shape

_X, _LABEL = ("pixel_values", "image", "img", "input", "x"), ("label", "labels", "fine_label", "target", "y")
_TABLES = {"labels.tsv": "\t", "labels.csv": ","}


@dataclass(frozen=True)
class Samples:
    """Some samples of a data set: `x [sample, *shape]`, `label [sample]` or None, `index [sample]`, and their names.

    >>> Samples(torch.zeros(2, 3), None, torch.arange(2), ("0", "1"))[[1]].names
    ('1',)
    """

    x: Tensor
    label: Tensor | None
    index: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> list[int | None]:
        """The label of each sample, None where there are none."""
        return [None] * len(self) if self.label is None else self.label.tolist()

    def __getitem__(self, rows: Sequence[int]) -> Samples:
        keep = torch.tensor(list(rows), dtype=torch.long)
        label = None if self.label is None else self.label[keep]
        return Samples(self.x[keep.to(self.x.device)], label, self.index[keep], tuple(self.names[k] for k in rows))

    @staticmethod
    def cat(parts: Sequence[Samples]) -> Samples:
        """All of them, in order."""
        labels = [p.label for p in parts if p.label is not None]
        return Samples(
            torch.cat([p.x for p in parts]), torch.cat(labels) if len(labels) == len(parts) else None,
            torch.cat([p.index for p in parts]), tuple(name for p in parts for name in p.names),
        )  # fmt: skip


LeftOut = dict[str, str]
"""Samples that could not be read: name → why."""


def warn_left_out(left_out: LeftOut, read: int) -> None:
    """Say which samples could not be used, beside `read` that could; nothing where there are none."""
    if left_out:
        named = f"{len(left_out)} of {read + len(left_out)} samples were left out: {spell_left_out(left_out)}"
        warnings.warn(named, InfluentWarning, stacklevel=2)


def spell_left_out(left_out: LeftOut) -> str:
    """The first of them, with the reason."""
    named = [f"{name} ({why.rstrip('.')})" for name, why in list(left_out.items())[:3]]
    return ", ".join(named) + (f" and {len(left_out) - 3} more." if len(left_out) > 3 else ".")


class Source(ABC):
    """Samples that can be gone through, and what identifies them: `stored`."""

    @property
    @abstractmethod
    def stored(self) -> Stored:
        """The source as text: a checksum, and what it is."""

    @abstractmethod
    def samples(self, net: Net, size: int, left_out: LeftOut) -> Iterator[Samples]:
        """Samples in their order, as many at a time as is convenient; what cannot be read goes into `left_out`."""

    def blocks(self, net: Net, size: int, left_out: LeftOut) -> Iterator[Samples]:
        """The same samples in fixed blocks: number k has those of the indices k · size to (k + 1) · size − 1.

        Whatever the batches they came in. A block is smaller by what could not be read, and is left out without any.
        """
        waiting: list[Samples] = []
        shape: torch.Size | None = None
        for part in self.samples(net, size, left_out):
            shape = part.x.shape[1:] if shape is None else shape
            if part.x.shape[1:] != shape:
                raise InputError(
                    f"{part.names[0]} has shape {list(part.x.shape[1:])}, and those before it {list(shape)}: the "
                    "samples of a data set have one shape. Resize them in the transform."
                )
            whole = _finite(part, left_out)
            for number in (whole.index // size).unique_consecutive().tolist():
                if waiting and int(waiting[0].index[0]) // size != number:
                    yield Samples.cat(waiting)
                    waiting = []
                waiting.append(whole[(whole.index // size == number).nonzero().flatten().tolist()])
        if waiting:
            yield Samples.cat(waiting)

    def __repr__(self) -> str:
        return repr(self.stored)


def as_source(data: Any) -> Any:
    """The source that a user's word means: a folder's path, a data set with an index, or batches.

    Errors: `InputError` for what holds no samples.

    >>> as_source([(torch.zeros(2, 3), torch.tensor([0, 1]))]).stored.shape
    '1 batches'
    """
    if isinstance(data, Source | Stored):
        return data
    if isinstance(data, str | os.PathLike):
        return Folder.at(data)
    if isinstance(data, Tensor):
        raise InputError(
            f"A data set is gone through in batches, and this is one tensor, {spell_shape(data)}. Give [tensor], or "
            "[(tensor, labels)]."
        )
    indexed = hasattr(data, "column_names") or isinstance(data, torch.utils.data.Dataset)
    if indexed and hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return Indexed(data)
    if isinstance(data, Iterable) and not isinstance(data, Mapping):
        return Batches(data)
    raise InputError(
        f"{type(data).__name__} holds no samples. Give a folder of images by class, a DataLoader, or batches: "
        "[(x, label), ...]."
    )


@dataclass(frozen=True, repr=False)
class Folder(Source):
    """Images by class: a folder for each class, or `labels.tsv` with the columns `file` and `index` (or `label`).

    `files` are (file relative to `path`, class), in an order that depends on the files' names only and mixes the
    classes: every beginning of it is a sample of the whole. `empty` are the classes without an image; `first` is the
    number of the first file, in a part of a folder.
    """

    path: Path
    files: tuple[tuple[str, str], ...]
    numbered: bool = False
    empty: tuple[str, ...] = ()
    first: int = 0

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> Folder:
        """What a folder holds. Errors: `InputError` where it is none, or holds no images by class."""
        place = Path(path).expanduser()
        if not place.is_dir():
            raise InputError(f"{path} is no folder. Name a folder with a folder of images for each class.")
        for name, delimiter in _TABLES.items():
            if (place / name).is_file():
                return cls(place, _mixed(_from_table(place, place / name, delimiter)), numbered=True)
        classes = sorted(d for d in place.iterdir() if d.is_dir() and not d.name.startswith("."))
        found = {d.name: list(filter(is_photo, d.rglob("*"))) for d in classes}
        files = [(f.relative_to(place).as_posix(), name) for name, those in found.items() for f in those]
        if not files:
            raise InputError(
                f"{path} holds no images by class: {len(classes)} folders in it, none with an image. Put the images of "
                f"each class into a folder of its name, {place / 'tabby' / '1.jpg'}, or list them in labels.tsv with "
                "the columns file and label."
            )
        return cls(place, _mixed(files), empty=tuple(name for name, those in found.items() if not those))

    @property
    def stored(self) -> Stored:
        listing = "\n".join(f"{file}\t{name}" for file, name in self.files)
        said = f"{self.path.resolve().name}: {len(self.files)} images"
        return Stored(hashlib.sha256(listing.encode()).hexdigest()[:16], said)

    @cached_property
    def names(self) -> frozenset[str]:
        """The classes, those without an image included."""
        return frozenset(self.empty) | {name for _, name in self.files}

    @property
    def sizes(self) -> list[tuple[str, int]]:
        """Every file with its size in bytes, -1 where it is missing."""
        places = ((file, self.path / file) for file, _ in self.files)
        return [(file, place.stat().st_size if place.exists() else -1) for file, place in places]

    def classes(self, net: Net) -> dict[str, int]:
        """The index of each class by its name in the folder.

        A name of the net's labels; without labels, in the order of the names. Errors: `QuestionError` for names that
        the net does not know.
        """
        names = sorted(self.names)
        if self.numbered and all(name.isdecimal() for name in names):
            return {name: int(name) for name in names}
        if net.labels is None:
            return {name: k for k, name in enumerate(names)}
        try:
            return {name: net.class_index(name) for name in names}
        except QuestionError as error:
            raise QuestionError(
                f"{self.path}: {error} Folders are called by the net's names of the classes; or labels.tsv lists the "
                "files with the columns file and index."
            ) from None

    def samples(self, net: Net, size: int, left_out: LeftOut) -> Iterator[Samples]:
        classes = self.classes(net)
        parts = [range(k, min(k + size, len(self.files))) for k in range(0, len(self.files), size)]
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            # While one part goes through the net, the next is read.
            reading = [pool.submit(self._read, net, k) for k in (parts[0] if parts else ())]
            for number in range(len(parts)):
                following = parts[number + 1] if number + 1 < len(parts) else ()
                done, reading = reading, [pool.submit(self._read, net, k) for k in following]
                for k, job in zip(parts[number], done, strict=True):
                    x = job.result()
                    file, name = self.files[k]
                    if isinstance(x, Tensor):
                        yield Samples(x, torch.tensor([classes[name]]), torch.tensor([self.first + k]), (file,))
                    else:
                        left_out[file] = x

    def _read(self, net: Net, k: int) -> Tensor | str:
        """One image as the net's input, or why it cannot be read."""
        try:
            x = net.read(self.path / self.files[k][0])
        except InputError as error:
            return str(error)
        return x


def _from_table(place: Path, table: Path, delimiter: str) -> list[tuple[str, str]]:
    """The files and classes of a table of labels."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter=delimiter))
    except UnicodeDecodeError as error:
        raise InputError(f"{table} is not UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8.") from None
    column = next((c for c in ("index", "label", "name") if rows and c in rows[0]), None)
    if column is None or "file" not in rows[0]:
        raise InputError(f"{table} needs a first line with the columns file and index (or label), and a line a file.")
    for number, row in enumerate(rows, 2):
        if not row["file"] or not row[column]:
            raise InputError(
                f"{table}, line {number}: a file and its {column} are wanted, with a {delimiter!r} between."
            )
    root = place if (place / rows[0]["file"]).exists() or not (place / "images").is_dir() else place / "images"
    return [(Path(os.path.relpath(root / row["file"], place)).as_posix(), row[column]) for row in rows]


def _mixed(files: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Files in an order by the checksum of their names. Errors: `InputError` for names that are not UTF-8."""
    found = list(files)
    for file, _ in found:
        if not file.isascii() and any("\ud800" <= c <= "\udfff" for c in file):
            raise InputError(f"{os.fsencode(file)!r}: this file's name is not UTF-8, and cannot be told. Rename it.")
    return tuple(sorted(found, key=lambda one: hashlib.sha256(one[0].encode()).digest()))


@dataclass(frozen=True, repr=False)
class Batches(Source):
    """Batches as they come: of a `DataLoader`, a list, any iterable; a generator can be gone through once.

    A batch is `x [sample, *shape]`, a pair `(x, label)`, or a dictionary with such entries.
    """

    batches: Iterable[Any]

    @property
    def stored(self) -> Stored:
        if isinstance(self.batches, list | tuple):
            digest = hashlib.sha256(repr(plain(self.batches)).encode()).hexdigest()[:16]
            return Stored(digest, f"{len(self.batches)} batches")
        return Stored(f"at {id(self.batches):x}", type(self.batches).__name__)

    @property
    def sizes(self) -> list[int]:
        """How many samples each batch has. Errors: `InputError` for what is no batch."""
        return [len(_split(batch, f"Batch {number}")[0]) for number, batch in enumerate(self.batches)]

    def samples(self, net: Net, size: int, left_out: LeftOut) -> Iterator[Samples]:
        first = 0
        for number, batch in enumerate(self.batches):
            x, label = _split(batch, f"Batch {number}")
            index = torch.arange(first, first + len(x))
            first += len(x)
            if len(x):
                yield Samples(x, label, index, tuple(f"sample {k}" for k in index.tolist()))
        if not first and iter(self.batches) is self.batches:
            raise InputError(
                f"This {type(self.batches).__name__} gives its batches once, and they are gone. Give a list of batches "
                "or a DataLoader, which can be gone through again."
            )


@dataclass(frozen=True, repr=False)
class Indexed(Source):
    """A data set with an index: torch's map-style ones, Hugging Face's; samples `(x, label)` or dictionaries.

    An image (PIL) is read by the net's transform. `first` is the number of the first row, in a part of a data set.
    """

    rows: Any
    first: int = 0

    @property
    def stored(self) -> Stored:
        known = getattr(self.rows, "_fingerprint", None) or f"at {id(self.rows):x}"
        return Stored(known, f"{type(self.rows).__name__}: {len(self.rows)} samples")

    def samples(self, net: Net, size: int, left_out: LeftOut) -> Iterator[Samples]:
        for k in range(len(self.rows)):
            number = self.first + k
            name = f"sample {number}"
            x, label = _entries(self.rows[k], name)
            try:
                x = net.read(x) if isinstance(x, Image.Image) else torch.as_tensor(x)[None]
            except InputError as error:
                left_out[name] = str(error)
                continue
            yield Samples(
                x, None if label is None else torch.as_tensor([_whole(label, name)]), torch.tensor([number]), (name,)
            )


def _entries(sample: Any, name: str) -> tuple[Any, Any]:
    """x and label of a tuple or a dictionary."""
    if isinstance(sample, Mapping):
        x = next((sample[key] for key in _X if key in sample), None)
        if x is None:
            raise InputError(
                f"{name} is a dictionary with {', '.join(map(repr, sample))}, and none of them is an input. Name it "
                f"{_X[0]!r} or {_X[-1]!r}, and its class {_LABEL[0]!r}."
            )
        return x, next((sample[key] for key in _LABEL if key in sample), None)
    if isinstance(sample, list | tuple):
        if len(sample) != 2:
            raise InputError(
                f"{name} holds {len(sample)} things, and a pair (input, label) is wanted. Drop the others."
            )
        return sample[0], sample[1]
    return sample, None


def _whole(label: Any, name: str) -> int:
    """A label as the number of a class."""
    try:
        return int(label)
    except (TypeError, ValueError):
        raise InputError(f"{name} has the label {label!r}: give the number of a class, from 0.") from None


def _split(batch: Any, name: str) -> tuple[Tensor, Tensor | None]:
    """x and labels of a batch, checked to belong together."""
    x, label = _entries(batch, name)
    if not isinstance(x, Tensor) or x.dim() < 2:
        got = spell_shape(x) if isinstance(x, Tensor) else type(x).__name__
        way = " Ask about texts in one batch: over=Point(net.read([...]))." if got in ("Text", "str") else ""
        raise InputError(f"{name} is {got}, not a tensor [sample, ...] or a pair (tensor, labels).{way}")
    if label is None:
        return x, None
    labels = torch.as_tensor(label).cpu()
    if labels.shape != (len(x),) or labels.is_floating_point():
        raise InputError(
            f"{name} has labels {spell_shape(labels)} for {len(x)} samples. Give one class index for each."
        )
    return x, labels.long()


def _finite(part: Samples, left_out: LeftOut) -> Samples:
    """The samples without those that hold NaN or infinity."""
    if not part.x.is_floating_point() or bool(torch.isfinite(part.x.sum())):
        return part
    fine = torch.isfinite(part.x.flatten(1)).all(1).tolist()
    left_out |= {name: "It holds NaN or infinite values." for name, ok in zip(part.names, fine, strict=True) if not ok}
    return part[[k for k, ok in enumerate(fine) if ok]]


def known_source(source: Any) -> Source:
    """A source that can be gone through. Errors: `QuestionError` for one of which only the checksum is left."""
    if isinstance(source, Source):
        return source
    raise QuestionError(f"{source!r} is a data set known by its checksum only. Give the data: Dataset(folder).")
