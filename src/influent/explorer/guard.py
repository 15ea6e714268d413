"""What stands in front of the server: who may ask, from where, how much at once; and what a page of ours may do."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Refusal = tuple[int, str] | tuple[int, str, dict[str, str]]

COOKIE = "influent-token"
HEADERS = {
    # Styles stand in attributes of our pages (widths of bars, colours of words); no script does.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
AT_ONCE, PATIENCE = 8, 60.0
"""Large bodies that are held at once, and the seconds that a body may take to come."""


class TooLargeError(Exception):
    """More of a body has come than is taken."""


class LeftError(Exception):
    """Whoever asked has gone before the body was whole."""


class Guard:
    """An ASGI application in front of another: it answers what must not go through.

    - `hosts`: the names by which it may be called, `127.0.0.1:8000`; others come from a page that was led here;
    - `token`: where it is set, a request needs it, as a cookie (which `/?token=...` sets) or as `Bearer`;
    - `limits`: the largest body in bytes, by path; `largest` for all others.
    """

    def __init__(
        self, app: Any, hosts: Iterable[str], token: str | None, limits: dict[str, int], largest: int = 2**18
    ) -> None:
        self.app, self.hosts, self.token = app, frozenset(host.lower() for host in hosts), token
        self.limits, self.largest = limits, largest
        self.gate = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let through, with the headers of `HEADERS`."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        told = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}

        async def sent(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = {name.encode(): value.encode() for name, value in HEADERS.items()}
                given = [(name, value) for name, value in message["headers"] if name.lower() not in own]
                message = {**message, "headers": [*given, *own.items()]}
            await send(message)

        refused = self._refusal(scope, told)
        if refused is not None:
            await _answer(sent, *refused)
            return
        most = self.limits.get(scope["path"])
        # A large body is held until it is answered: so many at once, that memory is bounded whoever sends them.
        async with self.gate if most is not None else contextlib.nullcontext():
            await self._let_through(scope, receive, sent, most or self.largest)

    async def _let_through(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        """Read the body, in bounded time, and pass the request on with it."""
        try:
            async with asyncio.timeout(PATIENCE):
                body = await _read(receive, most)
        except TooLargeError:
            await _answer(send, 413, _large(most))
            return
        except LeftError:
            return
        except TimeoutError:
            await _answer(send, 408, f"The request did not come to its end within {PATIENCE:.0f} seconds.")
            return
        whole: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> MutableMapping[str, Any]:
            return whole.pop() if whole else await receive()

        await self.app(scope, again, send)

    def _refusal(self, scope: Scope, told: dict[str, str]) -> Refusal | None:
        """The status and the message of what is refused; None for what may go through."""
        host = told.get("host", "").lower()
        if host not in self.hosts:
            return 421, f"This server is not called {host!r:.80}: type the address that it printed."
        own = f"http://{host}", f"https://{host}"
        if scope["method"] not in ("GET", "HEAD") and told.get("origin", "").lower() not in own:
            return 403, "This comes from another page: questions are taken from the explorer's own page alone."
        if told.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") and scope["path"] != "/":
            return 403, "This comes from another page: type the address itself."
        length = told.get("content-length", "0")
        most = self.limits.get(scope["path"], self.largest)
        if not length.isdigit() or int(length) > most:
            return 413, _large(most)
        return self._without_token(scope, told)

    def _name(self, scope: Scope) -> str:
        """The cookie's name: of this server among those of the host."""
        return f"{COOKIE}-{(scope.get('server') or ('', ''))[1]}"

    def _without_token(self, scope: Scope, told: dict[str, str]) -> Refusal | None:
        if self.token is None:
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and given and hmac.compare_digest(given.encode(), self.token.encode()):
            # Lax: the link may stand on another page, a chat's. What changes anything asks for its own origin.
            cookie = f"{self._name(scope)}={self.token}; HttpOnly; SameSite=Lax; Path=/"
            return 303, "Welcome.", {"location": "./", "set-cookie": cookie}
        held = _cookie(told.get("cookie", ""), self._name(scope)) or told.get("authorization", "").removeprefix(
            "Bearer "
        )
        if hmac.compare_digest(held.encode(), self.token.encode()):
            return None
        return 401, "This server asks for a token: open the address that it printed, which ends in /?token=..."


async def _read(receive: Receive, most: int) -> bytes:
    """A request's whole body. Errors: `TooLargeError`, `LeftError`."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > most:
            raise TooLargeError
        if message["type"] == "http.disconnect":
            raise LeftError
        if not message.get("more_body"):
            return bytes(body)


def _cookie(text: str, name: str) -> str:
    """A cookie among others, which may be anybody's: those of a host are sent to all its ports, in any form."""
    found = (part.strip().partition("=") for part in text.split(";"))
    return next((value for key, _, value in found if key == name), "")


def _large(most: int) -> str:
    return f"This is too large: up to {most:,} bytes are taken."


async def _answer(send: Send, status: int, message: str, more: dict[str, str] | None = None) -> None:
    """A whole response; the connection ends with it, so that nothing more of the request is read."""
    body = json.dumps({"message": message}).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        **(more or {}),
    }
    listed = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})
