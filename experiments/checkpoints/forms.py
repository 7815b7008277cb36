"""The arrays of a step, in either form: orbax's files, or packed, as a bucket has them. A run may move with both."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

import numpy as np
import orbax.checkpoint as ocp

from geodesic.experiments.checkpoints import packed, plain_path, stored_arrays
from geodesic.experiments.process import storage

ARRAYS = "arrays"  # orbax's folder


def read(folder: str, record: dict, names: list[str]) -> dict[str, np.ndarray]:
    """These arrays, as they were stored. Raises seal.DamagedError, or what tensorstore says of what is not its own."""
    if "pieces" in record:
        return packed.read_whole(folder, record, names)
    with _on_disk(folder) as place:
        return stored_arrays.read(os.path.join(place, ARRAYS), names)


def restore(folder: str, record: dict, abstract_state, orbax: ocp.StandardCheckpointer):
    """The state, placed as `abstract_state` says. All processes call it.

    Padding of the class axis follows the number of devices: it is cut off, or zero.
    """
    if "pieces" in record:
        return packed.restore(folder, record, abstract_state)
    with _on_disk(folder) as place, plain_path.of(place) as plain:
        return orbax.restore(os.path.join(plain, ARRAYS), abstract_state, strict=False)


@contextlib.contextmanager
def _on_disk(folder: str) -> Iterator[str]:
    """The folder, or a copy of one in a bucket."""
    if not storage.is_remote(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="geodesic-") as copy:
        storage.fetch(folder, copy)
        yield copy
