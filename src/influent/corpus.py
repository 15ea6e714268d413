"""A corpus in a file: texts one a line, or a table of texts with their classes."""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError

_TEXT = ("text", "sentence", "utterance", "question", "review", "phrase", "content")
_LABEL = ("label", "class", "sentiment", "category", "target", "y")
_TABLES = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class Corpus:
    """Texts, and where the file has them their classes, as they are written there."""

    texts: tuple[str, ...]
    labels: tuple[str, ...] | None = None


def read_corpus(file: str | os.PathLike[str]) -> Corpus:
    """The texts of a file: `.txt`, one a line; `.csv` or `.tsv` whose first line names a column `text` (and `label`).

    Files that end in `.gz` are unpacked; `-` is standard input. Empty lines are left out. What is no UTF-8 is read as
    Latin-1. Errors: `InputError` for files that are not there, empty, or without such a column.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "some.tsv").write_text("sentence\\tlabel\\nnot good\\t0\\n")
    ...     read_corpus(f"{folder}/some.tsv")
    Corpus(texts=('not good',), labels=('0',))
    """
    path = Path(file).expanduser()
    raw = sys.stdin.buffer.read() if os.fspath(file) == "-" else _bytes(path)
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        content = raw.decode("latin-1")
    if "\0" in content:
        raise InputError(f"{path} is no text. Give a .txt file, a text a line, or a .csv or .tsv with a column text.")
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    found = _table(path, content, _TABLES[kind]) if kind in _TABLES else Corpus(tuple(_lines(content)))
    if not found.texts:
        raise InputError(f"{path} holds no text. Give a .txt file with a text a line.")
    return found


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"There is no file {path} of texts. Give a .txt file, a text a line, or a .csv or .tsv.")
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None


def _lines(content: str) -> list[str]:
    return [line.strip() for line in content.split("\n") if line.strip()]


def _table(path: Path, content: str, delimiter: str) -> Corpus:
    lines = io.StringIO(content, newline="")
    plain = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    rows = list(csv.reader(lines) if delimiter == "," else plain)
    names = [name.strip().lower() for name in rows[0]] if rows else []
    text = next((names.index(name) for name in _TEXT if name in names), None)
    if text is None:
        raise InputError(
            f"{path}: its first line names {', '.join(names[:6]) or 'nothing'}, and none of these is the texts' "
            "column. Call it text; classes go into a column label."
        )
    label = next((names.index(name) for name in _LABEL if name in names), None)
    kept = [row for row in rows[1:] if len(row) > max(text, label or 0) and row[text].strip()]
    labels = None if label is None else tuple(row[label].strip() for row in kept)
    return Corpus(tuple(row[text].strip() for row in kept), labels)
