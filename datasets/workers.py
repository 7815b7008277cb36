"""Makes batches in processes, where threads do not suffice. Which batch it is does not depend on who makes it."""

import collections
import concurrent.futures
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool

import cv2
import numpy as np

from ..errors import UserError

# A pool that dies this often without a batch in between will not get better.
_ATTEMPTS = 3

_load: Callable[[int], dict] = None


class Batches:
    """An iterator of batches 0 .. count-1, each stacked from `load(place)` of its `size` places.

    Processes make whole batches, in turn, `ahead` of them at a time. Those that are killed are started anew and lose
    nothing. A ValueError or OSError of `load` is raised here as a UserError of the same words; ChildProcessError where
    processes die again and again.
    """

    def __init__(self, load: Callable[[int], dict], count: int, size: int, processes: int, ahead: int):
        self._new_pool = functools.partial(
            concurrent.futures.ProcessPoolExecutor, processes,
            # A server imports what the program imports, once; workers are its forks, without the program's threads.
            multiprocessing.get_context("forkserver"), _start, (load,))
        self._count, self._size, self._ahead = count, size, max(ahead, processes)
        self._next, self._pool, self._pending = 0, None, collections.deque()

    def __iter__(self) -> Iterator[dict]:
        return self

    def __next__(self) -> dict:
        if self._next == self._count:
            self.close()
            raise StopIteration
        for _ in range(_ATTEMPTS):
            try:
                made = self._made()
                self._next += 1
                return made
            except BrokenProcessPool:
                print("a loader worker has died; starting new ones", flush=True)
                self._kill()
                self.close()
            except (ValueError, OSError) as error:
                self.close()
                raise UserError(str(error)) from error
        raise ChildProcessError(f"the loader's workers died {_ATTEMPTS} times in a row while making batch "
                                f"{self._next}: is there enough memory for so many of them?")

    def close(self) -> None:
        """Ends the processes; the next batch starts them anew."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None
        self._pending.clear()

    def _kill(self) -> None:
        """Ends what a broken pool has left. By itself it sends SIGTERM, which workers ignore, and waits for them for
        ever, also when the program ends; its own kill_workers is of Python 3.14."""
        for process in list((self._pool._processes or {}).values()):
            process.kill()

    def __del__(self):
        self.close()

    def _made(self) -> dict:
        if self._pool is None:
            self._pool = self._new_pool()
        while len(self._pending) < min(self._ahead, self._count - self._next):
            self._pending.append(self._pool.submit(_make, self._next + len(self._pending), self._size))
        made = self._pending[0].result()
        self._pending.popleft()
        return made


def _start(load: Callable[[int], dict]) -> None:
    """Starts a worker. Ctrl-C and SIGTERM are for the run, which ends its workers itself; they end with it."""
    global _load
    _load = load
    cv2.setNumThreads(0)  # the processes are the parallelism; OpenCV's own threads would fight them
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _make(number: int, size: int) -> dict:
    return batch(_load, size, number)


def batch(load: Callable[[int], dict], size: int, number: int) -> dict[str, np.ndarray]:
    """Makes batch `number`: its `size` examples, {"name": array}, written side by side.

    Example:
        >>> batch(lambda place: {"square": np.int32(place ** 2)}, size=3, number=1)
        {'square': array([ 9, 16, 25], dtype=int32)}
    """
    made = {}
    for row in range(size):
        for key, value in load(number * size + row).items():
            if not row:
                made[key] = np.empty((size, *value.shape), value.dtype)
            made[key][row] = value
    return made
