"""`influent essence` by several workers: shares, processes, kills, and what is put together afterwards."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

import influent as inf
from influent.cli import main
from influent.commands.workers import without
from tests.unit.test_essences import NET

IMAGES = 300


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder to work in, with a net of one's own and 300 images of two classes: ten blocks."""
    (tmp_path / "own.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    dice = random.Random(0)
    for name, colour in (("warm", (200, 90, 10)), ("cold", (10, 60, 180))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(IMAGES // 2):
            shade = tuple(max(0, min(255, c + dice.randint(-9, 9))) for c in colour)
            Image.new("RGB", (4, 4), shade).save(tmp_path / "photos" / name / f"{k}.png")
    return tmp_path


def words(*more, net="layered", out="made"):
    return ["essence", "photos", "--net", f"own:{net}", "--out", out, "--shard-size", "32", *more]


def values(folder):
    """All numbers of a result, as they are stored."""
    return [(folder / name / "values.safetensors").read_bytes() for name in (".", "activation")]


@pytest.fixture
def whole(own):
    """The result of one pass."""
    assert main(words(out="whole")) == 0
    assert not (own / "whole.shards").exists()
    return values(own / "whole")


@pytest.mark.parametrize("workers", [1, 3, 7])
def test_shares_are_put_together_to_the_same_bits(own, whole, workers, capsys):
    for k in random.Random(workers).sample(range(workers), workers):
        assert main(words("--shard", f"{k}/{workers}")) == 0
    assert "10 of 10 blocks are in" in capsys.readouterr().out and not (own / "made").exists()
    assert main(["merge", "made"]) == 0
    assert values(own / "made") == whole and not (own / "made.shards").exists()


def test_processes_of_this_machine_give_the_same_bits(own, whole):
    assert main(words("--workers", "2")) == 0
    assert values(own / "made") == whole


def test_a_killed_run_goes_on(own, whole, monkeypatch):
    run = [sys.executable, "-m", "influent", *words(net="slow")]
    for shards in (2, 5):
        with subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while len(list((own / "made.shards").glob("blocks-*"))) < shards:
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
    done = {f.name: f.stat().st_mtime_ns for f in (own / "made.shards").glob("blocks-*")}
    assert len(done) >= 5 and not (own / "made").exists()
    monkeypatch.setenv("SLOW", "0")
    assert main(words("--shard", "0/1", net="slow")) == 0
    after = {f.name: f.stat().st_mtime_ns for f in (own / "made.shards").glob("blocks-*")}
    assert len(after) == 10 and all(after[name] == at for name, at in done.items())
    assert main(["merge", "made"]) == 0 and values(own / "made") == whole


def test_what_is_missing_is_not_merged(own, capfd):
    assert main(words("--shard", "1/3")) == 0
    assert main(["merge", "made"]) == 1
    said = capfd.readouterr().err
    assert "lacks 7 of 10 blocks: 0 to 0, 2 to 2, 3 to 3, 5 to 5, 6 to 6, .... Run the shards that are missing" in said
    assert main(["merge", "elsewhere"]) == 1
    assert "There are no shards beside elsewhere (elsewhere.shards)." in capfd.readouterr().err


def test_a_damaged_shard_is_named_and_made_again(own, whole, capsys):
    main(words("--shard", "0/1"))
    file = own / "made.shards" / "blocks-00000003-00000004.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    assert main(words()) == 0
    assert (
        "note: " in (said := capsys.readouterr().err) and "blocks-00000003-00000004.safetensors is no partial" in said
    )
    assert values(own / "made") == whole


@pytest.mark.parametrize(("change", "lesson"), [
    ("new", "1 new (warm/new.png)"), ("gone", "1 gone (warm/0.png)"), ("other", "1 of another size (warm/0.png)"),
])  # fmt: skip
def test_a_folder_that_changed_is_refused_with_what_changed(own, change, lesson, capsys):
    main(words("--shard", "0/2"))
    first = own / "photos" / "warm" / "0.png"
    if change == "gone":
        first.unlink()
    else:
        Image.new("RGB", (9, 9)).save(own / "photos" / "warm" / "new.png" if change == "new" else first)
    assert main(words("--shard", "1/2")) == 1
    said = capsys.readouterr().err
    assert f"photos has changed since {own / 'made.shards'} was begun: " in said and lesson in said
    assert "Put the files back, or remove" in said


def test_shards_of_another_question_or_net_are_refused_by_name(own, capsys):
    main(words("--shard", "0/2"))
    assert main(words("--at", "INPUT/channel", "--shard", "1/2")) == 1
    assert "belongs to another at: 0/channel and not INPUT/channel." in capsys.readouterr().err
    (own / "own.py").write_text(
        NET
        + """
def layered():
    net = replace(colours(), layer="0/channel")
    net.module[0].weight.data *= 2
    return net
"""
    )
    sys.modules.pop("own", None)
    assert main(words("--shard", "1/2")) == 1
    assert "belongs to another net's weights: " in capsys.readouterr().err


def test_a_full_disk_is_said_and_what_is_finished_stays(own, whole, capsys):
    main(words("--shard", "0/3"))
    done = len(list((own / "made.shards").glob("blocks-*")))
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900));"
        "from influent.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *words("--shard", "1/3")], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert run.returncode == 1 and "cannot be written: File too large. Is the disk full?" in run.stderr
    left = [f.name for f in (own / "made.shards").iterdir()]
    assert len([name for name in left if name.startswith("blocks-")]) == done
    assert all(name.startswith(("blocks-", "data.json", "command.json", "question.json")) for name in left)
    assert main(words()) == 0 and values(own / "made") == whole


def test_clocks_and_names_of_machines_leave_no_trace(own, monkeypatch):
    kept = []
    for clock, name in ((0.0, "here"), (4e9, "there")):
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda clock=clock: clock)
            patched.setattr(os, "uname", lambda name=name: os.uname_result(("Linux", name, "1", "1", "x86_64")))
            patched.setenv("HOSTNAME", name)
            main(words("--shard", "0/1", out=name))
        folder = own / f"{name}.shards"
        kept.append({f.name: f.read_bytes() for f in folder.iterdir() if f.name != "command.json"})
    assert kept[0] == kept[1] and len(kept[0]) == 12


def test_until_stops_where_one_pass_does(own, capsys):
    until = ["--until", "Until(top=1, overlap=0.9, atleast=10)"]
    assert main(words(*until, out="whole")) == 0
    count = inf.load("whole").count
    assert 0 < int(count.sum()) < IMAGES
    for k in (2, 0, 1):
        main(words(*until, "--shard", f"{k}/3"))
    assert main(["merge", "made"]) == 0
    assert values(own / "made") == values(own / "whole")
    meta = json.loads((own / "made" / "meta.json").read_text())
    assert "Until(top=1" in meta["question"]["over"]


@pytest.mark.parametrize(("more", "lesson"), [
    (["--shard", "3/3"], "--shard 3/3: give a number from 0 and how many there are"),
    (["--workers", "0"], "--workers 0: give 1 or more."),
    (["--threads", "0"], "--threads 0: give 1 or more."),
    (["--engine", "ray"], "--engine ray: say how many workers, --workers 4 --engine ray."),
    (["--shard", "0/2", "--workers", "2"], "--shard is one worker's share, and --workers several workers."),
    (["--shard-size", "0"], "--shard-size 0: give a number of images, 1 or more."),
])  # fmt: skip
def test_what_makes_no_sense_is_a_lesson_and_leaves_nothing(own, more, lesson, capsys):
    assert main(words(*more)) == 1
    assert lesson in capsys.readouterr().err
    assert not (own / "made.shards").exists() and not (own / "made").exists()


def test_a_refused_worker_leaves_the_others_folder(own, capsys):
    (own / "made.shards").mkdir()
    for more in (("--shard", "4/4"), ("--at", "7", "--shard", "1/4")):
        assert main(words(*more)) == 1
        assert (own / "made.shards").exists()


def test_a_merge_may_be_asked_for_from_elsewhere(own, whole, monkeypatch):
    main(words("--shard", "0/1"))
    (own / "elsewhere").mkdir()
    monkeypatch.chdir(own / "elsewhere")
    assert main(["merge", "../made"]) == 0 and values(own / "made") == whole


def test_a_net_that_sees_otherwise_has_shards_of_its_own(own, capsys):
    main(words("--shard", "0/2"))
    (own / "own.py").write_text(
        NET
        + """
def layered():
    net = replace(colours(), layer="0/channel")
    return replace(net, transform=replace(net.transform, mean=(1.0, 2.0, 3.0)))
"""
    )
    sys.modules.pop("own", None)
    assert main(words("--shard", "1/2")) == 1
    assert "belongs to another net's transform: " in capsys.readouterr().err
    assert main(words("--shard", "1/2", "--chunk", "3")) == 1


def test_files_of_the_user_beside_the_result_stay(own, capsys):
    (own / "made.shards").mkdir()
    (own / "made.shards" / "thesis.txt").write_text("precious")
    assert main(words()) == 1
    assert "made.shards holds files that are no shards (thesis.txt)." in capsys.readouterr().err
    assert (own / "made.shards" / "thesis.txt").read_text() == "precious"


def test_a_share_that_failed_is_not_in_the_way(own, whole):
    assert main(words("--at", "7", "--shard", "0/1")) == 1
    assert main(words("--shard", "0/1")) == 0 and main(["merge", "made"]) == 0
    assert values(own / "made") == whole


def test_a_result_inside_the_data_is_refused(own, capsys):
    assert main(words(out="photos/made")) == 1
    assert "--out photos/made lies in photos, which is gone through" in capsys.readouterr().err
    assert sorted(f.name for f in (own / "photos").iterdir()) == ["cold", "warm"]


def test_names_with_line_breaks_are_names(own):
    for name in ("x\ny.png", "a\rb.png", "x\u2028y.png"):
        Image.new("RGB", (4, 4), (200, 90, 10)).save(own / "photos" / "warm" / name)
    assert main(words("--shard", "0/2")) == 0 and main(words()) == 0


def test_shards_of_other_threads_are_refused_and_those_that_are_there_say_how_many(own, capsys):
    before = torch.get_num_threads()
    try:
        assert main(words("--shard", "0/2", "--threads", "2")) == 0
        assert main(words("--shard", "1/2", "--threads", "1")) == 1
        assert "belongs to another threads: 2 and not 1." in capsys.readouterr().err
        torch.set_num_threads(1)
        assert main(words()) == 0 and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_words_behind_two_dashes_are_no_options(own, whole):
    run = [word for word in words("--workers", "2") if word != "photos"]
    assert main([*run, "--", "photos"]) == 0 and values(own / "made") == whole


def test_words_without_those_that_say_who_computes():
    said = ["essence", "f", "--shard", "0/2", "--workers=3", "--engine", "ray", "--top", "2", "--shard-size", "9"]
    assert without(said) == ["essence", "f", "--top", "2", "--shard-size", "9"]
