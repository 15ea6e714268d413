"""What the documentation shows, runs; and what is generated in it is up to date."""

import re
from pathlib import Path

import pytest

import influent as inf
from influent import presets

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(?:python|\{code-cell\})\n(?::[\w-]+:[^\n]*\n)*(.*?)^```", re.DOTALL | re.MULTILINE)
EXECUTED = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.name)
def test_every_python_block_of_a_page_runs_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = {"__name__": "__main__"}
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        exec(compile(block, str(page), "exec"), words)


def test_the_readme_saves_the_picture_that_it_promises(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))[0], {})
    assert (tmp_path / "why-espresso.png").read_bytes().startswith(b"\x89PNG")


def test_the_readme_has_ten_lines_at_most_and_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert sum(bool(line.strip()) for line in BLOCK.findall(text)[0].splitlines()) <= 10
    assert "python3 dev.py demo" in text
    assert "python3 dev.py test" in text


def test_the_readme_shows_the_table_of_methods_that_the_presets_make():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.split("presets.table() -->\n")[1].split("\n<!-- end")[0]
    assert shown == presets.table()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_local_link_of_a_page_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_every_word_of_the_readme_that_starts_with_inf_exists():
    words = set(re.findall(r"\binf\.([A-Za-z_]\w*)", "".join(page.read_text(encoding="utf-8") for page in PAGES)))
    assert words
    assert not [word for word in words if not hasattr(inf, word)]
