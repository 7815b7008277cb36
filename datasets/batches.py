"""From a source to batches. The batch of a step is a function of (seed, step): order, sharding and resume are exact.

Both iterators are grain's: `get_state()` is a small dict that `set_state()` takes back.
"""

import functools

import cv2
import grain
import numpy as np

from datasets import decoding, transforms
from datasets.source import Source

# The loader's threads are the parallelism; OpenCV's own would fight them.
cv2.setNumThreads(0)

# "Without end", for an iterator: more batches than a run has steps.
_FOREVER = 2 ** 40


def train_batches(source: Source, config, *, seed: int, process_index: int, process_count: int, first_step: int = 0):
    """Endless batches {"image": u8[b,S,S,3], "label": i32[b]}, b = batch_size / process_count.

    The first of them is that of `first_step`. Each epoch is a new permutation of the whole source; a batch may span
    two. All processes together see the global batch that one process alone would see. config: batch_size, input,
    augment, and run.loader_*. Raises ValueError, naming the file, where an image cannot be read.
    """
    transforms.check_fit(config.input.fit)
    local_size = config.batch_size // process_count

    def load(local_position: int) -> dict:
        step, row = divmod(local_position, local_size)
        position = step * config.batch_size + process_index * local_size + row
        epoch, place = divmod(position, len(source))
        record = source[_permutation(seed, epoch, len(source))[place]]
        image = transforms.fit(decoding.decode(record), config.input.image_size, config.input.fit)
        rng = np.random.default_rng((seed, 1, position))
        return {"image": transforms.augment(image, rng, config.augment), "label": np.int32(record["label"])}

    return _iterate(load, first_step * local_size, _FOREVER, local_size, config)


def eval_batches(source: Source, config, *, batch_size: int, process_index: int, process_count: int):
    """The source once, in order: {"image", "label", "index": i64[b], "mask": bool[b]}, b = batch_size / process_count.

    The last batches are padded to full ones, the same number on every process. mask is False for padding
    (index -1) and for an image that cannot be read (index as ever): `decode` it again to learn why.
    """
    transforms.check_fit(config.input.fit)
    local_size = batch_size // process_count
    batches = -(-len(source) // batch_size)
    size = config.input.image_size

    def load(local_position: int) -> dict:
        batch, row = divmod(local_position, local_size)
        index = batch * batch_size + process_index * local_size + row
        element = {"image": np.zeros((size, size, 3), np.uint8), "label": np.int32(-1), "index": np.int64(-1),
                   "mask": np.bool_(False)}
        if index >= len(source):
            return element
        element["index"] = np.int64(index)
        element["label"] = np.int32(source.labels[index])
        try:
            image = decoding.decode(source[index])
        except (ValueError, OSError):
            return element
        return {**element, "image": transforms.fit(image, size, config.input.fit), "mask": np.bool_(True)}

    return _iterate(load, 0, batches * local_size, local_size, config)


def _iterate(load, start: int, stop: int, batch_size: int, config):
    options = grain.ReadOptions(num_threads=config.run.loader_threads,
                                prefetch_buffer_size=config.run.loader_buffer * batch_size)
    elements = grain.MapDataset.range(start, stop).map(load)
    return iter(elements.to_iter_dataset(options).batch(batch_size, drop_remainder=True))


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, epoch)).permutation(length)
