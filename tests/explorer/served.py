"""A server as its users start it, `influent serve`, and a visitor that speaks plain HTTP to it."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[2]


@dataclass
class Served:
    """A running server: its port, its processes, and what it has written to its terminal."""

    port: int
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def worker(self) -> int:
        """The process that holds the net."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        named = {
            int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for task in tasks for pid in task.read_text().split()
        }
        return next(pid for pid, line in named.items() if b"spawn_main" in line)

    def resident(self) -> int:
        """MiB that the server and the net's process hold."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in (self.process.pid, self.worker)]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") // 2**20

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 60
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one request, from a page of its own unless headers say otherwise."""
        there = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        told = {"origin": self.base, **(headers or {})}
        told = {name: value for name, value in told.items() if value is not None}
        try:
            there.request(method, path, body, told)
            answer = there.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            there.close()

    def events(self, visitor: str = "0" * 16, **question: Any) -> Iterator[dict[str, Any]]:
        """The events of a question's answer, as they come; who stops listening has left."""
        there = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        told = {"origin": self.base, "content-type": "application/json", "x-visitor": visitor}
        try:
            there.request("POST", "/api/jobs", json.dumps(question), told)
            answer = there.getresponse()
            if answer.status != 200:
                yield {"event": "refused", "status": answer.status, **json.loads(answer.read())}
                return
            for line in answer:
                yield json.loads(line)
        finally:
            there.close()

    def ask(self, visitor: str = "0" * 16, **question: Any) -> list[dict[str, Any]]:
        """All events of a question's answer."""
        return list(self.events(visitor, **question))

    def photo(self, data: bytes, name: str = "photo.png") -> dict[str, Any]:
        """What the server calls a photo that is sent."""
        return next(event for event in self.upload(data, name) if event["event"] == "photo")

    def upload(self, data: bytes, name: str = "photo.png") -> list[dict[str, Any]]:
        """The events of a photo that is sent."""
        status, _, body = self.send("POST", "/api/photos", data, {"x-name": name})
        if status != 200:
            return [{"event": "refused", "status": status, **json.loads(body)}]
        return [json.loads(line) for line in body.splitlines()]


@contextlib.contextmanager
def served(*arguments: str | Path, threads: int | None = 1) -> Iterator[Served]:
    """A server with these arguments, ended at the end."""
    command = [sys.executable, "-m", "influent", "serve", "--port", "0", *map(str, arguments)]
    command += [] if threads is None else ["--threads", str(threads)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        for line in process.stdout or ():
            said.append(line)
            if "http://" in line:
                ready.set()
        ready.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        ready.wait(120)
        line = next((line for line in said if "http://" in line), None)
        assert line is not None, "".join(said)
        yield Served(int(line.partition("http://")[2].partition("/")[0].rpartition(":")[2]), process, said)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            listener.join(10)
            if process.stdout is not None:
                process.stdout.close()


def picture(colour: tuple[int, int, int], size: int = 24, form: str = "PNG") -> bytes:
    """A photo of one colour, as a file's bytes."""
    stream = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(stream, form)
    return stream.getvalue()


def colours(folder: Path, each: int = 6) -> Path:
    """A data set: photos of three classes, more or less of their colour."""
    for k, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            rgb = [40 + 7 * i, 60 + 3 * i, 50 + 5 * i]
            rgb[k] = 150 + 12 * i
            (folder / name / f"{name}-{i}.png").write_bytes(picture((rgb[0], rgb[1], rgb[2])))
    return folder
