"""What JAX needs to be told before it starts. Importing this module is harmless; `start` comes before any array."""

import logging
import os
import pathlib

import absl.logging

from geodesic.experiments.process import heap


def start(cpu_devices: int = 0) -> None:
    """Sets up the compilation cache and, for rehearsing a pod on one machine, `cpu_devices` fake CPU devices."""
    if cpu_devices > 1:
        # XLA's thread pool must outnumber the fake devices, or their collectives wait for each other for ever.
        os.environ.setdefault("NPROC", "32")
    heap.keep()
    import jax

    if cpu_devices:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", cpu_devices)
    if not jax.config.jax_compilation_cache_dir:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "geodesic" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    # orbax announces every folder it opens, and every error that it also raises; the programs print their own lines.
    absl.logging.set_verbosity(absl.logging.FATAL)
    # A save that fails leaves tasks behind, of which asyncio would print a page each.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
