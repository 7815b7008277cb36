"""Rows in PostgreSQL with pgvector (the extra `pgvector`): postgresql://USER@HOST/DATABASE#NAME. Each change is one
transaction.

A gallery NAME is the table `geodesic_rows_NAME`, with an index of pgvector where one was asked for, and a row of
`geodesic_galleries`, which has its info and the number of the last commit. Writers wait for one another by an advisory
lock, which ends with its connection; and a commit that finds another one since it looked is refused, so that a
lock that was lost does no harm. Vectors of float16 and int8 are bytes there, as this pgvector may have no such types.
"""

import contextlib
import json
import struct
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from geodesic.errors import UserError
from geodesic.experiments.galleries import table, vectors
from geodesic.experiments.galleries.postgres_server import Where, connect, connection, parsed, told
from geodesic.experiments.galleries.postgres_server import require as require
from geodesic.experiments.galleries.table import COLUMNS, ROWS

# Kind of index -> what it is made with, and asked with.
INDEXES = {"hnsw": ("", "hnsw.ef_search"), "ivfflat": ("WITH (lists = {lists})", "ivfflat.probes")}
INDEXED = ("float32",)
_BATCH, _MOST = 4096, 1000  # rows of a batch; pgvector's largest ef_search
_DTYPES = {"float32": ">f4", "float16": "<f2", "int8": "i1"}
_META, _EXTENSION = "geodesic_galleries", "vector"


class Table:
    """As table.py says. One connection, which is made again where it was lost between two uses."""

    def __init__(self, address: str, name: str):
        self._where, self.name, self.info, self.version = parsed(address), name, {}, -1
        self.place = self._where.place
        self._connection, self._lock = None, threading.RLock()
        self.refresh()

    def refresh(self) -> int:
        with self._transaction() as cursor:
            if not _has(cursor, _META):
                raise table.none_there(self.place)
            found = cursor.execute(f"SELECT version, info FROM {_META} WHERE name = %s AND part = %s",
                                   (self._where.name, self.name)).fetchone()
        if found is None:
            raise table.none_there(self.place)
        if found[0] != self.version:
            self.version, self.info = found[0], table.read_info(found[1], self.place)
        return self.version

    def columns(self) -> pa.Table:
        with self._transaction() as cursor:
            return table.text_columns(cursor.execute(
                f"SELECT {', '.join(COLUMNS)} FROM {self._rows} ORDER BY place").fetchall())

    def count(self) -> int:
        with self._transaction() as cursor:
            return cursor.execute(f"SELECT count(*) FROM {self._rows}").fetchone()[0]

    def batches(self) -> Iterator[pa.RecordBatch]:
        with self._transaction(), self._connection.cursor("batches", binary=True) as cursor:
            cursor.execute(f"SELECT {', '.join(COLUMNS)}, vector, scale FROM {self._rows} ORDER BY place")
            while rows := cursor.fetchmany(_BATCH):
                yield self._batch(rows)

    def write(self, rows: dict[str, list[str]], embeddings: np.ndarray) -> None:
        stored, scales = vectors.encode(embeddings, self.info["vectors"])
        names = ", ".join((*COLUMNS, "vector", "scale"))
        with self._commit() as cursor:
            cursor.execute(f"CREATE TEMPORARY TABLE coming (LIKE {self._rows}) ON COMMIT DROP")
            cursor.execute("ALTER TABLE coming ALTER place DROP NOT NULL")
            with cursor.copy(f"COPY coming ({names}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
                for place, texts in enumerate(zip(*(rows[name] for name in COLUMNS), strict=True)):
                    fields = [*(text.encode() for text in texts), self._bytes(stored[place]),
                              struct.pack("!f", scales[place])]
                    copy.write(struct.pack("!h", len(fields))
                               + b"".join(struct.pack("!i", len(field)) + field for field in fields))
                copy.write(struct.pack("!h", -1))
            cursor.execute(f"DELETE FROM {self._rows} USING coming WHERE {self._rows}.id = coming.id")
            cursor.execute(f"INSERT INTO {self._rows} ({names}) SELECT {names} FROM coming ORDER BY ctid")

    def delete(self, ids: list[str]) -> None:
        if ids:
            with self._commit() as cursor:
                cursor.execute(f"DELETE FROM {self._rows} WHERE id = ANY(%s)", (list(ids),))

    def compact(self) -> None:
        """Writes the table anew, without what was removed. Searches of others wait meanwhile."""
        with self._lock, told(self._where):
            self._connected().execute(f"VACUUM (FULL, ANALYZE) {self._rows}")

    def replace(self, by: "Table") -> None:
        with self._commit() as cursor:
            cursor.execute(f"DROP TABLE {self._rows}")
            cursor.execute(f"ALTER TABLE {by._rows} RENAME TO {self._rows}")
            cursor.execute(f"UPDATE {_META} SET info = %s, note = NULL WHERE name = %s AND part = %s",
                           (json.dumps(by.info), self._where.name, self.name))
            cursor.execute(f"DELETE FROM {_META} WHERE name = %s AND part = %s", (self._where.name, by.name))
        self.version = -1  # the info has changed too
        self.refresh()

    def note(self) -> dict | None:
        with self._transaction() as cursor:
            found = cursor.execute(f"SELECT note FROM {_META} WHERE name = %s AND part = %s",
                                   (self._where.name, self.name)).fetchone()
        return json.loads(found[0]) if found and found[0] else None

    def set_note(self, values: dict | None) -> None:
        with self._transaction() as cursor:
            cursor.execute(f"UPDATE {_META} SET note = %s WHERE name = %s AND part = %s",
                           (None if values is None else json.dumps(values), self._where.name, self.name))

    def index(self, kind: str, rows: int) -> None:
        lists = int(rows / 1000 if rows > 1_000_000 else max(rows ** 0.5, 10))
        self.unindex()
        with self._transaction() as cursor:
            cursor.execute(f"CREATE INDEX {self._index} ON {self._rows} USING {kind} (vector vector_ip_ops) "
                           + INDEXES[kind][0].format(lists=lists))

    def unindex(self) -> None:
        with self._transaction() as cursor:
            cursor.execute(f"DROP INDEX IF EXISTS {self._index}")

    def near(self, query: np.ndarray, k: int, kind: str, probes: int) -> list[pa.RecordBatch]:
        asked = "[" + ",".join(map(str, query.astype(np.float32).tolist())) + "]"
        looks = min(max(2 * k, probes), _MOST) if kind == "hnsw" else probes
        with self._transaction(), self._connection.cursor(binary=True) as cursor:
            cursor.execute(f"SET LOCAL {INDEXES[kind][1]} = {looks}")
            cursor.execute("SET LOCAL enable_seqscan = off")  # of few rows it would not ask the index
            cursor.execute(f"SELECT {', '.join(COLUMNS)}, vector, scale FROM {self._rows} "
                           f"ORDER BY vector <#> %s::text::vector LIMIT {min(k, _MOST)}", (asked,))
            rows = cursor.fetchall()
        return [self._batch(rows)] if rows else []

    @property
    def _rows(self) -> str:
        return _rows(self._where.name, self.name)

    @property
    def _index(self) -> str:
        return f'"geodesic_index_{self._where.name}"'

    def _bytes(self, vector: np.ndarray) -> bytes:
        content = vector.astype(_DTYPES[self.info["vectors"]]).tobytes()
        return struct.pack("!HH", len(vector), 0) + content if self.info["vectors"] == "float32" else content

    def _batch(self, rows: list[tuple]) -> pa.RecordBatch:
        """rows: texts, the bytes of a vector, and its scale."""
        content = np.frombuffer(b"".join(row[-2] for row in rows), np.uint8).reshape(len(rows), -1)
        if self.info["vectors"] == "float32":
            content = np.ascontiguousarray(content[:, 4:])
        stored = content.view(_DTYPES[self.info["vectors"]]).astype(self.info["vectors"])
        return table.batch([row[:len(COLUMNS)] for row in rows], stored, [row[-1] for row in rows])

    @contextlib.contextmanager
    def _transaction(self):
        with self._lock, told(self._where), self._connected().transaction(), self._connection.cursor() as cursor:
            yield cursor

    @contextlib.contextmanager
    def _commit(self):
        with self._transaction() as cursor:
            yield cursor
            moved = cursor.execute(
                f"UPDATE {_META} SET version = nextval('geodesic_commits') "
                f"WHERE name = %s AND part = %s AND version = %s RETURNING version",
                (self._where.name, self.name, self.version)).fetchone()
            if moved is None:
                raise UserError(f"another writer has changed {self.place} meanwhile, and nothing of this commit is "
                                f"there: give the same command again")
        self.version = moved[0]

    def _connected(self):
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._where)
        return self._connection


def check(address: str) -> None:
    """Raises UserError for an address that names no gallery."""
    parsed(address)


def exists(address: str, name: str = ROWS) -> bool:
    where = parsed(address)
    with connection(where) as made:
        return _has(made, _META) and made.execute(
            f"SELECT 1 FROM {_META} WHERE name = %s AND part = %s", (where.name, name)).fetchone() is not None


def check_free(address: str) -> None:
    if exists(address):
        raise table.is_there(parsed(address).place)


def create(address: str, info: dict, name: str = ROWS) -> Table:
    where, info = parsed(address), {**info, "version": table.VERSION}
    kind = f"vector({info['model']['size']})" if info["vectors"] == "float32" else "bytea"
    with connection(where) as made:
        _prepare(where, made)
        with made.transaction():
            made.execute(f"DROP TABLE IF EXISTS {_rows(where.name, name)}")
            made.execute(f"DELETE FROM {_META} WHERE name = %s AND part = %s", (where.name, name))
            texts = ", ".join(f"{column} text NOT NULL" for column in COLUMNS[1:])
            made.execute(
                f"CREATE TABLE {_rows(where.name, name)} (place bigint GENERATED ALWAYS AS IDENTITY, id text PRIMARY "
                f"KEY, {texts}, vector {kind} NOT NULL, scale real NOT NULL)")
            made.execute(f"INSERT INTO {_META} VALUES (%s, %s, nextval('geodesic_commits'), %s)",
                               (where.name, name, json.dumps(info)))
    return Table(address, name)


def open_table(address: str, name: str = ROWS) -> Table:
    return Table(address, name)


def drop(address: str, name: str) -> None:
    where = parsed(address)
    with connection(where) as made, made.transaction():
        made.execute(f"DROP TABLE IF EXISTS {_rows(where.name, name)}")
        made.execute(f"DELETE FROM {_META} WHERE name = %s AND part = %s", (where.name, name))


@contextlib.contextmanager
def writing(address: str):
    where = parsed(address)
    with connection(where) as made:
        key = ("geodesic", where.name)
        if not made.execute("SELECT pg_try_advisory_lock(hashtext(%s), hashtext(%s))", key).fetchone()[0]:
            print(f"{where.place} is in use by another process: waiting for it to end", file=sys.stderr, flush=True)
            made.execute("SELECT pg_advisory_lock(hashtext(%s), hashtext(%s))", key)
        yield


def _prepare(where: Where, made) -> None:
    """What a database needs once. Two that begin at the same time wait for one another."""
    with made.transaction():
        made.execute("SELECT pg_advisory_xact_lock(hashtext('geodesic galleries'))")
        if not made.execute("SELECT 1 FROM pg_extension WHERE extname = %s", (_EXTENSION,)).fetchone():
            if not made.execute("SELECT 1 FROM pg_available_extensions WHERE name = %s", (_EXTENSION,)).fetchone():
                raise UserError(f"the server of {where.place} has no pgvector: install it there")
            made.execute(f"CREATE EXTENSION {_EXTENSION}")
        made.execute("CREATE SEQUENCE IF NOT EXISTS geodesic_commits")
        made.execute(f"CREATE TABLE IF NOT EXISTS {_META} (name text, part text, version bigint NOT NULL, info "
                           f"text NOT NULL, note text, PRIMARY KEY (name, part))")


def _has(made, name: str) -> bool:
    return made.execute("SELECT to_regclass(%s)", (name,)).fetchone()[0] is not None


def _rows(gallery: str, part: str) -> str:
    return f'"geodesic_{part}_{gallery}"'
