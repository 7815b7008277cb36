"""Reads TensorFlow Datasets by name, without TensorFlow: what `tfds build --file_format=array_record` has prepared."""

import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ...errors import UserError
from .. import buckets, disk_cache
from ..record_ranges import RecordRanges
from ..source import parted

# The first of these that a data set has is the class of an image. class_id: the product, in Stanford Online Products.
# attributes: yes or no to each of many names (celeb_a); they are the tags of images that are of no class.
_LABELS = ("label", "class_id", "identity", "id", "attributes")
_IMAGES = ("image",)
_AT_ONCE = 64  # records of a bucket that are fetched at once for their labels


class Tfds:
    """The source of one split of a prepared data set.

    path: `[FOLDER/]NAME[/CONFIG][/VERSION][#SPLIT]`, as in "cars196#train" or "/data/tfds/imagenet2012#validation"; the
    folder is by default $TFDS_DATA_DIR or ~/tensorflow_datasets, the split "train", the version the newest. Either may
    lie in a bucket.
    tags: bool[N,T], tag_names: of a data set that has attributes in place of a class (all are of one then), or None.
    Knowing the labels takes reading everything once; they are kept in the cache folder.
    Raises FileNotFoundError with the command that prepares it, UserError where it has no image or no label.
    """

    def __init__(self, path: str):
        import tensorflow_datasets as tfds  # a second to import, for those who use it

        self._path = path
        name, split = parted(path)
        there = _find_remote(name)
        folder = _described(there) if there else _find(name)
        builder = tfds.builder_from_directory(str(folder))
        folder, described = there or folder, folder
        split = split or "train"
        if split not in builder.info.splits:
            raise UserError(f"{folder} has no split {split!r}; it has {', '.join(builder.info.splits)}")
        self._full_name, self._split = builder.info.full_name.replace("/", ":"), split
        features = builder.info.features
        self._image = _key(features, _IMAGES, folder)
        self._label = _key(features, _LABELS, folder)
        decoders = {self._image: tfds.decode.SkipDecoding()}
        try:
            self._records = builder.as_data_source(split=split, decoders=decoders) if not there else (
                _Records(there, builder, split, decoders))
        except NotImplementedError as error:
            raise UserError(f"{folder} is stored as {builder.info.file_format.value}, which takes TensorFlow to read: "
                            f"{_command(builder.name)}") from error
        names = getattr(features[self._label], "names", None)
        found = self._labels(folder, described, split, len(self._records))
        self.tags = self.tag_names = None
        if self._label == "attributes":
            self.tags, self.tag_names = found.astype(bool), sorted(features[self._label])
            self.class_names, self.labels = [""], np.zeros(len(found), np.int64)
        elif names and not isinstance(features[self._label], tfds.features.Text):
            self.class_names, self.labels = list(names), found.astype(np.int64)
        else:
            without = [place for place, label in enumerate(found.tolist()) if not str(label).strip()]
            if without:
                raise UserError(f"{folder}#{split}: {len(without):,} records have no label, record {without[0]} for "
                                f"one")
            classes, labels = np.unique(found, return_inverse=True)
            self.class_names, self.labels = [str(name) for name in classes], labels.astype(np.int64)
        self.num_classes = len(self.class_names)
        self.paths = [f"{folder}#{split}/{index}" for index in range(len(self._records))]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        record = {"image": self._records[int(index)][self._image], "label": int(self.labels[index]),
                  "path": self.paths[index]}
        return record if self.tags is None else record | {"tags": self.tags[index]}

    def record_names(self) -> list[str]:
        """Names a record by the data set's name, configuration and version, the split, and the place in it."""
        return [f"{self._full_name}#{self._split}:{index}" for index in range(len(self))]

    @property
    def fetch(self) -> Callable[[Iterable[int]], None]:
        """Reads records of a bucket at once."""
        return self._records.fetch

    def __reduce__(self):  # open files do not travel to loader processes
        return Tfds, (self._path,)

    def _labels(self, folder: pathlib.Path | str, described: pathlib.Path, split: str, count: int) -> np.ndarray:
        """Reads the label of every record. described: where the data set's description lies on this disk."""
        key = hashlib.sha256(f"{described.resolve()} {(described / 'dataset_info.json').stat().st_mtime_ns} {split} "
                             f"{count} {self._label}".encode()).hexdigest()[:24]
        cache = disk_cache.folder() / "labels"
        try:
            return np.load(cache / f"{key}.npy", allow_pickle=False)
        except (OSError, ValueError):
            pass  # not yet there, or cut short
        if count > 100_000:
            print(f"reading the {count:,} labels of {folder}, once", flush=True)
        try:
            labels = np.array([_plain(record[self._label]) for record in self._records])
        except UnicodeDecodeError as error:
            raise UserError(f"{folder}#{split}: the label {error.object!r} is no UTF-8") from error
        try:
            cache.mkdir(parents=True, exist_ok=True)
            temporary = cache / f"{key}.{os.getpid()}.npy"
            np.save(temporary, labels)
            temporary.replace(cache / f"{key}.npy")
        except OSError:
            pass  # it only saves time
        return labels


def _plain(value):
    """Turns a label into a name, a number, or yes and no in the order of their names."""
    if isinstance(value, dict):
        return [bool(value[name]) for name in sorted(value)]
    return value.decode() if isinstance(value, bytes) else value


class _Records:
    """The records of a split in a bucket, as `as_data_source` gives those of a disk. decoders: as it takes."""

    def __init__(self, folder: str, builder, split: str, decoders: dict):
        if builder.info.file_format.value != "array_record":
            raise NotImplementedError
        there = {os.path.basename(file.path): file for file in buckets.find(folder, ("",))}
        names = [os.path.basename(one.filename) for one in builder.info.splits[split].file_instructions]
        missing = [name for name in names if name not in there]
        if missing:
            raise UserError(f"{folder}/{missing[0]} is missing: {len(missing):,} of {len(names):,} files of {split}")
        self._raw, self._features, self._decoders = (
            RecordRanges([there[name] for name in names]), builder.info.features, decoders)
        if len(self._raw) != builder.info.splits[split].num_examples:
            raise UserError(f"{folder} is damaged: {len(self._raw):,} records in {split}, "
                            f"{builder.info.splits[split].num_examples:,} expected")
        self.fetch = self._raw.fetch

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, index: int) -> dict:
        return self._features.deserialize_example_np(self._raw[index], decoders=self._decoders)

    def __iter__(self) -> Iterator[dict]:
        for start in range(0, len(self), _AT_ONCE):
            places = range(start, min(start + _AT_ONCE, len(self)))
            self.fetch(places)
            yield from map(self.__getitem__, places)


def _find_remote(name: str) -> str:
    """The folder of the newest version in a bucket; "" where the name is of none."""
    root = os.environ.get("TFDS_DATA_DIR", "")
    if not buckets.is_remote(name):
        if not buckets.is_remote(root) or os.path.isdir(name):
            return ""
        name = f"{root.rstrip('/')}/{name}"
    try:
        found = [os.path.dirname(file.path) for file in buckets.find(name, ("/dataset_info.json",))]
    except FileNotFoundError:
        raise FileNotFoundError(f"no data set prepared in {name!r}: {_command(os.path.basename(name))}") from None
    return _newest(name, found)


def _described(folder: str) -> pathlib.Path:
    """The folder on this disk to which the description of a data set of a bucket has been copied."""
    files = [file for file in buckets.find(folder, (".json", ".txt")) if os.path.dirname(file.path) == folder]
    digest = hashlib.sha256(repr(files).encode()).hexdigest()[:24]
    # The library knows a data set by its folder's name, a version.
    copy = disk_cache.folder() / "tfds" / digest / os.path.basename(folder)
    copy.mkdir(parents=True, exist_ok=True)
    for file in files:
        if not (copy / os.path.basename(file.path)).exists():
            buckets.store(str(copy / os.path.basename(file.path)), buckets.read(file, 0, file.size))
    return copy


def _find(name: str) -> pathlib.Path:
    """Finds the folder of the newest version."""
    root = pathlib.Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    folder = pathlib.Path(name) if pathlib.Path(name).is_dir() else root / name
    found = [path.parent for path in folder.rglob("dataset_info.json")] if folder.is_dir() else []
    if not found:
        raise FileNotFoundError(f"no data set prepared in {str(folder)!r}: {_command(folder.name)}")
    return pathlib.Path(_newest(str(folder), list(map(str, found))))


def _newest(folder: str, found: list[str]) -> str:
    """The folder of the newest version among those found below one. Raises UserError for several configurations."""
    configs = {os.path.dirname(one) for one in found}
    if len(configs) > 1:
        raise UserError(f"{folder} has several configurations, give one: "
                        + ", ".join(sorted(os.path.relpath(one, folder) for one in configs)))
    return max(found, key=lambda one: [int(part) if part.isdecimal() else 0
                                       for part in os.path.basename(one).split(".")])


def _key(features, known: tuple[str, ...], folder: pathlib.Path) -> str:
    for key in known:
        if key in features:
            return key
    raise UserError(f"{folder} has none of {', '.join(known)} to take; it has {', '.join(features)}. A manifest "
                    f"(docs/data.md) can name another column")


def _command(name: str) -> str:
    return (f"prepare it with `tfds build {name} --file_format=array_record` (where TensorFlow is installed, if its "
            f"generator needs that), or set TFDS_DATA_DIR to the folder that holds it")
