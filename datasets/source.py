"""What a source of labelled images is: random access to records, so that order, sharding and resume are exact."""

from typing import Protocol

import numpy as np


class Source(Protocol):
    """`source[i]` is {"image": encoded bytes or u8[H,W,3], "label": int, "path": str}, for 0 <= i < len(source).

    labels: int64[N], 0 <= label < num_classes. paths: one for each record. class_names: one for each label.
    """

    labels: np.ndarray
    paths: list[str]
    num_classes: int
    class_names: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict: ...


class Files:
    """A source of one image file per record. Raises FileNotFoundError when a file has gone."""

    def __init__(self, paths: list[str], labels: list[int], class_names: list[str]):
        self.paths = paths
        self.labels = np.asarray(labels, np.int64)
        self.class_names = class_names
        self.num_classes = len(class_names)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        with open(self.paths[index], "rb") as file:
            return {"image": file.read(), "label": int(self.labels[index]), "path": self.paths[index]}


class Classes:
    """The records of `source` whose label is in start..stop-1, relabelled from 0. stop 0 = to the end.

    Two such ranges that do not overlap make a class-disjoint split. Raises ValueError for an empty range.
    """

    def __init__(self, source: Source, start: int, stop: int):
        stop = stop or source.num_classes
        if not 0 <= start < stop <= source.num_classes:
            raise ValueError(f"classes {start}..{stop} asked of a source that has {source.num_classes}")
        self._source, self._start = source, start
        self._records = np.flatnonzero((source.labels >= start) & (source.labels < stop))
        self.labels = source.labels[self._records] - start
        self.paths = [source.paths[record] for record in self._records]
        self.class_names = source.class_names[start:stop]
        self.num_classes = stop - start

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict:
        record = self._source[self._records[index]]
        return {**record, "label": record["label"] - self._start}
