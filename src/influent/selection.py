"""Some samples of a source, or all of them in parts: what is not asked for is not read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from .errors import QuestionError
from .nets import Net
from .samples import Batches, Folder, Indexed, LeftOut, Samples, Source
from .shapes import Stored


def selected(source: Source, index: Iterable[int]) -> Source:
    """The samples of some indices alone, in the order of the source; a class keeps its number.

    Images of a folder and rows of an indexed data set that are not chosen are not read.

    >>> source = Dataset([(torch.zeros(5, 2), torch.arange(5))]).source
    >>> next(selected(source, [3, 1]).samples(Net(torch.nn.Identity()), 5, {})).names
    ('sample 1', 'sample 3')
    """
    keep = sorted(set(index))
    if isinstance(source, Folder):
        return _chosen(source, keep)
    if isinstance(source, Indexed):
        return Indexed(torch.utils.data.Subset(source.rows, keep))
    return _Selected(source, tuple(keep))


def _chosen(folder: Folder, keep: Iterable[int]) -> Folder:
    files = tuple(folder.files[k] for k in keep)
    # Without labels a class has its place among all names: those without an image here count, too.
    gone = folder.names - {name for _, name in files}
    return replace(folder, files=files, empty=tuple(sorted(gone)))


def split(source: Source, size: int) -> Iterator[Source]:
    """The source in parts of `size` samples that can be read by themselves; batches are one part.

    >>> [len(part.rows) for part in split(Indexed(list(range(5))), 2)]
    [2, 2, 1]
    """
    if isinstance(source, Folder | Indexed):
        yield from (between(source, k, k + size) for k in range(0, length(source) or 0, size))
    else:
        yield source


def length(source: Source) -> int | None:
    """How many samples there are, those included that cannot be read; None where only going through them tells."""
    if isinstance(source, Folder):
        return len(source.files)
    if isinstance(source, Batches) and isinstance(source.batches, list | tuple):
        return sum(source.sizes)
    return len(source.rows) if isinstance(source, Indexed) else None


def between(source: Source, start: int, stop: int) -> Source:
    """The samples number `start` to `stop` − 1 of a folder, a data set with an index or a list, under their numbers.

    >>> [s.index.tolist() for s in between(Indexed(torch.zeros(5, 2)), 3, 9).samples(Net(torch.nn.Identity()), 2, {})]
    [[3], [4]]
    """
    if isinstance(source, Folder):
        return replace(_chosen(source, range(start, min(stop, len(source.files)))), first=start)
    if isinstance(source, Indexed):
        rows = range(start, min(stop, len(source.rows)))
        return Indexed(torch.utils.data.Subset(source.rows, rows), first=start)
    if isinstance(source, Batches) and isinstance(source.batches, list | tuple):
        return _Selected(source, tuple(range(start, stop)), first=start)
    raise QuestionError(f"{source!r} has no index: its samples cannot be read from {start} on.")


@dataclass(frozen=True, repr=False)
class _Selected(Source):
    """Some samples of another source, numbered anew from `first` on, so that they fill whole blocks."""

    whole: Source
    index: tuple[int, ...]
    first: int = 0

    @property
    def stored(self) -> Stored:
        digest = hashlib.sha256(repr((self.whole.stored, self.index)).encode()).hexdigest()[:16]
        return Stored(digest, f"{len(self.index)} of {self.whole.stored.shape}")

    def samples(self, net: Net, size: int, left_out: LeftOut) -> Iterator[Samples]:
        keep, number = set(self.index), self.first
        for part in self.whole.samples(net, size, left_out):
            rows = [k for k, index in enumerate(part.index.tolist()) if index in keep]
            if rows:
                yield replace(part[rows], index=torch.arange(number, number + len(rows)))
            number += len(rows)
            keep -= set(part.index.tolist())
            if not keep:
                return
