"""The images of a verification set as a source, for watching a run on one while it trains."""

import numpy as np

from . import pairs


class PairImages:
    """The source in which the two images of a pair of the same person are one class, those of different people two.

    A person may be in several pairs, so two classes may be one person: a signal to watch, not a figure to report. The
    figure is that of the ten folds. path: as of `pairs.load_bin`, which raises the errors.
    """

    def __init__(self, path: str):
        listed = pairs.load_bin(path)
        self._images, self.paths = listed.images, listed.images.paths
        first = np.zeros(len(listed.images), bool)
        first[listed.pairs[:, 0]] = True
        first[listed.pairs[~listed.same, 1]] = True
        self.labels = np.cumsum(first) - 1
        self.num_classes = int(first.sum())
        self.class_names = [f"pair{index}" for index in range(self.num_classes)]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict:
        return {**self._images[index], "label": int(self.labels[index])}

    def record_names(self) -> list[str]:
        return self._images.record_names()
