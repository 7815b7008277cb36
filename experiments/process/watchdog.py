"""Notices that a run hangs, says where, and ends it so that its scheduler starts it again."""

import contextlib
import faulthandler
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable

from geodesic.experiments.process import storage
from geodesic.experiments.process.last_word import STATUS

_SENDING = 20.0  # seconds
_OUTSIDE = "work between phases"  # what hangs where no phase has been named


class Watchdog:
    """While entered: without a `beat` for `timeout` seconds, the stacks of all threads go to stderr and to
    stalled.txt in the workdir, and the process ends with `STATUS`.

    timeout: 0 turns it off. A thread watches; should that hang too, in native code that never lets go of the
    interpreter, faulthandler's own does the same without a name for what hangs. tell: called with the name of every
    phase that begins, or goes on after an inner one, and with "" after the outermost.
    """

    def __init__(self, timeout: float, workdir: str, tell: Callable[[str], None] = lambda name: None):
        self._timeout, self._path, self._tell = timeout, os.path.join(workdir, "stalled.txt"), tell
        self._phase, self._beat, self._patient = _OUTSIDE, time.monotonic(), False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")

    def __enter__(self):
        if self._timeout:
            self.beat()
            self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        if self._timeout:
            self._thread.join()
            faulthandler.cancel_dump_traceback_later()

    def beat(self) -> None:
        """Tells that there is progress."""
        self._beat = time.monotonic()

    @contextlib.contextmanager
    def phase(self, name: str):
        """Names what hangs if it hangs in here. Entering and leaving are progress."""
        before, self._phase = self._phase, name
        self.beat()
        self._tell(name)
        try:
            yield
        finally:
            self._phase = before
            self.beat()
            self._tell("" if before == _OUTSIDE else before)

    @contextlib.contextmanager
    def patient(self, name: str):
        """Names a phase that may take as long as it takes: only an interpreter that stands still ends the run."""
        with self.phase(name):
            self._patient = True
            try:
                yield
            finally:
                self._patient = False

    def _watch(self) -> None:
        tick = min(self._timeout / 10, 10.0)
        while not self._ended.wait(tick):
            if self._patient:
                self.beat()
            if time.monotonic() - self._beat > self._timeout:
                self._end()
            faulthandler.dump_traceback_later(self._timeout + 3 * tick, exit=True, file=sys.__stderr__)

    def _file(self):
        return tempfile.TemporaryFile("w+") if storage.is_remote(self._path) else open(self._path, "w")

    def _send(self, file) -> None:
        """Into a bucket, if it takes it within seconds: what hangs may be the network."""
        if storage.is_remote(self._path):
            file.seek(0)
            sender = threading.Thread(target=storage.write, args=(self._path, file.read().encode()), daemon=True)
            sender.start()
            sender.join(_SENDING)

    def _end(self) -> None:
        line = (f"error: no progress for {self._timeout:g} s (run.stall_timeout_seconds): the {self._phase} hangs. "
                f"Stacks follow, and are in {self._path}; the same command goes on from the last checkpoint")
        print(line, file=sys.__stderr__, flush=True)
        faulthandler.dump_traceback(sys.__stderr__)
        with contextlib.suppress(OSError), self._file() as file:
            print(line, file=file, flush=True)
            faulthandler.dump_traceback(file)
            self._send(file)
        os._exit(STATUS)
