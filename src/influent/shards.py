"""One question over a data set, shard by shard: computed anywhere, in any order, added up to what one pass gives."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from .ask import Asked, prepared
from .distribution import Distribution
from .errors import InputError, QuestionError, StoreError
from .ledger import SHARD, Ledger
from .measures import gradient
from .nets import Net
from .samples import known_source
from .selection import length
from .stream import Stream

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Share:
    """Every `of`-th shard from number `index` on: what one of several workers does.

    Errors: `InputError` for text that is no share.

    >>> Share.parse("1/4")
    Share(index=1, of=4)
    """

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """`"i/n"`, with i from 0 to n − 1."""
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if match is None or not int(match[1]) < int(match[2]):
            raise InputError(
                f"--shard {text}: give a number from 0 and how many there are, --shard 0/4 to --shard 3/4."
            )
        return cls(int(match[1]), int(match[2]))

    def has(self, number: int) -> bool:
        """Whether the shard is in it."""
        return number % self.of == self.index


@dataclass(frozen=True)
class Work:
    """A question and its ledger, ready for its shards to be computed one by one.

    `shard` is how many blocks a shard has. Errors: as `influence`; `QuestionError` for data that cannot be read part by
    part.

    >>> import tempfile
    >>> data = Dataset([(torch.ones(70, 2), torch.arange(70) % 2)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     work = Work.of(nn.Linear(2, 2).eval(), "INPUT", Label(), data, ledger=folder, shard=1)
    ...     before = work.missing()
    ...     before, work.compute(1, 2), work.missing()
    ([(0, 1), (1, 2), (2, 3)], 32, [(0, 1), (2, 3)])
    """

    stream: Stream
    ledger: Ledger
    blocks: int

    @classmethod
    def of(
        cls, net: Net | nn.Module, at: Any, of: Any, over: Distribution, measure: Any = gradient, *,
        ledger: str | os.PathLike[str], shard: int = SHARD, chunk: int = 16, progress: Progress | None = None,
    ) -> Work:  # fmt: skip
        """The work that `influence` with the same words does, and adds up."""
        ask = prepared(net, at, of, over, measure, chunk, progress, ledger, shard)
        return cls.asked(ask, over, chunk, progress)

    @classmethod
    def asked(cls, ask: Asked, over: Distribution, chunk: int, progress: Progress | None) -> Work:
        """Of a question that was prepared, with its ledger."""
        ledger, (job,) = ask.ledger, ask.jobs.values()
        source = known_source(over.data.source) if over.data is not None else None
        count = None if source is None else length(source)
        if ledger is None or source is None or count is None:
            raise QuestionError("Shards are parts of a folder, or of a data set with an index: over=Dataset(folder).")
        ledger.begin(source)
        stream = Stream(job, over, chunk, progress or (lambda points: None), ledger=ledger)
        return cls(stream, ledger, -(-count // over.data.block))

    def missing(self) -> list[tuple[int, int]]:
        """The ranges of blocks that have no file yet."""
        return [(start, stop) for start, stop, known in self.ledger.plan(self.blocks) if not known]

    def compute(self, start: int, stop: int) -> int:
        """One range of blocks, written down; returns how many samples it has."""
        return sum(node.partial.samples for node in self.stream.shard(start, stop).nodes)

    def share(self, share: Share) -> Iterator[tuple[int, int]]:
        """The missing ranges of one share, each checked again when its turn comes: somebody may have been faster."""
        for start, stop in self.missing():
            if share.has(start // self.ledger.size) and not self.ledger.file(start, stop).exists():
                yield start, stop

    def check_whole(self) -> None:
        """Refuse to add up what is not all there. Errors: `StoreError`, with what is missing."""
        missing = self.missing()
        if missing:
            told = ", ".join(f"{a} to {b - 1}" for a, b in missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise StoreError(
                f"{self.ledger.folder} lacks {sum(b - a for a, b in missing)} of {self.blocks} blocks: {told}. Run the "
                "shards that are missing, --shard i/n, or the command without --shard, which computes them itself."
            )
