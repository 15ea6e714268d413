"""The explorer for everybody: by keyboard, in the dark, for a screen reader; and its pictures in the docs."""

from __future__ import annotations

import io
import itertools
import os
import re
import sys
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Browser, Page, expect

import influent
from tests.explorer.served import Served
from tests.explorer.visitor import LONG, WIDTHS, done, go, opened

AXE = Path(sys.prefix) / "axe" / "axe.min.js"


def test_an_address_that_is_none_says_so(wide: Page, real: Served) -> None:
    go(wide, real.base, "#/nowhere")
    expect(wide.get_by_role("heading", level=1)).to_have_text("There is no such page")
    go(wide, real.base, "#/unit/nowhere/3")
    expect(wide.get_by_role("alert")).to_contain_text("There is no place 'nowhere'")


def test_the_first_question_by_keyboard_alone(wide: Page) -> None:
    button = wide.get_by_role("button", name=re.compile(r"\.png")).first
    expect(button).to_be_visible()
    for _ in range(40):
        wide.keyboard.press("Tab")
        if button.evaluate("e => e === document.activeElement"):
            break
    wide.keyboard.press("Enter")
    expect(wide.get_by_role("heading", name="What the net says")).to_be_visible()


PAGES = {
    "first": "#/", "why": "#/why?photo=data-0&n=17", "unit": "#/unit/{at}/3?photo=data-0",
    "off": "#/off?at={at}&units=1,2&photo=data-0", "class": "#/class/967", "results": "#/results",
    "report": "#/result/0/explanation.html",
}  # fmt: skip


def test_axe_finds_nothing_serious(browser: Browser, real: Served) -> None:
    if not AXE.is_file():
        assert not os.environ.get("INFLUENT_BROWSER"), f"{AXE} is missing: npm pack axe-core did not work"
        pytest.skip("axe-core is not here: it comes from npm, by `python3 dev.py test`, where there is npm.")
    layer = influent.zoo.load("efficientnet-lite0").layer or ""
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.set_default_timeout(LONG)
    found, passed = [], 0
    for name, address in PAGES.items():
        go(page, real.base, address.format(at=layer.partition("/")[0]))
        if name in ("first", "results", "report"):
            expect(page.locator("#controls img, #parts li, #parts table").first).to_be_visible()
        else:
            done(page)
        page.add_script_tag(path=str(AXE))
        for width, scheme in itertools.product(WIDTHS, ("light", "dark")):
            page.set_viewport_size({"width": WIDTHS[width], "height": 900})
            page.emulate_media(color_scheme=scheme)
            told = page.evaluate("axe.run()")
            passed += len(told["passes"])
            found += [
                (
                    name,
                    width,
                    scheme,
                    v["id"],
                    v["nodes"][0]["html"][:120],
                    v["nodes"][0].get("failureSummary", "")[:200],
                )
                for v in told["violations"]
                if v["impact"] in ("serious", "critical")
            ]
    context.close()
    assert found == [] and passed > 100


# The pictures of the docs


SHOTS = Path(__file__).parents[2] / "docs" / "images"
NUMBERS = re.compile(r"[-+−]?\d+(?:[.,]\d+)*(?:e[-+]\d+)?")


def shot(page: Page, name: str, height: int) -> None:
    """Compare a picture of the docs with the page that it shows, by its words, which it carries; numbers may differ.

    INFLUENT_SHOTS=1 takes it anew.
    """
    words = NUMBERS.sub("#", page.locator("body").inner_text())
    file = SHOTS / f"{name}.png"
    if os.environ.get("INFLUENT_SHOTS"):
        page.evaluate("document.activeElement?.blur()")
        with Image.open(io.BytesIO(page.screenshot(full_page=True))) as taken:
            kept = taken.crop((0, 0, taken.width, min(height, taken.height))).convert("RGB").quantize(200)
        about = PngInfo()
        about.add_itxt("Words", words)
        kept.save(file, optimize=True, pnginfo=about)
    with Image.open(file) as picture:
        assert picture.text["Words"] == words, f"{file.name} is old: INFLUENT_SHOTS=1 python3 dev.py test -k pictures"


def test_the_pictures_of_the_docs_are_of_these_pages(browser: Browser, real: Served) -> None:
    for page in opened(browser, real, 1200):
        go(page, real.base, "#/why?photo=example-0")
        done(page)
        shot(page, "explorer-why", 1250)
        page.locator(".units a").first.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("channel")
        done(page)
        shot(page, "explorer-unit", 1500)
        go(page, real.base, "#/why?photo=example-0&n=17&top=8")
        done(page)
        for box in page.get_by_role("checkbox").all():
            box.check()
        page.get_by_role("button", name="Switch the chosen units off").click()
        done(page)
        shot(page, "explorer-off", 900)
    for page in opened(browser, real, WIDTHS["phone"]):
        go(page, real.base, "#/why?photo=example-0")
        done(page)
        shot(page, "explorer-phone", 1700)
