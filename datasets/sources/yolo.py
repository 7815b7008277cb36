"""Boxes of YOLO's form: a text file for each picture, and a data.yaml with the names of the classes.

A line is `class x y width height`: the number of a class, and the middle and the sides of a box in shares of the
upright picture's sides, as Ultralytics' and Roboflow's programs write and read them.
"""

import concurrent.futures
import os

import numpy as np
import PIL.Image
import yaml

from ...errors import UserError
from .. import buckets, decoding
from ..boxes import BoxFiles, gather
from ..source import parted
from . import class_names as naming
from . import lists
from .image_folder import EXTENSIONS

_THREADS = 8
_SLACK = 1e-3  # by which shares, rounded as they are written, may be beyond 1
_CHUNK = 256   # pictures that a thread looks at between two others


def load(path: str) -> BoxFiles:
    """Opens `data.yaml#SPLIT`, or a folder with a data.yaml; SPLIT is train, val or test.

    The entry of the split is a folder of pictures, several, or a .txt with their paths. The labels of a picture lie at
    its path with `labels` for the last `images`, called .txt; a picture without that file, or with an empty one, has no
    boxes. The pictures' own sizes are read when the source is opened: the shares are of these.
    Raises FileNotFoundError, or UserError naming the file and the line.
    """
    if buckets.is_remote(path):
        raise UserError(f"{path}: YOLO's form, a file for each picture, is read from a disk; of a bucket, coco is")
    path, split = parted(path)
    path = os.path.join(path, "data.yaml") if os.path.isdir(path) else path
    options = _options(path)
    if split not in ("train", "val", "test") or not options.get(split):
        raise UserError(f"{path} is opened as {os.path.basename(path)}#SPLIT; its splits are "
                        f"{', '.join(name for name in ('train', 'val', 'test') if options.get(name)) or 'none'}"
                        + (f"; got {split!r}" if split else ""))
    class_names = _class_names(path, options)
    pictures = _pictures(path, options, split)
    if not pictures:
        raise FileNotFoundError(f"{path}: no picture of its split {split!r}")
    chunks = [pictures[start:start + _CHUNK] for start in range(0, len(pictures), _CHUNK)]
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        looked = [one for chunk in pool.map(_look, chunks) for one in chunk]
    return _source(path, pictures, class_names, looked)


def _source(path: str, pictures: list[str], class_names: list[str], looked: list) -> BoxFiles:
    sizes = np.array([size for size, _ in looked], np.int64)
    unread, without = (sizes == 0).any(axis=1), sum(content is None for _, content in looked)
    rows, owners, lines = [], [], []
    for place, (_, content) in enumerate(looked):
        if content and not unread[place]:
            for number, line in enumerate(content.splitlines(), 1):
                if line.strip():
                    rows.append(line.split())
                    owners.append(place)
                    lines.append(number)
    owners = np.array(owners, np.int64)
    where = lambda row: f"{_labels_of(pictures[owners[row]])}, line {lines[row]}"
    numbers = _numbers(rows, where, class_names)
    middle, sides = numbers[:, 1:3], numbers[:, 3:5]
    scale = sizes[owners][:, ::-1]
    corners = np.concatenate([(middle - sides / 2) * scale, (middle + sides / 2) * scale], axis=1)
    # What rounding leaves beyond the edge: written with six digits, a box may end at 1.0000005.
    limits = np.tile(scale, 2)
    corners = np.where(np.abs(corners - limits) < _SLACK, limits, np.where(np.abs(corners) < _SLACK, 0, corners))
    boxes, remarks = gather(path, pictures, owners, corners, numbers[:, 0].astype(np.int32), sizes=sizes, where=where)
    if without:
        remarks.append(f"{path}: {without:,} picture(s) have no file of labels, and so no boxes")
    if unread.any():
        remarks.append(f"{path}: {unread.sum():,} picture(s) cannot be read, the first "
                       f"{pictures[int(unread.argmax())]!r}")
    return BoxFiles(pictures, class_names, boxes, sizes=sizes, category_ids=np.arange(len(class_names)),
                    remarks=[*remarks, *(f"{path}: {line}" for line in naming.remarks(class_names))])


def _numbers(rows: list[list[str]], where, class_names: list[str]) -> np.ndarray:
    """f64[A,5] of the lines, checked."""
    bad = next((place for place, row in enumerate(rows) if len(row) != 5), None)
    if bad is not None:
        raise UserError(f"{where(bad)} has {len(rows[bad])} columns: expected class, x, y, width, height"
                        + (" (an outline is no box)" if len(rows[bad]) > 6 else ""))
    try:
        numbers = np.array(rows, np.float64).reshape(-1, 5)
    except ValueError:
        bad = next(place for place, row in enumerate(rows) if not all(map(_is_number, row)))
        raise UserError(f"{where(bad)} is {' '.join(rows[bad])!r}: expected five numbers") from None
    classes, shares = numbers[:, 0], numbers[:, 1:]
    for wrong, what in (((classes != np.floor(classes)) | ~(classes >= 0) | (classes >= len(class_names)),
                         f"names a class that is none of 0 to {len(class_names) - 1}"),
                        (~(np.isfinite(shares) & (shares >= -_SLACK) & (shares <= 1 + _SLACK)).all(axis=1),
                         "has numbers that are no shares of the picture's sides, 0 to 1")):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise UserError(f"{where(row)}, {' '.join(rows[row])!r}, {what}"
                            + (f"; so do {wrong.sum() - 1:,} more" if wrong.sum() > 1 else ""))
    return numbers


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _options(path: str) -> dict:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no file {path!r}: expected a data.yaml with names, train and val")
    try:
        with open(path, encoding="utf-8-sig") as file:
            options = yaml.safe_load(file)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(options, dict) or "names" not in options:
        raise UserError(f"{path} has no names: expected a data.yaml with names, train and val")
    return options


def _class_names(path: str, options: dict) -> list[str]:
    names = options["names"]
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise UserError(f"{path}: names has the keys {', '.join(map(str, names))}: expected 0 to {len(names) - 1}")
        names = [names[place] for place in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{path}: names is {names!r}: expected the classes' names, in their order")
    if "nc" in options and options["nc"] != len(names):
        raise UserError(f"{path}: nc is {options['nc']}, and there are {len(names)} names")
    return [str(name) for name in names]


def _pictures(path: str, options: dict, split: str) -> list[str]:
    here = os.path.join(os.path.dirname(path), str(options.get("path") or ""))
    entries = options[split] if isinstance(options[split], list) else [options[split]]
    found = []
    for entry in map(str, entries):
        place = os.path.join(here, entry)
        if not os.path.exists(place) and entry.startswith("../"):
            place = os.path.join(here, entry[3:])  # as Roboflow writes what lies beside the file
        if os.path.isfile(place):
            names = [os.path.join(os.path.dirname(place), name) for name in lists.read(place)]
            lists.check(place, names, names)
            found += names
        elif os.path.isdir(place):
            found += sorted(os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names
                            if name.lower().endswith(EXTENSIONS) and not name.startswith("."))
        else:
            raise FileNotFoundError(f"{path}: no folder or list {os.path.normpath(place)!r} of its split {split!r}")
    return found


def _labels_of(picture: str) -> str:
    folder, name = os.path.split(picture)
    parts = folder.split(os.sep)
    at = next((place for place in range(len(parts) - 1, -1, -1) if parts[place] == "images"), None)
    if at is not None:
        parts[at] = "labels"
    return os.path.join(os.sep.join(parts), f"{os.path.splitext(name)[0]}.txt")


def _look(pictures: list[str]) -> list[tuple[tuple[int, int], str | None]]:
    """((height, width) of each upright picture, 0 where it cannot be read; the content of its labels, if there are)."""
    return [(_size(picture), _content(_labels_of(picture))) for picture in pictures]


def _size(picture: str) -> tuple[int, int]:
    try:
        with PIL.Image.open(picture) as opened:
            return decoding.upright_size(opened)
    except Exception:  # parsers raise many kinds; why, is said when the picture itself is read
        return 0, 0


def _content(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text: {error}") from error
