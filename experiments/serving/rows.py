"""The gallery at the service of many requests.

Two objects are open: one reads, one writes, each used by one thread at a time. Searches therefore wait for no addition,
and see it when it was committed, as they see what a command on the same gallery commits: all rows are read again then.
"""

import contextlib
import os
import threading
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from geodesic.experiments.galleries import pictures as of_rows
from geodesic.experiments.galleries.searching import UNKNOWN, Found, Hit
from geodesic.experiments.process import lock, storage
from geodesic.experiments.serving import pictures
from geodesic.experiments.serving.refusal import Refused


class Query(NamedTuple):
    """vector: f32[D] of the run, of any length. k: neighbours. only: of rows with this label, "" of all. without: the
    id of a row that is not found, as it is stored."""

    vector: np.ndarray
    k: int
    only: str = ""
    without: str = ""


class Uploaded:
    """A source of one picture that came over the network."""

    def __init__(self, content: bytes, path: str, name: str, label: str):
        self._record = {"image": content, "label": 0, "path": path}
        self.labels, self.num_classes, self.class_names, self.paths = np.zeros(1, np.int64), 1, [label], [path]
        self._name = name

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> dict:
        return self._record

    def columns(self) -> pa.Table:
        return pa.table({"id": [self._name]} if self._name else {})


class Rows:
    """reader, writer: two `Gallery` objects of one gallery. added: the folder for pictures that come over the network.
    threshold, far: as of `Gallery.find`."""

    def __init__(self, reader, writer, added: str, threshold: float | None, far: float):
        self._reader, self._writer, self.added = reader, writer, added
        self._given = {"threshold": threshold, "far": far}
        self._reading, self._writing, self._model = threading.RLock(), threading.Lock(), None

    def find(self, queries: list[Query]) -> list[tuple[Found, float | None] | Refused]:
        """What `Gallery.find` gives, bit for bit, whatever else is asked; and the threshold."""
        with self._reading:
            self._check()
            plain = [query for query in queries if not query.only]
            most = max((query.k + bool(query.without) for query in plain), default=0)
            found = iter(self._reader.find(np.stack([query.vector for query in plain]), [""] * len(plain), most,
                                           **self._given) if plain else [])
            limit = self.threshold()
            results = [self._labelled(query, limit) if query.only else _answered(next(found).hits, query, limit)
                       for query in queries]
            self._check()  # not since they were found either
            return [one if isinstance(one, Refused) else (one, limit) for one in results]

    def threshold(self) -> float | None:
        with self._reading:
            return self._reader.threshold(*self._given.values())

    def count(self) -> int:
        with self._reading:
            self._check()
            return len(self._reader.held())

    def row(self, name: str) -> dict:
        """What a row says, as it is stored, and its "vector". name: its id, where odd bytes of a file's name may be
        written as \\xNN. Raises Refused where there is none."""
        with self._reading:
            held = self._reader.held()
            stored = next((known for known in (name, of_rows.unescaped(name)) if known in held.places), None)
            if stored is None:
                raise Refused(404, f"no row has the id {name[:200]!r}")
            place = held.places[stored]
            return held.rows([place])[0] | {"vector": held.vectors([place])[0]}

    def labels(self) -> dict[str, int]:
        """Every label with the number of its rows, in their order."""
        with self._reading:
            counts = self._reader.held().columns["label"].value_counts().to_pylist()
        return dict(sorted((one["values"], one["counts"]) for one in counts if one["values"]))

    def named(self, text: str) -> tuple[np.ndarray, list[str]]:
        """(the mean of their unit vectors f32[D], the labels) of the rows whose label is this text, or, where none is,
        has it in it, whatever its case. Raises Refused where there is none."""
        with self._reading:
            known, held = self.labels(), self._reader.held()
            names = [text] if text in known else [name for name in known if text.casefold() in name.casefold()]
            if not names:
                raise Refused(404, f"no row has a label with {text[:200]!r} in it")
            return held.vectors(_places(held, names)).mean(axis=0), names

    def add(self, content: bytes, file: str, name: str, label: str) -> dict:
        """Keeps the picture in a file, named by its digest, and adds a row for it, or changes the one that has the id.
        Gives its id, and what was done."""
        path = storage.absolute(os.path.join(self.added, file))
        with self._alone():
            new = not os.path.exists(path)
            if new:
                storage.write(path, content)
            try:
                change = self._writer.add(Uploaded(content, path, name, label))
                if change.skipped:
                    raise Refused(422, change.skipped[0])
            except BaseException:
                if new:
                    os.unlink(path)
                raise
        done = next((what for what in ("added", "changed", "renamed") if getattr(change, what)), "unchanged")
        return {"id": of_rows.escaped(name or path), "label": label, "done": done}

    def remove(self, name: str) -> None:
        """Removes a row, and its picture where that came over the network and no other row has it."""
        with self._alone():
            row = self.row(name)
            self._writer.remove([row["id"]])
            with self._reading:
                kept = row["path"] in self._reader.held().columns["path"].to_pylist()
            file = of_rows.unescaped(row["path"])
            if not kept and file and os.path.dirname(pictures.resolved(file)) == pictures.resolved(self.added):
                os.unlink(file)

    def _check(self) -> None:
        """The gallery may have been migrated to another model since."""
        if self._reader.info["model"] != self._model:
            self._reader.check_bound()
            self._model = self._reader.info["model"]

    def _labelled(self, query: Query, limit: float | None) -> Found | Refused:
        """The nearest rows of one label. Each row is scored by itself, as in a search of all."""
        held = self._reader.held()
        places = _places(held, [query.only])
        if not len(places):
            return Refused(404, f"no row has the label {query.only[:200]!r}")
        unit = (query.vector[None] / np.maximum(np.linalg.norm(query.vector[None], axis=1, keepdims=True), 1e-30))[0]
        cosines = np.einsum("nd,d->n", held.vectors(places), unit.astype(np.float32))
        order = np.argsort(-cosines, kind="stable")[:query.k + bool(query.without)]
        return _answered([Hit(*(of_rows.unescaped(row[field]) for field in ("id", "path", "label")), float(cosine),
                              None if limit is None else float(cosine) >= limit)
                          for row, cosine in zip(held.rows(places[order]), cosines[order], strict=True)], query, limit)

    @contextlib.contextmanager
    def _alone(self):
        with self._writing:
            if os.path.isdir(self._writer.path) and lock.is_held(self._writer.path):
                raise Refused(503, "another process writes into the gallery: try again soon", again=5)
            yield


def _places(held, labels: list[str]) -> np.ndarray:
    """Of the rows with these labels. `held` was read, and not written to: all of its rows are there."""
    found = pa.compute.is_in(held.columns["label"], value_set=pa.array(labels, pa.string()))
    return np.flatnonzero(np.asarray(found))


def _answered(hits: list[Hit], query: Query, limit: float | None) -> Found:
    """As `searching.answered`, without the row that asks."""
    hits = [hit for hit in hits if not query.without or hit.id != of_rows.unescaped(query.without)][:query.k]
    answer = None if limit is None else UNKNOWN
    if hits and hits[0].known:
        answer = hits[0].label or hits[0].id
    return Found("", hits, answer)


def shown(hits: list[Hit]) -> list[dict]:
    """For JSON. Names are as the gallery stores them: in UTF-8, a name's odd bytes as \\xNN."""
    return [{"rank": rank, **{name: of_rows.escaped(getattr(hit, name)) for name in ("id", "path", "label")},
             "cosine": hit.cosine, "known": hit.known} for rank, hit in enumerate(hits, start=1)]
