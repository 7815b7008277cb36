"""The SQLite file of a search. In a bucket it is one object, written again whenever the search has asked or heard."""

import contextlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator

from geodesic.experiments.process import storage

NAME = "search.sqlite3"


@contextlib.contextmanager
def opened(folder: str, url: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """(the URL of a search's storage, what keeps it as it is now). url: of another storage, which keeps itself.

    Of a bucket it is a copy on this machine: who writes there holds the lease of the folder. Keeping raises OSError
    where the bucket cannot be reached.
    """
    if url or not storage.is_remote(folder):
        yield url or f"sqlite:///{os.path.abspath(folder)}/{NAME}", lambda: None
        return
    with tempfile.TemporaryDirectory(prefix="geodesic-") as here:
        copy, turn = f"{here}/{NAME}", threading.Lock()
        with contextlib.suppress(FileNotFoundError):
            storage.write(copy, storage.read(f"{folder}/{NAME}"))

        def keep() -> None:
            with turn:  # an older copy must not come last
                storage.write(f"{folder}/{NAME}", _whole(copy, f"{here}/snapshot"))

        yield f"sqlite:///{copy}", keep


def _whole(path: str, to: str) -> bytes:
    """The content of a database that others write to, between two of their changes."""
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(to)) as target:
        source.backup(target)
    with open(to, "rb") as file:
        return file.read()
