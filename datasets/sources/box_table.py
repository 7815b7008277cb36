"""A manifest of several boxes for each picture: the columns path, boxes and labels, and perhaps split."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ...errors import UserError
from .. import crops
from ..boxes import BoxFiles, gather
from . import text_labels
from .text_labels import SEPARATOR

_EXPECTED = "left, top, right, bottom"


def load(path: str, table: pa.Table, files: list[str], paths: list[str], rows: Sequence[int],
         remarks: list[str]) -> BoxFiles:
    """Opens a table that has a column of boxes.

    boxes: in a CSV four numbers for each box, left, top, right and bottom in pixels, parted by blanks, and the boxes
    parted by "|"; in Parquet perhaps a list of lists. labels: as many, parted by "|" or a list. Both are empty for a
    picture that shows nothing. Classes are those of the whole table, whatever split is kept, in the order of their text
    or, where all labels are numbers, of their values.

    Args:
        path: of the table.
        table: all its rows, of the columns boxes and labels.
        files, paths: of the pictures of the rows that are kept, as they stand there, and where they lie.
        rows: which those are.
        remarks: what there is to say of the table so far.

    Raises UserError, naming the row.
    """
    labels = [_labels(path, row, value) for row, value in enumerate(table["labels"].to_pylist())]
    names, _, of_names = text_labels.number(sorted({label for several in labels for label in several}))
    if not names:
        raise UserError(f"{path} has no label in any row")
    number = {name: place for place, name in enumerate(names)}
    values = table["boxes"].to_pylist()
    owners, corners, classes, origin = [], [], [], []
    for place, row in enumerate(rows):
        found = _boxes(path, row, values[row])
        if len(found) != len(labels[row]):
            raise UserError(f"{path}: row {row + 1} has {len(found)} boxes and {len(labels[row])} labels: expected as "
                            f"many of both")
        owners += [place] * len(found)
        corners += found
        classes += [number[label] for label in labels[row]]
        origin += [row] * len(found)
    if corners and crops.are_shares(np.ravel(corners)):
        raise UserError(f"{path}: none of the numbers of its boxes is above {crops.SHARES:g}, as of shares of the "
                        f"pictures' sides: expected pixels (yolo reads shares)")
    boxes, more = gather(path, files, np.array(owners, np.int64), np.array(corners, np.float64),
                         np.array(classes, np.int64), where=lambda index: f"a box of row {origin[index] + 1}")
    return BoxFiles(paths, names, boxes, remarks=[*more, *(f"{path}: {line}" for line in (*remarks, *of_names))])


def _labels(path: str, row: int, value) -> list[str]:
    """Unlike tags, none is left out: each is of the box at its place."""
    if value is None or value == "" or value == []:
        return []
    found = [str(part).strip() for part in (value if isinstance(value, list) else str(value).split(SEPARATOR))]
    if not all(found) or None in (value if isinstance(value, list) else ()):
        raise UserError(f"{path}: row {row + 1} has a box without a label: {value!r}")
    return found


def _boxes(path: str, row: int, value) -> list[list[float]]:
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    try:
        parts = value if isinstance(value, list) else [part.split() for part in value.split(SEPARATOR)]
        found = [[float(number) for number in part] for part in parts]
    except (ValueError, TypeError, AttributeError):
        found = [[]]
    if any(len(box) != 4 for box in found):
        raise UserError(f"{path}: row {row + 1} has the boxes {value!r}; expected {_EXPECTED} of each, in pixels, "
                        f"parted by blanks, and the boxes by {SEPARATOR!r}")
    return found
