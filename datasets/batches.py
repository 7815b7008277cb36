"""Makes batches of a source. That of a step is a function of (seed, step): order, sharding and resume are exact.

What is asked of them comes in plain sections: `input`, `augment` and `sampling` of a configuration, or any objects with
those attributes, such as a types.SimpleNamespace. configs/default.py says what each field means.
"""

import functools
import math
import types
from collections.abc import Callable, Iterator

import cv2
import grain
import numpy as np

from ..errors import UserError
from . import attempts, crops, mixing, order, transforms, workers
from .source import Source, fetch

# "Without end", for an iterator: more batches than a run has steps.
FOREVER = 2 ** 40


class TrainBatches:
    """Endless batches of a training run, from any step on: an iterator of what `train_batches` describes.

    Its state is the number of the next global batch, and nothing else: not a matter of hosts, threads or workers.
    """

    def __init__(self, load: "Loader", iterate: Callable[[Callable], Iterator[dict]], first_step: int):
        self._load, self._iterate = load, iterate
        self._step, self._batches = first_step, None

    def __iter__(self) -> Iterator[dict]:
        return self

    def __next__(self) -> dict:
        if self._batches is None:
            self._batches = self._iterate(functools.partial(self._load, self._step))
        batch = next(self._batches)
        self._step += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """Says where to go on from: {"step": number of the next batch}."""
        return {"step": self._step}

    def set_state(self, state: dict[str, int]) -> None:
        """Goes on with the batch of that step, wherever it was."""
        self.close()
        self._step = int(state["step"])

    def close(self) -> None:
        """Ends loader workers; the next batch starts them anew."""
        if self._batches is not None and hasattr(self._batches, "close"):
            self._batches.close()
        self._batches = None


class Loader:
    """A function (first step, local place) -> an example. It travels to loader processes, with the source.

    What an example is, a part of it says: `_at`, and of which records, `_records`.
    """

    def __init__(self, source: Source, sampling, batch_size: int, parts: int, seed: int, process_index: int,
                 process_count: int, tolerance_percent: float):
        self._source, self._seed, self._parts = source, seed, parts
        self._process, self.local_size = process_index, local_size(batch_size, process_count, parts)
        self._part_size, self._local_part_size = batch_size // parts, self.local_size // parts
        self._order = order.make(source.labels, seed, batch_size, sampling, parts)
        self._tolerance = tolerance_percent

    def __call__(self, first_step: int, place: int) -> dict:
        if place % self.local_size == 0:
            fetch(self._source, lambda: [record for one in range(place, place + self.local_size)
                                         for record in self._records(self._position(first_step, one))])
        return self._at(self._position(first_step, place))

    def _records(self, position: int) -> list[int]:
        return [self._order.record(position)]

    def _first_readable(self, index: int, make: Callable[[dict], dict]) -> tuple[dict, int]:
        """(what is made of a record, which one): of that at `index`, or of the first of its stand-ins."""
        for tried, stand_in in enumerate(stand_ins(self._source.labels, index)):
            try:
                return make(self._source[stand_in]), stand_in
            except attempts.UnreachableError:
                raise
            except (ValueError, OSError) as error:
                # All that were tried are bad: once they are more than may be, there is no use in trying on.
                if 100 * (tried + 1) > self._tolerance * len(self._source):
                    raise self._too_many(error, tried) from error
        raise UserError("no training image can be read")

    def _position(self, first_step: int, place: int) -> int:
        # Parts are counted over all steps, and of each part every process has its share.
        part, row = divmod(place, self._local_part_size)
        return (first_step * self._parts + part) * self._part_size + self._process * self._local_part_size + row

    def _too_many(self, error: Exception, tried: int) -> UserError:
        if not self._tolerance:
            return UserError(str(error))
        return UserError(f"{tried + 1} of {len(self._source)} training images, more than "
                         f"invalid_data_tolerance_percent {self._tolerance:g}, cannot be read; the last: {error}")


class _TrainLoader(Loader):
    def __init__(self, source: Source, input, augment, sampling, batch_size: int, parts: int, seed: int,
                 process_index: int, process_count: int, tolerance_percent: float, tags: bool):
        super().__init__(source, sampling, batch_size, parts, seed, process_index, process_count, tolerance_percent)
        self._input, self._augment, self._tags = plain(input), plain(augment), tags
        self._pair = mixing.LastTwo() if mixing.is_on(augment) else None
        if self._pair and self._part_size < 2:
            raise UserError(f"mixup and cutmix take two images of an accumulation part, and batch_size {batch_size} in "
                            f"{parts} has one: use a larger batch, or augment.mixup_alpha=0 and augment.cutmix_alpha=0")

    def _at(self, position: int) -> dict:
        if not self._pair:
            return self._example(position)
        return mixing.mixed(self._pair.get(position, self._example),
                            self._pair.get(mixing.partner(position, self._part_size), self._example),
                            np.random.default_rng((self._seed, 3, position)), self._augment)

    def _example(self, position: int) -> dict:
        index = self._order.record(position)
        example, stand_in = self._first_readable(index, lambda record: self._made(record, position))
        return example | {"replaced": np.int64(index if stand_in != index else -1)}

    def _made(self, record: dict, position: int) -> dict:
        rng = np.random.default_rng((self._seed, 1, position))
        example = {"image": transforms.train_view(record, rng, self._input, self._augment),
                   "label": np.int32(record["label"])}
        return example | {"tags": np.asarray(record["tags"], bool)} if self._tags else example


def stand_ins(labels: np.ndarray, index: int) -> Iterator[int]:
    """Lists the record at `index`, and then those that replace it while they cannot be read.

    They are the next ones of its class in the order of the source, from the first again after the last; after those,
    the next ones of any class.

    Example:
        >>> [*stand_ins(np.array([0, 1, 0, 1, 0, 1]), 3)]
        [3, 5, 1, 4, 0, 2]
    """
    yield index
    mates = np.flatnonzero(labels == labels[index])
    after = int(np.searchsorted(mates, index)) + 1
    yield from (int(mate) for mate in (*mates[after:], *mates[:after - 1]))
    for step in range(1, len(labels)):
        other = (index + step) % len(labels)
        if labels[other] != labels[index]:
            yield other


def train_batches(source: Source, *, input, augment, sampling, batch_size: int, seed: int, process_index: int,
                  process_count: int, parts: int = 1, tolerance_percent: float = 0.0, threads: int = 2,
                  workers: int = 0, buffer: int = 8, first_step: int = 0, tags: bool = False) -> TrainBatches:
    """Makes the batches of a training run, from `first_step` on, without end.

    Args:
        source: the images.
        input, augment, sampling: sections of a configuration, or objects with their attributes.
        batch_size: images of a batch over all processes, of which this one makes b = batch_size / process_count.
        seed: what the order and the views are drawn from.
        process_index, process_count: this process among all. Together they see the global batch that one process
            alone would see; datasets/order.py says which.
        parts: accumulation steps that a batch is cut into. Part i of the global batch is the i-th of equal parts of
            every process's batch, in the order of the processes, and holds the same images however many they are.
        tolerance_percent: of the source's images that may be unreadable: `stand_ins` says what is shown instead.
        threads, workers: threads that make batches, or, where workers is not 0, processes that do.
        buffer: batches prepared ahead.
        tags: whether batches have the "tags" of each image, bool[b,T], too; its source must.

    Returns an iterator of {"image": u8[b,S,S,3], "label": i32[b], "replaced": i64[b]}; replaced is -1, or the record
    whose image could not be read. Where `augment` mixes images, there are "other_label", i32[b], and "label_weight",
    f32[b], too (datasets/mixing.py).
    Raises UserError for sections that cannot be followed; the iterator raises it, naming the file, where an image
    cannot be read and the tolerance is 0, and where more images in a row than the tolerance allows cannot be.

    Example:
        >>> from geodesic import datasets
        >>> from geodesic.configs import default
        >>> config = default.get_config()
        >>> source = datasets.build("orl_faces", classes=(0, 30))
        >>> batches = datasets.train_batches(source, input=config.input, augment=config.augment,
        ...     sampling=config.sampling, batch_size=16, seed=0, process_index=0, process_count=1)
        >>> next(batches)["image"].shape
        (16, 112, 112, 3)
        >>> batches.close()
    """
    transforms.check_options(input, augment)
    load = _TrainLoader(source, input, augment, sampling, batch_size, parts, seed, process_index, process_count,
                        tolerance_percent, tags)
    return TrainBatches(load, functools.partial(iterate, count=FOREVER, size=load.local_size, threads=threads,
                                                processes=workers, buffer=buffer), first_step)


def eval_batches(source: Source, *, input, batch_size: int, process_index: int, process_count: int, threads: int = 2,
                 workers: int = 0, buffer: int = 8) -> Iterator[dict]:
    """Goes through a source once, in order.

    Args: as of `train_batches`.

    Returns an iterator of {"image": u8[b,S,S,3], "label": i32[b], "index": i64[b], "mask": bool[b]}. The last batches
    are padded to full ones, the same number on every process. mask is False for padding (index -1, label -1) and for
    an image that cannot be read (index and label as ever): `problem` says why.
    Raises UserError for a section that cannot be followed.

    Example:
        >>> import types
        >>> from geodesic import datasets
        >>> section = types.SimpleNamespace(image_size=32, fit="stretch", resize_size=0, decode_to_scale=True)
        >>> batches = datasets.eval_batches(datasets.build("orl_faces"), input=section, batch_size=150,
        ...     process_index=0, process_count=1)
        >>> [int(batch["mask"].sum()) for batch in batches]
        [150, 150, 100]
    """
    crops.check_input(input)
    load = _EvalLoader(source, input, batch_size, process_index, process_count)
    return iterate(load, math.ceil(len(source) / batch_size), load.local_size, threads, workers, buffer)


class EvalLoader:
    """A function local place -> an example. It travels to loader processes, with the source.

    `_element` is that of padding, with its "index" and "mask", and `_seen` what an image adds to it.
    """

    def __init__(self, source: Source, batch_size: int, process_index: int, process_count: int):
        self._source, self._global_size = source, batch_size
        self._process, self.local_size = process_index, local_size(batch_size, process_count)

    def __call__(self, place: int) -> dict:
        batch, row = divmod(place, self.local_size)
        index = batch * self._global_size + self._process * self.local_size + row
        if not row:
            fetch(self._source, lambda: range(index, min(index + self.local_size, len(self._source))))
        element = self._element(index if index < len(self._source) else -1)
        if index >= len(self._source):
            return element
        try:
            return element | self._seen(self._source[index]) | {"mask": np.bool_(True)}
        except attempts.UnreachableError:
            raise
        except (ValueError, OSError):
            return element


class _EvalLoader(EvalLoader):
    def __init__(self, source: Source, input, batch_size: int, process_index: int, process_count: int):
        super().__init__(source, batch_size, process_index, process_count)
        self._input = plain(input)

    def _element(self, index: int) -> dict:
        size = self._input.image_size
        return {"image": np.zeros((size, size, 3), np.uint8),
                "label": np.int32(self._source.labels[index] if index >= 0 else -1), "index": np.int64(index),
                "mask": np.bool_(False)}

    def _seen(self, record: dict) -> dict:
        return {"image": transforms.eval_view(record, self._input)}


def local_size(batch_size: int, process_count: int, parts: int = 1) -> int:
    """Examples of a batch that one process makes. Raises UserError where they do not divide."""
    if batch_size < 1 or batch_size % process_count:
        raise UserError(f"batch_size {batch_size} does not divide into {process_count} processes: use a multiple of it")
    if parts < 1 or batch_size % (process_count * parts):
        raise UserError(f"batch_size {batch_size} does not divide into {process_count} processes x {parts} "
                        f"accumulation steps: use a multiple of both")
    return batch_size // process_count


def plain(section):
    """A ConfigDict takes microseconds for each of its fields, many times an image: its fields as plain attributes."""
    return types.SimpleNamespace(**section) if hasattr(section, "keys") else section


def iterate(load: Callable[[int], dict], count: int, size: int, threads: int, processes: int,
            buffer: int) -> Iterator[dict]:
    """Makes `count` batches of `size` examples. Threads and processes make whole batches: a hand-over for each example
    would cost as much as a small image.
    """
    if processes:
        return workers.Batches(load, count, size, processes, buffer)
    cv2.setNumThreads(0)  # the loader's threads are the parallelism; OpenCV's own would fight them
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(buffer, threads))
    return iter(grain.MapDataset.range(count).map(functools.partial(workers.batch, load, size))
                .to_iter_dataset(options))
