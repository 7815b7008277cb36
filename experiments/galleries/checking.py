"""Whether a gallery is whole: every row is read, and its picture looked at."""

import collections
import json
from typing import NamedTuple

import numpy as np

from geodesic.experiments.galleries import adding, pictures, vectors

_SHOWN, _SAMPLE, _LEAST_COSINE = 5, 16, 0.99


class Checked(NamedTuple):
    """rows: how many there are. unchanged, changed, vanished: of their pictures, ids; rows of no file are in none.
    problems: what is wrong with the rows themselves, a line each; [] of a gallery that is whole. cosine: the least of
    some rows and their pictures embedded anew; None where that was not looked at."""

    rows: int
    unchanged: list[str]
    changed: list[str]
    vanished: list[str]
    problems: list[str]
    cosine: float | None


def check(gallery, *, look: bool) -> Checked:
    problems, rows = [], []
    opened = gallery.opened()
    for batch in opened.batches():
        words = batch.select(["id", "path", "label", "metadata", "digest"]).to_pylist()
        found = vectors.decode(vectors.from_arrow(batch["vector"]), batch["scale"].to_numpy(zero_copy_only=False))
        problems += _wrong(words, found, vectors.TOLERANCE[opened.info["vectors"]])
        rows += words
    twice = [name for name, count in collections.Counter(row["id"] for row in rows).items() if count > 1]
    problems += [f"{len(twice)} id(s) are those of several rows: {', '.join(twice[:_SHOWN])}"] if twice else []
    if not look:
        return Checked(len(rows), [], [], [], problems, None)
    unchanged, changed, vanished, sample = [], [], [], []
    every = max(len(rows) // _SAMPLE, 1)
    for place, picture in enumerate(one for part in pictures.again([row for row in rows if row["path"]])
                                    for one in part):
        same = not picture.problem and picture.digest == rows[place]["digest"]
        (unchanged if same else vanished if picture.problem else changed).append(picture.id)
        if same and len(unchanged) % every == 0 and len(sample) < _SAMPLE:
            sample.append(picture)
    return Checked(len(rows), unchanged, changed, vanished, *_embedded_anew(gallery, sample, problems))


def _wrong(words: list[dict], found: np.ndarray, tolerance: float) -> list[str]:
    lengths, lines = np.linalg.norm(found, axis=1), []
    for place in np.flatnonzero(~(np.abs(lengths - 1) <= tolerance)):
        lines.append(f"{words[place]['id']}: the length of its vector is {lengths[place]:.4g}, and not 1")
    for row in words:
        try:
            json.loads(row["metadata"])
            int(row["digest"], 16)
        except (TypeError, ValueError) as error:
            lines.append(f"{row['id']}: its metadata or digest cannot be read: {error}")
    return lines


def _embedded_anew(gallery, sample: list[pictures.Picture], problems: list[str]) -> tuple[list[str], float | None]:
    if gallery.run is None or not sample:
        return problems, None
    kept, rows, skipped = adding.embedded(gallery.run, sample)
    held = gallery.held()
    cosines = (rows * held.vectors([held.places[picture.id] for picture in kept])).sum(axis=1)
    for picture, cosine in zip(kept, cosines, strict=True):
        if cosine < _LEAST_COSINE:
            problems = [*problems, f"{picture.id}: its vector and its picture embedded anew have the cosine "
                                   f"{cosine:.4f}: the row is not of this model and picture"]
    return problems + skipped, float(cosines.min()) if len(cosines) else None
