"""Reads files of ArrayRecord by ranges of bytes: of buckets, which the library array_record does not read.

Such a file is of Riegeli's chunks, and a footer says where each begins (google/array_record, layout.proto;
google/riegeli, doc/riegeli_records_file_format.md). A record takes its chunk and no more; tfds and `geodesic prepare`
write one of each.
"""

import concurrent.futures
import struct
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from ..errors import UserError
from . import buckets
from .ahead import Ahead

_BLOCK, _BLOCK_HEADER = 2 ** 16, 24   # bytes; a block begins with a header, in the middle of chunks too
_CHUNK = struct.Struct("<QQQQQ")      # hash, bytes of data, their hash, kind and records, bytes that are unpacked to
_SIMPLE = ord("r")
_CODECS = {ord("z"): "zstd", ord("b"): "brotli", ord("s"): "snappy"}
_MAGIC, _VERSION = 0x71930E704FDAE05E, 1
_FILES_AT_ONCE = 16


class RecordRanges:
    """The records of files of ArrayRecord, in order. Raises UserError for a file that is damaged.

    Riegeli's hashes are not verified: what a bucket sends is proven on the way, and what this disk keeps by checksums.
    """

    def __init__(self, files: list[buckets.File]):
        with concurrent.futures.ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            footers = list(pool.map(_footer, files))
        self._files = files
        self._which = np.repeat(np.arange(len(files)), [len(offsets) - 1 for offsets, _ in footers])
        self._starts = np.concatenate([offsets[:-1] for offsets, _ in footers] or [np.zeros(0, np.int64)])
        self._ends = np.concatenate([offsets[1:] for offsets, _ in footers] or [np.zeros(0, np.int64)])
        self._firsts = np.cumsum([0, *(count for _, counts in footers for count in counts)])  # record of each chunk
        self._ahead = Ahead()

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def __getitem__(self, index: int) -> bytes:
        chunk = self._chunk(index)
        content = self._ahead.get(chunk)
        content = buckets.read(*self._range(chunk)) if content is None else content
        records = _records(*self._range(chunk)[:2], content)
        row = index - int(self._firsts[chunk])
        if len(records) != self._firsts[chunk + 1] - self._firsts[chunk]:
            raise _damaged(self._files[self._which[chunk]], int(self._starts[chunk]), f"{len(records)} records")
        return records[row]

    def fetch(self, indices: Iterable[int]) -> None:
        """Reads the chunks of these records at once, in place of those that this thread had read so."""
        chunks = sorted({self._chunk(int(index)) for index in indices})
        self._ahead.read({chunk: self._range(chunk) for chunk in chunks})

    def _chunk(self, index: int) -> int:
        return int(np.searchsorted(self._firsts, index, side="right")) - 1

    def _range(self, chunk: int) -> tuple[buckets.File, int, int]:
        start = int(self._starts[chunk])
        return self._files[self._which[chunk]], start, int(self._ends[chunk]) - start


def _footer(file: buckets.File) -> tuple[np.ndarray, list[int]]:
    """(where each chunk begins, and the footer, i64[chunks + 1]; the records of each)."""
    start = file.size - _BLOCK
    if start < 0 or file.size % _BLOCK:
        raise _damaged(file, file.size, "it has no whole blocks of 64 KiB")
    postscript = _fields(file, start, _first(file, start, _records(file, start, buckets.read(file, start, _BLOCK))))
    at = postscript.get(1, -1)
    if postscript.get(2) != _MAGIC or not 0 <= at < start:
        raise _damaged(file, start, "no postscript")
    records = _records(file, at, buckets.read(file, at, start - at))
    told = _fields(file, at, _fields(file, at, _first(file, at, records)).get(1, b""))
    chunks = [_fields(file, at, record) for record in records[1:]]
    offsets, counts = [chunk.get(1, -1) for chunk in chunks], [chunk.get(3, 0) for chunk in chunks]
    if (told.get(1) != _VERSION or told.get(2, 0) != len(chunks) or told.get(3, 0) != sum(counts)
            or any(one >= two for one, two in zip([-1, *offsets], [*offsets, at], strict=True))):
        raise _damaged(file, at, "a footer that does not fit the file")
    return np.array([*offsets, at], np.int64), counts


def _first(file: buckets.File, at: int, records: list[bytes]) -> bytes:
    if not records:
        raise _damaged(file, at, "an empty chunk")
    return records[0]


def _fields(file: buckets.File, at: int, message: bytes | int) -> dict[int, int | bytes]:
    """The fields of a protocol buffer: numbers, and what has a length."""
    fields, place = {}, 0
    try:
        while place < len(message):
            key, place = _varint(message, place)
            if key & 7 == 0:
                fields[key >> 3], place = _varint(message, place)
            elif key & 7 == 1:
                fields[key >> 3], place = int.from_bytes(message[place:place + 8], "little"), place + 8
            elif key & 7 == 2:
                size, place = _varint(message, place)
                fields[key >> 3], place = message[place:place + size], place + size
            else:
                raise IndexError
    except (IndexError, TypeError):
        raise _damaged(file, at, "a message that cannot be read") from None
    return fields


def _records(file: buckets.File, start: int, content: bytes) -> list[bytes]:
    """The records of the chunk that begins at `start`; content: from there to its end at least."""
    content = _without_headers(start, content)
    if len(content) < _CHUNK.size:
        raise _damaged(file, start, "a chunk that is cut short")
    _, size, _, kind, unpacked = _CHUNK.unpack_from(content)
    data, count = content[_CHUNK.size:_CHUNK.size + size], kind >> 8
    if len(data) != size or kind & 255 != _SIMPLE:
        raise _damaged(file, start, f"a chunk of {len(data):,} bytes, {size:,} expected" if len(data) != size else
                       "a chunk that is no plain one (written with the option transpose?)")
    try:
        sizes_end, place = _varint(data, 1)
        sizes_end += place
        sizes, place = _unpacked(data[0], data[place:sizes_end], 10 * count), 0
        values = _unpacked(data[0], data[sizes_end:], unpacked)
        records, at = [], 0
        for _ in range(count):
            length, place = _varint(sizes, place)
            records.append(values[at:at + length])
            at += length
    except (IndexError, KeyError, OSError, pa.ArrowException) as error:
        raise _damaged(file, start, f"a chunk that cannot be unpacked ({error})") from None
    if at != len(values) or at != unpacked or place != len(sizes):
        raise _damaged(file, start, f"a chunk of {len(values):,} bytes, {unpacked:,} expected")
    return records


def _unpacked(codec: int, data: bytes, most: int) -> bytes:
    """What a packed part of a chunk unpacks to. Raises IndexError where that is more than `most` bytes."""
    if codec == 0:
        return data
    size, place = _varint(data, 0)
    if size > most:
        raise IndexError(f"{size:,} bytes")
    return pa.Codec(_CODECS[codec]).decompress(data[place:], size, asbytes=True) if size else b""


def _without_headers(start: int, content: bytes) -> bytes:
    """The bytes of a chunk, without the headers of the blocks that it lies in."""
    parts, at = [], 0
    while at < len(content):
        into = (start + at) % _BLOCK
        left = _BLOCK - into
        parts.append(content[at + (_BLOCK_HEADER if into == 0 else 0):at + left])
        at += left
    return b"".join(parts)


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """(a number, the place after it). Raises IndexError where it does not end."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise IndexError("a number without an end")


def _damaged(file: buckets.File, at: int, what: str) -> UserError:
    return UserError(f"{file.path} is damaged, or no ArrayRecord: at byte {at:,}, {what}")
