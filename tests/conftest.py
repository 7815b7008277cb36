"""Eight fake CPU devices and a persistent compilation cache, set before jax starts."""

from geodesic.experiments.process import runtime

runtime.start(cpu_devices=8)
