"""`geodesic train`, with what a fault needs: a tiny network, a record of its batches, and things that go wrong.

    python -m tests.faults.train --config=tests/faults/tiny_config.py:FOLDER --workdir=RUN [--poison=7] ...
"""

import json
import os
import threading
import time
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from geodesic import datasets
from geodesic.datasets import decoding
from geodesic.experiments import train
from geodesic.experiments.process import cli, hosts
from geodesic.experiments.training import step as steps

# What an image that turns into NaN looks like.
_MARK = 255


def define_flags() -> None:
    train.define_flags()
    flags.DEFINE_string("record", "", "Append a line for each batch drawn: step, first row, a checksum of each row.")
    flags.DEFINE_integer("poison", 0, "The batch of this step is not a number on the device.")
    flags.DEFINE_integer("loader_dies", 0, "A thread of the loader raises in the batch of this step.")
    flags.DEFINE_integer("loader_hangs", 0, "A thread of the loader waits for ever in the batch of this step.")
    flags.DEFINE_bool("clock", False, "time.time is set forward or back by days, before every fifth batch.")
    flags.DEFINE_float("step_seconds", 0.0, "Every batch takes as long: time in which to be killed.")


class Batches:
    """Those of datasets.train_batches, with what `values` asks to happen to them."""

    def __init__(self, drawn, values, change_clock: Callable[[], None]):
        self._drawn, self._values, self._change_clock = drawn, values, change_clock
        self.get_state, self.set_state, self.close = drawn.get_state, drawn.set_state, drawn.close

    def __next__(self) -> dict:
        time.sleep(self._values.step_seconds)
        batch = next(self._drawn)
        step = self.get_state()["step"]
        if step % 5 == 0:
            self._change_clock()
        if step == self._values.poison:
            batch["image"] = np.concatenate([np.full_like(batch["image"][:1], _MARK), batch["image"][1:]])
        if self._values.record:
            self._record(step, batch)
        return batch

    def _record(self, step: int, batch: dict) -> None:
        rows = [zlib.crc32(image.tobytes(), int(label)) for image, label in zip(*map(batch.get, ("image", "label")),
                                                                                strict=True)]
        with open(self._values.record, "a") as file:
            file.write(json.dumps({"step": step, "first": jax.process_index() * len(rows), "rows": rows}) + "\n")


def main(config, values) -> int:
    normalize, train_batches, image_of = steps.normalize, datasets.train_batches, decoding.decode_to_scale
    decoded = [0]

    def normalize_or_nan(images, input):
        marked = jnp.all(images == _MARK, axis=(1, 2, 3), keepdims=True)
        return jnp.where(marked, jnp.nan, normalize(images, input))

    def decode(record, wanted):
        decoded[0] += 1
        if threading.current_thread() is not threading.main_thread():
            if values.loader_dies and decoded[0] > values.loader_dies * config.batch_size:
                raise RuntimeError("a thread of the loader dies here")
            if values.loader_hangs and decoded[0] > values.loader_hangs * config.batch_size:
                threading.Event().wait()
        return image_of(record, wanted)

    change = change_clock() if values.clock else lambda: None
    steps.normalize, decoding.decode_to_scale = normalize_or_nan, decode
    datasets.train_batches = lambda *arguments, **options: Batches(
        train_batches(*arguments, **options), values, change)
    print(f"pid {os.getpid()}", hosts.share(), flush=True)
    return train.main(config, values)


def change_clock() -> Callable[[], None]:
    """Sets time.time's clock forward or back, by up to 12 days, whenever what it returns is called."""
    now, offset, random = time.time, [0.0], np.random.default_rng(os.getpid())
    time.time = lambda: now() + offset[0]
    time.time_ns = lambda: int(time.time() * 1e9)

    def change() -> None:
        offset[0] = float(random.uniform(-1, 1)) * 1e6

    return change


if __name__ == "__main__":
    cli.run(main, define_flags)
