"""The servers and the browser that the explorer is tested with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.explorer.served import Served, colours, served


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images by class."""
    return colours(tmp_path_factory.mktemp("explorer") / "colours")


@pytest.fixture(scope="session")
def quick(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a net that answers at once, with data, photos outside of it, and results."""
    place = tmp_path_factory.mktemp("quick")
    with served("--net", "tests.explorer.nets:quick", "--data", data, "--nicknames", place / "names.json") as one:
        yield one


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium. Where INFLUENT_BROWSER names one it must be there; else tests without one are skipped."""
    named = os.environ.get("INFLUENT_BROWSER")
    found: Any = named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("No Chromium is here. On Debian: sudo apt install chromium; or INFLUENT_BROWSER=/path/to/it.")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()
