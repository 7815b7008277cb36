"""A table of images: a CSV or Parquet file with the columns path and label or labels, and perhaps split and box."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ...errors import UserError
from ..source import Files

SEPARATOR = "|"


class Manifest(Files):
    """The source of a table of image files.

    boxes: for each record (left, top, right, bottom) in pixels, or None where the whole image counts; None where it
    does for all. tags: bool[N, number of classes] where a record may be of several classes, or None; its label is the
    first that the table names.
    """

    def __init__(self, paths, labels, class_names, boxes: list | None, tags: np.ndarray | None):
        super().__init__(paths, labels, class_names)
        self.boxes, self.tags = boxes, tags

    def __getitem__(self, index: int) -> dict:
        record = super().__getitem__(index)
        if self.boxes is not None and self.boxes[index] is not None:
            record["box"] = self.boxes[index]
        if self.tags is not None:
            record["tags"] = self.tags[index]
        return record

    def record_names(self) -> list[str]:
        """Names records as those of files, with the boxes and the classes of those that have them."""
        names = super().record_names()
        if self.boxes is not None:
            names = [f"{name} {box}" for name, box in zip(names, self.boxes, strict=True)]
        if self.tags is not None:
            several = [SEPARATOR.join(self.class_names[tag] for tag in np.flatnonzero(tags)) for tags in self.tags]
            names = [f"{name} {tags.replace('/', ':')}" for name, tags in zip(names, several, strict=True)]
        return names


def load(path: str) -> Manifest:
    """Opens the rows of a manifest; `FILE#SPLIT` keeps those of one split. Paths are relative to the manifest.

    label: a name or a number; or labels: several names, parted by "|" (in Parquet also a list). box: four numbers
    parted by spaces (in Parquet also a list), empty for the whole image. Classes are those of the whole manifest, in
    sorted order, so that the splits of one file agree on them.
    Raises FileNotFoundError, or UserError for a table without these columns or rows.
    """
    path, _, split = path.partition("#")
    table = _read(path)
    column = "labels" if "labels" in table.column_names and "label" not in table.column_names else "label"
    missing = [name for name in ("path", column, *(("split",) if split else ())) if name not in table.column_names]
    if missing:
        raise UserError(f"{path} has no column {missing[0]!r}; it has {', '.join(table.column_names)}")
    rows = table.select([n for n in ("path", column, "split", "box") if n in table.column_names]).to_pylist()
    several = [_several(row[column]) if column == "labels" else [row[column]] for row in rows]
    empty = [number for number, (row, labels) in enumerate(zip(rows, several, strict=True), start=1)
             if row["path"] in (None, "") or not labels or labels[0] is None]
    if empty:
        raise UserError(f"{path}: row {empty[0]} has no path or no label")
    classes = {name: index for index, name in enumerate(sorted({label for labels in several for label in labels}))}
    kept = [place for place, row in enumerate(rows) if not split or row["split"] == split]
    if not kept:
        known = ", ".join(sorted({str(row["split"]) for row in rows})) if split else ""
        raise UserError(f"{path} has no row" + (f" of split {split!r}; it has {known}" if split else ""))
    folder = os.path.dirname(path)
    tags = None
    if column == "labels":
        tags = np.zeros((len(kept), len(classes)), bool)
        for row, place in enumerate(kept):
            tags[row, [classes[label] for label in several[place]]] = True
    boxes = [_box(path, place + 1, rows[place]["box"]) for place in kept] if "box" in table.column_names else None
    return Manifest([os.path.join(folder, rows[place]["path"]) for place in kept],
                    [classes[several[place][0]] for place in kept], [str(name) for name in classes], boxes, tags)


def _several(value) -> list:
    if value is None or isinstance(value, list):
        return value or []
    return [part.strip() for part in str(value).split(SEPARATOR) if part.strip()]


def _box(path: str, row: int, value) -> tuple[int, int, int, int] | None:
    if value is None or value == "":
        return None
    try:
        parts = value if isinstance(value, list) else value.split()
        left, top, right, bottom = (round(float(part)) for part in parts)
    except (ValueError, AttributeError, TypeError, OverflowError) as error:
        raise UserError(f"{path}: row {row} has box {value!r}; expected left, top, right, bottom in pixels") from error
    if not (left < right and top < bottom):
        raise UserError(f"{path}: row {row} has an empty box {value!r}: left < right and top < bottom expected")
    return left, top, right, bottom


def _read(path: str) -> pa.Table:
    if not os.path.exists(path):
        raise FileNotFoundError(f"no manifest {path!r}")
    try:
        if path.endswith(".parquet"):
            return pa.parquet.read_table(path)
        # A label like 007 is a name where any other row's is one; pyarrow decides for the whole column.
        return pa.csv.read_csv(path)
    except pa.ArrowException as error:
        raise UserError(f"{path} is no CSV or Parquet table: {error}") from error
