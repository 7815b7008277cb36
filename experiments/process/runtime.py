"""What a program does to its process before JAX starts. Only programs call it; importing this changes nothing."""

import codecs
import contextlib
import ctypes
import logging
import mmap
import os
import pathlib
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # <malloc.h>


def start(cpu_devices: int = 0) -> None:
    """Sets up memory, the compilation cache and logging; for rehearsing a pod on one machine, `cpu_devices` fake
    devices. It comes before any array.
    """
    if cpu_devices > 1:
        # XLA's thread pool must outnumber the fake devices, or their collectives wait for each other for ever.
        os.environ.setdefault("NPROC", "32")
    codecs.register_error("geodesic", _as_named)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="geodesic")
    keep_heap()
    import jax

    if cpu_devices:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", cpu_devices)
    if not jax.config.jax_compilation_cache_dir:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "geodesic" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(cache))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_is_not_orbaxs)


def _as_named(error: UnicodeError) -> tuple[bytes, int]:
    """Encodes what a stream cannot: names of files in no encoding as they are on the disk, other letters by number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start:error.end]
    return b"".join(bytes([ord(letter) - 0xDC00]) if "\udc80" <= letter <= "\udcff" else
                    letter.encode("ascii", "backslashreplace") for letter in letters), error.end


def _is_not_orbaxs(record: logging.LogRecord) -> bool:
    """Whether a record may be printed. orbax logs errors that it also raises, and of each task that a failed save
    leaves behind asyncio would print a page: the programs have lines of their own for these.
    """
    told = f"{record.pathname} {record.getMessage() if record.name == 'asyncio' else ''}"
    return "/orbax/" not in told


def keep_heap() -> None:
    """Memory that this process frees stays with it from now on, in pages of 2 MiB where the system has them.

    XLA:CPU takes the temporaries of every step from malloc and frees them after it. glibc hands such blocks back to
    the system, which maps and clears them anew at the next step, 4 KiB at a time. Where the C library is not glibc,
    this does nothing.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_ARENA_MAX, 1)  # the other arenas hold blocks of up to 64 MiB only
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
        if pathlib.Path("/proc/sys/vm/overcommit_memory").read_text().strip() != "2":  # there, addresses are memory
            _ask_for_huge_pages(libc)


def _ask_for_huge_pages(libc: ctypes.CDLL) -> None:
    """Asks for them for the addresses that the heap will grow into. What is freed untouched takes no memory."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.free.argtypes, libc.madvise.argtypes = (ctypes.c_void_p,), (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    if block := libc.malloc(size):
        start = -(-block // mmap.PAGESIZE) * mmap.PAGESIZE
        libc.madvise(start, (block + size - start) // mmap.PAGESIZE * mmap.PAGESIZE, mmap.MADV_HUGEPAGE)
        libc.free(block)
