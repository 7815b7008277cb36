"""Prepared data: shards of ArrayRecord with a manifest, as geodesic prepare writes them.

    FOLDER/manifest.json                  what it is made from, classes, and of each shard: images, bytes, sha256
    FOLDER/images-00000-of-00004.array_record
    FOLDER/index-00000-of-00004.parquet   label and original path of each image, and whatever else was known of it

A record is a checksum, the label, and the encoded image.
"""

import functools
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from ...errors import UserError
from .. import attempts, buckets
from ..record_ranges import RecordRanges

MANIFEST = "manifest.json"
TAGS = "labels"  # a column, list of int64: places in tag_names
_HEADER = struct.Struct("<4sIq")  # magic, crc32 of label and image, label
_MAGIC = b"geo1"


class _Part(NamedTuple):
    """What ArrayRecordDataSource is told of a shard: its file in bytes, as a name need not be UTF-8, and all of it."""

    filename: bytes
    skip: int
    take: int
    examples_in_shard: int


class ArrayRecord:
    """The source of a prepared folder. The sizes of its shards are verified at once, an image's checksum as it is read.

    tags: bool[N,T], tag_names: of records that are of several classes, or None, as the source had them.
    Raises FileNotFoundError where the folder is not a prepared one or not finished, UserError for damage.
    """

    def __init__(self, path: str):
        self.folder, self._is_remote = path, buckets.is_remote(path)
        self.manifest = read_manifest(path)
        self.class_names = self.manifest["class_names"]
        self.num_classes = len(self.class_names)
        files = [os.path.join(path, shard["file"]) for shard in self.manifest["shards"]]
        there = {file.path: file for file in buckets.find(path, (".array_record",))} if self._is_remote else {}
        for file, shard in zip(files, self.manifest["shards"], strict=True):
            size = os.path.getsize(file) if os.path.exists(file) else there[file].size if file in there else None
            if size != shard["bytes"]:
                raise UserError(f"{file} is damaged: " + ("it is missing" if size is None else f"it has {size} bytes")
                                + f", {shard['bytes']} expected. Delete it and run geodesic prepare again")
        self.tag_names = self.manifest.get("tag_names")
        index = self._index(["label", "path"] + ([TAGS] if self.tag_names else []))
        self.labels = index.column("label").to_numpy().astype(np.int64)
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < self.num_classes:
            raise UserError(f"{path} is damaged: labels {self.labels.min()} to {self.labels.max()} of "
                            f"{self.num_classes} classes")
        self.paths = index.column("path").to_pylist()
        self.tags = self.tag_names and np.zeros((len(index), len(self.tag_names)), bool)
        for record, tags in enumerate(index.column(TAGS).to_pylist() if self.tag_names else ()):
            self.tags[record, tags] = True
        self._files = [there.get(file, file) for file in files]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        try:
            label, image = unpack(self._records[int(index)])
        except attempts.UnreachableError:
            raise
        except Exception as error:  # whatever a damaged shard makes the reader raise
            raise UserError(f"cannot read record {index} of {self.folder} ({self.paths[index]}): {error}") from error
        if label != self.labels[index]:
            raise UserError(f"record {index} of {self.folder} has label {label}; its index has {self.labels[index]}")
        record = {"image": image, "label": label, "path": self.paths[index]}
        return record if self.tags is None else record | {"tags": self.tags[index]}

    def record_names(self) -> list[str]:
        """Names a record by its shard's sha256 and its place in it: `prepare` makes the same of the same images."""
        return [f"{shard['sha256']} {place}" for shard in self.manifest["shards"] for place in range(shard["images"])]

    def columns(self) -> pa.Table:
        """Reads the other columns of the manifest that this was made from, a row for each record."""
        index = self._index(None)
        return index.drop_columns(["label", "path"] + ([TAGS] if self.tag_names else []))

    def _index(self, columns: list[str] | None) -> pa.Table:
        return pa.concat_tables([_read_index(os.path.join(self.folder, shard["index"]), shard, columns)
                                 for shard in self.manifest["shards"]])

    def __reduce__(self):  # open files do not travel to loader processes
        return ArrayRecord, (self.folder,)

    @property
    def fetch(self) -> Callable[[Iterable[int]], None]:
        """Reads records of a bucket at once."""
        if not self._is_remote:
            raise AttributeError("fetch")
        return self._records.fetch

    @functools.cached_property
    def _records(self) -> ArrayRecordDataSource | RecordRanges:
        if self._is_remote:
            return RecordRanges([file for file, shard in zip(self._files, self.manifest["shards"], strict=True)
                                 if shard["images"]])
        return ArrayRecordDataSource([_Part(os.fsencode(file), 0, shard["images"], shard["images"]) for file, shard in
                                      zip(self._files, self.manifest["shards"], strict=True) if shard["images"]])


def read_manifest(folder: str) -> dict:
    """Reads the manifest of a prepared folder: at least "class_names", "images" and "shards".

    Raises FileNotFoundError where there is none, UserError where it is damaged.
    """
    path = os.path.join(folder, MANIFEST)
    content = buckets.load(path)
    if content is None:
        raise FileNotFoundError(f"no {MANIFEST} in {folder!r}: expected the --out of a finished `geodesic prepare`")
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    missing = {"class_names", "shards", "images"} - {*manifest}
    if missing:
        raise UserError(f"{path} is no manifest of prepared data: it has no {', '.join(sorted(missing))}")
    return manifest


def damaged_shards(folder: str) -> list[str]:
    """Lists the shards of a folder whose sha256 is not the manifest's. All of their bytes are read."""
    return [shard["file"] for shard in read_manifest(folder)["shards"]
            if digest(os.path.join(folder, shard["file"])) != shard["sha256"]]


def digest(path: str) -> str:
    """Computes the sha256 of a file, 64 hex digits; "" where there is none.

    Example:
        >>> digest("no such file")
        ''
    """
    try:
        [found] = buckets.find(path, ())
    except FileNotFoundError:
        return ""
    with buckets.stream(found) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_shard(folder: str, name: str, records: list[tuple[int, str, bytes]], columns: pa.Table | None = None) -> dict:
    """Writes a shard whole or not at all: its files appear under their names when they are complete.

    folder: where. name: of the shard, a part of its files' names. records: (label, path, encoded image) of each.
    columns: what else is known of each; of them, TAGS are the numbers of its tags.
    Returns the shard's entry in the manifest.
    """
    file, index = f"images-{name}.array_record", f"index-{name}.parquet"
    paths = [os.path.join(folder, part) for part in (file, index)]
    writer = ArrayRecordWriter(os.fsencode(paths[0] + ".part"), "group_size:1,uncompressed")
    for label, _, image in records:
        writer.write(pack(label, image))
    writer.close()
    table = pa.table({"label": pa.array([label for label, _, _ in records], pa.int64()),
                      "path": pa.array([path for _, path, _ in records], pa.string())})
    for other in columns.column_names if columns else ():
        table = table.append_column(other, columns[other])
    with open(paths[1] + ".part", "wb") as opened:
        pa.parquet.write_table(table, opened)
    for path in paths:
        os.replace(path + ".part", path)
    return {"file": file, "index": index, "images": len(records), "bytes": os.path.getsize(paths[0]),
            "sha256": digest(paths[0])}


def pack(label: int, image: bytes) -> bytes:
    """Packs a label and an encoded image into a record, with their checksum.

    Example:
        >>> unpack(pack(3, b"an image"))
        (3, b'an image')
    """
    return _HEADER.pack(_MAGIC, _checksum(label, image), label) + image


def unpack(record: bytes) -> tuple[int, bytes]:
    """Unpacks the label and the encoded image of a record. Raises UserError where the checksum is not theirs."""
    magic, checksum, label = _HEADER.unpack_from(record) if len(record) >= _HEADER.size else (b"", 0, 0)
    image = record[_HEADER.size:]
    if magic != _MAGIC or checksum != _checksum(label, image):
        raise UserError("damaged: its checksum is another")
    return label, image


def _checksum(label: int, image: bytes) -> int:
    return zlib.crc32(image, zlib.crc32(struct.pack("<q", label)))


def _read_index(path: str, shard: dict, columns: list[str] | None) -> pa.Table:
    try:
        content = buckets.load(path)
        if content is None:
            raise UserError(f"{path} is damaged: it is missing")
        table = pa.parquet.read_table(pa.BufferReader(content), columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if len(table) != shard["images"]:
        raise UserError(f"{path} is damaged: {len(table)} images, {shard['images']} expected")
    return table
