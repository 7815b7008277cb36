"""What people have said of pairs: same or different, a line of JSON each, appended to one file."""

import datetime
import json
import os
import threading


class Marks:
    """path: of the file, which is made with the first mark."""

    def __init__(self, path: str):
        self.path, self._lock = path, threading.Lock()

    def add(self, one: str, other: str, same: bool, model: str) -> dict:
        """one: the id of a row, or the digest of a picture that was sent; other: the id of a row. model: the digest of
        its weights. On the disk when it returns."""
        mark = {"one": one, "other": other, "same": same, "model": model,
                "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
        with self._lock:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(file, json.dumps(mark).encode() + b"\n")
                os.fsync(file)
            finally:
                os.close(file)
        return mark
