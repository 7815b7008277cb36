"""A label is the text that stands in its column: reads it, and numbers the classes by it."""

import decimal
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ...errors import UserError
from . import class_names, tables

SEPARATOR = "|"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
# What stands in a column of numbers where one is missing; among names these are names (NA is Namibia).
_MISSING = {"na", "n/a", "#n/a", "<na>", "nan", "-nan", "null", "none"}
_EXACT = 2 ** 53   # below it every whole number is a float of its own
_LISTED = 5        # rows that a message has


def number(labels: list[str], by_value: bool | None = None) -> tuple[list[str], np.ndarray, list[str]]:
    """(names of the classes in their order, i64[N], remarks): by value where all labels are numbers, else by text.

    by_value: what their column says of that, if it says it.

    Example:
        >>> names, labels, _ = number(["10", "9", "10"])
        >>> names, labels.tolist()
        (['9', '10'], [1, 0, 1])
    """
    kinds = {*labels}
    by_value = all(map(_NUMBER.fullmatch, kinds)) if by_value is None else by_value
    names = ordered(kinds, by_value)
    places = {name: place for place, name in enumerate(names)}
    return names, np.array([places[label] for label in labels], np.int64), class_names.remarks(names)


def read(path: str, rows: Sequence[int], column: pa.ChunkedArray, name: str,
         remarks: list[str]) -> tuple[list[list[str]], bool]:
    """(the labels of each row, whether they are numbers) of a column, adding to the remarks.

    path: of the table, for messages. rows: the places of its rows there. name: "label", or "labels" of several.
    Raises UserError for rows without a label, and for values that are none.
    """
    kind = column.type
    if name == "labels":
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        kind = kind.value_type if lists else kind
        several = [_several(path, row, value) for row, value in zip(rows, column.to_pylist(), strict=True)]
        refuse(path, "no label", [row for row, labels in zip(rows, several, strict=True) if not labels])
        return several, lists and _is_number(kind)
    found, padded = texts(path, rows, column, "label")
    remarks += [f"{padded:,} label(s) had blanks around them, which are taken off"] if padded else []
    missing = [row for row, text in zip(rows, found, strict=True) if not text]
    by_value = _is_number(kind)
    if not by_value and not tables.is_parquet(path):
        kinds = {text for text in {*found} if text.lower() not in _MISSING}
        by_value = bool(kinds) and all(map(_NUMBER.fullmatch, kinds))
        if by_value:
            refuse(path, "no label (NA and its like are none in a column of numbers)",
                   [row for row, text in zip(rows, found, strict=True) if text.lower() in _MISSING])
    refuse(path, "no label", missing)
    return [[text] for text in found], by_value


def texts(path: str, rows: Sequence[int], column: pa.ChunkedArray, name: str) -> tuple[list[str], int]:
    """(the text of each value without the blanks around it, "" for none; how many had some)."""
    try:
        values = column.to_pylist()
    except (ValueError, pa.ArrowException) as error:  # times that Python cannot hold
        raise UserError(f"{path}: a {name} of type {column.type} cannot be read as text: {error}") from error
    found = [_text(path, row, value, name) for row, value in zip(rows, values, strict=True)]
    return [text.strip() for text in found], sum(text != text.strip() and bool(text.strip()) for text in found)


def _text(path: str, row: int, value, name: str) -> str:
    if isinstance(value, str):
        text = value
    elif value is None or value != value:  # NaN is no label
        return ""
    elif isinstance(value, list | tuple | dict):
        raise UserError(f"{path}: row {row + 1} has the {name} {value!r}: expected a text or a number. Several labels "
                        f"are a column called labels")
    elif isinstance(value, float) and abs(value) >= _EXACT:
        raise UserError(f"{path}: row {row + 1} has the {name} {value!r}, which stands for several whole numbers: "
                        f"numbers as long as that are to be written as text")
    elif isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: row {row + 1} has the {name} {value!r}, which is no UTF-8") from error
    else:
        text = str(value)
    if "\0" in text:
        raise UserError(f"{path}: row {row + 1} has a {name} with a zero byte: {text!r}")
    return text


def _several(path: str, row: int, value) -> list[str]:
    values = value if isinstance(value, list) else _text(path, row, value, "labels").split(SEPARATOR)
    return list(filter(None, (_text(path, row, part, "labels").strip() for part in values)))


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def ordered(names: set[str], by_value: bool) -> list[str]:
    """In the order of their values where they are numbers, else of their text."""
    return sorted(names, key=lambda name: (decimal.Decimal(name), name) if by_value else name)


def refuse(path: str, what: str, rows: list[int]) -> None:
    """Raises UserError, naming the rows, where there are any."""
    if rows:
        listed = ", ".join(str(row + 1) for row in rows[:_LISTED]) + (", ..." if len(rows) > _LISTED else "")
        raise UserError(f"{path}: row {listed} has {what}" if len(rows) == 1 else
                        f"{path}: {len(rows):,} rows have {what}: {listed}")
