"""The rows of a gallery on disk: a table of LanceDB (the extra `gallery`), of which every change is one commit.

A process that is killed leaves what it had committed, and nothing else. LanceDB keeps rows and nothing more: its
distances are not used, and one writer at a time has the gallery's lock, as it would let two writers add a row twice.
"""

import collections.abc
import contextlib
import datetime
import errno
import importlib.util
import json
import os
import re
import warnings
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from geodesic.errors import UserError
from geodesic.experiments.galleries import vectors
from geodesic.experiments.process import storage

ROWS, MIGRATED = "rows", "migrated"
COLUMNS = ("id", "path", "label", "metadata", "digest")
_INFO, _VERSION = b"geodesic.gallery", 1
_DELETED_AT_ONCE, _BATCH = 5000, 8192


class Table:
    """One table in the folder of a gallery. info: what its metadata say, {"model": binding, "vectors": dtype, ...}.
    version: of the commit that was there when it was looked for, by `refresh`."""

    def __init__(self, folder: str, name: str, table):
        self.folder, self.name, self._table, self.info, self.version = folder, name, table, {}, table.version
        self._read_info()

    def refresh(self) -> int:
        """Goes to what was committed last, by whomever; gives its version."""
        with told(self.folder):
            self._table.checkout_latest()
            before, self.version = self.version, self._table.version
        if self.version != before:  # a migration changes the info too
            self._read_info()
        return self.version

    def _read_info(self) -> None:
        content = (self._table.schema.metadata or {}).get(_INFO)
        self.info = json.loads(content) if content else {}
        if self.info.get("version") != _VERSION:
            raise UserError(f"{self.folder} is no gallery of this version of geodesic: its table says version "
                            f"{self.info.get('version')}, expected {_VERSION}")

    def columns(self) -> pa.Table:
        """All rows without their vectors, in their order."""
        with told(self.folder):
            return self._table.search().select([*COLUMNS]).limit(None).to_arrow().combine_chunks()

    def count(self) -> int:
        with told(self.folder):
            return self._table.count_rows()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows with their vectors, in the same order."""
        with told(self.folder):
            yield from self._table.search().select([*COLUMNS, "vector", "scale"]).limit(None).to_batches(
                batch_size=_BATCH)

    def write(self, rows: dict[str, list[str]], embeddings: np.ndarray) -> None:
        """Commits rows, in place of those of the same ids. rows: each of COLUMNS. embeddings: unit vectors f32[N,D]."""
        stored, scales = vectors.encode(embeddings, self.info["vectors"])
        content = pa.table({**rows, "vector": vectors.to_arrow(stored), "scale": scales},
                           schema=schema(self.info))
        with told(self.folder):
            merging = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merging.execute(content)

    def delete(self, ids: list[str]) -> None:
        """Commits that these rows are gone; of many, several commits."""
        for start in range(0, len(ids), _DELETED_AT_ONCE):
            quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in ids[start:start + _DELETED_AT_ONCE])
            with told(self.folder):
                self._table.delete(f"id IN ({quoted})")

    def compact(self) -> None:
        """Puts the rows of many commits into few files, and removes from the disk what is no row any more."""
        with told(self.folder), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "optimize")  # others may not read an older version: they look again
            self._table.optimize(cleanup_older_than=datetime.timedelta(0), delete_unverified=True)

    @property
    def lance(self):
        """LanceDB's own table, for its index."""
        return self._table


class Words(collections.abc.Mapping):
    """id -> the row of that id, without its vector. Rows stay as Arrow has them: as dictionaries they would take ten
    times the memory."""

    def __init__(self, columns: pa.Table):
        self._columns = {name: columns[name].combine_chunks() for name in COLUMNS}
        self._places = {name: place for place, name in enumerate(columns["id"].to_pylist())}

    def __getitem__(self, name: str) -> dict[str, str]:
        place = self._places[name]
        return {column: values[place].as_py() for column, values in self._columns.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def schema(info: dict) -> pa.Schema:
    texts = [(name, pa.string()) for name in COLUMNS]
    return pa.schema([*texts, ("vector", pa.list_(vectors.KINDS[info["vectors"]], info["model"]["size"])),
                      ("scale", pa.float32())], metadata={_INFO: json.dumps(info)})


def exists(folder: str, name: str = ROWS) -> bool:
    """Whether a table was committed there."""
    place = os.path.join(folder, f"{name}.lance", "_versions")
    return os.path.isdir(place) and any(file.endswith(".manifest") for file in os.listdir(place))


def create(folder: str, info: dict, name: str = ROWS) -> Table:
    """An empty one. What a process that was killed while it made one has left is removed."""
    storage.remove(os.path.join(folder, f"{name}.lance"))
    with told(folder):
        made = _database(folder).create_table(name, schema=schema({"version": _VERSION, **info}))
    return Table(folder, name, made)


def replace(folder: str, by: Table, name: str = ROWS) -> Table:
    """Puts all rows of another table, and its info, in place of this one's, in one commit."""
    reader = pa.RecordBatchReader.from_batches(schema(by.info), by.batches())
    with told(folder):
        return Table(folder, name, _database(folder).create_table(name, data=reader, mode="overwrite"))


def drop(folder: str, name: str) -> None:
    storage.remove(os.path.join(folder, f"{name}.lance"))


def open_table(folder: str, name: str = ROWS) -> Table:
    """Raises FileNotFoundError where there is none."""
    database = _database(folder) if exists(folder, name) else None
    if database is None:
        raise FileNotFoundError(f"no gallery in {folder!r}: make one with geodesic gallery create")
    with told(folder):
        return Table(folder, name, database.open_table(name))


def require() -> None:
    """Raises UserError where LanceDB is not installed."""
    if importlib.util.find_spec("lancedb") is None:
        raise UserError("a gallery needs lancedb, which is not installed: pip install 'geodesic[gallery]'")


def _database(folder: str):
    require()
    import lancedb  # seconds, and of no use to anything else

    return lancedb.connect(folder)


@contextlib.contextmanager
def told(folder: str):
    """What LanceDB raises of the disk, as an error of the system, in one line."""
    try:
        yield
    except (UserError, FileNotFoundError):
        raise
    except (RuntimeError, ValueError, OSError) as error:
        text = " ".join(str(error).split())
        if re.search(r"os error 28\b|No space left", text):
            raise OSError(errno.ENOSPC, "no space left on the disk: what was not committed is not there, all else is. "
                                        "Make room, and give the same command again", folder) from error
        if re.search(r"os error (13|30)\b|Permission denied|Read-only file system", text):
            raise PermissionError(errno.EACCES, "the gallery cannot be written", folder) from error
        raise UserError(f"the gallery {folder} cannot be used: {text[:300]}") from error
