"""Detection: COCO's average precision and recall of boxes with classes and scores.

Boxes are x1, y1, x2, y2: left, top, right and bottom edges in pixels, so that a box is x2 - x1 wide; COCO's files hold
x, y, width, height. Boxes of area 0 are allowed. Lin et al.: Microsoft COCO: Common Objects in Context, 2014,
arXiv:1405.0312; the rules are those of its program COCOeval.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from . import boxes as geometry

# The overlaps at which a detection is right, the recalls at which precision is read, and the areas of objects.
OVERLAPS, RECALLS = np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101)
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
# How many detections of each image and class count, highest scores first.
LIMITS = (1, 10, 100)


class Detections(NamedTuple):
    """What was found in an image.

    Attributes:
        boxes: f[N,4], as x1, y1, x2, y2.
        scores: f[N].
        classes: int[N], any integers; rows of class -1 are padding and left out.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


class Truth(NamedTuple):
    """The objects of an image.

    Attributes:
        boxes: f[G,4], as x1, y1, x2, y2.
        classes: int[G]; rows of class -1 are padding and left out.
        crowd: bool[G], None for none: a region of many objects, in which detections count neither as right nor wrong.
        area: f[G], of the objects' outlines, which tells small from large; None takes the boxes' own.
    """

    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray | None = None
    area: np.ndarray | None = None


class ClassMatches(NamedTuple):
    """The detections of one class in all images, by falling score; of equal scores the earlier image comes first.

    Attributes:
        scores: f[D].
        images: i[D], the image of each.
        places: i[D], its place in its image, 0 for the highest score.
        hits: bool[A,T,D], whether it is right, for each of AREAS and OVERLAPS.
        ignored: bool[A,T,D], whether it counts neither as right nor as wrong.
        positives: i[A,I], the objects to be found in each image.
    """

    scores: np.ndarray
    images: np.ndarray
    places: np.ndarray
    hits: np.ndarray
    ignored: np.ndarray
    positives: np.ndarray


class Matches(NamedTuple):
    """What `match` found: which detections are right.

    Attributes:
        classes: the `ClassMatches` by class, ascending; of all classes that are detected or true.
        images: their number.
    """

    classes: dict[int, ClassMatches]
    images: int

    def only(self, label: int) -> "Matches":
        """Gives the matches of one class, for its own summary or intervals."""
        if label not in self.classes:
            raise UserError(f"class {label} is neither detected nor true: there are {list(self.classes)}")
        return Matches({label: self.classes[label]}, self.images)


def match(detections: Sequence[Detections], truths: Sequence[Truth]) -> Matches:
    """Says which detections are right, at each overlap and for each range of areas.

    In each image and class, detections take objects in the order of their scores: the object that is still free and
    overlaps most, a later one of equals, one outside of the range of areas or a crowd only where no other does.

    Args:
        detections: of each image.
        truths: of each image, in the same order.

    Returns:
        The matches, from which everything else is counted.

    Raises:
        UserError: the numbers of images or rows differ, a value is not finite, or a box ends before it begins.

    Example:
        >>> from geodesic.metrics import detection
        >>> found = detection.Detections([[0, 0, 9, 9], [50, 50, 60, 60]], [0.6, 0.9], [7, 7])
        >>> matches = detection.match([found], [detection.Truth([[0, 0, 10, 10]], [7])])
        >>> matches.classes[7].scores.tolist(), matches.classes[7].hits[0, 0].tolist()
        ([0.9, 0.6], [False, True])
    """
    detections, truths = checked(detections, truths)
    labels = sorted({int(label) for image in (*detections, *truths) for label in image.classes})
    return Matches({label: _match_class(detections, truths, label) for label in labels}, len(truths))


def checked(detections: Sequence[Detections], truths: Sequence[Truth]) -> tuple[list[Detections], list[Truth]]:
    """Checks what was found and what there is to be found, leaves out padding, and fills in what was not given.

    Args:
        detections: of each image.
        truths: of each image.

    Returns:
        Both, as arrays of float64, int64 and bool, without rows of class -1.

    Raises:
        UserError: as of `match`.

    Example:
        >>> from geodesic.metrics import detection
        >>> empty = detection.Detections([], [], [])
        >>> _, (truth,) = detection.checked([empty], [detection.Truth([[0, 0, 2, 3]], [7])])
        >>> truth.crowd.tolist(), truth.area.tolist()
        ([False], [6.0])
    """
    if len(detections) != len(truths):
        raise UserError(f"detections of {len(detections)} images and the truth of {len(truths)}: expected as many")
    return ([_checked_image(image, f"image {place}, detections") for place, image in enumerate(detections)],
            [_checked_image(image, f"image {place}, truth") for place, image in enumerate(truths)])


def _checked_image(image: Detections | Truth, where: str) -> Detections | Truth:
    boxes = _boxes(image.boxes, where)
    labels = _labels(image.classes, boxes, where)
    if isinstance(image, Detections):
        columns = Detections(boxes, _column(image.scores, boxes, "scores", where), labels)
    else:
        crowd = np.zeros(len(boxes), bool) if image.crowd is None else _column(image.crowd, boxes, "crowd", where) != 0
        area = geometry.areas(boxes) if image.area is None else _column(image.area, boxes, "area", where)
        columns = Truth(boxes, labels, crowd, area)
    return type(image)(*(column[labels != -1] for column in columns))


def _boxes(boxes, where: str) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64)
    if boxes.size == 0:
        return np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UserError(f"{where}: boxes of {boxes.shape}, expected [N,4]")
    if not np.isfinite(boxes).all():
        raise UserError(f"{where}: boxes hold NaN or infinite values: nothing is scored")
    turned = (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    if turned.any():
        raise UserError(f"{where}: box {boxes[turned][0].tolist()} ends before it begins; boxes are x1, y1, x2, y2, "
                        "so add x and y to the width and height of x, y, width, height")
    return boxes


def _column(values, boxes, name: str, where: str) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.shape != (len(boxes),):
        raise UserError(f"{where}: {name} of {values.shape} for {len(boxes)} boxes, expected one for each")
    if not np.isfinite(values).all():
        raise UserError(f"{where}: {name} hold NaN or infinite values: nothing is scored")
    return values


def _labels(labels, boxes, where: str) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.size and not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{where}: classes are integers, got {labels.dtype}")
    return _column(labels, boxes, "classes", where).astype(np.int64)


def assign(overlap: np.ndarray, crowd: np.ndarray, ignored: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Gives each detection of one image and class its object, by the rule of `match`.

    Args:
        overlap: f[D,G], detections by falling score.
        crowd: bool[G], objects that any number of detections may take.
        ignored: bool[A,G], objects that are taken only where no other can be.
        thresholds: f[T], the least overlaps.

    Returns:
        i[A,T,D], the object, -1 for none.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import detection
        >>> none = np.zeros((1, 1), bool)
        >>> detection.assign(np.array([[0.6], [0.9]]), none[0], none, np.array([0.5, 0.75])).tolist()
        [[[0, -1], [-1, 0]]]
    """
    taken = np.full((len(ignored), len(thresholds), len(overlap)), -1)
    free = np.ones((len(ignored), len(thresholds), len(crowd)), bool)
    for place in np.flatnonzero((overlap >= thresholds.min()).any(axis=1)):
        reached = free & (overlap[place] >= thresholds[:, None])
        regular = reached & ~ignored[:, None]
        reached = np.where(regular.any(axis=2, keepdims=True), regular, reached)
        # Reversed, so that the last of equals comes first.
        best = len(crowd) - 1 - np.where(reached, overlap[place], -1)[..., ::-1].argmax(axis=2)
        row, column = np.nonzero(reached.any(axis=2))
        taken[row, column, place] = best[row, column]
        free[row, column, best[row, column]] = crowd[best[row, column]]
    return taken


def _match_class(detections: list[Detections], truths: list[Truth], label: int) -> ClassMatches:
    parts = [_match_image(found, truth, label) for found, truth in zip(detections, truths, strict=True)]
    scores, hits, ignored, positives = zip(*parts, strict=True)
    counts = [len(own) for own in scores]
    scores = np.concatenate(scores)
    order = np.argsort(-scores, kind="stable")
    return ClassMatches(scores[order], np.repeat(np.arange(len(parts)), counts)[order],
                        np.concatenate([np.arange(count) for count in counts])[order],
                        np.concatenate(hits, axis=2)[..., order], np.concatenate(ignored, axis=2)[..., order],
                        np.stack(positives, axis=1))


def _match_image(found: Detections, truth: Truth, label: int):
    """Gives the scores f[D], hits and ignored bool[A,T,D], and positives i[A] of one class in one image."""
    own, chosen = truth.classes == label, strongest(found, label)
    low, high = np.array(list(AREAS.values())).T[..., None]
    outside = (truth.area[own] < low) | (truth.area[own] > high) | truth.crowd[own]
    overlap = geometry.overlaps(found.boxes[chosen], truth.boxes[own], truth.crowd[own])
    taken = assign(overlap, truth.crowd[own], outside, OVERLAPS)
    size = geometry.areas(found.boxes[chosen])
    astray = ((size < low) | (size > high))[:, None] & (taken < 0)
    # A column more for what took nothing, the last, at -1.
    wasted = np.take_along_axis(np.pad(outside, ((0, 0), (0, 1)))[:, None], np.where(taken < 0, own.sum(), taken), 2)
    return found.scores[chosen], (taken >= 0) & ~wasted, wasted | astray, (~outside).sum(axis=1)


def strongest(found: Detections, label: int) -> np.ndarray:
    """Gives the detections of one class in an image that count: those of the highest scores, as many as LIMITS allow.

    Args:
        found: in the image.
        label: the class.

    Returns:
        i[D], by falling score; of equal scores the earlier comes first.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import detection
        >>> found = detection.Detections(np.zeros((3, 4)), np.array([0.1, 0.9, 0.5]), np.array([7, 7, 3]))
        >>> detection.strongest(found, 7).tolist()
        [1, 0]
    """
    own = np.flatnonzero(found.classes == label)
    return own[np.argsort(-found.scores[own], kind="stable")][:LIMITS[-1]]
