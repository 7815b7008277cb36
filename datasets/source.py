"""Defines what a source of labelled images is: random access to records, so that order, sharding and resume are exact.

    >>> files = Files(["a/0.jpg", "a/1.jpg", "b/0.jpg"], [0, 0, 1], ["a", "b"])
    >>> len(files), files.num_classes, files.labels.tolist()
    (3, 2, [0, 0, 1])
"""

import concurrent.futures
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

from ..errors import UserError
from . import buckets, objects

_THREADS, _FILES = 16, 256     # that look at files, and the files that each looks at between two others
_LOOKED_INTO, _PIECE = 20_000, 4096  # files whose content counts, evenly spread, and bytes of each that are read


class Source(Protocol):
    """What a source offers: `source[i]` is a record, for 0 <= i < len(source).

    One whose records lie far away also has `fetch(indices)`: `fetch` below says why.

    A record is {"image": encoded bytes or u8[H,W,3], "label": int, "path": str}. It may also have a "box" (left, top,
    right, bottom), which is all of the image that counts, "landmarks", x and y of five points of a face, which is then
    all that counts, and "tags", bool[T], where it is of several classes. crops.py says how both are seen.

    Attributes:
        labels: i64[N], 0 <= label < num_classes.
        paths: one for each record, for messages.
        num_classes: how many classes there are.
        class_names: one for each label.
        remarks: lines on what was passed over or changed in reading; a source that has none need not have it.
    """

    labels: np.ndarray
    paths: list[str]
    num_classes: int
    class_names: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict: ...

    def record_names(self) -> list[str]:
        """Names each record by what tells its image from others, wherever the source lies: for identity.py."""


class Files:
    """A source of one image file for each record. Reading one raises FileNotFoundError when the file has gone.

    found: the objects of paths in buckets, where they are known; else they are looked for (objects.py).
    """

    def __init__(self, paths: list[str], labels: list[int], class_names: list[str], remarks: Iterable[str] = (),
                 found: objects.Objects | None = None):
        self.paths, self.remarks = paths, [*remarks]
        self._objects = found or (objects.of(paths) if any(map(buckets.is_remote, paths)) else None)
        self.labels = np.asarray(labels, np.int64)
        self.class_names = class_names
        self.num_classes = len(class_names)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        return {"image": self._read(index), "label": int(self.labels[index]), "path": self.paths[index]}

    def _read(self, index: int) -> bytes:
        if self._objects:
            return self._objects.read(index)
        with open(self.paths[index], "rb") as file:
            return file.read()

    @property
    def fetch(self) -> Callable[[Iterable[int]], None]:
        """Reads files of buckets at once. Those of a disk need no such thing."""
        if not self._objects:
            raise AttributeError("fetch")
        return self._objects.fetch

    def record_names(self) -> list[str]:
        return file_names(self.paths, self._objects)


class Records:
    """The records of a source at these places, i[N], with the same classes.

    Example:
        >>> files = Files(["a/0.jpg", "a/1.jpg", "b/0.jpg"], [0, 0, 1], ["a", "b"])
        >>> Records(files, np.array([2, 0])).paths
        ['b/0.jpg', 'a/0.jpg']
    """

    def __init__(self, source: Source, places: np.ndarray):
        self._source, self._places = source, places
        self.labels, self.num_classes, self.class_names = source.labels[places], source.num_classes, source.class_names
        self.paths = [source.paths[place] for place in places]
        self.remarks = remarks(source)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict:
        return self._source[self._places[index]]

    @property
    def fetch(self) -> Callable[[Iterable[int]], None]:
        inner = self._source.fetch
        return lambda indices: inner([self._places[index] for index in indices])

    def record_names(self) -> list[str]:
        names = self._source.record_names()
        return [names[place] for place in self._places]


class ClassSubset:
    """The records of a source whose label is one of `classes`, i[C], relabelled 0 .. C-1 in that order."""

    def __init__(self, source: Source, classes: np.ndarray):
        new = np.full(source.num_classes, -1, np.int64)
        new[classes] = np.arange(len(classes))
        self._source, self._new = source, new
        self._records = np.flatnonzero(new[source.labels] >= 0)
        self.labels = new[source.labels[self._records]]
        self.paths = [source.paths[record] for record in self._records]
        self.class_names = [source.class_names[label] for label in classes]
        self.num_classes, self.remarks = len(classes), remarks(source)
        self.of_classes = getattr(source, "of_classes", source.num_classes)  # that the whole source has

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict:
        record = self._source[self._records[index]]
        return {**record, "label": int(self._new[record["label"]])}

    @property
    def fetch(self) -> Callable[[Iterable[int]], None]:
        inner = self._source.fetch
        return lambda indices: inner([self._records[index] for index in indices])

    def record_names(self) -> list[str]:
        names = self._source.record_names()
        return [names[record] for record in self._records]


class Classes(ClassSubset):
    """The records of a source whose label is in start..stop-1, relabelled from 0; stop 0 is the end.

    Two such ranges that do not overlap make a class-disjoint split. Raises UserError for an empty range.

    Example:
        >>> files = Files(["a/0.jpg", "a/1.jpg", "b/0.jpg"], [0, 0, 1], ["a", "b"])
        >>> Classes(files, 1, 0).class_names
        ['b']
    """

    def __init__(self, source: Source, start: int, stop: int):
        stop = stop or source.num_classes
        if not 0 <= start < stop <= source.num_classes:
            raise UserError(f"classes {start}..{stop} asked of a source that has {source.num_classes}: expected a "
                            f"start and a stop within 0..{source.num_classes}; (0, 0) keeps all")
        super().__init__(source, np.arange(start, stop))


class Fold(ClassSubset):
    """One part of a class-disjoint cross-validation, relabelled from 0.

    The classes, in their order, are cut into `folds` runs as equal as can be. The part "validation" has the classes of
    run `fold`, the part "train" those of the others. Raises UserError where there is no such fold or part.
    Musgrave, Belongie, Lim: A Metric Learning Reality Check, 2020, arXiv:2003.08505, has four folds over the first half
    of the classes.

    Example:
        >>> files = Files(["a/0.jpg", "a/1.jpg", "b/0.jpg"], [0, 0, 1], ["a", "b"])
        >>> [Fold(files, 2, 0, part).class_names for part in Fold.PARTS]
        [['b'], ['a']]
    """

    PARTS = ("train", "validation")

    def __init__(self, source: Source, folds: int, fold: int, part: str):
        if not 2 <= folds <= source.num_classes or not 0 <= fold < folds:
            raise UserError(f"fold {fold} of {folds} asked of a source that has {source.num_classes} classes: "
                            f"expected 2 to {source.num_classes} folds, and 0 <= fold < folds")
        if part not in self.PARTS:
            raise UserError(f"the part of a fold is {' or '.join(self.PARTS)}; got {part!r}")
        of_class = np.arange(source.num_classes) * folds // source.num_classes
        super().__init__(source, np.flatnonzero((of_class == fold) == (part == "validation")))


def fetch(source: Source, indices: Callable[[], Iterable[int]]) -> None:
    """Lets a source read the records that this thread will ask for next, all at once: afar, each alone would be waited
    for. A source that has them at hand is not asked, and the indices are not computed.
    """
    if reads := getattr(source, "fetch", None):
        reads(indices())


def remarks(source: Source) -> list[str]:
    """What is to be said of a source, or of the whole that it is a part of: lines, perhaps none."""
    return list(getattr(source, "remarks", ()))


def parted(path: str) -> tuple[str, str]:
    """Parts `FILE#OPTION`, the path of many a source; the option is "" where there is none.

    A file's own name may have a "#": it ends at the last one before which something lies.

    Example:
        >>> parted("faces.csv#train")  # which is not there
        ('faces.csv', 'train')
    """
    marks = [place for place, letter in enumerate(path) if letter == "#"]
    for end in (len(path), *reversed(marks)):
        if marks and buckets.exists(path[:end]):
            return path[:end], path[end + 1:]
    file, _, option = path.partition("#")
    return file, option


def file_names(paths: list[str], found: objects.Objects | None = None) -> list[str]:
    """Names files for `Source.record_names`: by their paths below their deepest common folder, sizes and content.

    The content is that of 4 KiB at the beginning and 4 KiB in the middle: many formats give all images one size. Of
    more than 20,000 files at most so many, evenly spread, are looked into. A file that is not there has size -1.
    found: the objects of paths in buckets.

    Example:
        >>> file_names(["photos/a/0.jpg", "photos/b/0.jpg"])  # of which there is none here
        ['a/0.jpg -1', 'b/0.jpg -1']
    """
    folders = {folder: os.path.abspath(folder) for folder in {os.path.dirname(path) for path in paths}}
    root = os.path.commonpath(folders.values()) if folders else ""
    below = {folder: os.path.relpath(full, root) for folder, full in folders.items()}
    every = -(-len(paths) // _LOOKED_INTO)
    looks = found.looks(every, _PIECE) if found else _looks(paths, every)
    return [f"{os.path.normpath(os.path.join(below[folder], name))} {look}"
            for (folder, name), look in zip(map(os.path.split, paths), looks, strict=True)]


def content_names(contents: Iterable) -> list[str]:
    """Names images in memory, bytes or u8 arrays, for `Source.record_names`: by digests of their content.

    Example:
        >>> content_names([b"an image", np.frombuffer(b"an image", np.uint8)])
        ['ee103f7dd3756007', 'ee103f7dd3756007']
    """
    return [hashlib.blake2b(content if isinstance(content, bytes) else np.ascontiguousarray(content),
                            digest_size=8).hexdigest() for content in contents]


def _looks(paths: list[str], every: int) -> list[str]:
    """The size of each file, and of every so many-th a digest of its beginning and its middle."""
    # A file server answers many at once; a task for each file would cost more than asking the disk.
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        parts = [range(start, min(start + _FILES, len(paths))) for start in range(0, len(paths), _FILES)]
        return [*itertools.chain.from_iterable(pool.map(lambda part: _looks_at(paths, part, every), parts))]


def _looks_at(paths: list[str], places: range, every: int) -> list[str]:
    looks = []
    for place in places:
        try:
            size = os.stat(paths[place]).st_size
            looks.append(f"{size}" if place % every else f"{size} {_glance(paths[place], size)}")
        except OSError:
            looks.append("-1")
    return looks


def _glance(path: str, size: int) -> str:
    with open(path, "rb", buffering=0) as file:
        start = file.read(_PIECE)
        file.seek(size // 2)
        return hashlib.blake2b(start + file.read(_PIECE), digest_size=8).hexdigest()
