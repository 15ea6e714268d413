"""The command line: what it prints, what it writes, and what it says when something is wrong."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from influent.cli import main

QUICK = ["--over", "Line(n=3, rule='uniform')", "--top", "2"]


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """One quick explanation of the coffee, made once."""
    out = tmp_path_factory.mktemp("cli") / "why"
    assert main(["explain", "coffee", "--out", str(out), *QUICK]) == 0
    return out


def test_the_help_does_not_load_torch():
    code = "import sys, influent.cli\ntry: influent.cli.main(['explain', '--help'])\nexcept SystemExit: pass\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules, 'numpy' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.endswith("False False\n")
    assert "--config" in done.stdout


def test_explain_prints_prediction_units_gap_and_the_place_of_the_page(tmp_path, capsys):
    assert main(["explain", "coffee", "--out", str(tmp_path / "why"), *QUICK]) == 0
    text = capsys.readouterr().out
    assert "espresso 95" in text
    assert "Why espresso?" in text
    assert "Why espresso and not cup?" in text
    assert text.count("% of all") == 4
    assert "of ΔF" in text
    assert "residual" in text
    assert f"page   {tmp_path / 'why' / 'explanation.html'}" in text


class _Page(HTMLParser):
    """Collects what a page would load, and the texts of its pictures."""

    def __init__(self):
        super().__init__()
        self.loads, self.alts, self.scripts = [], [], 0

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.loads += [named[key] for key in ("src", "href") if key in named]
        self.alts += [named.get("alt")] if tag == "img" else []
        self.scripts += tag == "script"


def test_the_page_is_self_contained_and_every_picture_has_a_text(explained):
    page = _Page()
    page.feed((explained / "explanation.html").read_text(encoding="utf-8"))
    assert len(page.loads) == 2 * (2 * 4 + 4)
    assert all(load.startswith("data:image/jpeg;base64,") for load in page.loads)
    assert all(page.alts)
    assert page.scripts == 0


def test_the_result_holds_the_whole_question_versions_hashes_and_every_file(explained):
    meta = json.loads((explained / "meta.json").read_text(encoding="utf-8"))
    assert meta["question"]["of"] == "Class('espresso')"
    assert meta["question"]["over"].startswith("Line(None, Stored('")
    assert meta["predictions"][0]["class"] == "espresso"
    assert len(meta["photo"]["sha256"]) == 64
    assert set(meta["versions"]) == {"influent", "torch", "python"}
    files = {f.relative_to(explained).as_posix() for f in explained.rglob("*") if f.is_file()} - {"meta.json"}
    assert set(meta["files"]) == files
    assert {"explanation.html", "values.safetensors", "why-1-units.png", "why-2/values.safetensors"} <= files


def test_show_prints_what_explain_printed(explained, capsys):
    assert main(["show", str(explained)]) == 0
    text = capsys.readouterr().out
    assert "Why espresso?" in text
    assert "Class('espresso') - Class('cup')" in text


def test_cuts_lists_the_places_of_a_net(capsys):
    assert main(["cuts"]) == 0
    text = capsys.readouterr().out
    assert "_blocks.11 " in text
    assert "672x14x14" in text
    assert "runs 2 times: say _blocks.11._swish#1" in text


def test_options_come_from_a_toml_file_and_the_command_line_wins(tmp_path, capsys):
    config = tmp_path / "why.toml"
    config.write_text('at = "_blocks.11/channel"\ntop = 1\nover = "Point"\nof = "Class(\'cup\')"\n')
    out = tmp_path / "out"
    assert main(["explain", "coffee", "--config", str(config), "--out", str(out), "--top", "2"]) == 0
    text = capsys.readouterr().out
    assert "at _blocks.11/channel, of Class('cup')" in text
    assert text.count("% of all") == 2


@pytest.mark.parametrize(
    ("arguments", "lesson"),
    [
        (["explain", "nothing-here.jpg"], "nothing-here.jpg"),
        (["explain", "coffee", "--net", "efficientnet"], "The zoo has no net 'efficientnet'.*Did you mean"),
        (["explain", "coffee", "--of", "Class('espreso')"], "no class 'espreso'. Did you mean 'espresso'"),
        (["explain", "coffee", "--of", "Class('crane')"], r"'crane' belongs to 2 classes.*Class\(134\), Class\(517\)"),
        (["explain", "coffee", "--at", "_block.3"], "no module '_block.3'. Did you mean '_blocks.3'"),
        (["explain", "coffee", "--over", "Lin"], "the word 'Lin' is not known. Did you mean 'Line'"),
        (["explain", "coffee", "--over", "Line('blak')"], "no baseline 'blak' for photos.*'black'"),
        (["explain", "coffee", "--over", "Class(3)"], r"--over Class\(3\) is no distribution\. Type Line\(n=129\)"),
        (["explain", "coffee", "--over", "Point", "--measure", "contribution"], "needs a path"),
        (["explain", "coffee", "--top", "0"], "--top 0: give 1 or more"),
        (["show", "nothing-here"], "holds no result"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_on_one_line_and_nothing_is_written(arguments, lesson, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("influent: ")
    assert re.search(lesson, error)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "lesson"),
    [("tops = 3", "'tops' that is not known. Did you mean 'top'"), ('top = "3"', "should be a whole number"),
     ("at = ", "is not TOML")],
)  # fmt: skip
def test_a_wrong_toml_file_is_a_lesson(line, lesson, tmp_path, capsys):
    (tmp_path / "why.toml").write_text(line)
    assert main(["explain", "coffee", "--config", str(tmp_path / "why.toml")]) == 1
    assert lesson in capsys.readouterr().err


def test_a_folder_with_files_of_the_users_is_refused_before_any_work(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["explain", "coffee", "--out", str(tmp_path)]) == 1
    assert "thesis.txt" in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_that_is_ended_leaves_the_old_result(explained, tmp_path):
    out = tmp_path / "why"
    shutil.copytree(explained, out)
    before = (out / "meta.json").read_bytes()
    command = [sys.executable, "-m", "influent", "explain", "coffee", "--out", str(out), "--over", "Line(n=4000)"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list(tmp_path.glob(".why-*")) and time.monotonic() < until:
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 143
    assert (out / "meta.json").read_bytes() == before
    assert sorted(p.name for p in Path(tmp_path).iterdir()) == ["why"]
