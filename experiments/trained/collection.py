"""Pictures with their vectors, wherever these lie: in a gallery, in an embedding file, or in a source to embed now."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.galleries import pictures
from geodesic.experiments.galleries.gallery import Gallery
from geodesic.experiments.process import storage
from geodesic.experiments.trained import embedding_file, inputs, thresholds
from geodesic.metrics import retrieval


class Collection(NamedTuple):
    """Row i is a picture: ids[i] names it, paths[i] is its file or "" of what is no file, labels[i] its class or "",
    embeddings[i] f32[D] its vector of length 1. identity: of the model. stored: the threshold that a gallery brings, an
    entry of `thresholds`, or None. read: from the place of a row to its pixels."""

    ids: list[str]
    paths: list[str]
    labels: list[str]
    embeddings: np.ndarray
    identity: dict
    read: Callable[[int], np.ndarray]
    stored: dict | None = None

    @property
    def labelled(self) -> bool:
        return len({*self.labels}) > 1


def of_gallery(gallery: Gallery | str) -> Collection:
    """gallery: one, or its folder."""
    gallery = Gallery(gallery) if isinstance(gallery, str) else gallery
    columns, embeddings = gallery.held().all()
    ids, paths, labels = ([pictures.unescaped(text) for text in columns[name].to_pylist()]
                          for name in ("id", "path", "label"))
    info = gallery.info
    return _checked(Collection(ids, paths, labels, embeddings, info["identity"], _files(paths, ids),
                               info["threshold"]), gallery.path)


def of_file(path: str, root: str = "") -> Collection:
    """Raises as `embedding_file.read`."""
    found = embedding_file.read(path, root)
    labels = found.labels or [""] * len(found.paths)
    return _checked(Collection(found.paths, found.paths, labels, retrieval.normalized(found.embeddings), found.identity,
                               _files(found.paths, found.paths)), path)


def of_source(run, source: datasets.Source, say: Callable[[str], None] = lambda line: None,
              advance: Callable[[int], None] = lambda images: None) -> Collection:
    """Embeds a source. say: is told of each picture that has no vector, which is left out."""
    embedded = run.embed_source(source, advance)
    kept, problems = inputs.usable(source, embedded.embeddings, embedded.readable, embedded.problems,
                                   "its embedding is")
    for problem in problems:
        say(f"skipped: {problem}")
    paths = [source.paths[place] for place in kept]
    labels = [source.class_names[source.labels[place]] for place in kept]
    return _checked(Collection(paths, paths, labels, retrieval.normalized(embedded.embeddings[kept]), run.identity,
                               lambda row: datasets.decode(source[int(kept[row])])), "the pictures that are given")


class Threshold(NamedTuple):
    """From which cosine two pictures count as one identity, or None; a line on where it comes from; its false accept
    rate, or None."""

    cosine: float | None
    whence: str = ""
    far: float | None = None


def threshold(found: Collection, workdir: str, given: float | None = None, far: float = 0.0) -> Threshold:
    """Finds the threshold that counts.

    given: it is this one. Else it is of `geodesic calibrate` in the workdir, for the rate `far` or the smallest there
    is; else the one that a gallery has kept. Raises UserError where none is of this rate or model.
    """
    if given is not None:
        return Threshold(given, "as given")
    entry = thresholds.load(workdir, found.identity, far) if workdir else None
    if entry is None and found.stored:
        entry = thresholds.choose([found.stored], far, "the gallery")
    if entry is None:
        if far:
            raise UserError(f"--far={far:g}: there is no threshold of geodesic calibrate; name the --workdir that has "
                            f"one, or give --threshold")
        return Threshold(None)
    return Threshold(entry["threshold"], thresholds.describe_rates(entry), entry["far"])


def _checked(found: Collection, where: str) -> Collection:
    if not len(found.ids):
        raise UserError(f"{where}: there is no picture with a vector")
    if not np.isfinite(found.embeddings).all():
        raise UserError(f"{where}: a vector is not finite")
    return found


def _files(paths: list[str], ids: list[str]) -> Callable[[int], np.ndarray]:
    def read(row: int) -> np.ndarray:
        if not paths[row]:
            raise FileNotFoundError(f"{ids[row]} is no file")
        return datasets.decode({"image": storage.read(paths[row]), "path": paths[row]})

    return read
