"""What the table of a gallery is, whichever engine keeps it: its columns, its rows without their vectors, and its info.

An engine is a file beside this one (engines.py has them): lance.py, postgres.py, qdrant.py. Each gives

    require()                     UserError where its package is not installed
    exists(address, name)         whether a table was committed there
    check_free(address)           UserError where a gallery is, or cannot be
    create(address, info, name)   an empty table; what a process that was killed while it made one has left is removed
    open_table(address, name)     FileNotFoundError where there is none
    drop(address, name)           where there is one
    writing(address)              a context in which no other writer commits; it waits for one that does
    INDEXES, INDEXED              kinds of an approximate index, and dtypes of vectors that have one

and a Table, each of whose changes is one commit unless its file says otherwise:

    place, name, info, version    where it is, without a password; what its info says; of the last commit that was seen
    refresh()                     goes to what was committed last, by whomever, and gives its version
    count(), columns(), batches() rows; the last two in one order, in which what was written last is last
    write(rows, embeddings)       rows in place of those of the same ids
    delete(ids), compact()
    replace(by)                   all rows of another table, and its info, in place of this one's, at once
    note(), set_note(values)      what is kept beside it of its index; None for nothing
    index(kind, rows), unindex(), near(query, k, kind, probes)
"""

import collections.abc
import errno
import json
import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from geodesic.errors import UserError
from geodesic.experiments.galleries import vectors

ROWS, MIGRATED = "rows", "migrated"
COLUMNS = ("id", "path", "label", "metadata", "digest")
VERSION = 1


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


def shown(address: str) -> str:
    """The address without its password.

    Example:
        >>> shown("postgresql://ann:s3cret@host/db?sslmode=require&password=x#people")
        'postgresql://ann@host/db?sslmode=require#people'
    """
    text = re.sub(r"(://[^:/@?#]*):.*@", r"\1@", address)
    return re.sub(r"\?(?=#|$)", "", re.sub(r"(?<=[?&])(?:ssl)?password=[^&#]*&?|&(?:ssl)?password=[^&#]*", "", text))


def read_info(content: str | bytes | None, place: str) -> dict:
    """What a gallery says of itself: {"model": binding, "vectors": dtype, ...}. Raises UserError for another version.
    """
    info = json.loads(content) if content else {}
    if info.get("version") != VERSION:
        raise UserError(f"{place} is no gallery of this version of geodesic: its table says version "
                        f"{info.get('version')}, expected {VERSION}")
    return info


def none_there(place: str) -> FileNotFoundError:
    return FileNotFoundError(f"no gallery in {place!r}: make one with geodesic gallery create")


def is_there(place: str) -> UserError:
    return UserError(f"{place} is a gallery already: geodesic gallery add goes on with it")


def no_room(place: str) -> OSError:
    return OSError(errno.ENOSPC, "no space left on the disk: what was not committed is not there, all else is. Make "
                                 "room, and give the same command again", place)


def text_columns(rows: list[tuple]) -> pa.Table:
    """rows: the texts of COLUMNS."""
    columns = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
    return pa.table({name: pa.array(texts, pa.string()) for name, texts in zip(COLUMNS, columns, strict=True)})


def batch(rows: list[tuple], stored: np.ndarray, scales) -> pa.RecordBatch:
    """What `batches` gives: texts, vectors as they are stored [N,D], scales [N]."""
    texts = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.record_batch([*texts, vectors.to_arrow(stored), pa.array(scales, pa.float32())],
                           names=[*COLUMNS, "vector", "scale"])
