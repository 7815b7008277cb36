"""Pictures that come into a gallery, and those in it that have changed: embedded in groups, each committed at once."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from geodesic.experiments.galleries.pictures import Picture, Records, unescaped
from geodesic.experiments.galleries.table import COLUMNS
from geodesic.experiments.process import progress

# Seconds between two commits, about: what an interrupted command has to do again.
COMMIT_SECONDS = 3.0
_AT_MOST = 4096  # pictures of a group, whose bytes are all in memory
_COUNTED = ("added", "changed", "renamed", "unchanged")


class Change(NamedTuple):
    """What a command did. added, changed, renamed (another label, path or metadata) and removed: numbers of rows;
    unchanged: of pictures. skipped: lines. vanished: ids of rows whose pictures have gone. stopped: by a signal."""

    added: int = 0
    changed: int = 0
    renamed: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: tuple[str, ...] | list[str] = ()
    vanished: tuple[str, ...] | list[str] = ()
    stopped: bool = False


def write(pictures: Iterable[list[Picture]], total: int, known: Mapping[str, dict], run, commit: Callable, *,
          vectors: Callable, say: Callable[[str], None], stop: Callable[[], bool]) -> Change:
    """Embeds the pictures that `known` (id -> row) has not, or has with another digest, and commits them in groups.

    commit: is given columns {name: texts} and unit vectors. vectors: ids -> the vectors that rows have, for those of
    which the words alone have changed.
    """
    counts, unread, skipped, stopped, done = dict.fromkeys(_COUNTED, 0), [], [], False, 0
    clock = progress.Clock(0, total, 1)
    for group in _groups(_sorted_out(pictures, known, counts, unread), run.config.evaluation.batch_size):
        words = [picture for picture in group if _state(picture, known) == "renamed"]
        fresh = [picture for picture in group if _state(picture, known) != "renamed"]
        kept, rows, problems = embedded(run, fresh)
        skipped += problems
        if words:
            rows = np.concatenate([rows, vectors([picture.id for picture in words])])
        kept += words
        if kept:
            commit(columns(kept), rows)
            for picture in kept:
                counts[_state(picture, known)] += 1
        done += len(group)
        looked = done + counts["unchanged"] + len(unread)
        pace = clock.read(looked) if done > len(group) else clock.restart(looked)  # the compiler's time is in the first
        say(f"{len(kept):,} row(s) committed; {looked:,} of {total:,} pictures done{_told(pace)}")
        if stopped := stop():
            break
    return Change(**counts, skipped=unread + skipped, stopped=stopped)


def embedded(run, pictures: list[Picture]) -> tuple[list[Picture], np.ndarray, list[str]]:
    """(the pictures that could be embedded, their unit vectors f32[N,D], a line for each of the others)."""
    if not pictures:
        return [], np.zeros((0, run.embedding_size), np.float32), []
    found = run.embed_source(Records(*zip(*((picture.record, picture.place) for picture in pictures), strict=True)))
    finite = np.isfinite(found.embeddings).all(axis=1) & (np.abs(found.embeddings).max(axis=1) > 0)
    kept = np.flatnonzero(found.readable & finite)
    lines = [f"{unescaped(pictures[place].path or pictures[place].id)}: its embedding is zero or not finite"
             for place in np.flatnonzero(found.readable & ~finite)]
    rows = found.embeddings[kept]
    return ([pictures[place] for place in kept], rows / np.linalg.norm(rows, axis=1, keepdims=True),
            found.problems + lines)


def columns(pictures: list[Picture]) -> dict[str, list[str]]:
    return {name: [getattr(picture, name) for picture in pictures] for name in COLUMNS}


def _told(pace: dict[str, float] | None) -> str:
    return f", {pace['images_per_second']:.1f} img/s, ETA {progress.duration(pace['eta_seconds'])}" if pace else ""


def _sorted_out(pictures, known, counts: dict, problems: list[str]) -> Iterator[Picture]:
    """Those for which there is something to do; the others are counted."""
    for picture in (picture for part in pictures for picture in part):
        if picture.problem:
            problems.append(picture.problem)
        elif (state := _state(picture, known)) == "unchanged":
            counts[state] += 1
        else:
            yield picture


def _state(picture: Picture, known: Mapping[str, dict]) -> str:
    row = known.get(picture.id)
    if row is None:
        return "added"
    if row["digest"] != picture.digest:
        return "changed"
    return "unchanged" if all(row[name] == getattr(picture, name) for name in COLUMNS) else "renamed"


def _groups(pictures: Iterator[Picture], batch_size: int) -> Iterator[list[Picture]]:
    """Whole batches, so many that what is done with a group takes a few seconds."""
    size, group = batch_size, []
    started = time.monotonic()
    for picture in pictures:
        group.append(picture)
        if len(group) == size:
            yield group
            seconds, group = time.monotonic() - started, []
            if seconds < COMMIT_SECONDS / 2:
                size = min(2 * size, max(_AT_MOST, batch_size))
            elif seconds > 2 * COMMIT_SECONDS:
                size = max(size // 2 // batch_size, 1) * batch_size
            started = time.monotonic()
    if group:
        yield group
