"""From a source to pictures that can be told apart: an id for each, and the digest of its bytes."""

import concurrent.futures
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from geodesic import datasets
from geodesic.datasets import attempts
from geodesic.errors import UserError
from geodesic.experiments.process import storage

MANIFESTS = (".csv", ".parquet")
_THREADS, _AT_ONCE, _LOOKED_AT = 16, 256, 1000


class Picture(NamedTuple):
    """A row without its vector, and what is to be embedded. problem: why it cannot be read, "" of what can be."""

    id: str
    path: str       # absolute, or a URL; "" of what is no file
    label: str
    metadata: str   # JSON
    digest: str     # 32 hex digits
    record: dict
    problem: str
    place: int = -1  # in the source that it comes from


class Records:
    """A source of records that are in memory already. places: where they are in the source that they come from."""

    def __init__(self, records: list[dict], places: list[int] | None = None):
        self._records, self.places = records, places
        self.labels, self.num_classes, self.class_names = np.zeros(len(records), np.int64), 1, [""]
        self.paths = [record["path"] for record in records]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict:
        return self._records[index]


class Listed:
    """What a source says of its pictures before one of them is read. ids, paths, labels, metadata: of each.

    An id is what the manifest's column `id` says, else the path, else the name that the source has for it.
    Raises UserError where two pictures have one id.
    """

    def __init__(self, source):
        self.source, files = source, _are_files(source)
        self.paths = [escaped(storage.absolute(path)) if files else "" for path in source.paths]
        columns = {name: column.to_pylist() for name, column in zip(*_columns(source), strict=True)}
        given = columns.pop("id", None)
        self.ids = [str(name) for name in given] if given else [
            path or escaped(name) for path, name in zip(self.paths, source.paths, strict=True)]
        self.labels = [escaped(label) for label in _labels(source)]
        self.metadata = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)] or [
            {}] * len(source)
        _check_ids(self.ids, source.paths)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self) -> Iterator[list[Picture]]:
        """All pictures in their order, many at a time; the next ones are read meanwhile."""
        return _ahead(self._picture, range(len(self)))

    def _picture(self, place: int) -> Picture:
        facts = self.ids[place], self.paths[place], self.labels[place]
        try:
            record = self.source[place]
        except (attempts.UnreachableError, storage.LostError):
            raise
        except (OSError, ValueError) as error:
            return Picture(*facts, "", "", {}, f"{self.source.paths[place]}: {' '.join(str(error).split())}")
        crop = {name: [float(value) for value in record[name]] for name in ("box", "landmarks") if name in record}
        metadata = json.dumps(self.metadata[place] | crop, default=str, sort_keys=True)
        return Picture(*facts, metadata, digest(record), record, "", place)


def again(rows: list[dict]) -> Iterator[list[Picture]]:
    """The pictures of rows of a gallery as they are now, in their order; `problem` says which have gone."""

    def picture(row: dict) -> Picture:
        facts = row["id"], row["path"], row["label"], row["metadata"]
        record = {"label": 0, "path": unescaped(row["path"])}
        crop = json.loads(row["metadata"])
        record |= {name: tuple(crop[name]) for name in ("box", "landmarks") if isinstance(crop.get(name), list)}
        try:
            record["image"] = storage.read(record["path"])
        except storage.LostError:
            raise
        except OSError as error:
            return Picture(*facts, "", {}, f"{record['path']}: {error.strerror or error}")
        return Picture(*facts, digest(record), record, "")

    return _ahead(picture, rows)


def digest(record: dict) -> str:
    """Of a picture's bytes, and of the part of it that counts."""
    image = record["image"]
    pixels = not isinstance(image, bytes)
    content = hashlib.blake2b(np.ascontiguousarray(image) if pixels else image, digest_size=16)
    parts = [str(np.shape(image))] * pixels + [f"{name} {[float(value) for value in record[name]]}"
                                               for name in ("box", "landmarks") if name in record]
    content.update("".join(parts).encode())
    return content.hexdigest()


def escaped(text: str) -> str:
    """As UTF-8 can hold it: of a name in no encoding each odd byte as \\\\xNN, and a backslash twice.

    Example:
        >>> escaped("caf\\udce9.png"), unescaped(escaped("caf\\udce9.png")) == "caf\\udce9.png"
        ('caf\\\\xe9.png', True)
    """
    return text.replace("\\", "\\\\").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def unescaped(text: str) -> str:
    back = lambda found: b"\\" if found[1] == b"\\" else bytes([int(found[1][1:], 16)])
    return os.fsdecode(re.sub(rb"\\(\\|x[0-9a-f]{2})", back, text.encode()))


def below(path: str, folder: str) -> bool:
    """Whether a row's path lies in a folder or is that file; folder: absolute and escaped."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def of_folder(images, rows: Iterable[dict]) -> list[dict]:
    """The rows whose pictures lie in the folder, or are the file, that is given; of anything else none."""
    if not isinstance(images, str | os.PathLike) or os.fspath(images).endswith(MANIFESTS):
        return []
    place = escaped(storage.absolute(os.fspath(images)))
    return [row for row in rows if row["path"] and below(row["path"], place)]


def named(names: Iterable[str], rows: Mapping[str, dict], gallery: str) -> list[str]:
    """The ids that are meant by ids, paths of pictures, or folders. Raises UserError where one is of no row."""
    found = {}
    for name in names:
        of_name = [name] if name in rows else [row["id"] for row in of_folder(name, rows.values())]
        if not of_name:
            raise UserError(f"{name!r} is neither an id in {gallery}, nor a picture or folder of its rows: nothing "
                            f"removed")
        found |= dict.fromkeys(of_name)
    return [*found]


def _ahead(picture, items: Iterable) -> Iterator[list[Picture]]:
    parts = [items[start:start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        waiting = [pool.submit(picture, item) for item in parts[0]] if parts else []
        for following in [*parts[1:], []][:len(parts)]:
            current, waiting = waiting, [pool.submit(picture, item) for item in following]
            yield [future.result() for future in current]


def _are_files(source) -> bool:
    return isinstance(source, datasets.Files) or any(map(os.path.lexists, source.paths[:_LOOKED_AT]))


def _columns(source) -> tuple[list, list]:
    """(names, columns) of what a manifest says beside paths and labels."""
    if not hasattr(source, "columns"):
        return [], []
    table = source.columns()
    return table.column_names, table.columns


def _labels(source) -> list[str]:
    if getattr(source, "tags", None) is not None:
        return ["|".join(source.tag_names[place] for place in np.flatnonzero(tags)) for tags in source.tags]
    return [source.class_names[label] for label in source.labels]


def _check_ids(ids: list[str], paths: list[str]) -> None:
    seen = {}
    for name, path in zip(ids, paths, strict=True):
        if name in seen:
            raise UserError(f"two pictures have the id {name!r}: {seen[name]} and {path}. Each row of a gallery has an "
                            f"id of its own: give the manifest a column id")
        if not name or name == "None":
            raise UserError(f"{path} has no id: the manifest's column id is empty there")
        seen[name] = path
