"""Reads TensorFlow Datasets by name, without TensorFlow: what `tfds build --file_format=array_record` has prepared."""

import hashlib
import os
import pathlib

import numpy as np

from ...errors import UserError
from ..source import parted

# The first of these that a data set has is the class of an image. class_id: the product, in Stanford Online Products.
# attributes: yes or no to each of many names (celeb_a); they are the tags of images that are of no class.
_LABELS = ("label", "class_id", "identity", "id", "attributes")
_IMAGES = ("image",)


class Tfds:
    """The source of one split of a prepared data set.

    path: `[FOLDER/]NAME[/CONFIG][/VERSION][#SPLIT]`, as in "cars196#train" or "/data/tfds/imagenet2012#validation"; the
    folder is by default $TFDS_DATA_DIR or ~/tensorflow_datasets, the split "train", the version the newest.
    tags: bool[N,T], tag_names: of a data set that has attributes in place of a class (all are of one then), or None.
    Knowing the labels takes reading everything once; they are kept in the cache folder.
    Raises FileNotFoundError with the command that prepares it, UserError where it has no image or no label.
    """

    def __init__(self, path: str):
        import tensorflow_datasets as tfds  # a second to import, for those who use it

        self._path = path
        name, split = parted(path)
        folder = _find(name)
        builder = tfds.builder_from_directory(str(folder))
        split = split or "train"
        if split not in builder.info.splits:
            raise UserError(f"{folder} has no split {split!r}; it has {', '.join(builder.info.splits)}")
        self._full_name, self._split = builder.info.full_name.replace("/", ":"), split
        features = builder.info.features
        self._image = _key(features, _IMAGES, folder)
        self._label = _key(features, _LABELS, folder)
        try:
            self._records = builder.as_data_source(split=split, decoders={self._image: tfds.decode.SkipDecoding()})
        except NotImplementedError as error:
            raise UserError(f"{folder} is stored as {builder.info.file_format.value}, which takes TensorFlow to read: "
                            f"{_command(builder.name)}") from error
        names = getattr(features[self._label], "names", None)
        found = self._labels(folder, split, len(self._records))
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

    def __reduce__(self):  # open files do not travel to loader processes
        return Tfds, (self._path,)

    def _labels(self, folder: pathlib.Path, split: str, count: int) -> np.ndarray:
        key = hashlib.sha256(f"{folder.resolve()} {(folder / 'dataset_info.json').stat().st_mtime_ns} {split} {count} "
                             f"{self._label}".encode()).hexdigest()[:24]
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "geodesic" / "labels"
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


def _find(name: str) -> pathlib.Path:
    """Finds the folder of the newest version."""
    root = pathlib.Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    folder = pathlib.Path(name) if pathlib.Path(name).is_dir() else root / name
    found = [path.parent for path in folder.rglob("dataset_info.json")] if folder.is_dir() else []
    if not found:
        raise FileNotFoundError(f"no data set prepared in {str(folder)!r}: {_command(folder.name)}")
    configs = {path.parent for path in found}
    if len(configs) > 1:
        raise UserError(f"{folder} has several configurations, give one: "
                        + ", ".join(sorted(str(path.relative_to(folder)) for path in configs)))
    return max(found, key=lambda path: [int(part) if part.isdecimal() else 0 for part in path.name.split(".")])


def _key(features, known: tuple[str, ...], folder: pathlib.Path) -> str:
    for key in known:
        if key in features:
            return key
    raise UserError(f"{folder} has none of {', '.join(known)} to take; it has {', '.join(features)}. A manifest "
                    f"(docs/data.md) can name another column")


def _command(name: str) -> str:
    return (f"prepare it with `tfds build {name} --file_format=array_record` (where TensorFlow is installed, if its "
            f"generator needs that), or set TFDS_DATA_DIR to the folder that holds it")
