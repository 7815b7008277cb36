"""Files on a disk or in a bucket (gs://, s3://): which there are, and ranges of their bytes.

Many ranges are fetched at once; what comes from a bucket is kept on this host's disk (disk_cache.py). A lost connection
is tried again (attempts.py).
"""

import concurrent.futures
import contextlib
import itertools
import os
import random
from typing import NamedTuple

from ..errors import UserError
from . import attempts, disk_cache
from .patterns import expand

_STREAM = 8 * 1024 ** 2  # bytes of a request where a file is read from its beginning to its end


class File(NamedTuple):
    """One file: its path, its bytes, and what changes when they do.

    pack, place: where this host's disk keeps it among others (objects.py); "" where it is kept alone.
    """

    path: str
    size: int
    version: str
    pack: str = ""
    place: int = 0


def is_remote(path: str) -> bool:
    """Whether a path names a file of a bucket.

    Example:
        >>> is_remote("gs://bucket/faces"), is_remote("faces")
        (True, False)
    """
    return "://" in path


def find(path: str, endings: tuple[str, ...]) -> list[File]:
    """Finds a file, the files of a pattern, or those below a folder with one of these endings, in the order of names.

    Raises FileNotFoundError where one is missing or there is none.
    """
    paths = [path] if not is_remote(path) and os.path.exists(path) else expand(path)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = list(itertools.chain.from_iterable(pool.map(lambda one: _find_one(one, endings), paths)))
    twice = len(found) - len({file.path for file in found})
    if twice:
        raise UserError(f"{path!r} names {twice:,} file(s) twice")
    return found


def _find_one(path: str, endings: tuple[str, ...]) -> list[File]:
    if is_remote(path):
        found = _remote(path)
    elif os.path.isdir(path):
        found = [_local(os.path.join(folder, name)) for folder, _, names in os.walk(path, followlinks=False)
                 for name in names if name.endswith(endings)]
    else:
        found = [_local(path)]
    if len(found) != 1 or found[0].path != path:
        found = sorted(file for file in found if file.path.endswith(endings)
                       and not os.path.basename(file.path).startswith("."))
    if not found:
        raise FileNotFoundError(f"no file {path!r}" + (f" and no {' or '.join(endings)} below it" if endings else ""))
    return found


def _local(path: str) -> File:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"no file {path!r}") from None
    return File(path, status.st_size, str(status.st_mtime_ns))


def _remote(path: str) -> list[File]:
    scheme, inner = path.split("://", 1)
    inner = inner.rstrip("/")
    found = attempts.attempt(lambda: attempts.filesystem(path).find(inner, detail=True), path)
    return [_described(f"{scheme}://{name}", details) for name, details in found.items() if details["type"] == "file"]


def _described(path: str, details: dict) -> File:
    return File(path, details["size"], str(details.get("generation") or details.get("ETag") or details.get("mtime")))


def file(path: str) -> File:
    """An object of a bucket. Raises FileNotFoundError where there is none; a folder is none."""
    details = attempts.attempt(lambda: attempts.filesystem(path).info(path.split("://", 1)[1]), path)
    if details["type"] != "file":
        raise FileNotFoundError(f"no file {path!r}")
    return _described(path, details)


def exists(path: str) -> bool:
    """Whether a file or folder of a disk or a bucket can be seen at a path."""
    if not is_remote(path):
        return os.path.exists(path)
    try:
        return attempts.attempt(lambda: attempts.filesystem(path).exists(path.split("://", 1)[1]), path)
    except attempts.UnreachableError:
        raise
    except (FileNotFoundError, UserError):  # perhaps no bucket can be called so
        return False


def read(file: File, start: int, size: int, keep: bool = True) -> bytes:
    """Reads a range of a file. Raises UserError where the file has become shorter."""
    return read_many([(file, start, size)], keep)[0]


def read_many(ranges: list[tuple[File, int, int]], keep: bool = True) -> list[bytes]:
    """Reads ranges (file, start, bytes), those of buckets all at once. keep: on this host's disk."""
    found = read_each(ranges, keep)
    for content in found:
        if isinstance(content, Exception):
            raise content
    return found


def read_each(ranges: list[tuple[File, int, int]], keep: bool = True) -> list[bytes | Exception]:
    """As `read_many`, with an error in the place of what is not there, or not whole: the others are read anyway."""
    keep = keep and disk_cache.bound() > 0
    found: list = [_from_disk(file, start, size) if not is_remote(file.path) else b"" if not size else
                   _kept(file, start, size) if keep else None for file, start, size in ranges]
    missing = [place for place, content in enumerate(found) if content is None]
    wanted = []  # whole blocks, so that they can be kept
    for file, start, size in (ranges[place] for place in missing):
        first = start // disk_cache.BLOCK * disk_cache.BLOCK
        stop = min(-(-(start + size) // disk_cache.BLOCK) * disk_cache.BLOCK, file.size)
        wanted.append((file, first, stop) if keep else (file, start, start + size))
    for place, (file, first, _), content in zip(missing, wanted, _fetched(wanted), strict=True):
        _, start, size = ranges[place]
        if isinstance(content, Exception):
            found[place] = content
            continue
        if keep:
            _pieces(file).write(file.place + first, content)
        found[place] = content[start - first:][:size]
    for place, ((file, start, size), content) in enumerate(zip(ranges, found, strict=True)):
        if not isinstance(content, Exception) and len(content) != size:
            found[place] = _shorter(file, start + len(content), f"should have {start + size:,} at least")
    return found


def _shorter(file: File, size: int, expected: str) -> UserError:
    return UserError(f"{file.path} is damaged: it has {size:,} bytes and {expected}. It has changed since it was "
                     f"opened, or is cut short")


def _from_disk(file: File, start: int, size: int) -> bytes:
    with open(file.path, "rb", buffering=0) as opened:
        return os.pread(opened.fileno(), size, start)


def _kept(file: File, start: int, size: int) -> bytes | None:
    return _pieces(file).read(file.place + start, size) if start + size <= file.size else None


def _pieces(file: File) -> disk_cache.Pieces:
    return disk_cache.Pieces(file.pack or f"{file.path} {file.size} {file.version}")


def _fetched(wanted: list[tuple[File, int, int]]) -> list[bytes | Exception]:
    """Fetches ranges (file, start, stop) of buckets, or says why there is none; of those that fail for a while, only
    these are asked for again."""
    found: list = [None] * len(wanted)

    def ask() -> None:
        left = [place for place, content in enumerate(found) if content is None]
        paths = [wanted[place][0].path.split("://", 1)[1] for place in left]
        answers = attempts.filesystem(wanted[left[0]][0].path).cat_ranges(
            paths, [wanted[place][1] for place in left], [wanted[place][2] for place in left], on_error="return")
        failed = None
        for place, answer in zip(left, answers, strict=True):
            one, start, stop = wanted[place]
            if isinstance(answer, Exception) and attempts.is_missing(answer):
                found[place] = FileNotFoundError(f"no file {one.path!r}")
            elif isinstance(answer, Exception):
                failed = answer
            elif len(answer) != stop - start and (now := file(one.path).size) != one.size:
                found[place] = _shorter(one, now, f"had {one.size:,}")
            elif len(answer) != stop - start:
                failed = ConnectionError(f"{len(answer):,} of {stop - start:,} bytes came")
            else:
                found[place] = bytes(answer)
        if failed is not None:
            raise failed

    if wanted:
        attempts.attempt(ask, wanted[0][0].path)
    return found


def stream(file: File):
    """Opens a file of a disk or a bucket to be read from its beginning to its end, or here and there."""
    if not is_remote(file.path):
        return open(file.path, "rb")
    return attempts.filesystem(file.path).open(file.path.split("://", 1)[1], "rb", block_size=_STREAM,
                                               cache_type="readahead")


def load(path: str) -> bytes | None:
    """The whole of a small file, or None where there is none."""
    try:
        if not is_remote(path):
            with open(path, "rb") as file:
                return file.read()
        return attempts.attempt(lambda: attempts.filesystem(path).cat_file(path.split("://", 1)[1]), path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def store(path: str, content: bytes) -> None:
    """Writes a small file whole or not at all. Raises OSError or UserError where it may not be written."""
    if is_remote(path):
        attempts.attempt(lambda: attempts.filesystem(path).pipe_file(path.split("://", 1)[1], content), path)
        return
    part = f"{path}.{os.getpid()}.{random.getrandbits(32):08x}.part"
    try:
        with open(part, "wb") as file:
            file.write(content)
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.remove(part)
        raise
