"""Makes a source whose classes come in four rotations, and mirrored in four more, each a class of its own."""

import numpy as np

from ...errors import UserError
from .. import decoding, grey
from ..source import Source
from . import omniglot

TURNS = 4


class Rotated:
    """The records of a source, turned by 0, 90, 180 and 270 degrees: class c turned t times is class 4 c + t.

    With mirrored they come mirrored left to right and then turned, too, all eight symmetries of a square: class c is
    8 c + t, and 8 c + 4 + t mirrored. What is its own mirror image then is two classes of the same images.
    A record with a box or landmarks is refused when it is read: they would not turn with it.
    Santoro, Bartunov, Botvinick, Wierstra, Lillicrap: Meta-Learning with Memory-Augmented Neural Networks, 2016.

    Example:
        >>> from geodesic import datasets
        >>> turned = Rotated(datasets.build("orl_faces", classes=(0, 1)))
        >>> len(turned), turned.num_classes, turned[1]["image"].shape
        (40, 4, (92, 112, 3))
    """

    def __init__(self, source: Source, mirrored: bool = False):
        self._source = source
        self._poses = [f"{mirror}rot{90 * turn:03}" for mirror in (("", "mirrored_") if mirrored else ("",))
                       for turn in range(TURNS)]
        count = len(self._poses)
        self.labels = np.repeat(np.asarray(source.labels), count) * count + np.arange(len(source) * count) % count
        self.num_classes = source.num_classes * count
        self.class_names = [f"{name}/{pose}" for name in source.class_names for pose in self._poses]
        self.paths = [f"{path}@{pose}" for path in source.paths for pose in self._poses]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        record = self._source[index // len(self._poses)]
        if "box" in record or "landmarks" in record:
            raise UserError(f"{record['path']} has a box or landmarks, which do not turn with an image")
        image = _posed(decoding.decode(record), index % len(self._poses))
        return {**record, "image": image, "label": int(self.labels[index]), "path": self.paths[index]}

    def record_names(self) -> list[str]:
        return [f"{name}@{pose}" for name in self._source.record_names() for pose in self._poses]


@grey.once
def _posed(image: np.ndarray, pose: int) -> np.ndarray:
    mirrored, turns = divmod(pose, TURNS)
    return np.ascontiguousarray(np.rot90(image[:, ::-1] if mirrored else image, turns))


def load_omniglot(path: str) -> Rotated:
    """Opens Omniglot with its rotations, 6,492 classes. path: as of `omniglot.load`.

    The first 4,800 are of the 1,200 characters that are trained on in Vinyals et al.: Matching Networks for One Shot
    Learning, 2016, arXiv:1606.04080.
    """
    return Rotated(omniglot.load(path))


def load_omniglot_dihedral(path: str) -> Rotated:
    """Opens Omniglot with its rotations and their mirror images, 12,984 classes. path: as of `omniglot.load`."""
    return Rotated(omniglot.load(path), mirrored=True)
