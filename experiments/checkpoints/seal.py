"""A folder that proves that it is whole: a manifest of every file in it, under a digest of itself.

The manifest is the last file to be written. A folder without one was never finished, or is no longer what it was.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib

from geodesic.errors import UserError
from geodesic.experiments.process import storage

NAME = "manifest.json"
_CHUNK = 1 << 22


class DamagedError(UserError):
    """What is wrong with a sealed folder. files: those that differ, below it; empty where the manifest itself does."""

    def __init__(self, message: str, files: tuple[str, ...] = ()):
        super().__init__(message)
        self.files = files


def close(folder: str, record: dict) -> None:
    """Writes the manifest of all files below `folder`, with `record` in it, through to the disk."""
    files = {name: [os.path.getsize(os.path.join(folder, name)), digest]
             for name, digest in zip(_files(folder), _digests(folder, _files(folder)), strict=True)}
    write(folder, {**record, "files": files})


def write(folder: str, record: dict) -> None:
    """Writes this record as the manifest of `folder`, under its own digest, through to the disk."""
    content = json.dumps(record, indent=1).encode() + b"\n"
    if storage.is_remote(folder):
        storage.write(f"{folder}/{NAME}", content + hashlib.sha256(content).hexdigest().encode() + b"\n")
        return
    with open(os.path.join(folder, NAME), "wb") as file:
        file.write(content + hashlib.sha256(content).hexdigest().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder: str) -> dict:
    """The record, its own digest checked. Raises DamagedError."""
    try:
        content = storage.read(os.path.join(folder, NAME))
    except FileNotFoundError as error:
        raise DamagedError(f"{NAME} is missing") from error
    body, digest = content[:-65], content[-65:]
    if digest != hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise DamagedError(f"{NAME} is damaged")
    return json.loads(body)


def check(folder: str, record: dict) -> None:
    """Raises DamagedError unless the files are those of the manifest, to the last bit, and no others.

    In a bucket, what the objects hold is proven when they are read.
    """
    files, there = record["files"], _files(folder)
    missing = [name for name in files if name not in there]
    sizes = [name for name in there if name in files and _size(folder, name, there) != files[name][0]]
    strange = [name for name in there if name not in files]
    for names, what in ((missing, "is missing"), (sizes, "has another size"), (strange, "does not belong to it")):
        if names:
            raise DamagedError(f"{names[0]} {what}{_more(names)}", tuple(names))
    if storage.is_remote(folder):
        return
    changed = [name for name, digest in zip(there, _digests(folder, there), strict=True) if digest != files[name][1]]
    if changed:
        raise DamagedError(f"{changed[0]} has changed{_more(changed)}", tuple(changed))


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _files(folder: str) -> list[str] | dict[str, int]:
    """Their names, sorted; in a bucket, with their sizes."""
    if storage.is_remote(folder):
        return {name: size for name, size in sorted(storage.files(folder).items()) if name != NAME}
    return sorted(str(path.relative_to(folder)) for path in pathlib.Path(folder).rglob("*")
                  if not path.is_dir() and str(path.relative_to(folder)) != NAME)


def _size(folder: str, name: str, there) -> int:
    return there[name] if storage.is_remote(folder) else os.path.getsize(os.path.join(folder, name))


def _digests(folder: str, names: list[str]) -> list[str]:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(lambda name: _digest(os.path.join(folder, name)), names))


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
