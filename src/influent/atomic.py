"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from .errors import StoreError


def write_whole(file: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file in one step, its folder made where it is missing; what stood there goes when the new one stands.

    Errors: `StoreError` where it cannot be written; nothing is left behind.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder) / "new" / "a.txt", b"whole").read_bytes()
    b'whole'
    """
    _write(file, data, os.replace)
    return Path(file)


def write_once(file: str | os.PathLike[str], data: bytes) -> bool:
    """Write a file in one step, if it is not there; what stands there stays. Whether it was written.

    Of several that write at once one alone does. Errors: `StoreError` where it cannot be written.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = Path(folder) / "a"
    ...     write_once(place, b"1"), write_once(place, b"2"), place.read_bytes()
    (True, False, b'1')
    """
    try:
        _write(file, data, _linked)
    except _ThereError:
        return False
    return True


class _ThereError(Exception):
    """The place is taken."""


def _linked(draft: str, place: Path) -> None:
    """A second name for a file, if nothing has that name."""
    try:
        os.link(draft, place)
    except FileExistsError:
        if place.is_dir():
            raise
        raise _ThereError from None
    except OSError:  # a file system without links
        if place.exists():
            raise _ThereError from None
        os.replace(draft, place)


def _write(file: str | os.PathLike[str], data: bytes, put: Callable[[str, Path], None]) -> None:
    place = Path(file)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=f".{place.name}-", delete=False) as draft:
            try:
                draft.write(data)
                draft.flush()
                os.fsync(draft.fileno())
                os.chmod(draft.name, 0o644)
                put(draft.name, place)
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(draft.name)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror or error}. Is the disk full?") from error
