"""IJB-B and IJB-C as insightface distributes them: faces by five landmarks, templates, media, and pairs of templates.

Whitelam et al.: IARPA Janus Benchmark-B, 2017; Maze et al.: IARPA Janus Benchmark-C, 2018.
"""

import os

import numpy as np

from ...errors import UserError
from .. import alignment, decoding
from ..source import file_names


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
        lists = [f"{name}_{which}.txt" for which in ("name_5pts_score", "face_tid_mid", "template_pair_label")]
        faces, members, pairs = (self._table(file, fields) for file, fields in zip(lists, (12, 3, 3), strict=True))
        if [row[0] for row in faces] != [row[0] for row in members]:
            raise UserError(f"{self._meta}: the two lists of faces name other images")
        self._names = [row[0] for row in faces]
        numbers = self._numbers(lists[0], faces, slice(1, 12), float).astype(np.float32)
        self._points, self.scores = numbers[:, :10].reshape(-1, 5, 2), numbers[:, 10]
        self.templates, self.media = self._numbers(lists[1], members, slice(1, 3), int).T
        self.pairs, same = np.split(self._numbers(lists[2], pairs, slice(3), int), [2], axis=1)
        self.same = same[:, 0] == 1
        self.paths = [os.path.join(self._images, name) for name in self._names]
        ids, self.labels = np.unique(self.templates, return_inverse=True)
        self.class_names, self.num_classes = [str(name) for name in ids], len(ids)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        with open(self.paths[index], "rb") as file:
            image = decoding.decode({"image": file.read(), "path": self.paths[index]})
        try:
            face = alignment.align(image, self._points[index])
        except ValueError as error:
            raise UserError(f"cannot read the image {self.paths[index]}: {error}") from error
        return {"image": face, "label": int(self.labels[index]), "path": self.paths[index]}

    def record_names(self) -> list[str]:
        return file_names(self.paths)

    def _table(self, name: str, fields: int) -> list[list[str]]:
        path = os.path.join(self._meta, name)
        try:
            with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
                rows = [line.split() for line in file]
        except FileNotFoundError as error:
            raise FileNotFoundError(f"no list {path!r}: expected a folder IJBB or IJBC, with meta and "
                                    f"loose_crop") from error
        bad = [number for number, row in enumerate(rows, start=1) if len(row) != fields]
        if bad or not rows:
            raise UserError(f"{path}, line {bad[0] if bad else 1}: expected {fields} fields")
        return rows

    def _numbers(self, name: str, rows: list[list[str]], fields: slice, kind: type) -> np.ndarray:
        found = []
        for number, row in enumerate(rows, start=1):
            try:
                found.append([kind(value) for value in row[fields]])
            except ValueError as error:
                raise UserError(f"{os.path.join(self._meta, name)}, line {number}: {error}") from error
        return np.array(found)
