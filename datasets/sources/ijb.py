"""IJB-B and IJB-C as insightface distributes them: faces by five landmarks, templates, media, and pairs of templates.

Whitelam et al.: IARPA Janus Benchmark-B, 2017; Maze et al.: IARPA Janus Benchmark-C, 2018.
"""

import os

import cv2
import numpy as np

from ...errors import UserError
from .. import decoding
from ..source import file_names

SIDE = 112
# Where eyes, nose and corners of the mouth are in an aligned face of 112 px (Deng et al., arXiv:1801.07698).
LANDMARKS = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
                      [70.7299, 92.2041]], np.float64)


class Ijb:
    """The source of aligned faces of a folder called IJBB or IJBC, with loose_crop/ and meta/; a template is a class.

    Attributes, besides a source's own, for the template protocol:
        templates, media: i[N], of each face.
        scores: f[N], the detector's.
        pairs: i[M,2], ids of templates.
        same: bool[M], whether a pair is of one identity.

    Raises FileNotFoundError, or UserError naming the line of a damaged list.
    """

    def __init__(self, path: str):
        name = os.path.basename(os.path.abspath(path)).lower()
        self._images = os.path.join(path, "loose_crop")
        self._meta = os.path.join(path, "meta")
        faces = self._table(f"{name}_name_5pts_score.txt", 12)
        members = self._table(f"{name}_face_tid_mid.txt", 3)
        pairs = self._table(f"{name}_template_pair_label.txt", 3)
        if [row[0] for row in faces] != [row[0] for row in members]:
            raise UserError(f"{self._meta}: the two lists of faces name other images")
        self._names = [row[0] for row in faces]
        self._points = np.array([row[1:11] for row in faces], np.float64).reshape(-1, 5, 2)
        self.scores = np.array([row[11] for row in faces], np.float32)
        self.templates = np.array([row[1] for row in members], np.int64)
        self.media = np.array([row[2] for row in members], np.int64)
        self.pairs = np.array([row[:2] for row in pairs], np.int64)
        self.same = np.array([row[2] for row in pairs], np.int64) == 1
        self.paths = [os.path.join(self._images, name) for name in self._names]
        ids, self.labels = np.unique(self.templates, return_inverse=True)
        self.class_names, self.num_classes = [str(name) for name in ids], len(ids)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        with open(self.paths[index], "rb") as file:
            image = decoding.decode({"image": file.read(), "path": self.paths[index]})
        aligned = cv2.warpAffine(image, similarity(self._points[index], LANDMARKS), (SIDE, SIDE), borderValue=0)
        return {"image": aligned, "label": int(self.labels[index]), "path": self.paths[index]}

    def record_names(self) -> list[str]:
        return file_names(self.paths)

    def _table(self, name: str, fields: int) -> list[list[str]]:
        path = os.path.join(self._meta, name)
        try:
            with open(path) as file:
                rows = [line.split() for line in file]
        except FileNotFoundError as error:
            raise FileNotFoundError(f"no list {path!r}: expected a folder IJBB or IJBC, with meta and "
                                    f"loose_crop") from error
        bad = [number for number, row in enumerate(rows, start=1) if len(row) != fields]
        if bad or not rows:
            raise UserError(f"{path}, line {bad[0] if bad else 1}: expected {fields} fields")
        return rows


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Finds the rotation, scale and shift that bring points f[P,2] nearest to `target`, f[P,2], by least squares.

    Returns f64[2,3], as OpenCV's warpAffine takes it. Umeyama: Least-squares estimation of transformation parameters
    between two point patterns, 1991.

    Example:
        >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> similarity(square, 2 * square + 3).round(6).tolist()
        [[2.0, 0.0, 3.0], [0.0, 2.0, 3.0]]
    """
    centre, wanted = source.mean(axis=0), target.mean(axis=0)
    spread, goal = source - centre, target - wanted
    u, values, vt = np.linalg.svd(goal.T @ spread / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = u @ np.diag(signs) @ vt
    scale = (values * signs).sum() / (spread ** 2).sum(axis=1).mean()
    return np.column_stack([scale * rotation, wanted - scale * rotation @ centre])
