"""Which columns of an image set of Hugging Face hold the images and the labels, and what the labels are."""

import json
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ...errors import UserError
from . import text_labels

_LABELS, _IMAGES = ("label",), ("image", "img")  # columns that are taken before all others


class Columns(NamedTuple):
    """The columns of a file, as "image.bytes", and the names of its classes, if the schema has them."""

    image: str
    label: str
    names: list[str] | None


def find(path: str, schema: pa.Schema) -> Columns:
    """The columns of a schema that are taken. Raises UserError where there are none, or several."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        kinds = {name: feature.get("_type") for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        features, kinds = {}, {}
    images = [name for name in schema.names if kinds.get(name) == "Image"] or [
        field.name for field in schema if _has_bytes(field.type)]
    labels = [name for name in schema.names if kinds.get(name) == "ClassLabel"] or [
        name for name in schema.names if name in _LABELS]
    image, label = (_one(path, schema, found, known, what) for found, known, what in (
        (images, _IMAGES, "of images (struct<bytes, path>)"), (labels, _LABELS, "of labels (label, or a ClassLabel)")))
    names = features[label].get("names") if kinds.get(label) == "ClassLabel" else None
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise UserError(f"{path} is damaged: the names of its classes are {str(names)[:60]}")
    binary = pa.types.is_binary(schema.field(image).type) or pa.types.is_large_binary(schema.field(image).type)
    return Columns(image if binary else f"{image}.bytes", label, names)


def _has_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and any(field.name == "bytes" for field in kind)


def _one(path: str, schema: pa.Schema, found: list[str], known: tuple[str, ...], what: str) -> str:
    chosen = [name for name in known if name in found][:1] or found
    if len(chosen) != 1:
        raise UserError(f"{path}: expected one column {what}, found {', '.join(found) or 'none'}; it has "
                        f"{', '.join(schema.names)}")
    return chosen[0]


def labels_of(path: str, column: pa.ChunkedArray, names: list[str] | None) -> tuple[list[str], np.ndarray, list[str]]:
    """(names of the classes, i64[N], remarks)."""
    remarks: list[str] = []
    if names is None or not pa.types.is_integer(column.type):
        several, by_value = text_labels.read(path, range(len(column)), column, "label", remarks)
        class_names, labels, more = text_labels.number([one for [one] in several], by_value)
        return class_names, labels, remarks + more
    labels = column.fill_null(-1).to_numpy().astype(np.int64)
    without = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(without):
        raise UserError(f"{path}: {len(without):,} row(s) have no label of its {len(names):,} classes, the first is "
                        f"row {without[0] + 1}: a split without labels can be embedded, not trained on")
    return names, labels, remarks
