"""WebDataset: shards of tar, in which an image and its label are neighbours of one name.

    train-000000.tar:  0001.jpg 0001.cls 0002.jpg 0002.cls ...

Each shard is gone through once; its index is kept beside it (indexes.py) and gives random access. Aizman, Maltby and
Breuel: High Performance I/O For Large Scale Deep Learning, 2020, arXiv:2001.01858.
"""

import collections
import concurrent.futures
import hashlib
import itertools
import json
import os
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ...errors import UserError
from .. import buckets, heif, indexes
from ..ranges import Ranges
from . import image_folder, text_labels

_BLOCK = tarfile.BLOCKSIZE
_LOOK = 4096           # bytes at an image's beginning that its name has a digest of
_LABELS = ("cls", "json", "txt")  # fields that say the class, the first that a shard's first image has
_FOLDER = "folder"
_LARGEST_TEXT = 2 ** 24  # bytes of a label's field, or of a long name
_SHARDS_AT_ONCE = 8
_COLUMNS = [("name", pa.string()), ("start", pa.int64()), ("size", pa.int64()), ("digest", pa.string()),
            ("label", pa.string())]  # of an index


class _Member(NamedTuple):
    """A file in a tar: its name, where its bytes begin, how many it has, and the first of them."""

    name: str
    start: int
    size: int
    head: bytes


def load(path: str) -> Ranges:
    """Opens a shard, all `.tar` below a folder, or those of a pattern such as `shards-{000000..000009}.tar`.

    Of the files of one name an image is the one with an extension of `image_folder`. Its class is the text of `.cls`,
    the value of "label" in `.json`, or the text of `.txt`, whichever the shards have, or else the folder of its name.
    Raises FileNotFoundError, or UserError for a shard that is damaged, and for an image without a label.
    """
    files = buckets.find(path, (".tar",))
    with concurrent.futures.ThreadPoolExecutor(_SHARDS_AT_ONCE) as pool:
        tables = list(pool.map(lambda file: indexes.of(file, index), files))
    filled = [place for place, table in enumerate(tables) if len(table)]
    if not filled:
        raise UserError(f"{path} has no image")
    kinds = {_said_of(tables[place])["labels"]: files[place].path for place in filled}
    if len(kinds) > 1:
        raise UserError(f"{path}: labels come from " + ", ".join(f"{kind} in {shard}" for kind, shard in kinds.items())
                        + ": expected one of these in all shards")
    table = pa.concat_tables(tables)
    members = table["name"].to_pylist()
    which = np.repeat(np.arange(len(files)), [len(one) for one in tables])
    paths = [f"{files[file].path}/{member}" for file, member in zip(which.tolist(), members, strict=True)]
    class_names, labels, remarks = text_labels.number(table["label"].to_pylist())
    sizes = table["size"].to_numpy()
    names = [f"{member} {size} {digest}" for member, size, digest in
             zip(members, sizes.tolist(), table["digest"].to_pylist(), strict=True)]
    return Ranges(files, which, table["start"].to_numpy(), sizes, paths, labels, class_names, names,
                  [f"{path}: {remark}" for remark in (*_passed_over(tables), *remarks)])


def index(file: buckets.File) -> pa.Table:
    """Goes through a shard: name, start, size, digest of the beginning, and label of each image, in their order."""
    # HEIC too where nothing decodes it: an index does not depend on what is installed, and reading says what it takes.
    extensions = {end[1:] for end in image_folder.EXTENSIONS + heif.EXTENSIONS}
    found, others, without, kind = [], collections.Counter(), 0, ""
    seen = set()
    with buckets.stream(file) as opened:
        read = lambda start, size: _read(file, opened, start, size)
        for key, fields in _samples(file, read, others):
            image = [field for field in fields if field.rsplit(".", 1)[-1].lower() in extensions]
            if len(image) > 1:
                raise UserError(f"{file.path} has several images of one name, {key!r}: {', '.join(image)}")
            if not image:
                without += 1
                continue
            if key in seen:
                raise UserError(f"{file.path} has {key!r} twice, apart from each other")
            seen.add(key)
            kind = kind or next((one for one in _LABELS if one in fields and (
                one != "json" or "label" in _json(file, key, fields[one], read))), _FOLDER)
            member = fields[image[0]]
            found.append((member.name, member.start, member.size,
                          hashlib.blake2b(member.head[:member.size], digest_size=8).hexdigest(),
                          _label(file, key, fields, kind, read)))
    said = {"labels": kind, "without": without, "others": dict(others)}
    columns = zip(*found, strict=True) if found else [()] * len(_COLUMNS)
    return pa.table(list(map(list, columns)), pa.schema(_COLUMNS, {"said": json.dumps(said)}))


def _said_of(table: pa.Table) -> dict:
    return json.loads(table.schema.metadata[b"said"])


def _passed_over(tables: list[pa.Table]) -> list[str]:
    said = [json.loads(table.schema.metadata[b"said"]) for table in tables]
    without, others = sum(one["without"] for one in said), collections.Counter()
    for one in said:
        others.update(one["others"])
    parts = [f"{without:,} name(s) without an image"] if without else []
    parts += [f"{count:,} {what}" for what, count in sorted(others.items())]
    return [f"passed over {', '.join(parts)}"] if parts else []


def _samples(file: buckets.File, read, others: collections.Counter) -> Iterator[tuple[str, dict[str, _Member]]]:
    """(key, field -> member) of neighbours of one key: what stands before the first dot of a file's own name."""
    def key(member: _Member) -> str:
        folder, name = os.path.split(member.name)
        return os.path.join(folder, name.split(".", 1)[0])

    for name, members in itertools.groupby(_members(file, read, others), key):
        fields = {}
        for member in members:
            field = os.path.basename(member.name).partition(".")[2]
            if field in fields:
                raise UserError(f"{file.path} has {member.name!r} twice")
            fields[field] = member
        yield name, fields


def _members(file: buckets.File, read, others: collections.Counter) -> Iterator[_Member]:
    """The plain files of a tar, in order. What is none is counted in `others`.

    Raises UserError for a tar that has no end, or something after it: its last images would be lost without a word.
    """
    at, long_name = 0, {}
    while True:
        block = read(at, _BLOCK + _LOOK)
        try:
            info = tarfile.TarInfo.frombuf(block[:_BLOCK], "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:
            if long_name:
                raise _damaged(file, at, "a name without its file") from None
            return _check_end(file, read, at)
        except (tarfile.HeaderError, ValueError) as error:
            raise _damaged(file, at, f"{error}") from error
        start, size = at + _BLOCK, info.size
        if size < 0 or start + size > file.size:
            raise _damaged(file, at, f"{info.name!r} would end beyond the end of the file")
        at = start + -(-size // _BLOCK) * _BLOCK
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE):
            content = read(start, size) if size <= _LARGEST_TEXT else b""
            long_name |= _told(file, start, info.type, content)
            continue
        name = long_name.pop("path", info.name).removeprefix("./")
        if "size" in long_name or any(one.startswith("GNU.sparse") for one in long_name):
            raise _damaged(file, start, f"{name!r} is stored in a way that is not read (sparse, or above 8 GiB)")
        long_name = {}
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE):
            others["folder(s)" if info.type == tarfile.DIRTYPE else "link(s) and the like"] += 1
        elif os.path.basename(name).startswith("."):
            others["hidden file(s)"] += 1
        else:
            yield _Member(name, start, size, block[_BLOCK:])


def _told(file: buckets.File, at: int, kind: bytes, content: bytes) -> dict[str, str]:
    """What a header that stands before a file's own says of it."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": content.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    told = {}
    while kind == tarfile.XHDTYPE and content:
        length, _, _ = content.partition(b" ")
        size = int(length) if length.isdigit() else 0
        name, equals, value = content[len(length) + 1:size - 1].partition(b"=")
        if not len(length) + 2 < size <= len(content) or content[size - 1:size] != b"\n" or not equals:
            raise _damaged(file, at, "an extended header that cannot be read")
        told[name.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        content = content[size:]
    return {name: value for name, value in told.items() if name in ("path", "size") or name.startswith("GNU.sparse")}


def _check_end(file: buckets.File, read, at: int) -> None:
    """Raises UserError where anything but zeros follows the end of a tar."""
    for start in range(at, file.size, 2 ** 20):
        if read(start, min(2 ** 20, file.size - start)).strip(b"\0"):
            raise _damaged(file, at, "the tar ends here, but not the file")


def _read(file: buckets.File, opened, start: int, size: int) -> bytes:
    opened.seek(start)
    return opened.read(size)


def _damaged(file: buckets.File, at: int, what: str) -> UserError:
    with buckets.stream(file) as opened:
        packed = opened.read(4)
    if packed[:2] == b"\x1f\x8b" or packed in (b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zX"):
        return UserError(f"{file.path} is compressed, which gives no random access: unpack it to a plain .tar first")
    return UserError(f"{file.path} is damaged, or no tar: at byte {at:,}, {what}")


def _label(file: buckets.File, key: str, fields: dict[str, _Member], kind: str, read) -> str:
    if kind == _FOLDER:
        return os.path.dirname(key)
    if kind not in fields:
        raise UserError(f"{file.path}: {key!r} has no .{kind}, where the first image of the shard has its label")
    if kind == "json":
        value = _json(file, key, fields[kind], read).get("label")
        label = value if isinstance(value, str) else "" if value is None else json.dumps(value)
        if isinstance(value, list | dict):
            raise UserError(f"{file.path}: {key!r} has the label {label[:60]}: expected a text or a number")
    else:
        label = _text(file, key, fields[kind], read)
    if not label.strip():
        raise UserError(f"{file.path}: {key!r} has no label in its .{kind}")
    return label.strip()


def _json(file: buckets.File, key: str, member: _Member, read) -> dict:
    text = _text(file, key, member, read)
    try:
        value = json.loads(text, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file.path}: the .json of {key!r} cannot be read: {error}") from error
    return value if isinstance(value, dict) else {}


def _text(file: buckets.File, key: str, member: _Member, read) -> str:
    content = member.head[:member.size] if member.size <= len(member.head) else (
        read(member.start, member.size) if member.size <= _LARGEST_TEXT else b"\xff")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file.path}: {member.name!r} is no text in UTF-8 of a label") from error
    if "\0" in text:
        raise UserError(f"{file.path}: the label of {key!r} has a zero byte")
    return text
