"""What a hostile page, visitor or file may try, one test each; the server goes on answering after every one."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from influent.cli import main
from influent.explorer.asks import Gallery, Name, Off, OneClass, OneUnit, Why
from tests.explorer.served import Served, picture, served


@pytest.fixture(autouse=True)
def still_well(quick: Served) -> Iterator[None]:
    """After each attack an ordinary question has its answer."""
    yield
    photo = quick.photo(picture((200, 40, 40)))
    events = quick.ask(kind="why", photo=photo["photo"], n=9)
    assert [e["event"] for e in events if e["event"] in ("error", "refused")] == []
    assert "Why red?" in "".join(e.get("html", "") for e in events)


def messages(events: list[dict[str, str]]) -> str:
    """What an answer says went wrong."""
    return " ".join(e["message"] for e in events if e["event"] in ("error", "refused"))


# Uploads


def test_an_upload_of_a_gigabyte_is_refused_before_it_is_read(quick: Served) -> None:
    before = quick.resident()
    with socket.create_connection(("127.0.0.1", quick.port), 10) as there:
        head = f"POST /api/photos HTTP/1.1\r\nHost: 127.0.0.1:{quick.port}\r\nOrigin: {quick.base}\r\n"
        there.sendall(f"{head}Content-Length: {2**30}\r\n\r\n".encode())
        assert b"413" in there.recv(4096).partition(b"\r\n")[0]
    assert quick.resident() < before + 50


def test_an_upload_without_a_length_is_cut_off_at_the_limit(quick: Served) -> None:
    before, sent = quick.resident(), 0
    with socket.create_connection(("127.0.0.1", quick.port), 10) as there:
        head = f"POST /api/photos HTTP/1.1\r\nHost: 127.0.0.1:{quick.port}\r\nOrigin: {quick.base}\r\n"
        there.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        piece = b"100000\r\n" + bytes(2**20) + b"\r\n"
        with contextlib.suppress(ConnectionError):
            while sent < 2**30:
                there.sendall(piece)
                sent += 2**20
        with contextlib.suppress(ConnectionError):
            assert b"413" in there.recv(4096).partition(b"\r\n")[0]
    assert sent < 2**26
    assert quick.resident() < before + 150


def bomb(width: int, height: int) -> bytes:
    """A PNG of so many white pixels, of 1 bit each, in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), b"\0" + b"\xff" * ((width + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def test_a_png_of_nine_hundred_million_pixels_is_not_decoded(quick: Served) -> None:
    data = bomb(30_000, 30_000)
    assert len(data) < 2**20
    before = quick.resident()
    assert "is too large a picture: 30000 × 30000. Up to 40,000,000 pixels are taken here" in messages(
        quick.upload(data)
    )
    assert quick.resident() < before + 50


def test_an_svg_is_no_picture(quick: Served) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    assert "drawing.svg holds text, no picture" in messages(quick.upload(svg, "drawing.svg"))


def test_html_by_the_name_of_a_picture_is_no_picture(quick: Served) -> None:
    assert "it starts with '<html>" in messages(quick.upload(b"<html><script>alert(1)</script></html>", "cat.png"))


@pytest.mark.parametrize("file", [b"", b"\x89PNG\r\n\x1a\n", picture((1, 2, 3))[:60], b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_broken_files_and_other_formats_are_no_pictures(quick: Served, file: bytes) -> None:
    assert messages(quick.upload(file))


def test_what_only_calls_itself_heic_is_opened_as_nothing_else(quick: Served) -> None:
    """Its first bytes are those of PostScript, which Pillow gives to Ghostscript, or of a large bitmap."""
    script = b"%!PSftypheic\n%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"
    head = struct.pack("<IiiHHIIiiII", 40, 9400, 9400, 1, 1, 0, 0, 0, 0, 0, 0)
    for data in (script, b"BM\0\0ftypheic\0\0" + head + bytes(100)):
        assert messages(quick.upload(data, "cat.heic"))


def test_a_name_with_markup_is_shown_as_text(quick: Served) -> None:
    photo = quick.photo(picture((40, 200, 40)), "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    events = quick.ask(kind="why", photo=photo["photo"], n=9)
    html = "".join(e.get("html", "") for e in events)
    assert "&lt;img src=x onerror=alert(1)&gt;" in html and "<img src=x" not in html


# Paths

PATHS = (
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "/etc/passwd",
    "....//etc/passwd",
    "C:\\boot.ini",
    "%00",
)
PLACES = ("/static/{}", "/api/results/0/{}", "/api/results/{}/explanation.html", "/{}", "/api/{}")


@pytest.mark.parametrize("place", PLACES)
def test_no_path_in_an_address_reaches_a_file(quick: Served, place: str) -> None:
    for path in PATHS:
        status, _, body = quick.send("GET", place.format(path))
        assert status in (400, 404, 405, 422) and b"root:" not in body


MODELS = {
    "why": Why, "unit": OneUnit, "name": Name, "off": Off, "export": Off, "class": OneClass, "experts": OneClass,
    "gallery": Gallery,
}  # fmt: skip
FULL = {"at": "body.relu", "unit": 0, "index": 0, "name": "n"}


@pytest.mark.parametrize("kind", MODELS)
def test_no_path_in_a_question_reaches_a_file(quick: Served, kind: str) -> None:
    fields = MODELS[kind].model_fields
    given = {k: v for k, v in FULL.items() if k in fields}
    for name in fields:
        for path in PATHS:
            events = quick.ask(kind=kind, **{**given, name: path}) if name != "kind" else quick.ask(kind=path)
            assert "root:" not in json.dumps(events)
            if name not in ("name", "text"):  # a nickname, and a text that is explained, may be any text
                assert messages(events), (kind, name, path)


def test_the_name_of_an_upload_is_no_path(quick: Served) -> None:
    photo = quick.photo(picture((40, 40, 200)), "../../../tmp/influent-was-here.png")
    assert photo["name"] == "influent-was-here.png"
    assert not Path("/tmp/influent-was-here.png").exists()


# Other pages


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:1", "127.0.0.1.evil.example", "", "localhost"])
def test_another_host_is_refused(quick: Served, host: str) -> None:
    for path in ("/", "/api/about", "/static/explorer.js"):
        status, _, body = quick.send("GET", path, headers={"host": host})
        assert status == 421 and b"is not called" in body


def test_a_post_from_another_page_is_refused(quick: Served) -> None:
    for origin in ("http://evil.example", "null", None, f"http://127.0.0.1:{quick.port}.evil.example"):
        for path in ("/api/jobs", "/api/photos"):
            status, headers, body = quick.send("POST", path, b"{}", {"origin": origin})
            assert status == 403 and b"another page" in body
            assert "access-control-allow-origin" not in headers


def test_another_page_cannot_read_or_frame_this_one(quick: Served) -> None:
    status, _, _ = quick.send("GET", "/api/about", headers={"sec-fetch-site": "cross-site"})
    assert status == 403
    status, headers, _ = quick.send("GET", "/")
    assert status == 200
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy and "frame-ancestors 'none'" in policy
    assert headers["cross-origin-resource-policy"] == "same-origin" and headers["x-content-type-options"] == "nosniff"


# Questions


@pytest.mark.parametrize(
    "body", [b"{", b"", b"[]", b"null", b"\xff\xfe", b'{"kind": "why"' + b'{"a":' * 5000, b'{"kind":"why","n":1e999}']
)
def test_broken_json_is_refused(quick: Served, body: bytes) -> None:
    status, _, said = quick.send("POST", "/api/jobs", body, {"content-type": "application/json"})
    assert status in (400, 422) and json.loads(said)["message"]


def test_a_question_of_a_megabyte_is_refused(quick: Served) -> None:
    with socket.create_connection(("127.0.0.1", quick.port), 10) as there:
        head = f"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1:{quick.port}\r\nOrigin: {quick.base}\r\n"
        there.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {2**20}\r\n\r\n".encode())
        assert b"413" in there.recv(4096).partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"kind": "unit", "at": "body.relu", "unit": 6}, "there is no unit 6"),
        ({"kind": "unit", "at": "nowhere", "unit": 0}, "There is no place 'nowhere'"),
        ({"kind": "unit", "at": "body.relu", "unit": -1}, "greater than or equal to 0"),
        ({"kind": "off", "at": "body.relu", "units": [0, 99]}, "there is no unit 99"),
        ({"kind": "off", "at": "body.relu", "alpha": 3}, "An expert is of a class"),
        ({"kind": "class", "index": 3}, "there is no class 3"),
        ({"kind": "off", "at": "body.relu", "units": [1], "index": 5000, "photo": "data-0"}, "there is no class 5000"),
        ({"kind": "why", "photo": "data-18"}, "There is no photo data-18"),
        ({"kind": "why", "photo": "sent-0123456789abcdef"}, "not held any more"),
        ({"kind": "why"}, "Choose a photo first"),
        ({"kind": "why", "photo": "data-0", "of": "class", "target": 3}, "there is no class 3"),
        ({"kind": "why", "photo": "data-0", "of": "unit"}, "Which unit?"),
        ({"kind": "why", "photo": "data-0", "of": "unit", "layer": "body.relu", "target": 7}, "there is no unit 7"),
        ({"kind": "why", "photo": "data-0", "of": "class", "target": 1, "rather": 1}, "rather than itself"),
        ({"kind": "why", "photo": "data-0", "over": "point", "measure": "contribution"}, "counted along a line"),
        ({"kind": "why", "photo": "data-0", "n": 10**9}, "less than or equal to 257"),
        ({"kind": "why", "photo": "data-0", "secret": 1}, "Extra inputs are not permitted"),
        ({"kind": "export", "at": "body.relu", "units": [1]}, "An expert is of a class"),
        ({"kind": "export", "at": "body.relu", "index": 0}, "No unit is switched off"),
        ({"kind": "else"}, "kind"),
    ],
)  # fmt: skip
def test_what_the_net_has_not_is_a_lesson(quick: Served, question: dict[str, object], said: str) -> None:
    assert said in messages(quick.ask(**question))


def test_a_thousand_connections_do_not_keep_others_out(quick: Served) -> None:
    idle = []
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # this process holds the other ends
    try:
        for _ in range(1000):
            idle.append(socket.create_connection(("127.0.0.1", quick.port), 10))
        assert quick.send("GET", "/api/about")[0] == 200
        statuses: list[int] = []
        threads = [threading.Thread(target=lambda: statuses.append(quick.send("GET", "/")[0])) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 200
    finally:
        for there in idle:
            there.close()


def test_more_questions_than_the_queue_holds_are_refused(quick: Served) -> None:
    holding = []
    body = json.dumps({"kind": "off", "at": "body.relu", "units": [1]}).encode()
    head = (
        f"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1:{quick.port}\r\nOrigin: {quick.base}\r\nX-Visitor: {'1' * 16}\r\n"
    )
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    answers = []
    for _ in range(40):
        there = socket.create_connection(("127.0.0.1", quick.port), 10)
        there.sendall(head.encode() + body)
        holding.append(there)
    for there in holding:
        answers.append(there.recv(200).partition(b"\r\n")[0])
        there.close()
    assert {line for line in answers if b"200" not in line} == {b"HTTP/1.1 503 Service Unavailable"}


# Crashes


def test_a_net_that_dies_takes_one_job_with_it(quick: Served) -> None:
    photo = quick.photo(picture((255, 0, 255)))
    events = quick.ask(kind="why", photo=photo["photo"], n=9)
    assert "The net's process ended (signal 9) while it worked on this question" in messages(events)
    assert quick.process.poll() is None


def test_a_process_that_is_killed_is_started_again(quick: Served) -> None:
    before = quick.worker
    os.kill(before, signal.SIGKILL)
    for _ in range(3):
        quick.ask(kind="gallery")
    assert quick.worker != before


def test_nicknames_outlive_the_process(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "names.json"
    with served("--net", "tests.explorer.nets:quick", "--data", data, "--nicknames", file) as one:
        one.ask(kind="name", at="body.relu", unit=0, name="first")
        os.kill(one.worker, signal.SIGKILL)
        one.ask(kind="name", at="body.relu", unit=1, name="second")
    assert json.loads(file.read_text()) == {"body.relu": {"0": "first", "1": "second"}}


def test_an_error_inside_is_told_and_shown_in_the_terminal(quick: Served) -> None:
    photo = quick.photo(picture((255, 255, 0)))
    events = quick.ask(kind="why", photo=photo["photo"], n=9)
    assert "this net does not like yellow" in messages(events)


def test_a_visitor_who_leaves_stops_the_job(data: Path, tmp_path: Path) -> None:
    with served("--net", "tests.explorer.nets:slow", "--data", data, "--nicknames", tmp_path / "n.json") as slow:
        body = json.dumps({"kind": "why", "photo": "data-0", "n": 257}).encode()
        head = f"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1:{slow.port}\r\nOrigin: {slow.base}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", slow.port), 10) as there:
            there.sendall(head.encode() + body)
            assert b"200" in there.recv(100)
            time.sleep(1)
        started = time.monotonic()
        while json.loads(slow.send("GET", "/api/about")[2])["waiting"]:
            assert time.monotonic() - started < 10
            time.sleep(0.05)
        assert any(e["event"] == "photo" for e in slow.ask(kind="gallery"))


# Who is let in


def test_another_address_takes_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", "0.0.0.0"]) == 1
    assert "give them a word to know, --token new" in capsys.readouterr().err
    assert main(["serve", "--host", "0.0.0.0", "--token", "new"]) == 1
    assert "has many names: say" in capsys.readouterr().err
    assert main(["serve", "--token", "short"]) == 1
    assert "16 characters or more" in capsys.readouterr().err


def test_with_a_token_nobody_comes_in_without(tmp_path: Path) -> None:
    token = "a-word-that-is-long-enough"
    with served("--net", "tests.explorer.nets:quick", "--token", token, "--nicknames", tmp_path / "n.json") as shut:
        for path in (
            "/",
            "/api/about",
            "/static/explorer.js",
            "/?token=",
            "/?token=wrong",
            "/api/about?token=" + token,
        ):
            status, _, body = shut.send("GET", path)
            assert status == 401 and b"asks for a token" in body
        assert shut.send("POST", "/api/jobs", b"{}")[0] == 401
        status, headers, _ = shut.send("GET", f"/?token={token}")
        assert status == 303 and headers["location"] == "./"
        assert "HttpOnly" in headers["set-cookie"] and "SameSite=Lax" in headers["set-cookie"]
        cookie = headers["set-cookie"].partition(";")[0]
        assert shut.send("GET", "/api/about", headers={"cookie": cookie})[0] == 200
        assert shut.send("GET", "/api/about", headers={"authorization": f"Bearer {token}"})[0] == 200
        others = 'x={"a":1}; foo; a@b=1; expires=x; '  # other ports' cookies, in whatever form
        assert shut.send("GET", "/api/about", headers={"cookie": others + cookie})[0] == 200
        assert shut.send("GET", "/api/about", headers={"cookie": cookie + "x"})[0] == 401
