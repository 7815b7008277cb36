"""What JAX needs to be told before it starts. Importing this module is harmless; `start` comes before any array."""

import contextlib
import ctypes
import logging
import mmap
import os
import pathlib

import absl.logging


def start(cpu_devices: int = 0) -> None:
    """Sets up the compilation cache and, for rehearsing a pod on one machine, `cpu_devices` fake CPU devices."""
    if cpu_devices > 1:
        # XLA's thread pool must outnumber the fake devices, or their collectives wait for each other for ever.
        os.environ.setdefault("NPROC", "32")
    keep_freed_memory()
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


def keep_freed_memory() -> None:
    """XLA:CPU takes the temporaries of every step from malloc and frees them after it. glibc hands such blocks back to
    the system, which maps and clears them anew at the next step, 4 KiB at a time. Here they stay with the process, in
    pages of 2 MiB where the system has them. No other C library has these switches.
    """
    m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8  # <malloc.h>
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6", use_errno=True)
        libc.mallopt(m_arena_max, 1)  # the other arenas hold blocks of up to 64 MiB only
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, -1)
        # Addresses alone: what is freed untouched takes no memory, and the heap grows into it.
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
        libc.free.argtypes, libc.madvise.argtypes = (ctypes.c_void_p,), (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        if block := libc.malloc(size):
            start = -(-block // mmap.PAGESIZE) * mmap.PAGESIZE
            libc.madvise(start, (block + size - start) // mmap.PAGESIZE * mmap.PAGESIZE, mmap.MADV_HUGEPAGE)
            libc.free(block)
