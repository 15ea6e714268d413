"""What the finished parts of a piece of work over folders belong to: a net, its way of seeing, files, words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .nets import Net, identity_of
from .parts import Parts
from .samples import Folder
from .store import versions


def parts_of(out: Path, net: Net, folders: Sequence[Folder], **words: Any) -> Parts:
    """The parts beside `out` of this net, these files (names, sizes, times) and these words."""
    listings = [digest_of(one.path, (file for file, _ in one.files)) for one in folders]
    about = {
        **identity_of(net), "layer": str(net.layer), **versions(), **{name: repr(word) for name, word in words.items()},
        "data": " ".join(f"{one.stored} {listing}" for one, listing in zip(folders, listings, strict=True)),
    }  # fmt: skip
    return Parts.beside(out, about)


def digest_of(folder: Path, files: Iterable[str]) -> str:
    """A checksum of names, sizes and times of files in a folder, wherever that lies: what is missing has none."""
    told = hashlib.sha256()
    for file in files:
        place = folder / file
        known = place.stat() if place.exists() else None
        told.update(f"{file}\t{known and (known.st_size, known.st_mtime_ns)}\n".encode())
    return told.hexdigest()
