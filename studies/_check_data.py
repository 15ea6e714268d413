"""Whether the data sets in INFLUENT_DATA are the ones that studies/README.md lists. Standard library only."""

import argparse
import gzip
import hashlib
import os
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

README = Path(__file__).with_name("README.md")
COLUMNS = ["folder", "key file", "sha256", "upstream", "licence"]
CHUNK = 1 << 20


class KeyFile(NamedTuple):
    """A row of the table: a file, and the checksum that proves it and what it lists whole."""

    folder: str
    file: str
    sha256: str
    upstream: str
    licence: str


def read_table(text: str) -> list[KeyFile]:
    """The rows of the table in README.md."""
    cells = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in text.splitlines() if line[:1] == "|"]
    if cells[:1] != [COLUMNS]:
        raise ValueError(f"The first table of {README.name} must have the columns {', '.join(COLUMNS)}.")
    rows = cells[2:]  # after the head and its ruler
    for row in rows:
        if len(row) != len(COLUMNS) or len(row[2]) != 64:
            raise ValueError(f"{README.name}: this row is not 'folder | file | sha256 | upstream | licence': {row}")
    return [KeyFile(*row) for row in rows]


def checksum(path: Path) -> str:
    """The sha256 of a file, of its unpacked content if it is gzipped; says why where there is none."""
    digest = hashlib.sha256()
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while piece := file.read(CHUNK):
                digest.update(piece)
    except (EOFError, OSError, zlib.error) as error:
        return f"unreadable: {error}"
    return digest.hexdigest()


def faults(folder: Path, keys: list[KeyFile]) -> list[str]:
    """What is wrong with a data set that is there: a line for each file."""
    found = []
    for key in keys:
        found += file_fault(folder, key.file, key.sha256)
        if key.file == "SHA256SUMS" and (folder / key.file).is_file():
            for line in (folder / key.file).read_text(encoding="utf-8", errors="replace").splitlines():
                expected, _, name = line.partition("  ")
                # A list that is not the published one might name a file anywhere: stay inside the folder.
                inside = name and not Path(name).is_absolute() and ".." not in Path(name).parts
                found += file_fault(folder, name, expected) if inside else [f"SHA256SUMS: no file in {line!r}"]
    return found


def file_fault(folder: Path, name: str, expected: str) -> list[str]:
    """The fault of one file, as a list of none or one."""
    if not (folder / name).is_file():
        return [f"{name}: missing"]
    seen = checksum(folder / name)
    if seen == expected:
        return []
    return [f"{name}: {seen}" if seen.startswith("unreadable") else f"{name}: not the published one (sha256 {seen})"]


def report(place: Path, keys: list[KeyFile]) -> bool:
    """Print the state of every data set; whether one that is there is damaged."""
    damaged = False
    for folder in dict.fromkeys(key.folder for key in keys):
        own = [key for key in keys if key.folder == folder]
        if not (place / folder).is_dir():
            sources = "; ".join(dict.fromkeys(key.upstream for key in own))
            print(f"  {folder:<22} missing: it comes from {sources}")
            continue
        wrong = faults(place / folder, own)
        damaged = damaged or bool(wrong)
        print(f"  {folder:<22} " + ("damaged:" if wrong else "present and intact"), flush=True)
        for line in wrong[:10]:
            print(f"      {line}")
        if len(wrong) > 10:
            print(f"      and {len(wrong) - 10} more")
    return damaged


def main() -> int:
    """0 if all that is there is whole, 1 if something is damaged, 2 if there is nowhere to look."""
    argparse.ArgumentParser(prog="python3 dev.py data", description=__doc__).parse_args()
    keys = read_table(README.read_text(encoding="utf-8"))
    place = os.environ.get("INFLUENT_DATA")
    if not place:
        print("INFLUENT_DATA is not set, so there is nothing to check. Say where the data sets are:")
        print("    INFLUENT_DATA=/some/folder python3 dev.py data")
        print("studies/README.md says what goes there: " + ", ".join(dict.fromkeys(key.folder for key in keys)))
        return 0
    if not Path(place).is_dir():
        print(
            f"INFLUENT_DATA names {place}, which is not a folder. Make it, or correct the name.",
            file=sys.stderr,
        )
        return 2
    damaged = report(Path(place), keys)
    print("Details of each: studies/README.md.")
    return 1 if damaged else 0


if __name__ == "__main__":
    sys.exit(main())
