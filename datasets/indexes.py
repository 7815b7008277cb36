"""Keeps what is known of a large file, so that it is read through once only: beside it, or in the cache folder."""

import hashlib
import json
from collections.abc import Callable

import pyarrow as pa

from ..errors import UserError
from . import buckets, disk_cache

ENDING = ".geodesic"
_MAGIC, _DIGEST = b"geodesic index 1\n", 16


def of(file: buckets.File, make: Callable[[buckets.File], pa.Table]) -> pa.Table:
    """The index of a file: as it was kept, or, where it is not of this size and time or is damaged, made and kept.

    make: reads the file through; its version stands in the table's metadata.
    """
    beside = file.path + ENDING
    kept = disk_cache.folder() / "indexes" / hashlib.sha256(file.path.encode(errors="surrogateescape")).hexdigest()[:32]
    described = json.dumps([make.__name__, file.size, file.version]).encode()
    for path in (beside, str(kept)):
        if (table := _unpack(_load(path), described)) is not None:
            return table
    table = make(file)
    content = _pack(table, described)
    try:
        buckets.store(beside, content)
    except (OSError, UserError):  # a folder or a bucket that may only be read
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            buckets.store(str(kept), content)
        except OSError:
            pass  # it only saves time
    return table


def _load(path: str) -> bytes | None:
    try:
        return buckets.load(path)
    except (OSError, UserError):
        return None


def _pack(table: pa.Table, described: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content = len(described).to_bytes(4, "little") + described + sink.getvalue().to_pybytes()
    return _MAGIC + hashlib.blake2b(content, digest_size=_DIGEST).digest() + content


def _unpack(packed: bytes | None, described: bytes) -> pa.Table | None:
    """The table, where it is whole and of the file that is described so."""
    start = len(_MAGIC) + _DIGEST
    if packed is None or not packed.startswith(_MAGIC):
        return None
    content = packed[start:]
    if hashlib.blake2b(content, digest_size=_DIGEST).digest() != packed[len(_MAGIC):start]:
        return None
    if not content.startswith(len(described).to_bytes(4, "little") + described):
        return None
    return pa.ipc.open_stream(content[4 + len(described):]).read_all()
