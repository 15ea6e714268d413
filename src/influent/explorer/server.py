"""The server: the page, what it needs, and the jobs, whose answers are sent as they come, a line of JSON each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from importlib import resources
from typing import Annotated, Any
from urllib.parse import unquote

import h11
import uvicorn
from fastapi import Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.h11_impl import H11Protocol

from influent.errors import InputError

from .asks import Ask
from .guard import Guard
from .jobs import FullError, Job, Jobs, Worker
from .plan import UPLOAD, Event, Plan, Sent
from .results import Stored

STATIC = {
    "explorer.js": "text/javascript", "explorer-core.js": "text/javascript", "sort.js": "text/javascript",
    "explorer.css": "text/css", "page.css": "text/css",
}  # fmt: skip
PHOTOS, JOBS = "/api/photos", "/api/jobs"
IDLE = 20.0
"""Seconds that a connection may be open without a whole request."""
_VISITOR = re.compile(r"[0-9a-f]{16}")


class Protocol(H11Protocol):
    """HTTP in which a connection that asks nothing is closed: uvicorn itself waits only between two requests."""

    def connection_made(self, transport: Any) -> None:
        """The clock of a connection."""
        super().connection_made(transport)
        self.last: Any = None
        self.clock = self.loop.call_later(IDLE, self.look)

    def look(self) -> None:
        """Close the connection if no request of it has been whole since the last look."""
        if self.conn.their_state is h11.IDLE and self.cycle is self.last:
            self.transport.close()
            return
        self.last, self.clock = self.cycle, self.loop.call_later(IDLE, self.look)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of a connection, and of its clock."""
        self.clock.cancel()
        super().connection_lost(exc)


def application(jobs: Jobs, about: Event, results: Sequence[Stored]) -> FastAPI:
    """The routes, in front of a queue that runs; `about` is what the worker told."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _add_pages(app)
    _add_results(app, jobs, {**about, "results": [one.about for one in results]}, results)
    _add_jobs(app, jobs)
    return app


def _add_pages(app: FastAPI) -> None:
    """The page, with its styles and scripts; and what is said in the place of what is not there."""
    folder = resources.files("influent.views") / "templates"
    page = (folder / "explorer" / "index.html").read_bytes()
    static = {name: _static(folder, name) for name in STATIC}

    @app.api_route("/", methods=["GET", "HEAD"])
    async def index() -> Response:
        return Response(page, media_type="text/html; charset=utf-8")

    @app.get("/static/{name}")
    async def file(name: str) -> Response:
        if name not in static:
            raise HTTPException(404)
        return Response(static[name], media_type=f"{STATIC[name]}; charset=utf-8")

    @app.get("/favicon.ico")
    async def icon() -> Response:
        return Response(status_code=204)

    @app.exception_handler(HTTPException)
    async def missing(request: Request, error: HTTPException) -> JSONResponse:
        more = ": there is nothing here" if error.status_code == 404 else ""
        return JSONResponse({"message": f"{error.detail}{more}."}, error.status_code)


def _add_results(app: FastAPI, jobs: Jobs, about: Event, results: Sequence[Stored]) -> None:
    """What the page must know first, and the pages of stored results."""

    @app.get("/api/about")
    async def told() -> JSONResponse:
        return JSONResponse({**about, "waiting": len(jobs.open), "restarts": jobs.restarts})

    @app.get("/api/results/{number}/{name:path}")
    async def result(number: int, name: str) -> Response:
        text = results[number].page(name) if 0 <= number < len(results) else None
        if text is None:
            raise HTTPException(404)
        return PlainTextResponse(text)  # never as HTML: the page takes what it shows out of it


def _add_jobs(app: FastAPI, jobs: Jobs) -> None:
    """The questions."""

    @app.post(JOBS)
    async def ask(request: Request, asked: Annotated[Ask, Body()]) -> Response:
        return _answered(jobs, request, asked)

    @app.post(PHOTOS)
    async def photo(request: Request) -> Response:
        name = unquote(request.headers.get("x-name", ""))[:120]
        return _answered(jobs, request, Sent(await request.body(), name))

    @app.exception_handler(RequestValidationError)
    async def unreadable(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(at) for at in first["loc"] if at != "body")
        return JSONResponse({"message": f"This question cannot be read: {place or 'it'}: {first['msg']}."}, 422)


def _static(folder: Any, name: str) -> bytes:
    place = folder / "explorer" / name if name.startswith("explorer") else folder / name
    return bytes(place.read_bytes())


def _answered(jobs: Jobs, request: Request, ask: Any) -> Response:
    """The stream of a job's events; the job ends where its visitor goes away."""
    loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()

    def tell(event: Event) -> None:
        loop.call_soon_threadsafe(events.put_nowait, event)

    visitor = request.headers.get("x-visitor", "")
    if not _VISITOR.fullmatch(visitor):
        visitor = request.client.host if request.client else ""
    try:
        job = jobs.put(visitor, ask, tell)
    except FullError as error:
        return JSONResponse({"message": str(error)}, 503, headers={"retry-after": "10"})
    return StreamingResponse(_lines(jobs, job, events), media_type="application/x-ndjson")


async def _lines(jobs: Jobs, job: Job, events: asyncio.Queue[Event]) -> AsyncIterator[bytes]:
    try:
        while True:
            event = await events.get()
            yield json.dumps(event).encode() + b"\n"
            if event["event"] == "done":
                return
    finally:
        jobs.leave(job)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any that is free. Errors: `InputError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)  # from now on nobody is turned away, if they have to wait until the net is there
    except (OSError, OverflowError) as error:
        listening.close()
        said = getattr(error, "strerror", None) or error
        raise InputError(
            f"{host}:{port} cannot be used: {said}. Name another: --port 0 takes one that is free."
        ) from None
    return listening


def serve(
    plan: Plan, results: Sequence[Stored], listening: socket.socket, names: Iterable[str], token: str | None,
    ready: Callable[[Event], None],
) -> None:  # fmt: skip
    """Serve until Ctrl-C under these `names`; `ready` is called once the net is there. Errors: `InfluentError`."""
    _allow_connections()
    jobs = Jobs(Worker(plan))
    try:
        about = jobs.start()
        app = Guard(application(jobs, about, results), names, token, {PHOTOS: UPLOAD})
        settings = uvicorn.Config(
            app, http=Protocol, ws="none", lifespan="off", access_log=False, log_level="warning", server_header=False,
            timeout_keep_alive=30, timeout_graceful_shutdown=2, backlog=2048,
        )  # fmt: skip
        ready(about)
        uvicorn.Server(settings).run([listening])
    finally:
        jobs.close()
        listening.close()


def _allow_connections() -> None:
    """As many open files as the system lets this process have: each connection is one."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
