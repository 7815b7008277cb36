"""The same function by `jax.export`: one file for CPUs, NVIDIA GPUs and TPUs, which jax alone reads."""

from collections.abc import Callable

import jax
from jax import export

from geodesic.experiments.exporting import trace

PLATFORMS = ("cpu", "cuda", "tpu")
# How anybody reads it, in words that the file's record has.
LOADER = """import jax, numpy as np
from jax import export
model = export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
images = np.zeros({shape}, np.{dtype})
print(jax.jit(model.call)(images).shape)
"""


def serialized(function: Callable, shape: tuple[int | str, ...], dtype, least: int = 1) -> bytes:
    """A function of images dtype[B,*shape], for any B, with its weights. shape, least: as of `trace.images`."""
    made = export.export(jax.jit(function), platforms=PLATFORMS)(trace.images(shape, dtype, least))
    return bytes(made.serialize())
