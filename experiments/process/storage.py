"""Files wherever they lie: on a disk, or in a bucket (gs://, s3://) through fsspec. Nothing else asks which.

A bucket has objects, each whole or not there, and no folders, links, renames or locks. A connection that is lost, and
a service that is busy, is told in a line and tried again, with longer and longer pauses.
"""

import concurrent.futures
import errno
import functools
import io
import os
import pathlib
import posixpath
import random
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable

from geodesic import remote
from geodesic.errors import UserError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|(gs|s3):(?!//)")
# Seconds for which a connection is tried again before it counts as lost, and the longest pause between two tries.
_PATIENCE, _LONGEST_PAUSE = 300.0, 20.0
# Objects that are moved at the same time.
_THREADS = 16
# Errors of these packages, beside those of the system, tell of the connection; not all of them (`_passes`).
_NETWORK = ("aiohttp", "aiobotocore", "asyncio", "botocore", "fsspec", "gcsfs", "google", "requests", "urllib3")
_FINAL = (errno.EINVAL, errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOENT, errno.EEXIST)


class LostError(OSError):
    """A bucket that could not be reached for minutes. What lies there is not damaged."""


def scheme(path: str) -> str:
    """The scheme of a URL, "" of a path on a disk."""
    found = _URL.match(path)
    return (found[1] or found[2]).lower() if found else ""


def is_remote(path: str | os.PathLike) -> bool:
    """Whether it lies in a bucket."""
    return os.fspath(path).startswith(("gs://", "s3://"))


def check(path: str, named: str = "") -> None:
    """Raises UserError for a URL that no storage belongs to, or whose package is missing. named: how it was given."""
    kind, named = scheme(path), named or path
    if not kind:
        return
    if kind not in remote.SCHEMES:
        raise UserError(f"{named}: there is no storage {kind}://; known are folders of this machine, "
                        f"{' and '.join(f'{name}://' for name in remote.SCHEMES)}")
    if not re.match(r"(gs|s3)://[^/]+", path):
        raise UserError(f"{named}: expected {kind}://BUCKET/FOLDER")
    if needs := remote.missing(kind):
        raise UserError(f"{named} {needs}")


def absolute(path: str) -> str:
    """As `os.path.abspath`."""
    return f"{scheme(path)}://{posixpath.normpath(_key(path))}" if is_remote(path) else os.path.abspath(path)


def common_folder(paths: Iterable[str]) -> str:
    """The deepest folder in which all of these files lie, an absolute path; "" where they lie in several places."""
    folders = {absolute(path).rpartition("/")[0] for path in paths}
    if len({scheme(folder) for folder in folders}) > 1:
        return ""
    common = posixpath.commonpath({"/" + folder.partition("://")[2] if scheme(folder) else folder or "/"
                                   for folder in folders})
    kind = scheme(next(iter(folders)))
    return f"{kind}:/{common}" if kind and common != "/" else "" if kind else common


def read(path: str) -> bytes:
    """Raises FileNotFoundError, and LostError."""
    return _tried(path, "cat_file") if is_remote(path) else pathlib.Path(path).read_bytes()


def opened(path: str):
    """A binary file to read from; of an object, all of it in memory."""
    return io.BytesIO(read(path)) if is_remote(path) else open(path, "rb")


def write(path: str, content: bytes) -> None:
    """The whole file or none of it: a crash, a full disk or a lost connection leaves what was there."""
    if is_remote(path):
        _tried(path, "pipe_file", content)
        return
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def create(path: str, content: bytes) -> bool:
    """Writes an object that is not there yet; says whether. Of all who try at once, one does."""
    try:
        _tried(path, "pipe_file", content, mode="create")
    except FileExistsError:  # perhaps of a try whose answer was lost
        return read(path) == content
    return True


def exists(path: str) -> bool:
    """Whether there is such a file or folder."""
    return bool(_type(path)) if is_remote(path) else os.path.exists(path)


def is_file(path: str) -> bool:
    return _type(path) == "file" if is_remote(path) else os.path.isfile(path)


def is_folder(path: str) -> bool:
    """In a bucket: whether anything lies below it."""
    return _type(path) == "directory" if is_remote(path) else os.path.isdir(path)


def names(folder: str) -> list[str]:
    """What lies in a folder, by name; [] where there is none."""
    if not is_remote(folder):
        return os.listdir(folder) if os.path.isdir(folder) else []
    try:
        below = [_key(name)[len(_key(folder)) + 1:] for name in _tried(folder, "ls", detail=False)]
    except FileNotFoundError:
        return []
    return sorted(filter(None, below))


def check_new_folder(path: str) -> None:
    """Raises UserError for a folder to write, of the flag --out, in which something lies, or that cannot be made."""
    if names(path):
        raise UserError(f"{path} is not empty: choose another --out")
    if is_remote(path):
        return
    there = os.path.abspath(path)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise UserError(f"{path} cannot be a folder, as {there} is a file: choose another --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{path} cannot be written, as {there} must not be written to: choose another --out")


def files(folder: str) -> dict[str, int]:
    """Every object below a folder of a bucket, by its path there, with its size."""
    start = len(_key(folder)) + 1
    return {_key(name)[start:]: entry["size"] for name, entry in _tried(folder, "find", detail=True).items()
            if entry["type"] == "file" and len(_key(name)) > start}


def changed(path: str) -> float:
    """When it was last written, by time.time of whoever keeps it; 0 where there is none."""
    if not is_remote(path):
        return os.stat(path).st_mtime if os.path.exists(path) else 0.0
    try:
        return _tried(path, "modified").timestamp()
    except FileNotFoundError:
        return 0.0


def remove(path: str, last: Iterable[str] = ()) -> None:
    """Removes a file, or a folder with what is in it, where there is one.

    last: of a folder of a bucket, these first, alone: without them the others are nothing.
    """
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else pathlib.Path(path).unlink(missing_ok=True)
        return
    for name in last:
        _remove(f"{path}/{name}")
    each(_remove, [f"{path}/{name}" for name in files(path)])
    _remove(path)


def move(folder: str, to: str, last: Iterable[str] = ()) -> None:
    """Renames a folder. In a bucket its objects are copied there, and removed here; last: these are removed first."""
    if not is_remote(folder):
        os.rename(folder, to)
        return
    each(lambda name: _tried(f"{folder}/{name}", "cp_file", f"{to}/{name}"), [*files(folder)])
    remove(folder, last)


def fetch(folder: str, to: str) -> None:
    """Copies what is in a folder of a bucket into one on the disk."""
    each(lambda name: write(os.path.join(to, name), read(f"{folder}/{name}")), [*files(folder)])


def send(folder: str, to: str) -> None:
    """Copies what is in a folder on the disk into one of a bucket."""
    below = [str(path.relative_to(folder)) for path in pathlib.Path(folder).rglob("*") if path.is_file()]
    each(lambda name: write(f"{to}/{name}", read(os.path.join(folder, name))), below)


def each(action: Callable, items: list) -> list:
    """`action` of each item, many at a time; their results in order. Raises the first error."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(action, items))


def _remove(path: str) -> None:
    try:
        _tried(path, "rm_file")
    except FileNotFoundError:
        pass


def _plain(path: str) -> str:
    """Without the slashes that count on no disk, and do in a bucket."""
    return re.sub(r"(?<!:)/+", "/", path).rstrip("/")


def _key(path: str) -> str:
    return re.sub("^(gs|gcs|s3)://", "", _plain(path)).strip("/")


def _type(path: str) -> str:
    """Of what lies in a bucket: "file", "directory" where anything lies below, or ""."""
    try:
        return _tried(path, "info")["type"]
    except FileNotFoundError:
        return ""


@functools.cache
def _filesystem(kind: str):
    return remote.connect(kind)


_making = threading.Lock()


def _tried(path: str, method: str, *arguments, **options):
    """What fsspec's `method` gives of `path`. Raises FileNotFoundError, FileExistsError, PermissionError, and LostError
    where the bucket could not be reached for minutes.
    """
    path, *arguments = (_plain(value) if isinstance(value, str) else value for value in (path, *arguments))
    started, pause, told = time.monotonic(), 0.5, False
    while True:
        try:
            with _making:
                filesystem = _filesystem(scheme(path))
            result = getattr(filesystem, method)(path, *arguments, **options)
            if told:
                print(f"{path}: reached again after {time.monotonic() - started:.0f} s", flush=True)
            return result
        except Exception as error:
            if not _passes(error):
                raise _in_words(path, error) from error
            if time.monotonic() - started > _PATIENCE:
                raise LostError(errno.ETIMEDOUT, f"{path} could not be reached for {_PATIENCE:.0f} s: "
                                                 f"{_line(error)}") from error
            if not told:
                print(f"{path}: {_line(error)}; trying again", flush=True)
            told = True
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _passes(error: Exception) -> bool:
    """Whether it may be gone at the next try: a lost connection, a service that is busy or at fault."""
    code = getattr(error, "code", None) or getattr(error, "status", None)
    if str(code).isdigit():
        return int(code) in (408, 429) or int(code) >= 500
    if isinstance(error, OSError):
        return error.errno not in _FINAL and "Forbidden" not in str(error) and not isinstance(
            error, FileNotFoundError | FileExistsError | PermissionError)
    return (type(error).__module__.partition(".")[0] in _NETWORK
            and not re.search("Credentials|Validation|Parameter|Region", type(error).__name__))


def _in_words(path: str, error: Exception) -> Exception:
    """What is not a moment's: as an error that names the path, in one line."""
    if isinstance(error, FileExistsError):
        return error
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "there is no such object", path)
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _NETWORK:
        return PermissionError(errno.EACCES, _line(error), path)
    return error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
