"""Memory that a process has freed stays with it.

XLA:CPU takes the temporaries of every step from malloc and frees them after it. glibc hands such blocks back to the
system, which maps and clears them anew at the next step, 4 KiB at a time.
"""

import contextlib
import ctypes
import mmap
import os
import pathlib

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # <malloc.h>


def keep() -> None:
    """From now on, of this process, and in pages of 2 MiB where the system has them. Does nothing where the C library
    is not glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_ARENA_MAX, 1)  # the other arenas hold blocks of up to 64 MiB only
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
        if pathlib.Path("/proc/sys/vm/overcommit_memory").read_text().strip() != "2":  # there, addresses are memory
            _ask_for_huge_pages(libc)


def _ask_for_huge_pages(libc: ctypes.CDLL) -> None:
    """Of the addresses that the heap will grow into. What is freed untouched takes no memory."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.free.argtypes, libc.madvise.argtypes = (ctypes.c_void_p,), (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    if block := libc.malloc(size):
        start = -(-block // mmap.PAGESIZE) * mmap.PAGESIZE
        libc.madvise(start, (block + size - start) // mmap.PAGESIZE * mmap.PAGESIZE, mmap.MADV_HUGEPAGE)
        libc.free(block)
