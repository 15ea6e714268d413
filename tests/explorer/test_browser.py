"""The explorer in a real browser, on a real net, as a visitor uses it; at the width of a desk and of a phone."""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path

from playwright.sync_api import Page, expect

import influent
from tests.explorer.served import Served
from tests.explorer.visitor import done, fits, go


def probability(page: Page) -> tuple[float, float]:
    """What the net says of its first class, before and after."""
    row = page.locator("table.bars tr.focus")
    before = float(row.locator("td.number").first.inner_text().rstrip("% "))
    return before, 100 * float(row.locator("[data-after]").get_attribute("data-after") or "nan")


def test_from_a_photo_to_a_unit_and_back(page: Page, real: Served) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("Ask about a photo")
    page.get_by_role("button", name=re.compile(r"coffee-\d.png")).first.click()
    expect(page.get_by_role("heading", name="What the net says")).to_be_visible()
    expect(page.locator("[data-part=prediction]")).to_contain_text("espresso")
    expect(page.locator(".units img").first).to_be_visible()  # a first look, before the answer is there
    done(page)
    fits(page)
    expect(page.locator("[data-part=answer]")).to_contain_text("Why espresso?")
    expect(page.locator("[data-part=answer]")).to_contain_text("integrated gradients")
    expect(page.locator("[data-part=answer]")).to_contain_text("Completeness: gap")

    asked = page.url
    page.locator(".units a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("channel")
    assert re.search(r"#/unit/[\w.]+/\d+\?photo=data-\d+$", page.url)
    done(page)
    fits(page)
    for said in (
        "What drives it on this photo",
        "Its best examples",
        "Classes whose essence it is in",
        "Outside the set",
    ):
        expect(page.get_by_role("heading", name=said)).to_be_visible()
    unit = page.url

    page.reload()
    done(page)
    expect(page.get_by_role("heading", name="Its best examples")).to_be_visible()
    assert page.url == unit

    page.get_by_role("link", name="Switch it off").last.click()
    done(page)
    expect(page.get_by_role("heading", name="On this input")).to_be_visible()
    expect(page.get_by_role("heading", name="On the data")).to_be_visible()
    page.go_back()
    assert page.url == unit
    page.go_back()
    assert page.url == asked
    expect(page.get_by_role("heading", name="What the net says")).to_be_visible()
    page.go_forward()
    assert page.url == unit


def test_units_that_are_switched_off_lower_the_probability(page: Page, real: Served) -> None:
    go(page, real.base, "#/why?photo=data-0&n=17&top=12")
    done(page)
    for box in page.get_by_role("checkbox").all():
        box.check()
    page.get_by_role("button", name="Switch the chosen units off").click()
    done(page)
    before, after = probability(page)
    assert after < before
    fits(page)

    chips = page.locator(".chips li")
    assert chips.count() == 12
    page.get_by_role("button", name=re.compile("take unit")).first.click()
    done(page)
    assert chips.count() == 11
    page.get_by_role("button", name="Undo").click()
    done(page)
    assert chips.count() == 12
    assert probability(page) == (before, after)


def test_a_photo_that_is_dropped_is_explained(page: Page) -> None:
    page.locator("input[type=file]").set_input_files(str(influent.example("chelsea")))
    expect(page.locator("[data-part=prediction]")).to_contain_text("chelsea.png")
    assert re.search(r"photo=sent-[0-9a-f]{16}$", page.url)
    done(page)
    expect(page.locator("[data-part=prediction] td").first).to_have_text("tiger cat")


def test_what_is_no_photo_is_a_lesson_on_the_page(page: Page, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_text("<html>no cat</html>")
    page.locator("input[type=file]").set_input_files(str(tmp_path / "cat.png"))
    expect(page.get_by_role("alert")).to_contain_text("cat.png holds text, no picture")
    (tmp_path / "large.png").write_bytes(bytes(21 * 2**20))
    page.locator("input[type=file]").set_input_files(str(tmp_path / "large.png"))
    expect(page.get_by_role("alert")).to_contain_text("large.png has 22020096 bytes, and up to 20 MiB")


def test_a_question_in_all_its_words(wide: Page, real: Served) -> None:
    go(wide, real.base, "#/why?photo=data-0&n=17")
    done(wide)
    wide.get_by_label("Ask about").select_option("class")
    wide.get_by_label("Class", exact=True).fill("cup")
    wide.get_by_label("Rather than").fill("espresso")
    wide.get_by_role("radiogroup", name="Layers").get_by_role("radio").nth(3).focus()
    wide.keyboard.press("Space")
    wide.get_by_label("Inputs").select_option("ball")
    expect(wide.locator("#over-hint")).to_contain_text("with noise")
    expect(wide.get_by_label("Measure")).to_have_value("gradient")
    wide.get_by_role("button", name="Ask why").click()
    done(wide)
    expect(wide.locator("[data-part=answer] h2")).to_have_text("Why cup and not espresso?")
    wide.get_by_text("The same question, as typed").click()
    python, command = wide.locator("pre").all_inner_texts()
    assert "of=inf.Class('cup') - inf.Class('espresso')," in python and "inf.Gaussian(x, std=" in python
    assert command.startswith("influent explain ") and "--measure gradient" in command

    wide.get_by_label("Class", exact=True).fill("no such thing")
    wide.get_by_role("button", name="Ask why").click()
    expect(wide.get_by_role("alert")).to_have_text('There is no class "no such thing": choose one of the list.')


def test_what_is_typed_gives_the_same_answer(wide: Page, real: Served, photos: Path, tmp_path: Path) -> None:
    """The script that is shown, run as it is, prints the units that the page shows."""
    go(wide, real.base, "#/why?photo=data-0&n=17")
    done(wide)
    shown = wide.locator(".units li:not(.beside) strong").all_inner_texts()
    values = wide.locator(".units .number").all_inner_texts()
    wide.get_by_text("The same question, as typed").click()
    python = wide.locator("pre").first.inner_text()
    done_here: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", influent.InfluentWarning)  # the page shows it as a note
        exec(compile(python.replace("'why.png'", repr(str(tmp_path / "why.png"))), "shown", "exec"), done_here)
    top = done_here["a"].top(3)
    assert [unit.name for unit in top] == shown
    assert [f"{unit.value:+.3g}" for unit in top] == values
    assert (tmp_path / "why.png").stat().st_size > 10_000


def test_a_long_job_is_cancelled(page: Page, real: Served) -> None:
    go(page, real.base, "#/why?photo=data-1&n=257&top=12")
    expect(page.locator(".units img").first).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#status")).to_have_text("Cancelled.")
    page.goto(f"{real.base}/#/class/{504}")  # somebody else's question is answered at once
    expect(page.get_by_role("heading", level=1)).not_to_have_text("Why did the net say so?")


def test_a_nickname_is_kept_and_shown(wide: Page, real: Served) -> None:
    go(wide, real.base, "#/why?photo=data-0&n=17")
    done(wide)
    link = wide.locator(".units a").first
    name = link.inner_text()
    link.click()
    wide.get_by_label("Nickname").fill("<b>crema</b>")
    wide.get_by_role("button", name="Keep").click()
    expect(wide.get_by_text("Kept in names.json.", exact=True)).to_be_visible()
    wide.go_back()
    expect(wide.locator(".units a").first).to_have_text(f"{name} (<b>crema</b>)")
    wide.locator(".units a").first.click()
    expect(wide.get_by_label("Nickname")).to_have_value("<b>crema</b>")
    wide.get_by_label("Nickname").fill("")
    wide.get_by_role("button", name="Keep").click()
    expect(wide.get_by_text("The name is taken away.")).to_be_visible()


def test_a_class_its_experts_and_an_expert_to_keep(page: Page, real: Served, tmp_path: Path) -> None:
    go(page, real.base, "#/classes")
    page.get_by_role("link", name="espresso").click()
    done(page)
    fits(page)
    for said in ("Its essence", "Its images that fire them most", "Its influence grid"):
        expect(page.get_by_role("heading", name=said)).to_be_visible()
    page.get_by_role("link", name="Recall and precision of its experts").click()
    expect(page.get_by_role("heading", name="Its experts")).to_be_visible()
    done(page)

    page.get_by_role("link", name="Its expert, with two sliders").click()
    done(page)
    fits(page)
    slider = page.get_by_label("α: most positive units kept")
    slider.fill("28")
    done(page)
    slider.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # it has kept the focus
    done(page)
    assert "alpha=30" in page.url
    page.get_by_role("button", name="Undo").click()
    assert "alpha=20" in page.url
    page.go_back()
    assert "alpha=30" in page.url
    done(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export as an expert").click()
    waiting.value.save_as(str(tmp_path / "expert.zip"))
    with zipfile.ZipFile(tmp_path / "expert.zip") as archive:
        archive.extractall(tmp_path)
    net = influent.zoo.load("efficientnet-lite0")
    expert = influent.Expert.load(tmp_path / "expert", net)
    assert len(expert.mask.units) == 35 and expert.mask.keep
    assert expert(net.read(influent.example("coffee"))).shape == (1, 1000)


def test_the_debugging_report_is_opened_in_place(page: Page, real: Served) -> None:
    go(page, real.base, "#/results")
    page.get_by_role("link", name=re.compile("wrong, and why")).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("what efficientnet-lite0 gets wrong")
    fits(page)
    before = page.url
    page.get_by_role("button", name="sort by recall").first.click()
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("recall")
    page.locator("#parts th a").first.click()
    assert page.url == before
    go(page, real.base, "#/results")
    page.get_by_role("link", name=re.compile("the essence of 2 classes")).click()
    page.get_by_role("link", name="espresso").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("The essence of")
