"""A table of images: CSV or Parquet with the columns path and label or labels, perhaps split, box and landmarks.

One with the columns labels and boxes is a source of pictures with several boxes each: box_table.py.
"""

import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ...errors import UserError
from .. import buckets
from ..boxes import BoxFiles
from ..source import Files, parted
from . import box_table, class_names, regions, tables, text_labels
from .text_labels import SEPARATOR, refuse


class Manifest(Files):
    """The source of a table of image files.

    boxes: for each record (left, top, right, bottom), or None where the whole image counts; None where it does for
    all. landmarks: f32[N,10], of each record's face, or None; regions.py says what both are. tags: bool[N, number of
    classes] where a record may be of several classes, or None; its label is the first that the table names. tag_names:
    of those classes. table: path of the table. rows: places of the records in it. remarks: what was made of the table
    that its writer may not have meant.
    """

    def __init__(self, paths, labels, class_names, boxes: list | None, tags: np.ndarray | None, table: str = "",
                 rows: Sequence[int] = (), remarks: Sequence[str] = (), landmarks: np.ndarray | None = None):
        super().__init__(paths, labels, class_names)
        self.boxes, self.landmarks, self.tags, self.remarks = boxes, landmarks, tags, [*remarks]
        self.tag_names = None if tags is None else class_names
        self._table, self._rows = table, rows

    def __getitem__(self, index: int) -> dict:
        record = super().__getitem__(index)
        if self.boxes is not None and self.boxes[index] is not None:
            record["box"] = self.boxes[index]
        if self.landmarks is not None:
            record["landmarks"] = tuple(self.landmarks[index].tolist())
        if self.tags is not None:
            record["tags"] = self.tags[index]
        return record

    def record_names(self) -> list[str]:
        """Names records as those of files, with the boxes, landmarks and classes of those that have them."""
        names = super().record_names()
        if self.boxes is not None:
            names = [f"{name} {box}" for name, box in zip(names, self.boxes, strict=True)]
        if self.landmarks is not None:
            names = [f"{name} {row}" for name, row in zip(names, self.landmarks.tolist(), strict=True)]
        if self.tags is not None:
            several = [SEPARATOR.join(self.class_names[tag] for tag in np.flatnonzero(tags)) for tags in self.tags]
            names = [f"{name} {tags.replace('/', ':')}" for name, tags in zip(names, several, strict=True)]
        return names

    def columns(self) -> pa.Table:
        """Reads the other columns of the table, a row for each record: all but path, label, and labels that are tags.

        Where several have one name, the second is called NAME.1, and so on.
        """
        table, found = tables.read(self._table).take(pa.array(self._rows, pa.int64())), {}
        for place, name in enumerate(name.strip() for name in table.column_names):
            if name not in ("path", "label") and (name != "labels" or self.tags is None):
                alike = sum(one == name or one.startswith(f"{name}.") for one in found)
                found[f"{name}.{alike}" if name in found else name] = table.column(place)
        return pa.table(found)


def load(path: str) -> Manifest | BoxFiles:
    """Opens the rows of a manifest; `FILE#SPLIT` keeps those of one split. Paths are relative to the manifest, or URLs.

    label: the text that stands there, without the blanks around it; or labels: several, parted by "|" (in Parquet also
    a list). box, landmarks: as regions.py reads them. Classes are those of the rows that are kept, in the order of
    their text, or of their values where the labels are numbers alone.
    Raises FileNotFoundError, or UserError for a table without these columns or rows, and naming the rows without a path
    or a label.
    """
    path, split = parted(path)
    split = split.strip()
    named = _named(path, tables.header(path), split)
    table = tables.read(path, [*named.values()]).rename_columns([*named])
    column = "label" if "label" in named else "labels"
    rows, remarks = _rows(path, table, split)
    whole, table = table, table.take(pa.array(rows, pa.int64())) if split else table
    files, folder = _paths(path, rows, table["path"]), os.path.dirname(path)
    paths = [file if buckets.is_remote(file) else os.path.join(folder, file) for file in files]
    if "boxes" in named:
        return box_table.load(path, whole, files, paths, rows, remarks)
    several, by_value = text_labels.read(path, rows, table[column], column, remarks)
    names = text_labels.ordered({name for labels in several for name in labels}, by_value)
    number = {name: index for index, name in enumerate(names)}
    tags = None
    if column == "labels":
        tags = np.zeros((len(rows), len(names)), bool)
        for place, labels in enumerate(several):
            tags[place, [number[label] for label in labels]] = True
    boxes, landmarks = regions.boxes(path, rows, table), regions.landmarks(path, rows, table)
    remarks += [*class_names.remarks(names), *regions.remarks(boxes, landmarks)]
    return Manifest(paths, [number[labels[0]] for labels in several], names,
                    boxes, tags, path, rows, [f"{path}: {remark}" for remark in remarks], landmarks)


def _named(path: str, header: list[str], split: str) -> dict[str, str]:
    """What is read -> the name of its column as it stands there, which may have blanks around it."""
    stripped = [name.strip() for name in header]
    column = "labels" if "labels" in stripped and "label" not in stripped else "label"
    regional = ("boxes",) if column == "labels" and "boxes" in stripped else regions.columns(stripped)
    for name in ("path", column, *(("split",) if split else ())):
        if name not in stripped:
            raise UserError(f"{path} has no column {name!r}; it has {', '.join(stripped)}"
                            + (" (columns are parted by commas)" if len(stripped) == 1 else ""))
    wanted = ("path", column, *(("split",) if split else ()), *regional)
    named = {name: header[stripped.index(name)] for name in wanted if name in stripped}
    twice = [name for name in named if stripped.count(name) > 1]
    if twice:
        raise UserError(f"{path} has {stripped.count(twice[0])} columns {twice[0]!r}: expected one")
    return named


def _rows(path: str, table: pa.Table, split: str) -> tuple[Sequence[int], list[str]]:
    """(the places of a split's rows, what is to be said)."""
    remarks, rows = [], range(len(table))
    if split:
        splits, padded = text_labels.texts(path, rows, table["split"], "split")
        rows = [row for row, name in enumerate(splits) if name == split]
        without = splits.count("")
        if not rows:
            known = ", ".join(sorted({*splits} - {""}))
            raise UserError(f"{path} has no row of split {split!r}; it has {known}")
        remarks += [f"{padded:,} split(s) had blanks around them, which do not count"] if padded else []
        remarks += [f"{without:,} row(s) are of no split"] if without else []
    if not rows:
        raise UserError(f"{path} has no row")
    return rows, remarks


def _paths(path: str, rows: Sequence[int], column: pa.ChunkedArray) -> list[str]:
    """The paths as they stand there: a file's name may begin with a blank, and be in no encoding where it is bytes."""
    values = column.to_pylist()
    refuse(path, "no path", [row for row, value in zip(rows, values, strict=True) if value in (None, "", b"")])
    refuse(path, "a path that is no text", [row for row, value in zip(rows, values, strict=True)
                                            if not isinstance(value, str | bytes)])
    files = [os.fsdecode(value) for value in values]
    refuse(path, "a path with a zero byte", [row for row, file in zip(rows, files, strict=True) if "\0" in file])
    return files
