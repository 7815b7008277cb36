"""The columns of a table that say where in an image to look: a box, and five landmarks of a face."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ...errors import UserError
from .. import crops

BOX = "left, top, right, bottom"
# The columns of landmarks that have one number each are called as CelebA's list has them.
POINTS = tuple(f"{point}_{axis}" for point in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
               for axis in "xy")


def columns(names: Sequence[str]) -> tuple[str, ...]:
    """Names the columns, of those of a table, that are read here.

    Example:
        >>> columns(["path", "box", "nose_x"])
        ('box',)
    """
    found = [name for name in ("box", "landmarks") if name in names]
    return (*found, *(POINTS if "landmarks" not in names and set(POINTS) <= set(names) else ()))


def boxes(path: str, rows: Sequence[int], table: pa.Table) -> list[tuple | None] | None:
    """Reads the column of boxes: four numbers parted by spaces, or a list of them; empty for the whole image.

    Args:
        path: of the table, for messages.
        rows: places of its rows in the file, from 0, for messages.
        table: the table.

    Returns (left, top, right, bottom) for each row, in whole pixels or, where none is above crops.SHARES, in shares of
    the sides; None where the cell is empty; None where there is no such column. Raises UserError naming a row that is
    neither, or of the other kind than the rest.
    """
    if "box" not in table.column_names:
        return None
    values = table["box"].to_pylist()
    found = [None if value is None or (isinstance(value, str) and not value.strip()) else
             _numbers(path, row, "box", value, 4, BOX) for row, value in zip(rows, values, strict=True)]
    shares = _are_shares(path, rows, "box", found)
    for place, box in enumerate(found):
        if box is not None:
            left, top, right, bottom = found[place] = tuple(box if shares else map(round, box))
            if not (left < right and top < bottom):
                raise UserError(f"{path}: row {rows[place] + 1} has an empty box {values[place]!r}: left < right and "
                                f"top < bottom expected")
            if not shares and crops.are_shares(found[place]):
                raise UserError(f"{path}: row {rows[place] + 1} has box {values[place]!r}: at most {crops.SHARES:g} "
                                f"pixels from the corner, which is how boxes in shares of the image's sides are told "
                                f"from those in pixels")
    return found


def landmarks(path: str, rows: Sequence[int], table: pa.Table) -> np.ndarray | None:
    """Reads the column of landmarks, ten numbers as of `boxes`, or the ten columns POINTS.

    They are x and y of the eye at the left of the picture, the other eye, the nose, and the corners of the mouth, left
    and right, in pixels or shares as of boxes. A face without landmarks would be seen unaligned, so none is missing.

    Returns f32[N,10], or None where there are no such columns. Raises UserError naming a row.
    """
    if "landmarks" in table.column_names:
        values = table["landmarks"].to_pylist()
    elif set(POINTS) <= set(table.column_names):
        values = [list(row) for row in zip(*(table[name].to_pylist() for name in POINTS), strict=True)]
    else:
        return None
    found = [_numbers(path, row, "landmarks", value, 10, "x and y of the eyes, the nose and the corners of the mouth")
             for row, value in zip(rows, values, strict=True)]
    _are_shares(path, rows, "landmarks", found)
    return np.array(found, np.float32)


def remarks(found_boxes: list | None, found_landmarks: np.ndarray | None) -> list[str]:
    """Says which of them were taken to be in shares, as lines."""
    kinds = {"boxes": found_boxes or (), "landmarks": () if found_landmarks is None else found_landmarks[:1].tolist()}
    first = {what: next((numbers for numbers in found if numbers is not None), None) for what, found in kinds.items()}
    return [f"the {what} are in shares of the images' sides, as none of their numbers is above {crops.SHARES:g}"
            for what, numbers in first.items() if numbers is not None and crops.are_shares(numbers)]


def _numbers(path: str, row: int, what: str, value, count: int, expected: str) -> list[float]:
    try:
        parts = np.ravel(value).tolist() if isinstance(value, list) else value.split()
        numbers = [float(part) for part in parts]
    except (ValueError, AttributeError, TypeError):
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise UserError(f"{path}: row {row + 1} has {what} {value!r}; expected {expected}: {count} numbers, in "
                        f"pixels or in shares of the image's sides")
    return numbers


def _are_shares(path: str, rows: Sequence[int], what: str, found: list) -> bool:
    """Whether all are in shares of the sides. One of shares among pixels would show a single pixel."""
    kinds = {crops.are_shares(numbers): place for place, numbers in enumerate(found) if numbers is not None}
    if len(kinds) > 1:
        share, pixel = kinds[True], kinds[False]
        raise UserError(f"{path}: row {rows[share] + 1} has {what} {found[share]}, in shares of the image's sides, and "
                        f"row {rows[pixel] + 1} has {found[pixel]}, in pixels: expected the same in all rows")
    return True in kinds
