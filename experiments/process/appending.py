"""What a run tells while it goes on, in a bucket, whose objects do not grow: written again by a thread, in parts.

Nothing here waits for the bucket but `flush`. What is lost with a process is what it told in the last seconds.
"""

import contextlib
import threading
from collections.abc import Callable

from geodesic.experiments.process import storage

_SECONDS = 5.0       # between two writings of an object
_PART = 1 << 20      # bytes after which a new part begins: what is written again stays small

_waiting: dict[str, bytes] = {}
_guard, _turn = threading.Lock(), threading.Lock()
_wake = threading.Event()
_thread: threading.Thread | None = None


def soon(path: str, content: bytes) -> None:
    """Writes an object, within seconds; of several contents the last."""
    global _thread
    with _guard:
        _waiting[path] = content
        if _thread is None:
            _thread = threading.Thread(target=_serve, daemon=True, name="bucket")
            _thread.start()
    _wake.set()


def flush() -> None:
    """Waits until everything that was told is there. Raises OSError where it cannot be."""
    with _turn:
        while True:
            with _guard:
                left = next(iter(_waiting.items()), None)
            if left is None:
                return
            path, content = left
            storage.write(path, content)
            with _guard:
                if _waiting.get(path) is content:
                    del _waiting[path]


def _serve() -> None:
    pause = threading.Event()
    while True:
        _wake.wait()
        pause.wait(_SECONDS)
        _wake.clear()
        try:
            flush()
        except OSError as error:
            print(f"{error}; the run goes on, and what it tells waits", flush=True)
            _wake.set()


class Parts:
    """Something that grows: objects, each written again until it is large enough. name: number -> path of the part."""

    def __init__(self, name: Callable[[int], str], first: int = 0):
        self._name, self._number, self._part = name, first, b""

    def write(self, content: bytes) -> None:
        self._part += content

    def flush(self) -> None:
        """Sends what was written on its way; a part ends here, never within what is written between two calls."""
        if self._part:
            soon(self._name(self._number), self._part)
        if len(self._part) >= _PART:
            self._number, self._part = self._number + 1, b""

    def close(self) -> None:
        self.flush()
        with contextlib.suppress(OSError):
            flush()


class Boards:
    """Where tensorboardX writes its files of a bucket (a factory as of `record_writer.register_writer_factory`)."""

    @staticmethod
    def open(path: str) -> Parts:
        return Parts(lambda number: path + (f".{number:04}" if number else ""))

    @staticmethod
    def directory_check(path: str) -> None:
        pass
