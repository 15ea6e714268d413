"""The servers and the browser that the explorer is tested with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import influent
from influent.cli import main
from tests.explorer.served import Served, colours, served
from tests.explorer.visitor import WIDTHS, opened


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


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of real photos: pieces of the examples, each another."""
    place = tmp_path_factory.mktemp("photos") / "photos"
    for name, example in (("espresso", "coffee"), ("Egyptian cat", "chelsea")):
        (place / name).mkdir(parents=True)
        with Image.open(influent.example(example)) as photo:
            wide, high = photo.size
            for k in range(6):
                box = (8 * k, 4 * k, wide - 60 + 10 * k, high - 30 + 5 * k)
                photo.crop(box).save(place / name / f"{example}-{k}.png")
    return place


@pytest.fixture(scope="session")
def stored(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the other commands on the same data: a debugging report and an essence."""
    place = tmp_path_factory.mktemp("results")
    assert main(["debug", str(photos), "--out", str(place / "debug")]) == 0
    assert main(["essence", str(photos), "--out", str(place / "essence")]) == 0
    return place


@pytest.fixture(scope="session")
def real(photos: Path, stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of EfficientNet-lite0 on these photos."""
    names = tmp_path_factory.mktemp("names") / "names.json"
    with served("--data", photos, "--results", stored, "--nicknames", names, "--images", "12") as one:
        yield one


@pytest.fixture(params=list(WIDTHS))
def page(request: pytest.FixtureRequest, browser: Browser, real: Served) -> Iterator[Page]:
    """The explorer's first page at one width."""
    yield from opened(browser, real, WIDTHS[request.param])


@pytest.fixture
def wide(browser: Browser, real: Served) -> Iterator[Page]:
    """The explorer's first page on a desk."""
    yield from opened(browser, real, WIDTHS["desk"])
