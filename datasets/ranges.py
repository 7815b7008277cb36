"""A source whose records are ranges of bytes of a few large files, on a disk or in a bucket."""

from collections.abc import Callable, Iterable

import numpy as np

from . import buckets
from .ahead import Ahead


class Ranges:
    """The source of encoded images that lie in files.

    files: where. which: i[N], the file of each image; starts, sizes: i64[N], its bytes there. paths, labels,
    class_names: as of a `Source`. names: what `record_names` returns.
    Reading raises UserError where a file has changed, and attempts.UnreachableError where one cannot be reached.
    """

    def __init__(self, files: list[buckets.File], which: np.ndarray, starts: np.ndarray, sizes: np.ndarray,
                 paths: list[str], labels: np.ndarray, class_names: list[str], names: list[str],
                 remarks: Iterable[str] = ()):
        self.paths, self.labels, self.class_names, self.remarks = paths, labels, class_names, [*remarks]
        self.num_classes = len(class_names)
        self._files, self._which, self._starts, self._sizes, self._names = files, which, starts, sizes, names
        self._is_remote = any(buckets.is_remote(file.path) for file in files)
        self._ahead = Ahead()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        content = self._ahead.get(int(index))
        content = buckets.read(*self._range(index)) if content is None else content
        return {"image": content, "label": int(self.labels[index]), "path": self.paths[index]}

    @property
    def fetch(self) -> Callable[[Iterable[int]], None]:
        """Reads records at once, in place of those that this thread had read so. Files of a disk need no such thing."""
        if not self._is_remote:
            raise AttributeError("fetch")
        return self._fetch

    def _fetch(self, indices: Iterable[int]) -> None:
        self._ahead.read({index: self._range(index) for index in sorted({int(index) for index in indices})})

    def record_names(self) -> list[str]:
        return self._names

    def _range(self, index: int) -> tuple[buckets.File, int, int]:
        return self._files[self._which[index]], int(self._starts[index]), int(self._sizes[index])
