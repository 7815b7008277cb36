"""Omniglot: 1,623 handwritten characters of 50 alphabets, each by 20 people. Black ink on white, 105 x 105.

Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program induction, 2015.
"""

import re

import numpy as np

from ...errors import UserError
from .. import grey
from ..source import content_names
from . import arrays, tfds

SIDE = 105
# The classes of these come first, so that two ranges of classes are the two sets.
SETS = ("background", "evaluation")


class Omniglot:
    """The source of an .npz file with three arrays.

    They are `bits` u8[N,ceil(105 * 105 / 8)] (packed, 1 is ink), `label` i[N] and `names`, one for each label:
    set/alphabet/character, with "background" or "evaluation" in the set's name.
    The drawings of a character are in the order of their drawers: a record's "drawer" is its place there. The classes
    of the background set come first (0 .. 963 of the whole), then those of evaluation. Raises FileNotFoundError, or
    UserError for a file of something else.
    """

    def __init__(self, path: str):
        content = arrays.read_npz(path, ("bits", "label", "names"))
        bits, labels, names = content["bits"], content["label"], [str(name) for name in content["names"]]
        if bits.dtype != np.uint8 or bits.ndim != 2 or bits.shape[1] * 8 < SIDE * SIDE or not len(bits):
            raise UserError(f"{path}: bits are u8[N,{-(-SIDE * SIDE // 8)}], got {bits.dtype}{list(bits.shape)}")
        if labels.shape != bits.shape[:1] or not np.issubdtype(labels.dtype, np.integer) or not (
                0 <= labels.min() <= labels.max() < len(names)):
            raise UserError(f"{path}: labels are {len(bits)} numbers in 0..{len(names) - 1}, got "
                            f"{labels.dtype}{list(labels.shape)}")
        order = sorted(range(len(names)), key=lambda label: (_set(path, names[label]), names[label]))
        self.labels = np.argsort(order)[labels].astype(np.int64)
        self.class_names, self.num_classes = [names[label] for label in order], len(names)
        self.paths = [f"{path}#{index}" for index in range(len(bits))]
        self._bits, self._drawers = bits, places_in_class(self.labels)

    def __len__(self) -> int:
        return len(self._bits)

    def __getitem__(self, index: int) -> dict:
        ink = np.unpackbits(self._bits[index])[:SIDE * SIDE].reshape(SIDE, SIDE)
        image = grey.of((1 - ink) * np.uint8(255))
        return {"image": image, "label": int(self.labels[index]), "path": self.paths[index],
                "drawer": int(self._drawers[index])}

    def record_names(self) -> list[str]:
        return content_names(self._bits)


class TfdsOmniglot:
    """The source of TensorFlow Datasets' `omniglot`, with the classes of `Omniglot` in the same order.

    path: [FOLDER/]omniglot, as of `tfds.Tfds`. That data set does not keep who drew, so records have no "drawer".
    Raises as `tfds.Tfds` does, and UserError for another data set.
    """

    def __init__(self, path: str):
        self._parts = [tfds.Tfds(f"{path}#{split}") for split in ("train", "test")]
        named = [[_tfds_name(path, which, name) for name in part.class_names]
                 for which, part in zip(SETS, self._parts, strict=True)]
        # Both splits know all names; each has the drawings of its own.
        found = sorted((place, named[place][label]) for place, part in enumerate(self._parts)
                       for label in np.unique(part.labels))
        self.class_names, self.num_classes = [name for _, name in found], len(found)
        number = {name: label for label, name in enumerate(self.class_names)}
        self.labels = np.array([number[named[place][label]] for place, part in enumerate(self._parts)
                                for label in part.labels], np.int64)
        self.paths = [path for part in self._parts for path in part.paths]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        first = len(self._parts[0])
        record = self._parts[0][index] if index < first else self._parts[1][index - first]
        return {**record, "label": int(self.labels[index])}

    def record_names(self) -> list[str]:
        return [name for part in self._parts for name in part.record_names()]


def load(path: str) -> Omniglot | TfdsOmniglot:
    """Opens Omniglot: an .npz file, as of `Omniglot`, or a data set of tfds, as of `TfdsOmniglot`."""
    return Omniglot(path) if path.endswith(".npz") else TfdsOmniglot(path)


def places_in_class(labels: np.ndarray) -> np.ndarray:
    """Counts how many of its label come before each, i[N].

    Example:
        >>> places_in_class(np.array([4, 7, 4, 4, 7]))
        array([0, 0, 1, 2, 1])
    """
    places = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        places[rows] = np.arange(len(rows))
    return places


def _tfds_name(path: str, which: str, name: str) -> str:
    """Turns tfds's Alphabet_of_the_Magi_0 into images_background/Alphabet_of_the_Magi/character01, as distributed."""
    parts = re.fullmatch(r"(.+)_(\d+)", name)
    if parts is None:
        raise UserError(f"{path} is not tfds's omniglot: a class is called {name!r}, expected ALPHABET_NUMBER")
    return f"images_{which}/{parts[1]}/character{int(parts[2]) + 1:02}"


def _set(path: str, name: str) -> int:
    for place, known in enumerate(SETS):
        if known in name.split("/")[0]:
            return place
    raise UserError(f"{path}: {name!r} is of neither the background nor the evaluation set")
