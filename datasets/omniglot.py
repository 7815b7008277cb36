"""Omniglot: 1,623 handwritten characters of 50 alphabets, each by 20 people. Black ink on white, 105 x 105.

Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program induction, 2015.
"""

import numpy as np

from datasets import arrays

SIDE = 105
# The classes of these come first, so that two ranges of classes are the two sets.
SETS = ("background", "evaluation")


class Omniglot:
    """A `Source` over an .npz of `bits` u8[N,ceil(105 * 105 / 8)] (packed, 1 is ink), `label` int[N] and `names`, one
    for each label: set/alphabet/character, with "background" or "evaluation" in the set's name.

    The classes of the background set come first (0 .. 963 of the whole), then those of evaluation. Raises
    FileNotFoundError or ValueError.
    """

    def __init__(self, path: str):
        content = arrays.read_npz(path, ("bits", "label", "names"))
        bits, labels, names = content["bits"], content["label"], [str(name) for name in content["names"]]
        if bits.dtype != np.uint8 or bits.ndim != 2 or bits.shape[1] * 8 < SIDE * SIDE or not len(bits):
            raise ValueError(f"{path}: bits are u8[N,{-(-SIDE * SIDE // 8)}], got {bits.dtype}{list(bits.shape)}")
        if labels.shape != bits.shape[:1] or not np.issubdtype(labels.dtype, np.integer) or not (
                0 <= labels.min() <= labels.max() < len(names)):
            raise ValueError(f"{path}: labels are {len(bits)} numbers in 0..{len(names) - 1}, got "
                             f"{labels.dtype}{list(labels.shape)}")
        order = sorted(range(len(names)), key=lambda label: (_set(path, names[label]), names[label]))
        self.labels = np.argsort(order)[labels].astype(np.int64)
        self.class_names, self.num_classes = [names[label] for label in order], len(names)
        self.paths = [f"{path}#{index}" for index in range(len(bits))]
        self._bits = bits

    def __len__(self) -> int:
        return len(self._bits)

    def __getitem__(self, index: int) -> dict:
        ink = np.unpackbits(self._bits[index])[:SIDE * SIDE].reshape(SIDE, SIDE)
        image = np.repeat(((1 - ink) * np.uint8(255))[:, :, None], 3, axis=2)
        return {"image": image, "label": int(self.labels[index]), "path": self.paths[index]}


def _set(path: str, name: str) -> int:
    for place, known in enumerate(SETS):
        if known in name.split("/")[0]:
            return place
    raise ValueError(f"{path}: {name!r} is of neither the background nor the evaluation set")
