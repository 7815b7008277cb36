"""Unit vectors as they are stored: in float32, in float16, or in int8 with a scale for each vector."""

import numpy as np
import pyarrow as pa

KINDS = {"float32": pa.float32(), "float16": pa.float16(), "int8": pa.int8()}
# How far from 1 the length of a stored vector may be.
TOLERANCE = {"float32": 1e-4, "float16": 2e-3, "int8": 1e-4}


def encode(rows: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(what is stored of unit vectors f32[N,D], scales f32[N]). A scale times its vector has length 1, up to rounding.

    Example:
        >>> import numpy as np
        >>> stored, scales = encode(np.array([[0.6, -0.8]], np.float32), "int8")
        >>> stored.tolist(), decode(stored, scales).round(3).tolist()
        ([[95, -127]], [[0.599, -0.801]])
    """
    if kind != "int8":
        return rows.astype(kind), np.ones(len(rows), np.float32)
    greatest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    stored = np.rint(127 * (rows / greatest)).astype(np.int8)
    lengths = np.linalg.norm(stored.astype(np.float32), axis=1)
    return stored, (1 / np.maximum(lengths, 1)).astype(np.float32)


def decode(stored: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """f32[N,D]."""
    return stored.astype(np.float32, copy=False) if stored.dtype != np.int8 else stored * scales[:, None]


def to_arrow(stored: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), stored.shape[1])


def from_arrow(column: pa.FixedSizeListArray) -> np.ndarray:
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
