"""What comes from many requests, worked on together by one thread."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent import futures


class Batches:
    """work: from a list of items, `size` at most, to a result for each. wait: seconds for which the first of them waits
    for others while nothing else is done; what comes during work is taken together at once.

    An item that nobody waits for any more is left out. Where `work` raises, all of its items raise that; where a result
    is an exception, its item raises it.

    Example:
        >>> from geodesic.experiments.serving import batches
        >>> doubled = batches.Batches(lambda items: [2 * item for item in items], size=4)
        >>> [future.result() for future in [doubled.submit(1), doubled.submit(5)]]
        [2, 10]
        >>> doubled.close()
    """

    def __init__(self, work: Callable[[list], list], size: int, wait: float = 0.0,
                 told: Callable[[int], None] = lambda items: None):
        self._work, self._size, self._wait, self._told = work, size, wait, told
        self._items, self._closed = queue.SimpleQueue(), False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def submit(self, item) -> futures.Future:
        future = futures.Future()
        self._items.put((item, future))
        return future

    def waiting(self) -> int:
        return self._items.qsize()

    def close(self) -> None:
        """Ends when everything that was submitted is done."""
        self._items.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while batch := self._take():
            batch = [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
            if not batch:
                continue
            self._told(len(batch))
            try:
                results = self._work([item for item, _ in batch])
                for (_, future), result in zip(batch, results, strict=True):
                    (future.set_exception if isinstance(result, Exception) else future.set_result)(result)
            except BaseException as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)

    def _take(self) -> list:
        """The next items; none when it is closed."""
        batch, until = [], 0.0
        while not self._closed and len(batch) < self._size:
            try:
                entry = self._items.get(timeout=max(until - time.monotonic(), 0) if batch else None)
            except queue.Empty:
                break
            if entry is None:
                self._closed = True
            else:
                batch.append(entry)
                until = until or time.monotonic() + self._wait
        return batch
