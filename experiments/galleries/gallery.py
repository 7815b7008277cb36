"""A gallery: what `run.gallery(path)` gives, and what `geodesic gallery` works with."""

import contextlib
import json
import os
from collections.abc import Callable, Iterable

import numpy as np

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.galleries import (
    adding,
    approximate,
    binding,
    checking,
    engines,
    exporting,
    held,
    migrating,
    pictures,
    searching,
    table,
    vectors,
)
from geodesic.experiments.galleries.adding import Change
from geodesic.experiments.galleries.held import Held
from geodesic.experiments.galleries.searching import Found
from geodesic.experiments.process import storage


class Gallery:
    """Rows on disk, at `path`, each an id, a path, a label, metadata, the digest of the picture's bytes and a vector.

    It is bound to the model that made it: with another one (weights, layer, preprocessing, ...) nothing can be added
    or searched, whatever its number of dimensions. Every method that writes waits for another writer to end, and
    commits; killed at any moment, the gallery has what was committed. Rows are read into memory once.

    path: a folder, or an address that engines.py knows; the attribute `path` has no password. run: of `geodesic.load`;
    without one, what needs no model can be done. say: is told how far it is. stop: is asked after every commit whether
    to stop there.
    """

    def __init__(self, path, run=None, *, say: Callable[[str], None] = lambda line: None,
                 stop: Callable[[], bool] = lambda: False):
        self._address, self.run, self.say, self._stop = os.fspath(path), run, say, stop
        self.path, self._engine = table.shown(self._address), engines.of(self._address)
        self._table, self._held, self._seen = None, None, -1

    def __repr__(self) -> str:
        return f"<geodesic gallery {self.path!r}, {len(self):,} rows of {self.info['model']['size']} numbers>"

    def __len__(self) -> int:
        return self.opened().count()

    @property
    def info(self) -> dict:
        """{"model": what it is bound to, "identity": of the run, "vectors": dtype, "threshold": stored or None}."""
        return self.opened().info

    def exists(self) -> bool:
        """Whether it has been made."""
        return self._engine.exists(self._address)

    def create(self, dtype: str = "float32") -> "Gallery":
        """Makes an empty gallery, bound to the run; it is returned. dtype: of its vectors: float32, float16 or int8.

        Raises UserError where there is one, or anything else.
        """
        info = binding.info(self._run(), dtype)
        self._engine.require()
        self._engine.check_free(self._address)
        with self._engine.writing(self._address):
            self._engine.check_free(self._address)
            self._table = self._engine.create(self._address, info)
        return self

    def add(self, images) -> Change:
        """Adds the pictures that are not there yet, and embeds anew those whose bytes have changed.

        images: as of `run.embed`; a manifest (.csv, .parquet, FILE#SPLIT), whose column `id` names the rows and whose
        other columns become metadata; or a source. Of a folder, rows whose pictures have gone from it are in
        `vanished`, and stay. A picture that cannot be read is in `skipped`.
        """
        listed = images if isinstance(images, pictures.Listed) else pictures.Listed(self.source(images))
        with self.writing():
            known = self._known()
            change = self._write(listed.read(), len(listed), known)
        here = {*listed.paths}
        return change._replace(vanished=[row["id"] for row in pictures.of_folder(images, known.values())
                                         if row["path"] not in here])

    def update(self, images=None, *, remove_vanished: bool = False) -> Change:
        """Looks at the pictures of all rows again: those whose bytes have changed are embedded anew.

        images: a file or folder; rows elsewhere are left alone. remove_vanished: removes the rows whose pictures have
        gone; they are in `vanished` in any case. Pictures that are no rows are not added.
        """
        with self.writing():
            known = self._known()
            rows = [row for row in (known.values() if images is None else pictures.of_folder(images, known.values()))
                    if row["path"]]
            lost = [row["id"] for row, there in zip(rows, storage.each(
                storage.exists, [pictures.unescaped(row["path"]) for row in rows]), strict=True) if not there]
            gone = {*lost}
            left = [row for row in rows if row["id"] not in gone]
            change = self._write(pictures.again(left), len(left), known)
            if remove_vanished and lost and not change.stopped:
                self._delete(lost)
            return change._replace(vanished=lost, removed=len(lost) if remove_vanished and not change.stopped else 0)

    def remove(self, names: str | Iterable[str]) -> int:
        """Removes rows, and says how many. names: ids, paths of pictures, or folders, whose rows all go.

        Raises UserError, and removes nothing, where a name is of no row.
        """
        names = [names] if isinstance(names, str) else list(names)
        with self.writing(bound=False):
            ids = pictures.named(names, self._known(), self.path)
            self._delete(ids)
        return len(ids)

    def search(self, images, k: int = 10, *, threshold: float | None = None, far: float = 0.0, index: str = "",
               recall: float = approximate.RECALL) -> list[Found]:
        """The k nearest rows to each picture, by cosine, exactly. A picture that is a row does not find itself.

        images: as of `run.embed`. threshold, far: as of `threshold`. index: the kind of the one that `compact` has
        made, to ask that, which is not exact; UserError where it finds less than `recall` of what there is.
        Raises UserError where a picture cannot be read.
        """
        source = self.source(images)
        self.check_bound()
        found = self.run.embed_queries(source)
        if found.problems:
            raise UserError(found.problems[0])
        return self.find(found.embeddings, source.paths, k, threshold=threshold, far=far, index=index, recall=recall)

    def find(self, embeddings: np.ndarray, names: list[str], k: int = 10, *, threshold: float | None = None,
             far: float = 0.0, index: str = "", recall: float = approximate.RECALL) -> list[Found]:
        """As `search`, of embeddings f32[Q,D] of the run. names: of the queries, their paths where they have one."""
        if k < 1:
            raise UserError(f"k={k}: ask for at least one neighbour")
        if not np.isfinite(embeddings).all():
            raise UserError("an embedding of a query is not finite: the weights, or the preprocessing, are not those "
                            "of a trained model")
        opened = self.opened()
        limit = searching.limit(self.run, threshold, far, opened.info)
        queries = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-30)
        if index:
            rows = approximate.search(opened, queries, k + 1, self.index_of(index, recall))
        else:
            rows = searching.exact(self.held(), queries, k + 1)
        if not all(rows):
            raise UserError(f"{self.path} has no rows: add pictures with geodesic gallery add")
        own = [pictures.escaped(storage.absolute(name)) if storage.exists(name) else "" for name in names]
        return [searching.answered(*one, k, limit) for one in zip(names, own, rows, strict=True)]

    def threshold(self, given: float | None = None, far: float = 0.0) -> float | None:
        """From which cosine two pictures count as one identity: the one that is given; else that which `geodesic
        calibrate` has set with the run, of this false accept rate (0: of the smallest there is); else the one that the
        run had when the gallery was made; None without any."""
        return searching.limit(self.run, given, far, self.info)

    def rows(self) -> list[dict]:
        """Every row without its vector: {"id", "path", "label", "metadata", "digest"}."""
        return [{**{name: pictures.unescaped(row[name]) for name in ("id", "path", "label")},
                 "metadata": json.loads(row["metadata"]), "digest": row["digest"]}
                for row in self._reading(lambda opened: opened.columns()).to_pylist()]

    def export(self, out: str) -> int:
        """Writes all rows and their vectors, in float32, to a .parquet file that `geodesic search --embeddings` reads
        too; says how many."""
        exporting.check_extension(out)
        return exporting.write(out, self.held(), self.info)

    def compact(self, index: str = "", *, recall: float = approximate.RECALL, probes: int = approximate.PROBES
                ) -> dict | None:
        """Puts the rows of many commits into few files; what was removed or replaced is gone from the disk then.

        index: makes an approximate index of this kind too (`approximate.KINDS`), and returns what it finds of the true
        neighbours: {"recall@10", "recall@100", ...}. Raises UserError, and keeps no index, where that is less than
        `recall`. probes: parts of the index that a query looks into.
        """
        made, unchanged = None, lambda kept: None
        with self.writing(bound=False):
            self.opened()
            self._committed(lambda opened: opened.compact(), unchanged)
            if index:
                kept = self.held()
                make = lambda opened: approximate.make(self._address, opened, kept, index, recall, probes)
                made = self._committed(make, unchanged)
        return made

    def index_of(self, kind: str, recall: float = approximate.RECALL) -> dict:
        """What `compact` has measured of its index. Raises UserError where that is of another kind, or finds less."""
        return approximate.check(self._address, self.opened(), kind, recall)

    def check(self, *, look: bool = True) -> checking.Checked:
        """Reads every row, and says what is wrong. look: at the pictures too: whether they are there, and the same."""
        if self.run is not None:
            self.check_bound()
        return checking.check(self, look=look)

    def migrate(self, images=None, *, dtype: str = "", remove_vanished: bool = False) -> migrating.Migrated:
        """Embeds all pictures anew with this run, beside the rows of the old model, and puts them in their place in one
        commit. Until then the gallery is as it was; interrupted, the same call goes on.

        images: where the pictures are, by their ids; default: where the rows say. dtype: of the vectors; default: as
        before. remove_vanished: drops rows whose pictures have gone; else UserError names them, and nothing is
        replaced.
        """
        with self.writing(bound=False):
            info = binding.info(self._run(), dtype or self.info["vectors"])
            done = migrating.migrate(self, info, images and pictures.Listed(self.source(images)), remove_vanished)
            self._table, self._held, self._seen = None, None, -1
        return done

    def source(self, images):
        """The source of what `add` and `search` are given."""
        if isinstance(images, str | os.PathLike) and datasets.parted(os.fspath(images))[0].endswith(
                pictures.MANIFESTS):
            return datasets.build("manifest", path=os.fspath(images))
        return self._run().source(images)

    def check_bound(self) -> None:
        """Raises UserError, naming what differs, where the run is not the one that made it."""
        binding.check(self.info["model"], binding.of(self._run()), self.path)

    def opened(self):
        """The table as it was committed last."""
        if self._table is None:
            self._table = self._engine.open_table(self._address)
        self._table.refresh()
        return self._table

    def held(self) -> Held:
        """The rows in memory. Commits of this object keep them up; those of others are seen, and all is read again."""
        if self._seen != self.opened().version:
            self._held = self._reading(held.read)
            self._seen = self._table.version
        return self._held

    @contextlib.contextmanager
    def writing(self, bound: bool = True):
        """Alone with the gallery, as it was committed last. bound: whether the run must be the one that made it."""
        self._engine.require()
        self.opened()  # before a lock makes a folder
        if bound:
            self.check_bound()
        with self._engine.writing(self._address):
            if bound:
                self.check_bound()
            yield

    def _reading(self, read: Callable):
        """What `read` makes of the table; once more where another process compacts it meanwhile, which takes the files
        of older commits off the disk."""
        while True:
            opened = self.opened()
            version = opened.version
            try:
                return read(opened)
            except UserError:
                if opened.refresh() == version:
                    raise

    def _write(self, found, total: int, known: table.Words) -> Change:
        held_vectors = lambda ids: self.held().vectors([self.held().places[name] for name in ids])
        return adding.write(found, total, known, self.run, self._commit, vectors=held_vectors, say=self.say,
                            stop=self._stop)

    def _commit(self, columns: dict[str, list[str]], rows: np.ndarray) -> None:
        stored = vectors.decode(*vectors.encode(rows, self._table.info["vectors"]))
        self._committed(lambda opened: opened.write(columns, rows), lambda kept: kept.write(columns, stored))

    def _delete(self, ids: list[str]) -> None:
        self._committed(lambda opened: opened.delete(ids), lambda kept: kept.delete(ids))

    def _committed(self, on_disk: Callable, in_memory: Callable):
        """A commit of this object's, alone with the gallery: what is in memory follows, where it was up to date."""
        current = self._seen == self._table.version
        result = on_disk(self._table)
        self._table.refresh()
        if current:
            in_memory(self._held)
            self._seen = self._table.version
        return result

    def _known(self) -> table.Words:
        return table.Words(self.opened().columns())

    def _run(self):
        if self.run is None:
            raise UserError(f"this needs the model of {self.path}: give its run (--workdir=...)")
        return self.run
