"""Makes a source whose classes come in four rotations, each a class of its own."""

import numpy as np

from ...errors import UserError
from .. import decoding, grey
from ..source import Source
from . import omniglot

TURNS = 4


class Rotated:
    """The records of a source, turned by 0, 90, 180 and 270 degrees: class c turned t times is class 4 c + t.

    A record with a box or landmarks is refused when it is read: they would not turn with it.
    Santoro, Bartunov, Botvinick, Wierstra, Lillicrap: Meta-Learning with Memory-Augmented Neural Networks, 2016.

    Example:
        >>> from geodesic import datasets
        >>> turned = Rotated(datasets.build("orl_faces", classes=(0, 1)))
        >>> len(turned), turned.num_classes, turned[1]["image"].shape
        (40, 4, (92, 112, 3))
    """

    def __init__(self, source: Source):
        self._source = source
        turns = np.arange(len(source) * TURNS) % TURNS
        self.labels = np.repeat(np.asarray(source.labels), TURNS) * TURNS + turns
        self.num_classes = source.num_classes * TURNS
        self.class_names = [f"{name}/rot{90 * turn:03}" for name in source.class_names for turn in range(TURNS)]
        self.paths = [f"{path}@rot{90 * turn:03}" for path in source.paths for turn in range(TURNS)]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        record = self._source[index // TURNS]
        if "box" in record or "landmarks" in record:
            raise UserError(f"{record['path']} has a box or landmarks, which do not turn with an image")
        image = _turned(decoding.decode(record), index % TURNS)
        return {**record, "image": image, "label": int(self.labels[index]), "path": self.paths[index]}

    def record_names(self) -> list[str]:
        return [f"{name}@rot{90 * turn:03}" for name in self._source.record_names() for turn in range(TURNS)]


@grey.once
def _turned(image: np.ndarray, turns: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(image, turns))


def load_omniglot(path: str) -> Rotated:
    """Opens Omniglot with its rotations, 6,492 classes. path: as of `omniglot.load`.

    The first 4,800 are of the 1,200 characters that are trained on in Vinyals et al.: Matching Networks for One Shot
    Learning, 2016, arXiv:1606.04080.
    """
    return Rotated(omniglot.load(path))
