"""What the finished parts of a piece of work over folders belong to: a net, its way of seeing, files, words."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .nets import Net, weights_hash
from .parts import Parts
from .samples import Folder
from .store import versions


def parts_of(out: Path, net: Net, folders: Sequence[Folder], **words: Any) -> Parts:
    """The parts beside `out` of this net, these files (names, sizes, times) and these words."""
    about = {
        "net": weights_hash(net.module), "layer": str(net.layer), "labels": repr(net.labels), "axes": repr(net.axes),
        "transform": re.sub(r" at 0x[0-9a-f]+", "", repr(net.transform)), "dtype": _dtypes(net),
        "data": " ".join(f"{one.stored} {digest_of(one.path / file for file, _ in one.files)}" for one in folders),
        **versions(), **{name: repr(word) for name, word in words.items()},
    }  # fmt: skip
    return Parts.beside(out, about)


def digest_of(files: Iterable[Path]) -> str:
    """A checksum of names, sizes and times of files: what is missing has none."""
    told = hashlib.sha256()
    for file in files:
        known: Any = os.stat(file) if file.exists() else None
        told.update(f"{file}\t{known and (known.st_size, known.st_mtime_ns)}\n".encode())
    return told.hexdigest()


def _dtypes(net: Net) -> str:
    return " ".join(sorted({str(p.dtype) for p in net.module.parameters()}))
