"""Results on disk: back bit for bit, whole or not at all, and never at the cost of another's file."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import influent
from influent import (
    INPUT,
    Attribution,
    Class,
    Classes,
    Gaussian,
    Line,
    Net,
    Point,
    Unit,
    contribution,
    gradient,
    influence,
    magnitude,
)
from influent.errors import StoreError
from influent.nets import weights_hash
from influent.store import fresh_folder, load, read_meta, save

torch.set_num_threads(1)

CONV = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)).eval()
IMAGES = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))


def positive(e: Any) -> Tensor:
    return e.gradient.clamp(min=0)


SECOND, POINT = Class(1), Point(IMAGES)


def ask(at: Any = "0", of: Any = SECOND, over: Any = POINT, measure: Any = gradient) -> Attribution:
    return influence(CONV, at, of, over, measure)


QUESTIONS: dict[str, dict[str, Any]] = {
    "point": {},
    "channels of a path": {"at": "0/channel", "over": Line(0 * IMAGES, IMAGES, n=9), "measure": contribution},
    "part of a path": {"at": INPUT, "over": Line(0 * IMAGES, IMAGES, n=3, rule="gauss"), "measure": contribution},
    "ball": {"over": Gaussian(IMAGES, 0.1, 4), "measure": magnitude},
    "one draw, no error": {"over": Gaussian(IMAGES, 0.1, 1)},
    "classes": {"of": Classes([0, 3]), "over": Line(0 * IMAGES, IMAGES, n=5), "measure": contribution},
    "unit below": {"at": INPUT, "of": Unit(1, "0") - 0.5 * Unit((1, 0, 1), "1")},
    "mixture": {"over": 0.25 * Point(IMAGES) + 0.75 * Gaussian(IMAGES, 0.1, 2)},
    "my measure": {"measure": positive},
}


def same(a: Tensor | None, b: Tensor | None) -> bool:
    """Equal bit for bit, type and shape, with NaN equal to itself; or both absent."""
    if a is None or b is None:
        return a is b
    return (
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(*(x.contiguous().view(torch.uint8) for x in (a, b)))
    )


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_result_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    a = ask(**QUESTIONS[name])
    assert save(a, tmp_path / "result") == tmp_path / "result"
    b = load(tmp_path / "result")
    for word in ("values", "residual", "stderr", "count"):
        assert same(getattr(a, word), getattr(b, word)), word
    assert (a.gap is None) == (b.gap is None)
    if a.gap is not None and b.gap is not None:
        assert same(a.gap.signed, b.gap.signed)
        assert same(a.gap.change, b.gap.change)
    for word in ("question", "instances", "axes", "note", "velocity", "cost"):
        assert getattr(a, word) == getattr(b, word), word
    assert b.net is None
    assert repr(b) == repr(a)
    assert b[0].top(3) == a[0].top(3)


def test_the_cases_cover_every_tensor_of_a_result() -> None:
    found = [ask(**q) for q in QUESTIONS.values()]
    for word in ("residual", "stderr", "count", "gap"):
        assert {getattr(a, word) is None for a in found} == {True, False}
    assert any(bool(a.stderr.isnan().any()) for a in found if a.stderr is not None)


def test_named_rows_and_relative_places_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    a = ask()[1]
    save(a, "deep/er/result")
    assert load("deep/er/result").instances == (1,)
    assert load(Path("deep") / "er" / "result")[1].values.shape == (1, 3, 2, 2)


def test_a_result_whose_quantity_is_a_nameless_function_can_be_read_or_is_refused(tmp_path: Path) -> None:
    """What cannot be read back must not be written: a result lost later costs more than an error now."""
    a = ask(of=lambda y: y[:, 0])
    try:
        save(a, tmp_path / "result")
    except StoreError:
        return
    assert same(load(tmp_path / "result").values, a.values)


def test_a_measure_of_another_program_is_asked_for_not_imported(tmp_path: Path) -> None:
    """A stored question runs no code that its reader has not loaded: it says what to import first."""
    save(ask(measure=positive), tmp_path / "result")
    done = python("import sys, influent.store as s; s.load(sys.argv[1])", str(tmp_path / "result"))
    assert f"type `import {__name__}` first" in done.stderr


def test_the_folder_says_what_it_holds(tmp_path: Path) -> None:
    a = ask(over=Line(0 * IMAGES, IMAGES, n=5), measure=contribution)
    folder = save(a, tmp_path / "result")
    meta = read_meta(folder)
    assert sorted(f.name for f in folder.iterdir()) == ["meta.json", "values.safetensors"]
    assert meta["files"] == {
        "values.safetensors": hashlib.sha256((folder / "values.safetensors").read_bytes()).hexdigest()
    }
    assert meta["schema"] == 1
    assert meta["question"] == a.question.text
    assert meta["net"] == {"class": "Sequential", "weights": weights_hash(CONV)}
    assert meta["versions"]["torch"] == torch.__version__
    assert set(load_file(folder / "values.safetensors")) == {"values", "residual", "gap", "change"}
    assert os.stat(folder).st_mode & 0o777 == 0o755
    assert str(tmp_path) not in (folder / "meta.json").read_text()


# Whole or not at all


class Crash(Exception):
    pass


def temporary(folder: Path) -> list[str]:
    return [f.name for f in folder.iterdir() if f.name.startswith(".")]


@pytest.mark.parametrize("moment", ["save_file", "seal", "write"])
@pytest.mark.parametrize("before", [False, True], ids=["new", "replaced"])
def test_an_error_while_writing_leaves_the_old_result_or_none(
    moment: str, before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ask()
    if before:
        save(old, tmp_path / "result")

    def crash(*args: Any, **kwargs: Any) -> None:
        raise Crash

    monkeypatch.setattr(influent.store, moment, crash)
    with pytest.raises(Crash):
        save(ask(of=Class(2)), tmp_path / "result")
    assert temporary(tmp_path) == []
    assert (tmp_path / "result").exists() == before
    if before:
        assert same(load(tmp_path / "result").values, old.values)


def test_an_error_in_the_last_rename_puts_the_old_result_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = ask()
    save(old, tmp_path / "result")
    rename, calls = os.rename, []

    def fail_second(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_second)
    with pytest.raises(StoreError, match="cannot be written: Input/output error"):
        save(ask(of=Class(2)), tmp_path / "result")
    assert same(load(tmp_path / "result").values, old.values)
    assert temporary(tmp_path) == []


def test_a_block_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(Crash), fresh_folder(tmp_path / "result") as work:
        (work / "half").write_text("half")
        raise Crash
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_meanwhile_is_not_lost(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds files that are not of a result"), fresh_folder(tmp_path / "result"):
        (tmp_path / "result").mkdir()
        (tmp_path / "result" / "thesis.tex").write_text("years")
    assert (tmp_path / "result" / "thesis.tex").read_text() == "years"
    assert temporary(tmp_path) == []


SAVING = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from torch import nn
import influent.store as store
from influent import Class, Point, influence

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def dying_after(work, times=1):
    count = []
    def call(*args, **kwargs):
        count.append(1)
        return die() if len(count) > times else work(*args, **kwargs)
    return call

def prepare(moment):
    if moment == "before the renames":
        os.rename = die
    elif moment == "between the renames":
        os.rename = dying_after(os.rename)
    elif moment == "after the renames":
        store.shutil.rmtree = die
    elif moment == "values written":
        store.save_file = lambda *args, save=store.save_file: (save(*args), die())
    elif moment == "sealed":
        store.seal = lambda *args, seal=store.seal: (seal(*args), die())

net = nn.Linear(2, 3).eval()
net.weight.data.fill_(7.0)
a = influence(net, "INPUT", Class(1), Point(torch.ones(1, 2)))
for moment, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    child = os.fork()
    if not child:
        prepare(moment)
        store.save(a, folder)
        os._exit(0)
    print(moment, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), sep=": ")
"""


def python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(influent.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": source}, timeout=120,
    )  # fmt: skip


MOMENTS = ["values written", "sealed", "before the renames", "between the renames", "after the renames"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each moment, each with an old result that a process was replacing when it was killed."""
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    folder = tmp_path_factory.mktemp("killed")
    for moment in MOMENTS:
        save(ask(), folder / moment / "result")
    done = python(SAVING, *(word for m in MOMENTS for word in (m, str(folder / m / "result"))))
    assert done.stdout.splitlines() == [f"{m}: {-signal.SIGKILL}" for m in MOMENTS], done.stderr
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_process_leaves_the_old_result_or_the_new_one_whole(moment: str, killed: Path) -> None:
    place = killed / moment / "result"
    if moment == "after the renames":
        assert bool((load(place).values == 7).all())
    elif moment != "between the renames" or place.exists():
        assert same(load(place).values, ask().values)
    else:
        # Between two renames the place is empty for an instant, and the old result stands whole beside it.
        (kept,) = place.parent.glob(".result-old-*/result")
        assert same(load(kept).values, ask().values)


@pytest.mark.parametrize("moment", MOMENTS)
def test_after_a_killed_process_the_next_one_goes_through(moment: str, killed: Path) -> None:
    place, new = killed / moment / "again", ask(of=Class(3))
    shutil.copytree(killed / moment, place)
    save(new, place / "result")
    assert same(load(place / "result").values, new.values)


# Replacing


def test_saving_again_replaces_the_whole_result(tmp_path: Path) -> None:
    save(ask(over=Gaussian(IMAGES, 0.1, 3)), tmp_path / "result")
    new = ask(over=Line(0 * IMAGES, IMAGES, n=5), measure=contribution)
    save(new, tmp_path / "result")
    again = load(tmp_path / "result")
    assert again.stderr is None and same(again.values, new.values)
    assert [f.name for f in tmp_path.iterdir()] == ["result"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    save(ask(), tmp_path / "result")
    assert same(load(tmp_path / "result").values, ask().values)


def test_a_users_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save(ask(), "~/result")
    assert (tmp_path / "result" / "meta.json").exists()
    assert same(load("~/result").values, ask().values)


def test_files_beside_the_result_are_untouched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".result-notes").write_text("mine too")
    save(ask(), tmp_path / "result")
    save(ask(), tmp_path / "result")
    assert sorted(f.name for f in tmp_path.iterdir()) == [".result-notes", "notes.txt", "result"]
    assert (tmp_path / ".result-notes").read_text() == "mine too"


def test_files_of_a_folder_that_is_listed_are_replaced_with_it(tmp_path: Path) -> None:
    a = ask()
    with fresh_folder(tmp_path / "result") as work:
        influent.store.write(a, work, photo="a.png")
        (work / "heat.png").write_bytes(b"picture")
        influent.store.seal(work)
    meta = json.loads((tmp_path / "result" / "meta.json").read_text())
    assert meta["photo"] == "a.png"
    assert meta["files"]["heat.png"] == hashlib.sha256(b"picture").hexdigest()
    save(a, tmp_path / "result")
    assert sorted(f.name for f in (tmp_path / "result").iterdir()) == ["meta.json", "values.safetensors"]


def test_a_link_to_a_folder_is_not_followed_into_anothers_files(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "data").write_text("years")
    (tmp_path / "result").symlink_to(tmp_path / "theirs")
    with pytest.raises(StoreError, match="holds files that are not of a result"):
        save(ask(), tmp_path / "result")
    assert (tmp_path / "theirs" / "data").read_text() == "years"


def test_a_link_to_nowhere_is_a_lesson(tmp_path: Path) -> None:
    (tmp_path / "result").symlink_to(tmp_path / "gone")
    with pytest.raises(StoreError, match=r"result"):
        save(ask(), tmp_path / "result")


# Weights


def test_the_hash_of_the_weights_changes_with_one_weight_name_shape_or_type() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    same_net = copy.deepcopy(net)
    assert weights_hash(net) == weights_hash(same_net)
    changed = copy.deepcopy(net)
    changed[0].weight.data[1, 2] = torch.nextafter(changed[0].weight.data[1, 2], torch.tensor(9.0))
    statistics = copy.deepcopy(net)
    statistics[1].running_mean += 1
    renamed = nn.Sequential()
    renamed.add_module("a", net[0])
    renamed.add_module("1", net[1])
    others = [changed, statistics, renamed, copy.deepcopy(net).double(), nn.Sequential(net[0])]
    assert len({weights_hash(n) for n in [net, *others]}) == 6
    assert len(weights_hash(net)) == 16


def test_the_weights_of_a_wrapped_net_are_its_own(tmp_path: Path) -> None:
    a = influence(Net(CONV, labels=list("abcd")), "0", Class("b"), Point(IMAGES))
    assert read_meta(save(a, tmp_path / "result"))["net"]["weights"] == weights_hash(CONV)
