"""Parquet with the bytes of images in it, as Hugging Face stores image sets: a column struct<bytes, path>, and a label.

    data/train-00000-of-00002.parquet:  image.bytes, image.path, label; the names of the classes in the schema

A record takes reading its row group. What was read is kept on this host's disk (disk_cache.py), so that an epoch reads
each row group once, whatever the order of the records.
"""

import collections
import concurrent.futures
import contextlib
import hashlib
import io
import os
import threading
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from ...errors import UserError
from .. import attempts, buckets, disk_cache
from ..source import parted
from . import image_columns

_ENDINGS = (".parquet",)
_FILES_AT_ONCE, _GROUPS_AT_ONCE = 16, 4
_GLANCE, _GLANCED = 4096, 20_000  # bytes at two places of a row group, and of how many row groups
_PLACE = np.dtype([("start", "<i8"), ("size", "<i8")])  # of an image in what is kept; of none the size is -1


class _Group(NamedTuple):
    """A row group: the file that it is in, its number there, its rows, and where the images of its rows lie."""

    file: buckets.File
    number: int
    rows: int
    start: int
    size: int
    unpacked: int


class Parquet:
    """The source of a file, of all below a folder, or of a pattern; `PATH#SPLIT` keeps the files of a split.

    A file is of the split that its name begins with (train-00000-of-00002.parquet), or its folder has. A label is text
    as in a manifest; of a column with names in the schema (ClassLabel), the classes are those names, in their order.
    Raises FileNotFoundError, or UserError for files that are damaged, have no image or label, or do not agree.
    """

    def __init__(self, path: str):
        files, where = _files(path)
        with concurrent.futures.ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            opened = list(pool.map(_open, files))
        self._column = opened[0][0].image
        self._groups = [group for _, groups, _ in opened for group in groups]
        self._firsts = np.cumsum([0, *(group.rows for group in self._groups)])
        if not self._firsts[-1]:
            raise UserError(f"{path} has no row")
        differing = next((file.path for file, (columns, _, _) in zip(files, opened, strict=True)
                          if columns != opened[0][0]), None)
        if differing:
            raise UserError(f"{differing} has other columns or names of classes than {files[0].path}")
        self.class_names, self.labels, remarks = image_columns.labels_of(
            where if where.endswith(_ENDINGS) else f"{where}/*{_ENDINGS[0]}",
            pa.chunked_array([chunk for _, _, labels in opened for chunk in labels.chunks], opened[0][2].type),
            opened[0][0].names)
        self.num_classes = len(self.class_names)
        self.paths = [f"{file.path}#{row}" for file, (_, _, labels) in zip(files, opened, strict=True)
                      for row in range(len(labels))]
        size = sum(group.unpacked for group in self._groups)
        if size > disk_cache.bound():
            remarks += [f"{size / 1e9:.1f} GB of images are more than GEODESIC_CACHE_GB keeps, and each of a row group "
                        f"that is not kept takes reading all of it: `geodesic prepare` makes what is read at random"]
        self.remarks = [f"{where}: {remark}" for remark in remarks]
        self._forget()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        ahead = getattr(self._ahead, "content", {})
        if int(index) not in ahead:
            group = self._group_of(int(index))
            row = int(index) - int(self._firsts[group])
            ahead = {int(index): self._read(group, [row])[row]}
        content = ahead[int(index)]
        if content is None:
            raise UserError(f"{self.paths[index]} has no bytes of an image")
        return {"image": content, "label": int(self.labels[index]), "path": self.paths[index]}

    def fetch(self, indices: Iterable[int]) -> None:
        """Reads these records by their row groups, in place of those that this thread had read so."""
        rows: dict[int, list[int]] = collections.defaultdict(list)
        for index in sorted({int(index) for index in indices}):
            rows[group := self._group_of(index)].append(index - int(self._firsts[group]))
        self._ahead.content = {}
        content = {}
        with concurrent.futures.ThreadPoolExecutor(_GROUPS_AT_ONCE) as pool:
            for group, made in zip(rows, pool.map(self._read_or_none, rows, rows.values()), strict=True):
                content |= {int(self._firsts[group]) + row: image for row, image in made.items()}
        self._ahead.content = content

    def record_names(self) -> list[str]:
        """Names a record by its row, and by the size of its row group and what stands at two places of it."""
        every = -(-len(self._groups) // _GLANCED)
        glanced = [group for group in self._groups[::every] if group.size]
        ranges = [(group.file, group.start + at, min(_GLANCE, group.size - at)) for group in glanced
                  for at in (0, group.size // 2)]
        parts, looks = buckets.read_many(ranges), {}
        for place, group in enumerate(glanced):
            looks[group] = hashlib.blake2b(b"".join(parts[2 * place:2 * place + 2]), digest_size=8).hexdigest()
        return [f"{group.rows} {group.size} {looks.get(group, '')}:{row}" for group in self._groups
                for row in range(group.rows)]

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name not in ("_ahead", "_last", "_lock")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        self._ahead, self._lock, self._last = threading.local(), threading.Lock(), (-1, {})

    def _group_of(self, index: int) -> int:
        return int(np.searchsorted(self._firsts, index, side="right")) - 1

    def _read_or_none(self, group: int, rows: list[int]) -> dict[int, bytes | None]:
        """As `_read`; {} for a row group that is damaged, of which each record says so when it is asked for."""
        try:
            return self._read(group, rows)
        except attempts.UnreachableError:
            raise
        except (ValueError, OSError):
            return {}

    def _read(self, number: int, rows: list[int]) -> dict[int, bytes | None]:
        """The images of some rows of a row group, from this disk, or from all of the group."""
        group = self._groups[number]
        kept = disk_cache.Pieces(f"{group.file.path} {group.file.size} {group.file.version} rows {group.number}")
        places = kept.read(0, group.rows * _PLACE.itemsize)
        if places is not None:
            found = {row: _taken(kept, place) for row, place in zip(rows, np.frombuffer(places, _PLACE)[rows].tolist(),
                                                                    strict=True)}
            if False not in found.values():
                return found
        with self._lock:
            last, images = self._last
        if last != number:
            images = _unpack(group, self._column)
            kept.write(0, _packed(images))
            with self._lock:
                self._last = number, images
        return {row: images[row] for row in rows}


def _taken(kept: disk_cache.Pieces, place: tuple[int, int]) -> bytes | bool | None:
    """The image at a place; None where there is none, and False where it is not kept."""
    start, size = place
    if size <= 0:
        return b"" if size == 0 else None
    content = kept.read(start, size)
    return False if content is None else content


def _packed(images: list[bytes | None]) -> bytes:
    sizes = np.array([-1 if image is None else len(image) for image in images], np.int64)
    places = np.zeros(len(images), _PLACE)
    places["size"] = sizes
    places["start"] = places.nbytes + np.cumsum(np.maximum(sizes, 0)) - np.maximum(sizes, 0)
    return b"".join([places.tobytes(), *(image or b"" for image in images)])


def _files(path: str) -> tuple[list[buckets.File], str]:
    """The files of a split, and where they lie."""
    where, split = parted(path)
    files = buckets.find(where, _ENDINGS)
    if split:
        kept = [file for file in files if split in _splits(file.path)]
        if not kept:
            known = sorted({_splits(file.path)[0] for file in files})
            raise UserError(f"{where} has no file of split {split!r}; its files begin with {', '.join(known[:9])}")
        return kept, where
    return files, where


def _splits(path: str) -> tuple[str, str]:
    folder, name = os.path.split(path)
    return name.removesuffix(_ENDINGS[0]).split("-0", 1)[0], os.path.basename(folder)


class _Ranges(io.RawIOBase):
    """A file that is read by its ranges. What is read of it is not kept: that is done with what it unpacks to."""

    def __init__(self, file: buckets.File):
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(self._file.size - self._at, 0)
        content = buckets.read(self._file, self._at, left if size is None or size < 0 else min(size, left), keep=False)
        self._at += len(content)
        return content


@contextlib.contextmanager
def _parquet(file: buckets.File):
    """The file, opened. Raises UserError for whatever makes a damaged one fail."""
    try:
        with pa.PythonFile(_Ranges(file), mode="r") as opened:
            yield pyarrow.parquet.ParquetFile(opened, page_checksum_verification=True)
    except UserError:
        raise
    except (pa.ArrowException, ValueError, OSError, MemoryError, OverflowError) as error:
        raise UserError(f"{file.path} is damaged, or no Parquet: {(str(error).splitlines() or [''])[0]}") from error


def _open(file: buckets.File) -> tuple[image_columns.Columns, list[_Group], pa.ChunkedArray]:
    """(columns, row groups, labels) of a file."""
    with _parquet(file) as opened:
        columns = image_columns.find(file.path, opened.schema_arrow)
        parts = [opened.metadata.row_group(number) for number in range(opened.metadata.num_row_groups)]
        leaves = [opened.metadata.schema.column(place).path for place in range(opened.metadata.num_columns)]
        labels = opened.read(columns=[columns.label]).column(0)
        if len(labels) != sum(part.num_rows for part in parts):
            raise UserError(f"{file.path} is damaged: {len(labels):,} labels in row groups of "
                            f"{sum(part.num_rows for part in parts):,} rows")
        groups = []
        for number, part in enumerate(parts):
            column = part.column(leaves.index(columns.image))
            start = column.dictionary_page_offset or column.data_page_offset
            if start < 0 or column.total_compressed_size < 0 or start + column.total_compressed_size > file.size:
                raise UserError(f"{file.path} is damaged: row group {number} would end beyond the end of the file")
            groups.append(_Group(file, number, part.num_rows, start, column.total_compressed_size,
                                 column.total_uncompressed_size))
        return columns, groups, labels


def _unpack(group: _Group, column: str) -> list[bytes | None]:
    """The images of a row group."""
    with _parquet(group.file) as opened:
        found = opened.read_row_group(group.number, columns=[column], use_threads=False).column(0)
        images = (pc.struct_field(found, "bytes") if pa.types.is_struct(found.type) else found).to_pylist()
    if len(images) != group.rows or not all(image is None or isinstance(image, bytes) for image in images):
        raise UserError(f"{group.file.path} is damaged: row group {group.number} has {len(images):,} images, "
                        f"{group.rows:,} expected")
    return images
