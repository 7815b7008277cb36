"""One training run at a time in a workdir."""

import contextlib
import errno
import fcntl
import os
import socket
import sys

from geodesic.errors import UserError
from geodesic.experiments.process import lease, storage
from geodesic.experiments.process import workdir as workdirs


@contextlib.contextmanager
def held(folder: str, waits: bool = False):
    """Holds the lock of a workdir, which is created. The system lets go of it when the process ends, however it ends.

    Raises UserError, naming the holder, where another run has it; waits: for that to end, after a line, instead. In a
    bucket it is a lease (lease.py).
    """
    if storage.is_remote(folder):
        with lease.held(folder, (lambda: False) if waits else None):
            yield
        return
    os.makedirs(folder, exist_ok=True)
    # Not inherited by the loader's workers: they may outlive a killed run.
    descriptor = os.open(os.path.join(folder, workdirs.LOCK), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(descriptor, folder, waits)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_held(folder: str) -> bool:
    """Whether a run on this machine has the folder. No lock is taken for that: it could keep a run from starting."""
    if storage.is_remote(folder):
        return lease.is_held(folder)
    try:
        place = os.stat(os.path.join(folder, workdirs.LOCK))
        with open("/proc/locks") as file:
            held = [line.split() for line in file if "FLOCK" in line]
    except OSError:  # no such file, or not Linux
        return False
    name = f"{os.major(place.st_dev):02x}:{os.minor(place.st_dev):02x}:{place.st_ino}"
    return any(name in words for words in held)


def _lock(descriptor: int, folder: str, waits: bool) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
        if waits:
            print(f"{folder} is in use by {holder}: waiting for it to end", file=sys.stderr, flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return
        raise UserError(f"{folder} is in use by {holder}: a second run there would destroy it. Wait for it to end, "
                        f"or give another --workdir") from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        print(f"{folder} lies on a file system without locks: nothing keeps a second run out of it", flush=True)
