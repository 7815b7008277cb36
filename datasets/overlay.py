"""Whether two pictures are one that was edited: one is laid over the other, and what lies on each other is compared.

Pictures are cropped, framed, turned, mirrored, written upon, compressed. Keypoints find how one lies in the other; then
they must lie on each other to a fraction of a pixel, and the pixels must agree. Of two photographs of one shelf, taken
one after the other, neither is so: a camera that has moved sees things behind each other anew. Lowe: Distinctive Image
Features from Scale-Invariant Keypoints, 2004.
"""

from typing import NamedTuple

import cv2
import numpy as np

_SIDE = 192         # pixels of the longer side, at which keypoints are found and pixels compared
_KEYPOINTS = 300
_RATIO = 0.8        # a keypoint's nearest is so much nearer than its second, in the other picture
_INLIERS = 6        # keypoints that must agree on how one picture lies in the other
_COVERS = 0.6       # of one of the two pictures, the overlap
_SCALES = 0.25, 4.0
# From which agreement two pictures are one, and by how many pixels the keypoints of one may lie beside those of the
# other, on average. Chosen by benchmarks/duplicates.py.
AGREES, BESIDE = 0.93, 0.25


class Outline(NamedTuple):
    """What is kept of a picture: grey u8[h,w] without fine detail, keypoints f32[K,2] and descriptors u8[K,128]."""

    grey: np.ndarray
    points: np.ndarray
    descriptors: np.ndarray


def outline(image: np.ndarray) -> Outline:
    """Makes the outline of a picture u8[H,W,3].

    Example:
        >>> outline(np.zeros((30, 40, 3), np.uint8)).points.shape
        (0, 2)
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = _SIDE / max(grey.shape)
    size = max(round(grey.shape[1] * scale), 8), max(round(grey.shape[0] * scale), 8)
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    points, descriptors = cv2.SIFT_create(_KEYPOINTS, contrastThreshold=0.02).detectAndCompute(grey, None)
    if descriptors is None:
        descriptors = np.zeros((0, 128))
    return Outline(cv2.GaussianBlur(grey, (0, 0), 1.0),
                   np.array([point.pt for point in points], np.float32).reshape(-1, 2), descriptors.astype(np.uint8))


class Compared(NamedTuple):
    """How two pictures agree where they overlap. whole: the correlation of their pixels, the one as it is or mirrored,
    -1..1; moved: the one moved, turned and scaled as keypoints say, and apart: by how many pixels these then lie beside
    each other, in the median. 0 and inf where the keypoints say nothing."""

    whole: float
    moved: float
    apart: float

    def agreement(self, beside: float = BESIDE) -> float:
        """The better of the two; keypoints that lie farther beside each other are of two photographs."""
        return max(self.whole, self.moved) if self.apart <= beside else self.whole


def compare(one: Outline, other: Outline) -> Compared:
    """Lays one picture over the other.

    Example:
        >>> image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8).repeat(10, 0).repeat(10, 1)
        >>> found = compare(outline(image), outline(image[20:, 30:]))
        >>> found.whole < 0.5, found.agreement() > 0.95
        (True, True)
    """
    views = (view.astype(np.float32) for view in (one.grey, one.grey[:, ::-1]))
    resized = cv2.resize(other.grey, one.grey.shape[::-1]).astype(np.float32)
    return Compared(max(_correlation(view, resized) for view in views), *_moved(one, other))


def _moved(one: Outline, other: Outline) -> tuple[float, float]:
    nothing = 0.0, np.inf
    if min(len(one.points), len(other.points)) < max(_INLIERS, 2):
        return nothing
    nearest = cv2.BFMatcher(cv2.NORM_L2).knnMatch(one.descriptors, other.descriptors, k=2)
    pairs = [(match.queryIdx, match.trainIdx) for match, second in nearest if match.distance < _RATIO * second.distance]
    if len(pairs) < _INLIERS:
        return nothing
    source, target = (points[list(places)] for points, places in zip((one.points, other.points), zip(
        *pairs, strict=True), strict=True))
    cv2.setRNGSeed(0)
    matrix, inliers = cv2.estimateAffinePartial2D(source, target, method=cv2.RANSAC, ransacReprojThreshold=3.0,
                                                  maxIters=1000)
    if matrix is None or inliers.sum() < _INLIERS:
        return nothing
    scale, kept = float(np.hypot(*matrix[0, :2])), inliers.ravel() > 0
    apart = np.linalg.norm(source[kept] @ matrix[:, :2].T + matrix[:, 2] - target[kept], axis=1) / max(scale, 1)
    size = other.grey.shape[::-1]
    mask = cv2.warpAffine(np.ones(one.grey.shape, np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0
    if not _SCALES[0] < scale < _SCALES[1] or mask.sum() < _COVERS * min(scale ** 2 * one.grey.size, mask.size):
        return nothing
    moved = cv2.warpAffine(one.grey, matrix, size)[mask].astype(np.float32)
    return _correlation(moved, other.grey[mask].astype(np.float32)), float(np.median(apart))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.ravel() - one.mean(), other.ravel() - other.mean()
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(one @ other) / lengths if lengths > 1e-6 else 0.0
