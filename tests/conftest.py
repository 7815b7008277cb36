"""Eight fake CPU devices and a persistent compilation cache, set before jax starts."""

import os

from geodesic.experiments.process import runtime
from tests.buckets import bucket, servers  # noqa: F401

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # of the programs that tests start, too, beside whatever accelerator
runtime.start(cpu_devices=8)
