"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from .errors import StoreError


def write_whole(file: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file in one step, its folder made where it is missing; what stood there goes when the new one stands.

    Errors: `StoreError` where it cannot be written; nothing is left behind.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder) / "new" / "a.txt", b"whole").read_bytes()
    b'whole'
    """
    place = Path(file)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=f".{place.name}-", delete=False) as draft:
            try:
                draft.write(data)
                draft.flush()
                os.fsync(draft.fileno())
                os.chmod(draft.name, 0o644)
                os.replace(draft.name, place)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(draft.name)
                raise
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror or error}. Is the disk full?") from error
    return place
