"""What a visitor does in the browser: open a page, wait for its answer."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect

from tests.explorer.served import Served

WIDTHS = {"desk": 1280, "phone": 390}
LONG = 60_000
expect.set_options(timeout=20_000)


def opened(browser: Browser, served: Served, width: int, **how: object) -> Iterator[Page]:
    """A page; at the end, nothing was asked of another machine, and nothing was complained of."""
    context = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True, **how)
    page = context.new_page()
    page.set_default_timeout(LONG)
    trouble: list[str] = []
    page.on("console", lambda m: trouble.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    page.on(
        "requestfailed", lambda r: trouble.append(f"{r.url}: {r.failure}") if "ABORTED" not in str(r.failure) else None
    )
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.goto(served.base)
    yield page
    context.close()
    away = [url for url in asked if urlsplit(url).scheme not in ("data", "blob")]
    assert {urlsplit(url).netloc for url in away} == {f"127.0.0.1:{served.port}"}
    assert trouble == []


def go(page: Page, base: str, address: str) -> None:
    """Open an address, as from a link that somebody sent."""
    page.goto("about:blank")
    page.goto(f"{base}/{address}")


def done(page: Page) -> None:
    """Wait until an answer is whole."""
    expect(page.locator("#status")).to_contain_text("Done", timeout=LONG)
    expect(page.locator("#problem")).to_be_hidden()


def fits(page: Page) -> None:
    """Nothing is wider than the page."""
    assert page.locator("html").evaluate("e => e.scrollWidth <= innerWidth")
