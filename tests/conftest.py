"""Eight fake CPU devices and a persistent compilation cache, set before jax starts."""

import os

from geodesic.experiments.process import runtime
from tests.buckets import bucket, servers  # noqa: F401

# Of the programs that tests start, too: beside whatever accelerator, and with the thousands of small programs cached.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
runtime.start(cpu_devices=8)
