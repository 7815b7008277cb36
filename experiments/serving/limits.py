"""What stands before every request: who may write, how many at once, how many bytes, and how long."""

import asyncio
import hmac
import time
import urllib.parse
from typing import NamedTuple

from geodesic.experiments.serving import metrics, refusal
from geodesic.experiments.serving.refusal import Refused

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ALWAYS = ("/health", "/metrics")  # answered however much there is to do
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]


class Limits(NamedTuple):
    """token: of requests that write, "" where none is asked for, which a server on loopback alone may do. most_bytes:
    of a request. requests: at once. seconds: from the first byte of a request to the last of its answer."""

    token: str
    most_bytes: int
    requests: int
    seconds: float


class Guard:
    """The application behind its limits (ASGI). paths: its own; every other one counts as "other"."""

    def __init__(self, app, limits: Limits, told: metrics.Metrics, paths: set[str]):
        self._app, self._limits, self._told, self._paths = app, limits, told, paths
        self.now = 0

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, request = time.perf_counter(), _Request(receive, send, self._limits.most_bytes)
        counted = scope["path"] not in _ALWAYS
        self.now += counted
        try:
            self._check(scope, counted)
            async with asyncio.timeout(self._limits.seconds):
                await self._app(scope, request.receive, request.send)
        except Refused as error:
            await refusal.answer(error)(scope, receive, request.send)
        except TimeoutError:
            if request.status is None:
                error = (Refused(503, f"it takes more than {self._limits.seconds:g} s: try again", again=5)
                         if request.whole else
                         Refused(408, f"the request was not whole after {self._limits.seconds:g} s"))
                await refusal.answer(error)(scope, receive, request.send)
        finally:
            self.now -= counted
            self._told.request(scope["path"] if scope["path"] in self._paths else "other", request.status or 499,
                               time.perf_counter() - started)

    def _check(self, scope, counted: bool) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if self._limits.token:
            given = headers.get(b"authorization", "").encode("latin-1")
            if writes(scope) and not hmac.compare_digest(given, b"Bearer " + self._limits.token.encode()):
                raise Refused(401, "this writes, and takes the server's token: Authorization: Bearer TOKEN")
        else:
            _check_local(scope, headers)
        if not (length := headers.get(b"content-length", "0")).isdecimal() or int(length) > self._limits.most_bytes:
            raise Refused(413, f"a request has {self._limits.most_bytes:,} bytes at most; got {length[:20]}")
        if counted and self.now > self._limits.requests:
            raise Refused(503, f"{self._limits.requests} requests are being answered: try again", again=1)


class _Request:
    """One request on its way: what of it has come, and what was answered. status: None before the answer begins."""

    def __init__(self, receive, send, most_bytes: int):
        self._receive, self._send, self._most = receive, send, most_bytes
        self.bytes, self.whole, self.status = 0, False, None

    async def receive(self) -> dict:
        message = await self._receive()
        if message["type"] == "http.request":
            self.bytes += len(message.get("body", b""))
            self.whole = not message.get("more_body")
            if self.bytes > self._most:
                raise Refused(413, f"a request has {self._most:,} bytes at most")
        return message

    async def send(self, message: dict) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = message | {"headers": [*message["headers"], *_HEADERS]}
        await self._send(message)


def writes(scope) -> bool:
    return scope["method"] not in ("GET", "HEAD", "OPTIONS") and scope["path"] in ("/rows", "/marks")


def _check_local(scope, headers: dict[bytes, str]) -> None:
    """Without a token, a page of another site must not write through the browser of somebody on this machine, nor read
    under a name of its own that it has pointed here."""
    if _host(headers.get(b"host", "localhost")) not in LOOPBACK:
        raise Refused(403, "without a token this server answers to localhost alone: start it with --token")
    origin = headers.get(b"origin", "")
    if writes(scope) and origin and origin.partition("://")[2] != headers.get(b"host"):
        raise Refused(403, "another site's page must not write: start the server with --token")


def _host(text: str) -> str:
    try:
        return urllib.parse.urlsplit(f"//{text}").hostname or ""
    except ValueError:
        return ""
