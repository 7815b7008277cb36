"""Turns a source into shards of ArrayRecord at a chosen short side: one pass now, fast reading ever after.

    geodesic prepare --source=image_folder --path=photos --out=prepared/photos [--short_side=256]

The same command goes on where a killed one stopped, shard by shard. Train on it with `name=array_record`. What it reads
and what it writes may lie in a bucket (gs://, s3://).
"""

import concurrent.futures
import os
import tempfile
from collections.abc import Callable

import cv2
import numpy as np
import pyarrow as pa
import simplejpeg
from absl import flags

from geodesic import datasets
from geodesic.datasets import attempts, crops
from geodesic.datasets.source import fetch
from geodesic.datasets.sources import array_record
from geodesic.errors import UserError
from geodesic.experiments.process import cli, hosts, progress, storage, workdir

# How many images a shard has where --shards=0: some 100 MB of 256-pixel JPEGs.
_PER_SHARD = 4096
# Images that a thread reads at once, where they lie in a bucket.
_AT_ONCE = 32
# What all shards of a folder share; and the entry of each shard that is done.
_REQUEST, _DONE = "request.json", "done-{}.json"


def define_flags() -> None:
    flags.DEFINE_string("source", "", "Name of the source (docs/data.md).")
    flags.DEFINE_string("path", "", "Folder or file of the source.")
    flags.DEFINE_string("out", "", "Folder to write.")
    flags.DEFINE_integer("short_side", 256, "Pixels; larger images are shrunk to it. 0 keeps every image as it is.")
    flags.DEFINE_integer("quality", 95, "Quality of the JPEGs of images that are shrunk, 1..100.")
    flags.DEFINE_integer("shards", 0, f"Number of files; 0: one for every {_PER_SHARD} images.")
    flags.DEFINE_integer("threads", os.cpu_count() or 1, "Threads that decode and encode.")


def main(config, values) -> int:
    """Exit status 0; 1 where some images could not be read (they are left out, and listed in the manifest)."""
    hosts.must_be_alone("geodesic prepare")
    if values.short_side < 0 or not 1 <= values.quality <= 100 or values.shards < 0 or values.threads < 1:
        raise UserError("--short_side and --shards are not negative, --quality is 1..100, --threads at least 1")
    source = datasets.build(values.source, path=values.path)
    if isinstance(source, datasets.BoxFiles):
        raise UserError(f"{values.source} {values.path} has pictures with boxes, which prepared shards do not hold: "
                        f"train on it as it is")
    shards = min(values.shards or -(-len(source) // _PER_SHARD), len(source))
    request = {"source": values.source, "path": values.path and storage.absolute(values.path), "images": len(source),
               "classes": source.num_classes, "short_side": values.short_side, "quality": values.quality,
               "shards": shards}
    storage.check(values.out)
    _open(values.out, request)
    others = _others(source)
    with progress.bar("preparing", len(source)) as advance:
        entries = [_shard(source, others, values, shard, shards, advance) for shard in range(shards)]
    unreadable = [line for entry in entries for line in entry.pop("unreadable")]
    kept = sum(entry["images"] for entry in entries)
    if not kept:
        raise UserError(f"none of the {len(source)} images can be read; the first: {unreadable[0]}")
    workdir.write_json(os.path.join(values.out, array_record.MANIFEST), {
        "request": request, "images": kept, "num_classes": source.num_classes, "class_names": source.class_names,
        "shards": entries, "unreadable": unreadable} | _tag_names(source))
    for line in unreadable:
        print(f"left out: {line}")
    size = sum(entry["bytes"] for entry in entries)
    print(f"{kept:,} images of {source.num_classes:,} classes in {values.out}: {shards} shard(s), {size / 1e6:.1f} MB"
          + (f"; {len(unreadable)} unreadable" if unreadable else ""))
    return 1 if unreadable else 0


def _open(folder: str, request: dict) -> None:
    """Raises UserError for a folder of something else."""
    path = os.path.join(folder, _REQUEST)
    if storage.exists(path):
        stored = workdir.read_json(path)
        differing = [f"{key} {stored.get(key)} (now {value})" for key, value in request.items()
                     if stored.get(key) != value]
        if differing:
            raise UserError(f"{folder} is being prepared from another request: {', '.join(differing)}. Give the same "
                            f"one to go on, or another --out")
    elif storage.names(folder):
        raise UserError(f"{folder} is not empty and holds no prepared data: give an empty or new --out")
    workdir.write_json(path, request)


def _tag_names(source: datasets.Source) -> dict[str, list[str]]:
    return {"tag_names": source.tag_names} if getattr(source, "tag_names", None) else {}


def _others(source: datasets.Source) -> pa.Table | None:
    """What is known of each record besides its image, label and path: the tags, and a manifest's other columns."""
    columns = source.columns() if hasattr(source, "columns") else pa.table({})
    if _tag_names(source):
        tags = pa.array([np.flatnonzero(tags) for tags in source.tags], pa.list_(pa.int64()))
        columns = columns.append_column(array_record.TAGS, tags) if columns.num_columns else pa.table(
            {array_record.TAGS: tags})
    return columns if columns.num_columns else None


def _shard(source: datasets.Source, others: pa.Table | None, values, shard: int, shards: int,
           advance: Callable[[int], None]) -> dict:
    """The entry of a shard, made now or before. others: as of `_others`. advance: told of images that are done, from
    any thread.
    """
    name = f"{shard:05}-of-{shards:05}"
    start, stop = len(source) * shard // shards, len(source) * (shard + 1) // shards
    done = os.path.join(values.out, _DONE.format(name))
    if storage.exists(done):
        entry = workdir.read_json(done)
        if _size(values.out, entry["file"]) == entry["bytes"]:
            advance(stop - start)
            return entry

    def convert(places: range) -> list:
        fetch(source, lambda: places)
        return [convert_one(index) for index in places]

    def convert_one(index: int):
        try:
            record = source[index]
            # The index is UTF-8; a file's name may be in no encoding at all.
            path = record["path"].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            result = record["label"], path, encode(record, values.short_side, values.quality)
        except attempts.UnreachableError:
            raise
        except (ValueError, OSError) as error:
            result = str(error)
        advance(1)
        return result

    cv2.setNumThreads(0)  # these threads are the parallelism; OpenCV's own would fight them
    with concurrent.futures.ThreadPoolExecutor(values.threads) as pool:
        blocks = [range(first, min(first + _AT_ONCE, stop)) for first in range(start, stop, _AT_ONCE)]
        results = [result for made in pool.map(convert, blocks) for result in made]
    read = [place for place, result in enumerate(results) if not isinstance(result, str)]
    entry = _write(values.out, name, [results[place] for place in read],
                   others and others.slice(start, stop - start).take(read))
    entry["unreadable"] = [result for result in results if isinstance(result, str)]
    workdir.write_json(done, entry)
    return entry


def _size(folder: str, file: str) -> int:
    """The bytes of a file; -1 where there is none."""
    if storage.is_remote(folder):
        return storage.files(folder).get(file, -1)
    path = os.path.join(folder, file)
    return os.path.getsize(path) if os.path.exists(path) else -1


def _write(folder: str, name: str, records: list, columns: pa.Table | None) -> dict:
    """As `array_record.write_shard`; into a bucket go files that were written here."""
    if not storage.is_remote(folder):
        return array_record.write_shard(folder, name, records, columns)
    with tempfile.TemporaryDirectory() as here:
        entry = array_record.write_shard(here, name, records, columns)
        for file in (entry["file"], entry["index"]):
            with open(os.path.join(here, file), "rb") as opened:
                storage.write(f"{folder}/{file}", opened.read())
    return entry


def encode(record: dict, short_side: int, quality: int) -> bytes:
    """The record's image, its box, or its aligned face, with at most `short_side` pixels on the short side.

    Files that are small enough stay as they are, once they have been read; pixels become PNG. A larger one is a JPEG
    afterwards, without subsampling of colours at a quality of 90 and more. Raises UserError for one that is damaged.
    """
    whole = datasets.decode(record)
    encoded = isinstance(record["image"], bytes)
    if not {"box", "landmarks"} & {*record} and encoded and (not short_side or min(whole.shape[:2]) <= short_side):
        return record["image"]
    image = crops.cut({**record, "image": whole}, crops.whole, None)
    height, width = image.shape[:2]
    if not short_side or min(height, width) <= short_side:
        return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()
    scale = short_side / min(height, width)
    image = crops.resize(image, max(round(height * scale), short_side), max(round(width * scale), short_side))
    return simplejpeg.encode_jpeg(image.copy(order="C"), quality, colorsubsampling="444" if quality >= 90 else "420")


if __name__ == "__main__":
    cli.run(main, define_flags, required=("source", "out"), alone=True, buckets=("out",))
