"""What a trial's programs print: log.txt on a disk; in a bucket log/START-PART.txt, sent from here as it grows."""

import contextlib
import os
import tempfile

from geodesic.experiments.process import appending, storage

_LAST_LINES = 12  # that are kept of a failed trial


class Log:
    """Where programs print to, `file`. In a bucket `send` tells it what is new."""

    def __init__(self, file, parts: appending.Parts | None = None):
        self.file, self._parts, self._sent = file, parts, 0

    def send(self) -> None:
        """Does not wait for the bucket."""
        if self._parts:
            new = os.pread(self.file.fileno(), os.fstat(self.file.fileno()).st_size - self._sent, self._sent)
            if new:
                self._sent += len(new)
                self._parts.write(new)
                self._parts.flush()


@contextlib.contextmanager
def opened(folder: str):
    """The Log of a trial, to be added to."""
    if not storage.is_remote(folder):
        with open(os.path.join(folder, "log.txt"), "ab") as file:
            yield Log(file)
        return
    start = max((int(name.partition("-")[0]) for name in storage.names(_parts(folder))), default=0) + 1
    parts = appending.Parts(lambda number: f"{_parts(folder)}/{start:06}-{number:06}.txt")
    with tempfile.TemporaryFile("a+b") as file:
        log = Log(file, parts)
        try:
            yield log
        finally:
            log.send()
            parts.close()


def last_lines(folder: str) -> list[str]:
    """The last lines that a trial has printed, without empty ones; [] where it has printed none."""
    content = b"".join(storage.read(path) for path in _files(folder)[-2:])
    return [line.rstrip() for line in content.decode(errors="replace").splitlines() if line.strip()][-_LAST_LINES:]


def changed(folder: str) -> float:
    """When a trial last printed, in time.time; 0 where it never did."""
    return max(map(storage.changed, _files(folder)[-1:]), default=0.0)


def _files(folder: str) -> list[str]:
    if storage.is_remote(folder):
        return [f"{_parts(folder)}/{name}" for name in storage.names(_parts(folder))]
    path = os.path.join(folder, "log.txt")
    return [path] if os.path.exists(path) else []


def _parts(folder: str) -> str:
    return f"{folder}/log"
