"""The place of a run in its data. The batch of a step is a function of (seed, step): the step is all there is to keep.

What it is a function of is kept beside it, so that a run does not go on in silence over other images, or in an order
that another configuration of the loader would give.
"""

import zlib

import numpy as np

from geodesic import datasets
from geodesic.errors import UserError


def of(step: int, source: datasets.Source, config) -> dict:
    """To be saved with the state of `step`. It holds for any number of hosts, devices and loader threads."""
    return {"step": step, "seed": config.seed, "batch_size": config.batch_size, "images": len(source),
            "labels": zlib.crc32(np.ascontiguousarray(source.labels))}


def check(stored: dict, source: datasets.Source, config) -> None:
    """Raises UserError where the order of the images would be another from here on than when this was stored."""
    now = of(stored["step"], source, config)
    for name, what in (("images", "number of training images"), ("labels", "labels of the training images"),
                       ("batch_size", "batch size"), ("seed", "seed")):
        if now[name] != stored[name]:
            raise UserError(f"the {what} has changed since step {stored['step']} was saved, from {stored[name]} to "
                             f"{now[name]}: the run cannot go on exactly. Restore the data, or start a new run")
