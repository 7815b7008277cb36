"""Rows in LanceDB (the extra `gallery`): a folder of this machine, or of a bucket. Every change is one commit.

A process that is killed leaves what it had committed, and nothing else. LanceDB keeps rows and nothing more: its
distances are not used, and one writer at a time has the gallery's lock, as it would let two writers add a row twice. On
a disk that is a lock of the system; in a bucket a lease (process/lease.py), which is looked at before every commit.
"""

import contextlib
import datetime
import errno
import importlib.util
import json
import os
import re
import secrets
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from geodesic.errors import UserError
from geodesic.experiments.galleries import table, vectors
from geodesic.experiments.galleries.table import COLUMNS, ROWS
from geodesic.experiments.process import lease, lock, storage
from geodesic.experiments.process import workdir as workdirs

# Kind of index -> LanceDB's class of it, and how many times more candidates are compared by their whole vectors.
INDEXES = {"ivf_flat": ("IvfFlat", 1), "ivf_sq": ("IvfSq", 4), "ivf_pq": ("IvfPq", 20), "ivf_rq": ("IvfRq", 10),
           "ivf_hnsw_flat": ("HnswFlat", 1), "ivf_hnsw_sq": ("HnswSq", 4)}
INDEXED = ("float32", "float16")
_INFO = b"geodesic.gallery"
_DELETED_AT_ONCE, _BATCH, _PAGE = 5000, 8192, 50_000


class Table:
    """As table.py says. place: the folder."""

    def __init__(self, folder: str, name: str, opened):
        self.place, self.name, self._table, self.info, self.version = folder, name, opened, {}, opened.version
        self._read_info()

    def refresh(self) -> int:
        with _told(self.place):
            self._table.checkout_latest()
            before, self.version = self.version, self._table.version
        if self.version != before:  # a migration changes the info too
            self._read_info()
        return self.version

    def columns(self) -> pa.Table:
        with _told(self.place):
            return self._table.search().select([*COLUMNS]).limit(None).to_arrow().combine_chunks()

    def count(self) -> int:
        with _told(self.place):
            return self._table.count_rows()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """In pages: LanceDB reads ahead as much as it is asked for, and holds that beside what is made of it."""
        with _told(self.place):
            for first in range(0, self._table.count_rows(), _PAGE):
                page = self._table.search().select([*COLUMNS, "vector", "scale"]).limit(_PAGE).offset(first)
                yield from page.to_batches(batch_size=_BATCH)

    def write(self, rows: dict[str, list[str]], embeddings: np.ndarray) -> None:
        stored, scales = vectors.encode(embeddings, self.info["vectors"])
        content = pa.table({**rows, "vector": vectors.to_arrow(stored), "scale": scales}, schema=_schema(self.info))
        with self._commit():
            merging = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merging.execute(content)

    def delete(self, ids: list[str]) -> None:
        """Of many, several commits."""
        for start in range(0, len(ids), _DELETED_AT_ONCE):
            quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in ids[start:start + _DELETED_AT_ONCE])
            with self._commit():
                self._table.delete(f"id IN ({quoted})")

    def compact(self) -> None:
        """Puts the rows of many commits into few files, and removes what is no row any more."""
        with self._commit(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "optimize")  # others may not read an older version: they look again
            self._table.optimize(cleanup_older_than=datetime.timedelta(0), delete_unverified=True)

    def replace(self, by: "Table") -> None:
        reader = pa.RecordBatchReader.from_batches(_schema(by.info), by.batches())
        with self._commit():
            self._table = _database(self.place).create_table(self.name, data=reader, mode="overwrite")
        self.version = self._table.version
        self._read_info()

    def note(self) -> dict | None:
        path = f"{self.place}/index.json"
        return workdirs.read_json(path) if storage.exists(path) else None

    def set_note(self, values: dict | None) -> None:
        path = f"{self.place}/index.json"
        storage.remove(path) if values is None else workdirs.write_json(path, values)

    def index(self, kind: str, rows: int) -> None:
        import lancedb.index

        with self._commit():
            self._table.create_index("vector", config=getattr(lancedb.index, INDEXES[kind][0])(distance_type="cosine"),
                                     replace=True)

    def unindex(self) -> None:
        with self._commit():
            for made in self._table.list_indices():
                self._table.drop_index(made.name)

    def near(self, query: np.ndarray, k: int, kind: str, probes: int) -> list[pa.RecordBatch]:
        with _told(self.place):
            asked = self._table.search(query.astype(np.float32), vector_column_name="vector").distance_type("cosine")
            asked = asked.nprobes(probes).limit(k)
            if (more := INDEXES[kind][1]) > 1:
                asked = asked.refine_factor(more)
            if "hnsw" in kind:
                asked = asked.ef(max(4 * k, 100))
            found = asked.select([*COLUMNS, "vector", "scale", "_distance"]).to_arrow()
            return found.drop_columns("_distance").combine_chunks().to_batches()

    @contextlib.contextmanager
    def _commit(self):
        if storage.is_remote(self.place):
            lease.check()
        with _told(self.place):
            yield

    def _read_info(self) -> None:
        self.info = table.read_info((self._table.schema.metadata or {}).get(_INFO), self.place)


def check(folder: str) -> None:
    """Raises UserError for a bucket that cannot be reached for want of a package."""
    storage.check(folder)


def require() -> None:
    if importlib.util.find_spec("lancedb") is None:
        raise UserError("a gallery needs lancedb, which is not installed: pip install 'geodesic[gallery]'")


def exists(folder: str, name: str = ROWS) -> bool:
    return any(file.endswith(".manifest") for file in storage.names(f"{folder}/{name}.lance/_versions"))


def check_free(folder: str) -> None:
    if exists(folder):
        raise table.is_there(folder)
    if (not storage.is_remote(folder) and os.path.lexists(folder) and not os.path.isdir(folder)) or {
            *storage.names(folder)} - {workdirs.LOCK, f"{ROWS}.lance"}:
        raise UserError(f"{folder} is there, and is no gallery: give another --gallery")


def create(folder: str, info: dict, name: str = ROWS) -> Table:
    drop(folder, name)
    with _told(folder):
        made = _database(folder).create_table(name, schema=_schema({**info, "version": table.VERSION}))
    return Table(folder, name, made)


def open_table(folder: str, name: str = ROWS) -> Table:
    if not exists(folder, name):
        raise table.none_there(folder)
    with _told(folder):
        return Table(folder, name, _database(folder).open_table(name))


def drop(folder: str, name: str) -> None:
    storage.remove(f"{folder}/{name}.lance/_versions")  # first: without it the rest is nothing
    storage.remove(f"{folder}/{name}.lance")


@contextlib.contextmanager
def writing(folder: str):
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock.held(folder, waits=True))
        except FileNotFoundError as error:  # it makes what it needs, but no bucket
            raise UserError(f"{folder} cannot be written: there is no such bucket, or no such account") from error
        if storage.is_remote(folder):
            _try_lease(folder)
        yield


def _try_lease(folder: str) -> None:
    """Says so where the service does not refuse to create an object that is there: then a lease keeps nobody out."""
    place = f"{folder}/{workdirs.LOCK}/tried"
    storage.create(place, b"")
    if storage.create(place, secrets.token_bytes(8)):
        print(f"{folder} lies in a service without conditional writes: nothing keeps a second writer out of it",
              file=sys.stderr, flush=True)


def _schema(info: dict) -> pa.Schema:
    texts = [(name, pa.string()) for name in COLUMNS]
    return pa.schema([*texts, ("vector", pa.list_(vectors.KINDS[info["vectors"]], info["model"]["size"])),
                      ("scale", pa.float32())], metadata={_INFO: json.dumps(info)})


def _database(folder: str):
    require()
    import lancedb  # seconds, and of no use to anything else

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    options = {"endpoint": endpoint} if storage.scheme(folder) == "s3" and endpoint else {}
    if endpoint.startswith("http://"):
        options["allow_http"] = "true"
    return lancedb.connect(folder.rstrip("/") or "/", storage_options=options or None)


@contextlib.contextmanager
def _told(folder: str):
    """What LanceDB raises, of the disk as an error of the system, in one line."""
    try:
        yield
    except (UserError, FileNotFoundError):
        raise
    except (RuntimeError, ValueError, OSError) as error:
        text = " ".join(str(error).split())
        if re.search(r"os error 28\b|No space left", text):
            raise table.no_room(folder) from error
        if re.search(r"os error (13|30)\b|Permission denied|Read-only file system", text):
            raise PermissionError(errno.EACCES, "the gallery cannot be written", folder) from error
        said = re.search(r"<Message>(.*?)</Message>", text)  # a bucket's own words
        raise UserError(f"the gallery {folder} cannot be used: {said[1] if said else text[:300]}") from error
