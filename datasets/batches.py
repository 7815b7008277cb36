"""From a source to batches. The batch of a step is a function of (seed, step): order, sharding and resume are exact."""

import functools
import math
import types
from collections.abc import Iterator

import cv2
import grain
import numpy as np

from ..errors import UserError
from . import order, transforms, workers
from .source import Source

# The loader's threads are the parallelism; OpenCV's own would fight them.
cv2.setNumThreads(0)

# "Without end", for an iterator: more batches than a run has steps.
_FOREVER = 2 ** 40


class TrainBatches:
    """Endless batches of a training run, from any step on; an iterator of what `train_batches` says.

    Its state is the number of the next global batch, and nothing else: not a matter of hosts, threads or workers.
    """

    def __init__(self, load: "_TrainLoader", config, first_step: int):
        self._load, self._run = load, config.run
        self._step, self._batches = first_step, None

    def __iter__(self) -> Iterator[dict]:
        return self

    def __next__(self) -> dict:
        if self._batches is None:
            load = functools.partial(self._load, self._step)
            self._batches = _iterate(load, _FOREVER, self._load.local_size, self._run)
        batch = next(self._batches)
        self._step += 1
        return batch

    def get_state(self) -> dict[str, int]:
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


class _TrainLoader:
    """(first step, local place) -> an example. It travels to loader processes, with the source."""

    def __init__(self, source: Source, config, seed: int, process_index: int, process_count: int):
        self._source, self._seed, self._global_size = source, seed, config.batch_size
        self._process, self.local_size = process_index, config.batch_size // process_count
        self._order = order.make(source.labels, seed, config.batch_size, config.sampling)
        self._tolerance = config.invalid_data_tolerance_percent
        self._input, self._augment = _plain(config.input), _plain(config.augment)

    def __call__(self, first_step: int, place: int) -> dict:
        step, row = divmod(place, self.local_size)
        position = (first_step + step) * self._global_size + self._process * self.local_size + row
        index = self._order.record(position)
        for tried, stand_in in enumerate(stand_ins(self._source.labels, index)):
            try:
                record = self._source[stand_in]
                image = transforms.train_view(record, np.random.default_rng((self._seed, 1, position)), self._input,
                                              self._augment)
            except (ValueError, OSError) as error:
                # Each of those tried is bad: once they are more than may be, there is no use in trying on.
                if 100 * (tried + 1) > self._tolerance * len(self._source):
                    raise self._too_many(error, tried) from error
                continue
            return {"image": image, "label": np.int32(record["label"]),
                    "replaced": np.int64(index if stand_in != index else -1)}
        raise UserError("no training image can be read")

    def _too_many(self, error: Exception, tried: int) -> UserError:
        if not self._tolerance:
            return UserError(str(error))
        return UserError(f"{tried + 1} of {len(self._source)} training images, more than "
                          f"invalid_data_tolerance_percent {self._tolerance:g}, cannot be read; the last: {error}")


def stand_ins(labels: np.ndarray, index: int) -> Iterator[int]:
    """The record itself, then those that replace it while they cannot be read: the next ones of its class in the
    order of the source, from the first again after the last; where there are none, the next ones of any class.
    """
    yield index
    mates = np.flatnonzero(labels == labels[index])
    after = int(np.searchsorted(mates, index)) + 1
    yield from (int(mate) for mate in (*mates[after:], *mates[:after - 1]))
    for step in range(1, len(labels)):
        other = (index + step) % len(labels)
        if labels[other] != labels[index]:
            yield other


def train_batches(source: Source, config, *, seed: int, process_index: int, process_count: int,
                  first_step: int = 0) -> TrainBatches:
    """Endless {"image": u8[b,S,S,3], "label": i32[b], "replaced": i64[b]}, b = batch_size / process_count.

    The first of them is that of `first_step`. All processes together see the global batch that one process alone
    would see; datasets/order.py says which.
    replaced is -1, or the record whose image could not be read and for which `stand_ins` gave another. config:
    batch_size, input, augment, sampling, invalid_data_tolerance_percent and run.loader_*.
    Raises UserError, naming the file, where an image cannot be read and the tolerance is 0, and where more
    images in a row than the tolerance allows cannot be.
    """
    transforms.check_options(config.input, config.augment)
    return TrainBatches(_TrainLoader(source, config, seed, process_index, process_count), config, first_step)


def eval_batches(source: Source, config, *, batch_size: int, process_index: int, process_count: int):
    """The source once, in order: {"image", "label", "index": i64[b], "mask": bool[b]}, b = batch_size / process_count.

    The last batches are padded to full ones, the same number on every process. mask is False for padding
    (index -1) and for an image that cannot be read (index as ever): `decode` it again to learn why.
    """
    transforms.check_options(config.input, config.augment)
    load = _EvalLoader(source, config.input, batch_size, process_index, process_count)
    return _iterate(load, math.ceil(len(source) / batch_size), load.local_size, config.run)


class _EvalLoader:
    """Local place -> an example."""

    def __init__(self, source: Source, inputs, batch_size: int, process_index: int, process_count: int):
        self._source, self._input, self._global_size = source, _plain(inputs), batch_size
        self._process, self.local_size = process_index, batch_size // process_count

    def __call__(self, place: int) -> dict:
        batch, row = divmod(place, self.local_size)
        index = batch * self._global_size + self._process * self.local_size + row
        size = self._input.image_size
        element = {"image": np.zeros((size, size, 3), np.uint8), "label": np.int32(-1), "index": np.int64(-1),
                   "mask": np.bool_(False)}
        if index >= len(self._source):
            return element
        element["index"] = np.int64(index)
        element["label"] = np.int32(self._source.labels[index])
        try:
            image = transforms.eval_view(self._source[index], self._input)
        except (ValueError, OSError):
            return element
        return {**element, "image": image, "mask": np.bool_(True)}


def _plain(section) -> types.SimpleNamespace:
    """A configuration's fields as attributes: a ConfigDict takes microseconds for each, many times an image."""
    return types.SimpleNamespace(**section)


def _iterate(load, count: int, size: int, run):
    """`count` batches of `size` examples. Threads and processes make whole batches: a hand-over for each example would
    cost as much as a small image.
    """
    if run.loader_workers:
        return workers.Batches(load, count, size, run.loader_workers, run.loader_buffer)
    options = grain.ReadOptions(num_threads=run.loader_threads,
                                prefetch_buffer_size=max(run.loader_buffer, run.loader_threads))
    return iter(grain.MapDataset.range(count).map(functools.partial(workers.batch, load, size))
                .to_iter_dataset(options))
