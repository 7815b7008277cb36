"""Pictures of which boxes and their classes are known: the sources that a detector learns from and is judged on.

A box is x1, y1, x2, y2: pixels of the upright picture, continuous and from 0, so that the first pixel is 0, 0, 1, 1.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from . import objects
from .source import Files


class Boxes(NamedTuple):
    """The boxes of many pictures, one after the other.

    Attributes:
        starts: i64[N+1]; those of picture i are starts[i] .. starts[i+1]-1.
        boxes: f32[A,4].
        classes: i32[A].
        crowd: bool[A]: a region of many objects, or one that is not to be judged. Nothing is learnt from it, and what a
            detector finds there is neither right nor wrong.
        areas: f32[A], in pixels; of an outline where the data have one, else of the box.
    """

    starts: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray

    def of(self, picture: int) -> dict[str, np.ndarray]:
        """Those of one picture, by these names."""
        rows = slice(self.starts[picture], self.starts[picture + 1])
        return {name: getattr(self, name)[rows] for name in self._fields[1:]}

    def counts(self) -> np.ndarray:
        """i64[N], how many of each picture are no crowds."""
        return np.diff(np.concatenate([[0], np.cumsum(~self.crowd)])[self.starts])

    def take(self, pictures: np.ndarray) -> "Boxes":
        """Those of the pictures i64[K], in that order."""
        counts = np.diff(self.starts)[pictures]
        starts = np.concatenate([[0], np.cumsum(counts)])
        rows = np.arange(starts[-1]) + np.repeat(self.starts[pictures] - starts[:-1], counts)
        return Boxes(starts, *(values[rows] for values in self[1:]))


class BoxFiles(Files):
    """A source of one picture file for each record, with boxes.

    A record is {"image": bytes, "label": 0, "path", "boxes": f32[n,4], "classes": i32[n], "crowd": bool[n],
    "areas": f32[n]}, and "size", (height, width), where the data say which size its picture has.

    Attributes:
        boxes: of all pictures.
        sizes: i64[N,2], height and width of each picture; 0 where they are not known.
        category_ids: i64[C], what the data call each class.
        image_ids: i64[N], what they call each picture.
    """

    def __init__(self, paths: list[str], class_names: list[str], boxes: Boxes, *, sizes: np.ndarray | None = None,
                 category_ids: Sequence[int] | None = None, image_ids: Sequence[int] | None = None,
                 remarks: Sequence[str] = (), found: objects.Objects | None = None):
        super().__init__(paths, np.zeros(len(paths), np.int64), class_names, remarks, found)
        self.boxes = boxes
        self.sizes = np.zeros((len(paths), 2), np.int64) if sizes is None else sizes
        self.category_ids = np.arange(1, len(class_names) + 1) if category_ids is None else np.asarray(category_ids)
        self.image_ids = np.arange(1, len(paths) + 1) if image_ids is None else np.asarray(image_ids)

    def __getitem__(self, index: int) -> dict:
        return super().__getitem__(index) | self.annotations(index)

    def annotations(self, index: int) -> dict:
        """A record without its image, which is not read."""
        size = {"size": tuple(self.sizes[index].tolist())} if self.sizes[index].all() else {}
        return {"path": self.paths[index], "label": 0} | self.boxes.of(index) | size

    def subset(self, places: np.ndarray) -> "BoxFiles":
        """The source of the pictures i64[K], of the same classes."""
        found = self._objects and self._objects.take(places)
        return BoxFiles([self.paths[place] for place in places], self.class_names, self.boxes.take(places),
                        sizes=self.sizes[places], category_ids=self.category_ids, image_ids=self.image_ids[places],
                        remarks=self.remarks, found=found)

    def record_names(self) -> list[str]:
        """Names records as those of files, with a digest of their boxes."""
        names = []
        for place, name in enumerate(super().record_names()):
            own = self.boxes.of(place)
            digest = hashlib.blake2b(b"".join(own[key].tobytes() for key in ("boxes", "classes", "crowd")),
                                     digest_size=8)
            names.append(f"{name} {digest.hexdigest()}")
        return names


def gather(path: str, picture_names: Sequence[str], pictures: np.ndarray, corners: np.ndarray, classes: np.ndarray, *,
           crowd: np.ndarray | None = None, areas: np.ndarray | None = None, sizes: np.ndarray | None = None,
           where: Callable[[int], str] = lambda row: f"box {row + 1}") -> tuple[Boxes, list[str]]:
    """(the boxes by their pictures, what is to be said of them).

    A box without any area is left out, and counted in a remark; one that reaches over the edge of its picture stays as
    it is, and is counted.

    Args:
        path: of the annotations, for messages.
        picture_names: of the N pictures, for messages.
        pictures: i64[A], the place of each box's picture.
        corners: f64[A,4].
        classes: i[A].
        crowd: bool[A]; none where it is None.
        areas: f64[A], NaN for that of the box; None for those of all boxes.
        sizes: i64[N,2], height and width of the pictures, 0 where they are not known.
        where: says of a row which box it is, for messages.

    Raises UserError for a box that is not finite, that ends before it begins, or that lies outside of its picture.
    """
    corners, pictures = np.asarray(corners, np.float64).reshape(-1, 4), np.asarray(pictures, np.int64)

    def refuse(bad: np.ndarray, what: str) -> None:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise UserError(f"{path}: {where(row)}, of {picture_names[pictures[row]]!r}, {what.format(*corners[row])}"
                            + (f"; so do {bad.sum() - 1:,} more" if bad.sum() > 1 else ""))

    with np.errstate(over="ignore"):
        single = corners.astype(np.float32)
    refuse(~np.isfinite(single).all(axis=1), "has corners that are no numbers: {0:g} {1:g} {2:g} {3:g}")
    refuse((corners[:, 2:] < corners[:, :2]).any(axis=1), "ends before it begins: x {0:g} to {2:g}, y {1:g} to {3:g}")
    height, width = (np.zeros((len(picture_names), 2), np.int64) if sizes is None else sizes)[pictures].T
    known = (height > 0) & (width > 0)
    outside = known & ((corners[:, 0] >= width) | (corners[:, 1] >= height) | (corners[:, 2:] <= 0).any(axis=1))
    refuse(outside, "lies outside of its picture: x {0:g} to {2:g}, y {1:g} to {3:g}")
    flat = (single[:, 2:] <= single[:, :2]).any(axis=1)
    beyond = known & ~flat & ((corners[:, :2] < 0).any(axis=1) | (corners[:, 2] > width) | (corners[:, 3] > height))
    remarks = []
    if flat.any():
        first = int(np.flatnonzero(flat)[0])
        remarks.append(f"{path}: {flat.sum():,} box(es) without any area are left out, the first {where(first)}, of "
                       f"{picture_names[pictures[first]]!r}")
    if beyond.any():
        remarks.append(f"{path}: {beyond.sum():,} box(es) reach over the edge of their picture")
    rows = np.flatnonzero(~flat)
    rows = rows[np.argsort(pictures[rows], kind="stable")]
    own = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    areas = own if areas is None else np.where(np.isnan(areas), own, areas)
    starts = np.concatenate([[0], np.cumsum(np.bincount(pictures[rows], minlength=len(picture_names)))])
    crowd = np.zeros(len(corners), bool) if crowd is None else crowd
    return Boxes(starts, single[rows], np.asarray(classes, np.int32)[rows], np.asarray(crowd, bool)[rows],
                 areas[rows].astype(np.float32)), remarks
