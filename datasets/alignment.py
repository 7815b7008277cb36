"""Aligns a face by five landmarks to the template of ArcFace, as insightface's norm_crop does."""

import cv2
import numpy as np

from ..errors import UserError

SIDE = 112  # pixels, height and width of an aligned face
# Where the eye at the left of the picture, the other, the nose and the corners of the mouth, left and right, are in it:
# x, y. Deng, Guo, Xue, Zafeiriou: ArcFace, 2019, arXiv:1801.07698; the numbers are insightface's.
TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
                     [70.7299, 92.2041]], np.float32)


def align(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Aligns the face of an image, u8[H,W,3].

    landmarks: f[5,2], x and y in pixels, in the order of TEMPLATE. OpenCV 4 shows the last digits of their transform,
        so they are best of the type that the detector gave: float32.
    Returns u8[112,112,3]; what lies outside of the image is black.
    Raises UserError where the landmarks are all one point, or no numbers.

    Example:
        >>> align(np.full((200, 300, 3), 7, np.uint8), 1.5 * TEMPLATE)[0, 0].tolist()
        [7, 7, 7]
    """
    landmarks = np.asarray(landmarks)
    if not np.isfinite(landmarks).all() or not np.ptp(landmarks, axis=0).any():
        raise UserError(f"the landmarks {landmarks.ravel().tolist()} are not five points of a face")
    return cv2.warpAffine(image, similarity(landmarks, TEMPLATE), (SIDE, SIDE), borderValue=0)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Finds the rotation, scale and shift that bring points f[P,2] nearest to `target`, f[P,2], by least squares.

    Returns f64[2,3], as OpenCV's warpAffine takes it. Umeyama: Least-squares estimation of transformation parameters
    between two point patterns, 1991.

    Example:
        >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> similarity(square, 2 * square + 3).round(6).tolist()
        [[2.0, 0.0, 3.0], [0.0, 2.0, 3.0]]
    """
    # In the order of operations of scikit-image, on which norm_crop rests: equal to the last digit.
    centre, wanted = source.mean(axis=0), target.mean(axis=0)
    spread, goal = source - centre, target - wanted
    u, values, vt = np.linalg.svd(goal.T @ spread / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = u @ np.diag(signs) @ vt
    scale = 1.0 / spread.var(axis=0).sum() * (values @ signs)
    return np.column_stack([scale * rotation, wanted - scale * (rotation @ centre)])
