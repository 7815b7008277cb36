"""The same images in the forms that stream, and buckets that lie in a folder of this machine."""

import contextlib
import io
import json
import os
import pathlib
import tarfile
import threading

import fsspec
import fsspec.implementations.dirfs
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from geodesic import datasets
from geodesic.configs import default
from geodesic.datasets import attempts, disk_cache


def write_shards(folder: pathlib.Path, source: datasets.Source, shards: int = 3, field: str = "cls") -> str:
    """Packs a source of files into shards of tar, in its order; the pattern that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        with tarfile.open(folder / f"shard-{shard:02}.tar", "w") as tar:
            for place in range(len(source) * shard // shards, len(source) * (shard + 1) // shards):
                record = source[place]
                name = source.class_names[record["label"]]
                key = f"{name}/{place:04}" if field == "folder" else f"{place:04}"
                text = {"cls": name, "txt": f"{name}\n", "json": f'{{"label": "{name}", "width": 20}}'}.get(field)
                add(tar, f"{key}.jpg", record["image"])
                if text:
                    add(tar, f"{key}.{field}", text.encode())
    return str(folder / f"shard-{{00..{shards - 1:02}}}.tar")


def write_folder(folder: pathlib.Path, source: datasets.Source) -> None:
    """Writes a source's images as a folder: name/0003.jpg, in its order."""
    for place in range(len(source)):
        record = source[place]
        path = folder / source.class_names[record["label"]] / f"{place:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(record["image"])


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def batches(source: datasets.Source, steps: int = 5, first_step: int = 0, **options) -> list[dict]:
    config = default.get_config()
    config.input.image_size = 16
    options = {"batch_size": 4, "seed": 3, "process_index": 0, "process_count": 1, "buffer": 1} | options
    made = datasets.train_batches(source, input=config.input, augment=config.augment, sampling=config.sampling,
                                  first_step=first_step, **options)
    try:
        return [next(made) for _ in range(steps)]
    finally:
        made.close()
        for thread in threading.enumerate():  # the batch that is being made when a loader is closed is made to its end
            if thread.name.startswith("grain-prefetch"):
                thread.join(10)


def same(these: list[dict], those: list[dict]) -> bool:
    return len(these) == len(those) and all(
        np.array_equal(this[key], that[key]) for this, that in zip(these, those, strict=True) for key in this)


class Bucket(fsspec.implementations.dirfs.DirFileSystem):
    """A bucket that lies in a folder; asked for ranges it fails as often as it is told, and it counts."""

    failures, calls, asked, read = (), 0, 0, 0

    def _join(self, path):
        return super()._join(path.removeprefix("gs://") if isinstance(path, str) else path)

    def cat_ranges(self, paths, starts, ends, **_):
        answers = []
        type(self).calls += 1
        for path, start, end in zip(paths, starts, ends, strict=True):
            type(self).asked += 1
            if self.failures:
                answers.append(type(self).failures.pop())
            else:
                content = self.cat_file(path, start, end)
                type(self).read += len(content)
                answers.append(content)
        return answers


def use_bucket(monkeypatch, folder: pathlib.Path) -> type[Bucket]:
    """gs://NAME is then folder/NAME, in this process."""
    bucket = type("Here", (Bucket,), {"failures": [], "calls": 0, "asked": 0, "read": 0, "cachable": False})
    system = bucket(str(folder), fsspec.filesystem("file", auto_mkdir=True))
    monkeypatch.setattr(attempts, "_filesystem", lambda scheme, process: system)
    monkeypatch.setattr(attempts, "_LONGEST_PAUSE", 0.0)
    return bucket


@contextlib.contextmanager
def cache_of(monkeypatch, folder: pathlib.Path, gigabytes: float = 1.0):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("GEODESIC_CACHE_GB", str(gigabytes))
    monkeypatch.setattr(disk_cache, "_left", 0)
    monkeypatch.setattr(disk_cache, "_full_until", 0.0)
    yield pathlib.Path(os.environ["XDG_CACHE_HOME"]) / "geodesic" / "pieces"


def write_parquet(folder: pathlib.Path, source: datasets.Source, files: int = 2, split: str = "train",
                  named: bool = True, **options) -> pathlib.Path:
    """Writes a source of files as Hugging Face stores image sets, in its order. named: the classes, in the schema."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    label = {"names": source.class_names, "_type": "ClassLabel"} if named else {"dtype": "string", "_type": "Value"}
    features = {"image": {"_type": "Image"}, "label": label}
    for file in range(files):
        places = range(len(source) * file // files, len(source) * (file + 1) // files)
        labels = [int(source.labels[place]) for place in places]
        table = pa.table({
            "image": [{"bytes": source[place]["image"], "path": f"{place}.jpg"} for place in places],
            "label": labels if named else [source.class_names[label] for label in labels]})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pa.parquet.write_table(table, folder / "data" / f"{split}-{file:05}-of-{files:05}.parquet",
                               **{"row_group_size": 4, "write_page_checksum": True} | options)
    return folder
