"""Keeps what was fetched from afar on this host's disk: pieces of files, proven by checksums, up to a bound.

$GEODESIC_CACHE_GB is the bound (16; 0 keeps nothing), and no more than half of the disk's free space is taken. The
processes of a host share the cache. An epoch comes back to every record once, in another order, so what is kept stays
kept while it is in use, and once the cache is full nothing is added. What nobody has used for an hour makes room.
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
import time
import zlib

from ..errors import UserError

BLOCK = 16 * 1024       # bytes that have a checksum of their own
_SUM = 4                # bytes of a checksum
_LOOK = 32 * 1024 ** 2  # bytes that a process writes between two looks at what all of them have
_UNUSED = 3600          # seconds after which a file may go
_NOTED = 300            # seconds between two notes of a file's use

_left = 0               # bytes that this process may write before it looks again
_full_until = 0.0       # when a full cache is looked at again


def folder() -> pathlib.Path:
    """The cache folder of this user: $XDG_CACHE_HOME/geodesic or ~/.cache/geodesic."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "geodesic"


def bound() -> int:
    """Bytes that may be kept. Raises UserError for a $GEODESIC_CACHE_GB that is no number of 0 and more."""
    text = os.environ.get("GEODESIC_CACHE_GB", "16")
    with contextlib.suppress(ValueError, OverflowError):
        if (value := float(text)) >= 0:
            return int(value * 10 ** 9)
    raise UserError(f"GEODESIC_CACHE_GB is {text!r}: expected how many 10^9 bytes may be kept, 0 for none")


class Pieces:
    """The kept pieces of one file, or of several that begin at multiples of BLOCK. name: says which, in which version.

    A reader knows where a file ends: behind it are zeros.
    """

    def __init__(self, name: str):
        stem = str(folder() / "pieces" / hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:32])
        self._data, self._sums = f"{stem}.data", f"{stem}.sums"

    def read(self, start: int, size: int) -> bytes | None:
        """The bytes from `start` on, or None where not all of them are kept, unharmed."""
        first, last = start // BLOCK, (start + size - 1) // BLOCK
        try:
            with open(self._sums, "rb", buffering=0) as file:
                sums = os.pread(file.fileno(), _SUM * (last + 1 - first), _SUM * first)
            if len(sums) < _SUM * (last + 1 - first):
                return None
            with open(self._data, "rb", buffering=0) as file:
                data = os.pread(file.fileno(), BLOCK * (last + 1 - first), BLOCK * first)
                if time.time() - os.fstat(file.fileno()).st_mtime > _NOTED:
                    os.utime(file.fileno())
        except OSError:
            return None
        if _checksums(data) != sums:
            return None
        return data[start - BLOCK * first:].ljust(size, b"\0")[:size]  # zeros at a file's end need not be written

    def write(self, start: int, data: bytes) -> None:
        """Keeps these bytes if there is room. start: a multiple of BLOCK; they end at one, or at a file's end."""
        if not _has_room(len(data)):
            return
        try:
            os.makedirs(os.path.dirname(self._data), exist_ok=True)
            for path, at, content in ((self._data, start, data), (self._sums, start // BLOCK * _SUM, _checksums(data))):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
                try:
                    os.pwrite(descriptor, content, at)
                finally:
                    os.close(descriptor)
        except OSError:  # a full disk: the cache only saves time
            _is_full()


def _checksums(data: bytes) -> bytes:
    """Those of blocks, the last filled up with zeros; none is 0, which is what stands where nothing was written."""
    view, whole = memoryview(data), len(data) // BLOCK * BLOCK
    sums = [zlib.crc32(view[at:at + BLOCK]) for at in range(0, whole, BLOCK)]
    sums += [zlib.crc32(bytes(view[whole:]).ljust(BLOCK, b"\0"))] if whole < len(data) else []
    return b"".join((one or 1).to_bytes(_SUM, "little") for one in sums)


def _has_room(size: int) -> bool:
    global _left
    if time.time() < _full_until:
        return False
    if _left < size:
        _left = min(_room(), _LOOK + size)
        if _left < size:
            _is_full()
            return False
    _left -= size
    return True


def _is_full() -> None:
    global _full_until, _left
    _full_until, _left = time.time() + _NOTED, 0


def _room() -> int:
    """Bytes that there is room for, after what is unused has gone if it had to."""
    most, root = bound(), folder() / "pieces"
    if not most:
        return 0
    root.mkdir(parents=True, exist_ok=True)
    files = []
    for entry in os.scandir(root):
        with contextlib.suppress(OSError):
            status = entry.stat()
            files.append((status.st_mtime, status.st_blocks * 512, entry.path))
    used = sum(size for _, size, _ in files)
    most = min(most, used + shutil.disk_usage(root).free // 2)
    for noted, size, path in sorted(files):
        if used + _LOOK <= most or time.time() - noted < _UNUSED:
            break
        if path.endswith(".data"):  # the use of a file is noted there; what has lost its checksums is not read
            with contextlib.suppress(OSError):
                os.remove(path)
                used -= size
                os.remove(path.removesuffix(".data") + ".sums")
    return most - used
