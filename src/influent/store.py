"""Results on disk: `meta.json` (the question, versions, hashes) beside `values.safetensors`.

A folder appears whole or not at all: it is written under a temporary name beside its place and then renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .attribution import Attribution, Examples, Gap, Question
from .cut import Cut
from .errors import InfluentError, QuestionError, StoreError
from .language import parse
from .nets import weights_hash
from .probe import Cost

SCHEMA = 1
META, VALUES = "meta.json", "values.safetensors"
_TENSORS = ("values", "residual", "stderr", "count")


@contextmanager
def fresh_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` when the block ends well, and vanishes when it does not.

    An older result of ours there is replaced as a whole. Errors: `StoreError` where the place cannot be written, or
    holds files that are not ours: nothing of the user's is touched.
    """
    place = Path(folder).expanduser().absolute()
    check_ours(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}. Name another folder.") from None
    try:
        yield work
        check_ours(place)
        _swap(work, place)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}. Is the disk full?") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_ours(place: Path) -> None:
    """Refuse to write over what is not ours, by a `StoreError`.

    Allowed are an empty place, an empty folder, or a result of ours with nothing else in it.
    """
    if not place.exists():
        return
    if not place.is_dir():
        raise StoreError(f"{place} is a file. Name a folder for the result.")
    files = {f.relative_to(place).as_posix() for f in place.rglob("*") if not f.is_dir()}
    known = {*_manifest(place), META} if _manifest(place) else set()
    if strangers := sorted(files - known):
        raise StoreError(
            f"{place} holds files that are not of a result ({', '.join(strangers[:3])}), and a result replaces its "
            "whole folder. Name an empty or a new folder."
        )
    if not os.access(place.parent, os.W_OK):
        raise StoreError(f"{place} cannot be replaced: {place.parent} is not writable. Name another folder.")


def _manifest(place: Path) -> list[str]:
    """The files that a result of ours lists; none where the `meta.json` is somebody else's."""
    try:
        meta = json.loads((place / META).read_text(encoding="utf-8"))
        files = meta["files"]
        ours = isinstance(meta["schema"], int) and "question" in meta and all(len(h) == 64 for h in files.values())
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return []
    return list(files) if ours else []


def _swap(work: Path, place: Path) -> None:
    """Rename `work` to `place`; what stood there goes only when the new one stands."""
    os.chmod(work, 0o755)
    if not place.exists():
        os.rename(work, place)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{place.name}-old-", dir=place.parent))
    os.rename(place, old / "result")
    try:
        os.rename(work, place)
    except OSError:
        os.rename(old / "result", place)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def save(attribution: Attribution, folder: str | os.PathLike[str]) -> Path:
    """Write one attribution as a folder, whole or not at all. Returns the folder.

    Errors: `StoreError` where it cannot be written or where other files are in the way.

    >>> a = influence(nn.Linear(3, 2).eval(), "INPUT", Class(1), Point(torch.ones(1, 3)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(f.name for f in save(a, Path(folder) / "result").iterdir())
    ['meta.json', 'values.safetensors']
    """
    if not isinstance(attribution, Attribution):
        raise StoreError(
            "Only one attribution goes into a folder. Save each of a dictionary's: inf.save(r['conv1'], ...)."
        )
    with fresh_folder(folder) as work:
        write(attribution, work)
        seal(work)
    return Path(folder)


def write(attribution: Attribution, folder: Path, **more: Any) -> None:
    """The two files of a result, into a folder that is being made; `more` goes into `meta.json`."""
    words = attribution.question.text
    try:
        for word in ("of", "over", "measure"):
            parse(words[word], imports=False)
    except QuestionError as error:
        raise StoreError(
            f"This question could not be read back: {error} Give it a name in a module of yours."
        ) from None
    tensors = {name: getattr(attribution, name) for name in _TENSORS if getattr(attribution, name) is not None}
    if attribution.gap is not None:
        tensors |= {"gap": attribution.gap.signed, "change": attribution.gap.change}
    if attribution.examples is not None:
        tensors |= {"examples": attribution.examples.index, "example_values": attribution.examples.value}
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, folder / VALUES)
    meta = {
        "schema": SCHEMA,
        "question": words,
        "instances": list(attribution.instances),
        "axes": attribution.axes,
        "note": attribution.note,
        "left_out": dict(attribution.left_out),
        "examples": attribution.examples and [[i, name] for i, name in attribution.examples.names.items()],
        "velocity": attribution.velocity,
        "cost": vars(attribution.cost),
        "versions": versions(),
        "net": attribution.net
        and {"class": type(attribution.net.module).__name__, "weights": weights_hash(attribution.net.module)},
        **more,
    }
    _write_meta(folder, meta)


def record(folder: Path, question: dict[str, str], said: list[str], tensors: dict[str, Tensor], **more: Any) -> None:
    """The two files of a result that is no attribution: `said`, which `influent show` prints, and named tensors."""
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, folder / VALUES)
    _write_meta(folder, {"schema": SCHEMA, "question": question, "said": said, "versions": versions(), **more})


def _write_meta(folder: Path, meta: dict[str, Any]) -> None:
    os.chmod(folder / VALUES, 0o644)  # safetensors leaves a file that only its owner reads
    (folder / META).write_text(json.dumps(meta, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def seal(folder: Path) -> None:
    """List the folder's files in its `meta.json`, with their hashes: what is listed may be replaced later."""
    meta = json.loads((folder / META).read_text(encoding="utf-8"))
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f != folder / META)
    meta["files"] = {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    (folder / META).write_text(json.dumps(meta, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """The versions that a result was made with."""
    try:
        ours = version("influent")
    except PackageNotFoundError:
        ours = "source"
    return {"influent": ours, "torch": torch.__version__, "python": platform.python_version()}


def load(folder: str | os.PathLike[str]) -> Attribution:
    """Read a result back; its tensors in the question are known by checksum, its net is not stored.

    Errors: `StoreError` for folders that hold no result, damaged files and other versions of the format.

    >>> a = influence(nn.Linear(3, 2).eval(), "INPUT", Class(1), Point(torch.ones(1, 3)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load(save(a, Path(folder) / "result")).question == a.question
    True
    """
    place = Path(folder).expanduser()
    meta = read_meta(place)
    if meta.get("kind") == "expert":
        raise StoreError(f"{folder} holds an expert, which needs its net: inf.Expert.load({str(folder)!r}, net).")
    if "instances" not in meta:
        raise StoreError(f"{folder} holds no attribution. `influent show {folder}` prints what it holds.")
    check_unchanged(place, meta)
    try:
        tensors = load_file(place / VALUES)
        words, gap = meta["question"], None
        if "gap" in tensors:
            gap = Gap(tensors["gap"], tensors["change"])
        question = Question(
            Cut(words["at"]), *(parse(words[word], imports=False) for word in ("of", "over", "measure"))
        )
        return Attribution(
            question=question,
            instances=tuple(meta["instances"]),
            axes=tuple(meta["axes"]) if meta["axes"] else None,
            gap=gap,
            note=meta["note"],
            left_out=meta.get("left_out", {}),
            examples=meta.get("examples")
            and Examples(tensors["examples"], tensors["example_values"], dict(meta["examples"])),
            velocity=meta["velocity"],
            cost=Cost(**meta["cost"]),
            values=tensors["values"],
            residual=tensors.get("residual"),
            stderr=tensors.get("stderr"),
            count=tensors.get("count"),
        )
    except QuestionError as error:
        raise StoreError(f"{folder}: its question cannot be read. {error}") from None
    except InfluentError:
        raise
    except Exception as error:
        raise StoreError(f"{folder} is damaged: {error}. Make it again.") from error


def check_unchanged(place: Path, meta: dict[str, Any]) -> None:
    """Refuse values that are not the ones that were written, by a `StoreError`."""
    listed = meta.get("files", {}).get(VALUES) if isinstance(meta.get("files"), dict) else None
    try:
        found = hashlib.sha256((place / VALUES).read_bytes()).hexdigest()
    except OSError as error:
        raise StoreError(f"{place} is damaged: {VALUES} cannot be read ({error.strerror}). Make it again.") from None
    if listed is not None and found != listed:
        raise StoreError(f"{place} is damaged: {VALUES} was changed after it was written. Make it again.")


def read_meta(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The `meta.json` of a result. Errors: `StoreError` where there is none, or one of another format."""
    place = Path(folder).expanduser()
    if not (place / META).is_file():
        raise StoreError(f"{folder} holds no result (no {META}). Make one: influent explain PHOTO --out {folder}")
    try:
        meta = json.loads((place / META).read_text(encoding="utf-8"))
        schema = meta["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{place / META} is damaged: {error}. Make the result again.") from None
    if schema != SCHEMA:
        raise StoreError(f"{folder} is of format {schema}, and this version reads format {SCHEMA}. Update influent.")
    return dict(meta)
