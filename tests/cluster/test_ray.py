"""Real Ray: workers on this machine and on two nodes, killed and started again, to the bits of one pass."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from influent.cli import main
from tests.unit.test_shards import own, values, whole, words

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Ray's processes are ended by POSIX signals")
__all__ = ("own", "whole")
ON_RAY = ("--workers", "2", "--engine", "ray")


@pytest.fixture
def token(monkeypatch, tmp_path):
    """What Ray's processes need to trust each other, of this test's own; and no reports to anybody."""
    pytest.importorskip("ray")
    place = tmp_path / "token"
    place.write_text("0123456789abcdef0123456789abcdef")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(place))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def started(net="layered", **env):
    """The command on Ray, as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "influent", *words(*ON_RAY, net=net)], env={**os.environ, **env},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def shards(own):
    return {f.name: f.stat().st_mtime_ns for f in (own / "made.shards").glob("blocks-*")}


def wait_for(process, own, count):
    """Until so many shards are there."""
    while len(shards(own)) < count:
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.02)


def workers_of(pid):
    """The Ray actors below a process, by their names in /proc."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat, open(f"/proc/{entry}/cmdline", "rb") as line:
                    parents[int(entry)] = (int(stat.read().rpartition(")")[2].split()[1]), line.read())
            except OSError:
                continue

    def above(k):
        while k in parents and k != pid:
            k = parents[k][0]
        return k == pid

    return [k for k, (_, line) in parents.items() if b"MapWorker" in line and above(k)]


def test_a_worker_and_the_driver_are_killed_and_nothing_is_lost(own, whole, token, monkeypatch):
    first = started(net="slow")
    wait_for(first, own, 1)
    victims = workers_of(first.pid)
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    before = len(shards(own))
    wait_for(first, own, before + 2)  # the others go on, and a new one takes its place
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    first.stderr.close()
    kept = shards(own)
    assert len(kept) >= 3 and not (own / "made").exists()
    monkeypatch.setenv("SLOW", "0")
    assert main(words("--shard", "0/1", net="slow")) == 0
    now = shards(own)
    assert len(now) == 10 and all(now[name] == at for name, at in kept.items())
    for name in list(now)[:4]:
        (own / "made.shards" / name).unlink()
    again = started(net="slow")
    assert again.wait() == 0, again.stderr.read().decode()
    again.stderr.close()
    assert values(own / "made") == whole


ADDRESS = "127.0.0.1:6399"
JOINED = f"""
import ray, time
ray.init(address="{ADDRESS}", log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) < 2:
    time.sleep(0.1)
"""


def test_a_cluster_of_two_nodes_gives_the_same_bits(own, whole, token, tmp_path_factory):
    place = tmp_path_factory.getbasetemp().parent / f"r{os.getpid()}"  # a short name: sockets are in it
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--node-ip-address=127.0.0.1",
             "--num-cpus=2"]  # fmt: skip
    nodes = [
        [*start, "--head", "--port=6399", "--include-dashboard=false", f"--temp-dir={place}"],
        [*start, f"--address={ADDRESS}"],
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    running = []
    try:
        for command in nodes:
            running.append(subprocess.Popen(command, **quiet))
            deadline = time.monotonic() + 60
            while not reachable() and time.monotonic() < deadline:
                time.sleep(0.1)
        subprocess.run([sys.executable, "-c", JOINED], check=True, timeout=90, capture_output=True)
        run = started(RAY_ADDRESS=ADDRESS)
        assert run.wait() == 0, run.stderr.read().decode()
        run.stderr.close()
    finally:
        for node in running:
            node.terminate()
        for node in running:
            node.wait()
    assert values(own / "made") == whole


def reachable():
    host, _, port = ADDRESS.partition(":")
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex((host, int(port))) == 0


# Ray in a process of its own: what it leaves running when it is shut down may end the process.
SMALL = """
import os, sys, time
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
"""


def told(code, *arguments):
    """What a program with three CPUs of Ray says on its way out."""
    run = [sys.executable, "-c", SMALL + code, *arguments]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


def test_more_workers_than_the_cluster_has_is_said_at_once(own):
    pytest.importorskip("ray")
    code = "from influent.cli import main\ncode = main(sys.argv[1:])\nsys.stderr.flush()\nos._exit(code)"
    said = told(code, *words("--workers", "5", "--engine", "ray"))
    assert "5 workers take 1 CPU each, and reading the list takes one, but this cluster has 3. Type --workers 2" in said


def test_a_cluster_that_does_nothing_is_not_waited_for_for_ever():
    pytest.importorskip("ray")
    code = """
from influent.cluster import compute
from influent.errors import InfluentError

def sleep():
    time.sleep(600)

try:
    compute(sleep, [(0, 1)], 1, patience=3)
except InfluentError as error:
    print(error, flush=True)
os._exit(0)
"""
    assert "No shard was finished in 3 s. Has the cluster room for 1 workers" in told(code)
