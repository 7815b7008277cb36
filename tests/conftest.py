"""Eight fake CPU devices and a persistent compilation cache, set before jax starts."""

from experiments import runtime

runtime.start(cpu_devices=8)
