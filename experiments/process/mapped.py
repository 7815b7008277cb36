"""Arrays that lie on a disk and are mapped into memory, in a folder that is named after all that decides them."""

import hashlib
import json
import os

import numpy as np


def place(folder: str, identity: dict) -> str:
    """Where arrays of this identity lie."""
    return os.path.join(folder, hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16])


def begun(path: str) -> np.memmap:
    """The array of a .npy file, to be gone on with."""
    return np.lib.format.open_memmap(path, "r+")


def new(path: str, dtype, shape: tuple[int, ...]) -> np.memmap:
    """A .npy file of zeros, for which the disk has room: raises OSError where it has not."""
    mapped = np.lib.format.open_memmap(path, "w+", dtype=dtype, shape=shape)
    # Writing to a mapped page for which the disk has no room would kill the process.
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
    return mapped
