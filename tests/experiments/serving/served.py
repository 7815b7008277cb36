"""A server of a tiny model that is not trained, on a socket of this machine, and a client that sends anything."""

import contextlib
import http.client
import json
import os
import threading
from typing import NamedTuple

import jax

import geodesic
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.galleries.gallery import Gallery
from geodesic.experiments.serving import app, limits, listening, marks, metrics, model, rows
from geodesic.experiments.trained import network
from tests.experiments import tiny

LINE = "-----------------------------boundary"


class Answer(NamedTuple):
    status: int
    headers: dict
    content: bytes

    @property
    def json(self):
        return json.loads(self.content)

    @property
    def error(self) -> str:
        """The one line of a refusal."""
        assert self.content.count(b"\n") == 1 and [*self.json] == ["error"], self.content
        return self.json["error"]


class Client:
    def __init__(self, port: int, server=None):
        self.port, self.server = port, server

    def ask(self, method: str, path: str, body: bytes | None = None, **headers) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers) -> Answer:
        return self.ask("GET", path, **headers)

    def send(self, path: str, headers: dict | None = None, **fields) -> Answer:
        """A form: bytes are files, texts are fields."""
        return self.ask("POST", path, form(fields), Content_Type=f"multipart/form-data; boundary={LINE}",
                        **(headers or {}))


def form(fields: dict) -> bytes:
    parts = []
    for name, value in fields.items():
        file = f'; filename="{name}.jpg"\r\nContent-Type: image/jpeg' if isinstance(value, bytes) else ""
        parts.append(f'--{LINE}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
                     + (value if isinstance(value, bytes) else str(value).encode()) + b"\r\n")
    return b"".join(parts) + f"--{LINE}--\r\n".encode()


def untrained(folder, seed: int = 0, **changes):
    """A run in this folder. changes: of the configuration."""
    config = tiny.config(**changes)
    embedder = network.make_embedder(config.embedder, config.head)
    variables = jax.jit(lambda: network.init_embedder(embedder, config.input.image_size, seed=seed))()
    imported.save(str(folder), config, variables, {})
    return geodesic.load(folder)


@contextlib.contextmanager
def client(run, place, *, token="", most_bytes=10**6, requests=64, seconds=30.0, most_pixels=10**6, folders=(),
           threshold=0.9, batch=0, beside=""):
    """Serves the gallery at `place` until the end of the context. beside: a folder for what comes in; default: there.
    """
    beside, told = beside or place, metrics.Metrics()
    served = model.Model(run, batch or run.query_batch, 0.003, most_pixels, told.batch)
    kept = rows.Rows(*(Gallery(place, served.run) for _ in range(2)), os.path.join(beside, "added"), threshold, 0.0)
    guard = app.make(app.Service(served, kept, marks.Marks(os.path.join(beside, "marks.jsonl")), told,
                                 limits.Limits(token, most_bytes, requests, seconds), list(folders)))
    with listening.opened("127.0.0.1", 0) as listener:
        servers = []
        thread = threading.Thread(target=listening.serve, args=(guard, listener, seconds, servers.append))
        thread.start()
        try:
            while not servers:
                pass
            found = Client(listener.getsockname()[1], servers[0])
            found.model = served
            yield found
        finally:
            servers[0].should_exit = True
            thread.join(60)
            guard.close()
    assert not thread.is_alive()
