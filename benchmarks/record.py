"""What a benchmark leaves behind: one JSON file, each part under its own key, never half written."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any


def versions() -> dict[str, str]:
    """Python and the packages that a number depends on."""
    packages = ("torch", "captum", "transformers", "numpy", "influent")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def update(place: Path, key: str, value: Any) -> None:
    """Set one key of a JSON file, in one step; the other keys stay as they are."""
    known = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    text = json.dumps({**known, key: value}, indent=2) + "\n"
    with tempfile.NamedTemporaryFile("w", dir=place.parent, prefix=f".{place.name}-", delete=False) as new:
        new.write(text)
    os.chmod(new.name, 0o644)
    os.replace(new.name, place)
