"""Images that lie in buckets (gs://, s3://), an object each: which there are, and what they hold.

A folder is listed page by page, a thousand objects a request; nothing else would prove that it is what it was. What is
fetched is kept on this host's disk in packs of about a thousand objects: a file for each image would be too many.
"""

import concurrent.futures
import hashlib
import posixpath
from collections.abc import Iterable, Iterator

from ..errors import UserError
from . import attempts, buckets, disk_cache
from .ahead import Ahead

_PAGE = 1000         # objects, the most that the services give at once
_PACKED = 1024       # objects of a pack, about
_ASKED_ALONE = 100   # paths up to which each is asked for, whatever else lies in their folder
_AT_ONCE = 16        # such questions
_LOOKS_AT_ONCE = 512
_GS, _S3 = "items(name,size,generation),nextPageToken", "list_objects_v2"


class Objects:
    """The images of a source, by their place in it.

    files: one for each, of size -1 where there is no such object. Reading raises FileNotFoundError for these, UserError
    where one has become shorter, and attempts.UnreachableError.
    """

    def __init__(self, files: list[buckets.File]):
        self._files, self._ahead = files, Ahead()

    def take(self, places: Iterable[int]) -> "Objects":
        """Those at these places."""
        return Objects([self._files[place] for place in places])

    def read(self, index: int) -> bytes:
        """The whole of an image's object."""
        content = self._ahead.get(int(index))
        if content is None:
            file = self._files[index]
            if file.size < 0:
                raise FileNotFoundError(f"no file {file.path!r}")
            content = buckets.read(file, 0, file.size)
        return content

    def fetch(self, indices: Iterable[int]) -> None:
        """Reads images at once, in place of those that this thread had read so."""
        files = {index: self._files[index] for index in sorted({int(index) for index in indices})}
        self._ahead.read({index: (file, 0, file.size) for index, file in files.items() if file.size >= 0})

    def looks(self, every: int, piece: int) -> list[str]:
        """What `source.file_names` says of files: sizes, and of every so many-th a digest of two pieces of such a size.

        One of two blocks of the cache or less is fetched whole, by one request; the pieces of a larger one by two.
        """
        looks = [str(file.size) for file in self._files]
        places = [place for place in range(0, len(looks), every) if self._files[place].size >= 0]
        for start in range(0, len(places), _LOOKS_AT_ONCE):
            part = places[start:start + _LOOKS_AT_ONCE]
            ranges = [one for place in part for one in _looked_at(self._files[place], piece)]
            contents = iter(buckets.read_each(ranges))
            for place in part:
                file = self._files[place]
                found = [next(contents) for _ in _looked_at(file, piece)]
                if any(isinstance(content, Exception) for content in found):
                    looks[place] = "-1"
                    continue
                if len(found) == 1:
                    found = [found[0][at:at + piece] for at in (0, file.size // 2)]
                looks[place] += " " + hashlib.blake2b(b"".join(found), digest_size=8).hexdigest()
        return looks


def _looked_at(file: buckets.File, piece: int) -> list[tuple[buckets.File, int, int]]:
    if file.size <= 2 * disk_cache.BLOCK:
        return [(file, 0, file.size)]
    return [(file, start, min(piece, file.size - start)) for start in (0, file.size // 2)]


def of(paths: list[str]) -> Objects:
    """The objects of these paths. Of more than a hundred their deepest common folder is listed, once for each bucket.

    Raises UserError where only some of the paths are a bucket's.
    """
    here = next((path for path in paths if not buckets.is_remote(path)), None)
    if here is not None:
        there = next(path for path in paths if buckets.is_remote(path))
        raise UserError(f"{there} lies in a bucket, and {here} on a disk: expected all images at one of these")
    plain = {path: normal(path) for path in paths}
    if len({*plain.values()}) <= _ASKED_ALONE:
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            wanted = sorted({*plain.values()})
            found = {file.path: file for file in pool.map(_file, wanted)}
    else:
        folders: dict[str, set[str]] = {}
        for path in plain.values():
            bucket, _, key = path.split("://", 1)[1].partition("/")
            folders.setdefault(f"{path.partition('://')[0]}://{bucket}", set()).add(posixpath.dirname(key))
        found = {file.path: file for bucket, keys in folders.items()
                 for file in below(f"{bucket}/{posixpath.commonpath(keys)}")}
    return Objects([found.get(plain[path]) or buckets.File(plain[path], -1, "") for path in paths])


def normal(path: str) -> str:
    """The path as the bucket has it: no object is reached by a slash too many, or by ".".

    Example:
        >>> normal("gs://bucket/faces/./a/../b//x.jpg")
        'gs://bucket/faces/b/x.jpg'
    """
    scheme, _, inner = path.partition("://")
    return f"{scheme}://{posixpath.normpath(inner)}"


def _file(path: str) -> buckets.File:
    try:
        return buckets.file(path)
    except FileNotFoundError:
        return buckets.File(path, -1, "")


def below(folder: str) -> list[buckets.File]:
    """Every object below a folder, in the order of their names, each in its pack.

    Raises FileNotFoundError where there is no such bucket. A page that fails for a while is asked for again, alone.
    """
    scheme, _, inner = normal(folder).partition("://")
    bucket, _, key = inner.partition("/")
    pages = _pages_of_gs if scheme == "gs" else _pages_of_s3
    files = [buckets.File(f"{scheme}://{bucket}/{name}", size, version)
             for page in pages(folder, bucket, f"{key}/" if key else "") for name, size, version in page]
    return _packed(sorted(files))


def _pages_of_gs(folder: str, bucket: str, prefix: str) -> Iterator[list[tuple[str, int, str]]]:
    token = None
    while True:
        asked = {"prefix": prefix, "maxResults": _PAGE, "pageToken": token, "fields": _GS}
        page = attempts.attempt(lambda asked=asked: attempts.filesystem(folder).call(
            "GET", "b/{}/o", bucket, json_out=True, **asked), folder)
        yield [(one["name"], int(one["size"]), str(one["generation"])) for one in page.get("items", ())]
        token = page.get("nextPageToken")
        if not token:
            return


def _pages_of_s3(folder: str, bucket: str, prefix: str) -> Iterator[list[tuple[str, int, str]]]:
    token = {}
    while True:
        page = attempts.attempt(lambda token=token: attempts.filesystem(folder).call_s3(
            _S3, Bucket=bucket, Prefix=prefix, MaxKeys=_PAGE, **token), folder)
        yield [(one["Key"], one["Size"], one["ETag"]) for one in page.get("Contents", ())]
        if not page.get("IsTruncated"):
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}


def _packed(files: list[buckets.File]) -> list[buckets.File]:
    """The files, each with the pack in which this host's disk keeps it, and its place there.

    A pack is called by what is in it. An object that comes, goes or changes costs its own pack and no other.
    """
    count = 1
    while count * _PACKED < len(files):
        count *= 2
    packs = [hashlib.sha256() for _ in range(count)]
    ends, which, places = [0] * count, [], []
    for file in files:
        pack = int.from_bytes(hashlib.blake2b(file.path.encode(), digest_size=8).digest()) % count
        which.append(pack)
        places.append(ends[pack])
        ends[pack] += -(-file.size // disk_cache.BLOCK) * disk_cache.BLOCK
        packs[pack].update(f"{file.path} {file.size} {file.version}\n".encode())
    names = [pack.hexdigest() for pack in packs]
    return [file._replace(pack=names[pack], place=place)
            for file, pack, place in zip(files, which, places, strict=True)]
