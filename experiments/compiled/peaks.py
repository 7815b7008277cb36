"""What a device could do at most: from its maker's pages, and measured here by one product and one sweep of memory."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Chip(NamedTuple):
    flops: float        # per second, bfloat16 products, dense
    bandwidth: float    # bytes per second to and from its own memory
    link: float         # bytes per second that it sends to its neighbours, while receiving as many
    island: int         # chips that reach each other by `link`
    slow_link: float    # bytes per second that it sends beyond them, while receiving as many


# NVIDIA's NVLink figures add both directions, so `link` is half of them; a DGX node has one network port per GPU.
CHIPS = {
    # cloud.google.com/tpu/docs/v5e: 197 TFLOP/s, 819 GB/s, a 16 x 16 torus; jax-ml.github.io/scaling-book/tpus: 45 GB/s
    # a link and direction, two links on each of two axes. Beyond a slice, 200 Gbit/s a host of 8 or 4: not modelled.
    "v5e": Chip(197e12, 819e9, 180e9, 256, 6.25e9),
    # nvidia.com/en-us/data-center/h100 (SXM): 1,979 TFLOP/s with sparsity, 3.35 TB/s, NVLink 900 GB/s; DGX H100: 8
    # ports of 400 Gbit/s.
    "H100": Chip(989.5e12, 3.35e12, 450e9, 8, 50e9),
    # nvidia.com/en-us/data-center/h200: 1,979 TFLOP/s with sparsity, 4.8 TB/s, NVLink 900 GB/s; DGX H200: as DGX H100.
    "H200": Chip(989.5e12, 4.8e12, 450e9, 8, 50e9),
    # nvidia.com/en-us/data-center/a100 (80 GB SXM): 312 TFLOP/s, 2,039 GB/s, NVLink 600 GB/s; DGX A100: 8 ports of
    # 200 Gbit/s.
    "A100": Chip(312e12, 2.039e12, 300e9, 8, 25e9),
}


class Measured(NamedTuple):
    flops: float        # per second, of one large product
    bandwidth: float    # bytes per second, read and written


def published(device_kind: str) -> Chip | None:
    """Finds the chip by what jax calls the device; None if `CHIPS` does not have it."""
    kind = device_kind.replace("v5 lite", "v5e")
    return next((chip for name, chip in CHIPS.items() if name in kind), None)


def measure(device: jax.Device, dtype, repeats: int = 5) -> Measured | None:
    """Measures the best of `repeats` runs of 8 products [n,n] x [n,n] in `dtype`, and of 8 sweeps over an array.

    n and the array are small: 16 and 64 MiB on a CPU, 32 and 256 MiB elsewhere in bfloat16. None if there is no room.
    """
    side, length = (1024, 2**24) if device.platform == "cpu" else (4096, 2**26)
    try:
        matrix = jax.device_put(jnp.full((side, side), 1 / side, dtype), device)
        multiply = lambda a: jax.lax.fori_loop(0, 8, lambda _, b: (a @ b).astype(dtype), a)
        product = _best(jax.jit(multiply), matrix, repeats)
        array = jax.device_put(jnp.zeros(length, jnp.float32), device)
        sweep = _best(jax.jit(lambda a: jax.lax.fori_loop(0, 8, lambda _, b: b + 1, a)), array, repeats)
    except jax.errors.JaxRuntimeError:  # a device that the training has filled
        return None
    return Measured(8 * 2 * side**3 / product, 8 * 2 * 4 * length / sweep)


def _best(function, argument, repeats: int) -> float:
    """Seconds of the fastest run. One run before them compiles, and does not count."""
    jax.block_until_ready(function(argument))
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(function(argument))
        times.append(time.perf_counter() - started)
    return min(times)
