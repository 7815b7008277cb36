"""The rows of a gallery in memory, kept up without reading them again, and who among them is nearest. Exact.

A block of products picks candidates, and each is scored again by itself (neighbors/on_host.py): a row's score is the
same bit for bit wherever it lies and whatever is asked beside it, and of equal scores the row that was added first is
first.
"""

import functools

import numpy as np
import pyarrow as pa

from geodesic.experiments.galleries import vectors
from geodesic.experiments.galleries.table import COLUMNS
from geodesic.metrics.neighbors import on_host

_TILE, _ELEMENTS = 64, 2**26   # rows of a product are whole tiles; products at a time
_NO_TEXTS = pa.table({name: pa.array([], pa.string()) for name in COLUMNS})
_SPARE, _DEAD = 4, 4           # room for a quarter more; a quarter that is gone is taken out


class Held:
    """columns: of N rows, in the order of the first N of `room` f32[M,D], M >= N. Some of them may be gone later."""

    def __init__(self, columns: pa.Table, room: np.ndarray):
        self.columns, self._rows = columns, len(columns)
        self._vectors, self._gone = room, np.zeros(len(columns), bool)
        self._end()

    def __len__(self) -> int:
        return self._rows - int(self._gone.sum())

    @functools.cached_property
    def places(self) -> dict[str, int]:
        """Where each id is."""
        return {name: place for place, name in enumerate(self.columns["id"].to_pylist()) if not self._gone[place]}

    def rows(self, places) -> list[dict]:
        """What these rows say, without their vectors."""
        if self.columns["id"].num_chunks > 1:  # it is slow to pick from several
            self.columns = self.columns.combine_chunks()
        return self.columns.take(pa.array(places, pa.int64())).to_pylist()

    def vectors(self, places) -> np.ndarray:
        return self._vectors[np.asarray(places, np.int64)]

    def all(self) -> tuple[pa.Table, np.ndarray]:
        """(columns, vectors) of the rows that are there."""
        kept = np.flatnonzero(~self._gone)
        return self.columns.take(kept), self._vectors[kept]

    def write(self, columns: dict[str, list[str]], embeddings: np.ndarray) -> None:
        """Rows that come, in place of those of the same ids."""
        self.delete([name for name in columns["id"] if name in self.places])
        first, self._rows = self._rows, self._rows + len(embeddings)
        if self._rows > len(self._vectors):
            self._vectors = _spacious(self._vectors[:first], self._rows)
        self._vectors[first:self._rows] = embeddings
        self._end()
        self._gone = np.concatenate([self._gone, np.zeros(len(embeddings), bool)])
        added = pa.table({name: pa.array(columns[name], pa.string()) for name in COLUMNS})
        self.columns = pa.concat_tables([self.columns, added])
        self.places.update({name: first + place for place, name in enumerate(columns["id"])})

    def delete(self, ids: list[str]) -> None:
        for name in ids:
            self._gone[self.places.pop(name)] = True
        if self._gone.sum() * _DEAD > self._rows:
            kept = np.flatnonzero(~self._gone)
            self.columns, self._rows = self.columns.take(kept).combine_chunks(), len(kept)
            self._vectors, self._gone = _spacious(self._vectors[kept], len(kept)), np.zeros(len(kept), bool)
            self._end()
            del self.places

    def top(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest to each query, unit vectors f32[Q,D]: places i32[Q,K] and cosines f32[Q,K], best first. K is k,
        or the number of rows where that is less."""
        gone, width, k = np.flatnonzero(self._gone), -(-self._rows // _TILE) * _TILE, min(k, len(self))
        if not k:
            return np.zeros((len(queries), 0), np.int32), np.zeros((len(queries), 0), np.float32)
        rows = self._vectors[:width]
        block, found = max(_ELEMENTS // max(width, 1), 1), []
        for start in range(0, len(queries), block):
            part = np.ascontiguousarray(queries[start:start + block], np.float32)
            coarse = part @ rows.T if len(part) > 1 else (rows @ part[0])[None]
            coarse[:, self._rows:] = -np.inf
            coarse[:, gone] = -np.inf
            found.append(on_host.top_screened(coarse, self._slack(part), part, rows, k))
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

    def _end(self) -> None:
        """Zeros to the end of the last tile: products are taken of all of it."""
        self._vectors[self._rows:self._rows + _TILE] = 0

    def _slack(self, queries: np.ndarray) -> np.ndarray:
        """How far two float32 sums of the same products, each in any order, are apart at most: f32[Q]. The length of a
        stored vector is 1, to within a rounding that the factor covers."""
        longest = 1.01 * np.linalg.norm(queries, axis=1)
        return (queries.shape[1] * np.finfo(np.float32).eps * longest).astype(np.float32)


def read(table) -> Held:
    """All rows of a table. Each batch goes to its place as it comes: nothing is held twice."""
    count, size, at, parts = table.count(), table.info["model"]["size"], 0, []
    room = _spacious(np.empty((0, size), np.float32), count)
    for batch in table.batches():
        rows = vectors.decode(vectors.from_arrow(batch["vector"]), batch["scale"].to_numpy(zero_copy_only=False))
        if at + len(rows) > len(room):  # more than when they were counted
            room = _spacious(room[:at], at + len(rows))
        room[at:at + len(rows)] = rows
        at += len(rows)
        parts.append(_texts(batch))
    return Held(pa.concat_tables([*parts, _NO_TEXTS]).combine_chunks(), room)


def _texts(batch: pa.RecordBatch) -> pa.Table:
    """The texts of a batch in memory of their own: as they come, they would keep its vectors in memory too."""
    texts = batch.select([*COLUMNS]).cast(_NO_TEXTS.schema)
    return pa.table({name: pa.concat_arrays([texts[name], _NO_TEXTS[name].chunk(0)]) for name in COLUMNS})


def _spacious(rows: np.ndarray, count: int) -> np.ndarray:
    """The same rows with room for `count` and more. The system gives memory when it is written to."""
    room = np.empty((-(-(count + count // _SPARE + 1) // _TILE) * _TILE, rows.shape[1]), np.float32)
    room[:len(rows)] = rows
    return room
