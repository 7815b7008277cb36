"""Rows in Qdrant (the extra `qdrant`): qdrant://HOST:PORT/NAME, with QDRANT_API_KEY where the server asks for a key.

Qdrant has no transactions and no locks: each point is written whole or not at all, and a command that was killed may
have written a part of a commit. No row is doubled by that, as a point's number follows from its id, and the same
command goes on. Nothing keeps a second writer out. A gallery NAME is an alias of a collection, which a migration sets
to the new one in one call. The collection's metadata (of Qdrant 1.16 or newer) have the info, and a number that every
write raises, by which others see that there was one.
"""

import contextlib
import functools
import importlib.util
import json
import os
import re
import secrets
import time
import urllib.parse
import uuid
import warnings
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from geodesic.errors import UserError
from geodesic.experiments.galleries import table, vectors
from geodesic.experiments.galleries.table import COLUMNS, ROWS

INDEXES, INDEXED = ("hnsw",), ("float32", "float16")
_BATCH, _AT_ONCE = 1024, 256  # points that are read, and written, at a time


class Table:
    """As table.py says, but for what this file says of commits."""

    def __init__(self, address: str, name: str):
        self._host, self._gallery = _parsed(address)
        self.place, self.name, self.info, self.version = address, name, {}, -1
        self._alias = _alias(self._gallery, name)
        self.refresh()

    def refresh(self) -> int:
        with _told(self.place):
            if not _behind(self._client, self._alias):
                raise table.none_there(self.place)
            found = self._metadata()
        if found["version"] != self.version:
            self.version, self.info = found["version"], table.read_info(found["info"], self.place)
        return self.version

    def columns(self) -> pa.Table:
        return table.text_columns([texts for _, _, texts in self._listed()])

    def count(self) -> int:
        with _told(self.place):
            return self._client.count(self._alias).count

    def batches(self) -> Iterator[pa.RecordBatch]:
        points = [point for _, point, _ in self._listed()]
        for start in range(0, len(points), _BATCH):
            with _told(self.place):
                found = {one.id: one for one in self._client.retrieve(
                    self._alias, points[start:start + _BATCH], with_payload=True, with_vectors=True)}
            rows = [found[point] for point in points[start:start + _BATCH] if point in found]
            if rows:
                yield self._batch(rows)

    def write(self, rows: dict[str, list[str]], embeddings: np.ndarray) -> None:
        stored, _ = vectors.encode(embeddings, self.info["vectors"])
        first = time.time_ns()  # what comes later is last, whoever writes it
        payloads = [{**dict(zip(COLUMNS, texts, strict=True)), "place": first + place}
                    for place, texts in enumerate(zip(*(rows[name] for name in COLUMNS), strict=True))]
        with self._commit():
            for start in range(0, len(payloads), _AT_ONCE):
                part = payloads[start:start + _AT_ONCE]
                self._client.upsert(self._alias, wait=True, points=_models().Batch(
                    ids=[_point(payload["id"]) for payload in part], payloads=part,
                    vectors=stored[start:start + _AT_ONCE].astype(np.float32).tolist()))

    def delete(self, ids: list[str]) -> None:
        if ids:
            with self._commit():
                self._client.delete(self._alias, wait=True, points_selector=_models().PointIdsList(
                    points=[_point(name) for name in ids]))

    def compact(self) -> None:
        """Nothing: the server does it by itself."""

    def replace(self, by: "Table") -> None:
        models = _models()
        with _told(self.place):
            before, after = (_behind(self._client, alias) for alias in (self._alias, by._alias))
            self._client.update_collection(after, metadata={"version": max(self.version, by.version) + 1})
            drop = lambda alias: models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
            self._client.update_collection_aliases([
                drop(by._alias), drop(self._alias), models.CreateAliasOperation(create_alias=models.CreateAlias(
                    collection_name=after, alias_name=self._alias))])
            self._client.delete_collection(before)
        self.refresh()

    def note(self) -> dict | None:
        with _told(self.place):
            found = self._metadata().get("note")
        return json.loads(found) if found else None

    def set_note(self, values: dict | None) -> None:
        self._set(note="" if values is None else json.dumps(values))

    def index(self, kind: str, rows: int) -> None:
        """The server makes it by itself."""

    def unindex(self) -> None:
        """It stays."""

    def near(self, query: np.ndarray, k: int, kind: str, probes: int) -> list[pa.RecordBatch]:
        with _told(self.place), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Local mode performs exact")
            found = self._client.query_points(
                self._alias, query=query.astype(np.float32).tolist(), limit=k, with_payload=True, with_vectors=True,
                search_params=_models().SearchParams(hnsw_ef=max(probes, 2 * k), exact=False)).points
        return [self._batch(found)] if found else []

    @property
    def _client(self):
        return _connect(self._host)

    def _metadata(self) -> dict:
        found = self._client.get_collection(_behind(self._client, self._alias)).config.metadata or {}
        return {"version": 0, "info": "", **found}

    def _set(self, **metadata) -> None:
        with _told(self.place):
            self._client.update_collection(_behind(self._client, self._alias), metadata=metadata)

    @contextlib.contextmanager
    def _commit(self):
        """Its number is raised before and after: who reads meanwhile reads again, also where this one is killed."""
        self._set(version=self.version + 1)
        with _told(self.place):
            yield
        self.version += 2
        self._set(version=self.version)

    def _listed(self) -> list[tuple]:
        """(place, number of the point, texts of COLUMNS) of every row, in the order of their places."""
        found, after = [], None
        while True:
            with _told(self.place):
                points, after = self._client.scroll(self._alias, limit=_BATCH, offset=after, with_payload=True,
                                                    with_vectors=False)
            found += [(one.payload["place"], one.id, tuple(one.payload[name] for name in COLUMNS)) for one in points]
            if after is None:
                return sorted(found)

    def _batch(self, points) -> pa.RecordBatch:
        stored = np.asarray([one.vector for one in points], np.float32).astype(self.info["vectors"])
        return table.batch([tuple(one.payload[name] for name in COLUMNS) for one in points], stored,
                           np.ones(len(points), np.float32))


def check(address: str) -> None:
    """Raises UserError for an address that names no gallery."""
    _parsed(address)


def require() -> None:
    if importlib.util.find_spec("qdrant_client") is None:
        raise UserError("a gallery in Qdrant needs qdrant-client, which is not installed: pip install "
                        "'geodesic[qdrant]'")


def exists(address: str, name: str = ROWS) -> bool:
    host, gallery = _parsed(address)
    with _told(address):
        return _behind(_connect(host), _alias(gallery, name)) is not None


def check_free(address: str) -> None:
    if exists(address):
        raise table.is_there(address)


def create(address: str, info: dict, name: str = ROWS) -> Table:
    host, gallery = _parsed(address)
    if info["vectors"] == "int8":
        raise UserError("Qdrant keeps vectors of float32 or float16: make the gallery with one of them")
    drop(address, name)
    models, made = _models(), f"{gallery}.{secrets.token_hex(4)}"
    with _told(address):
        client = _connect(host)
        client.create_collection(
            made, metadata={"info": json.dumps({**info, "version": table.VERSION}), "version": 1},
            vectors_config=models.VectorParams(size=info["model"]["size"], distance=models.Distance.DOT,
                                               datatype=models.Datatype(info["vectors"])))
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=models.CreateAlias(
            collection_name=made, alias_name=_alias(gallery, name)))])
    return Table(address, name)


def open_table(address: str, name: str = ROWS) -> Table:
    return Table(address, name)


def drop(address: str, name: str) -> None:
    host, gallery = _parsed(address)
    with _told(address):
        client = _connect(host)
        if made := _behind(client, _alias(gallery, name)):
            client.delete_collection(made)
        stand_for = {one.collection_name for one in client.get_aliases().aliases}
        for one in client.get_collections().collections:  # of processes that were killed
            if re.fullmatch(rf"{gallery}\.[0-9a-f]{{8}}", one.name) and one.name not in stand_for:
                client.delete_collection(one.name)


@contextlib.contextmanager
def writing(address: str):
    """Qdrant has no locks."""
    yield


def _parsed(address: str) -> tuple[str, str]:
    """(URL of the server, name of the gallery)."""
    parts = urllib.parse.urlsplit(address)
    name, kind = parts.path.strip("/"), "https" if "https" in parts.query or "QDRANT_API_KEY" in os.environ else "http"
    if not parts.hostname or not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name) or parts.username:
        raise UserError(f"expected qdrant://HOST:PORT/NAME, with a name of letters, digits, _ and -, and a key in "
                        f"QDRANT_API_KEY; got qdrant://{parts.hostname or ''}{parts.path}")
    return f"{kind}://{parts.hostname}:{parts.port or 6333}", name


def _alias(gallery: str, name: str) -> str:
    return gallery if name == ROWS else f"{gallery}.{name}"


def _behind(client, alias: str) -> str | None:
    """The collection that an alias stands for."""
    return next((one.collection_name for one in client.get_aliases().aliases if one.alias_name == alias), None)


def _point(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def _models():
    require()
    import qdrant_client.models

    return qdrant_client.models


@functools.cache
def _connect(host: str):
    require()
    import qdrant_client

    return qdrant_client.QdrantClient(url=host, api_key=os.environ.get("QDRANT_API_KEY"), timeout=60,
                                      check_compatibility=False)  # it warns where there is no server


@contextlib.contextmanager
def _told(place: str):
    require()
    from qdrant_client.http import exceptions

    try:
        yield
    except (exceptions.ApiException, ValueError, OSError) as error:
        if isinstance(error, UserError | FileNotFoundError):
            raise
        raise UserError(f"the gallery {place} cannot be used: {' '.join(str(error).split())[:300]}") from error
