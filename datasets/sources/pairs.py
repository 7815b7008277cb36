"""Reads verification sets: pairs of images, each of the same person or not."""

import codecs
import os
import re
from typing import NamedTuple

import numpy as np

from ...errors import UserError
from ..source import Files, Records, Source, content_names, parted
from . import manifest, safe_pickle


class Encoded:
    """A source of encoded images in memory, all of one class. path: names them in messages."""

    def __init__(self, path: str, images: list[bytes]):
        self.labels = np.zeros(len(images), np.int64)
        self.num_classes, self.class_names = 1, [""]
        self.paths = [f"{path}#{index}" for index in range(len(images))]
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict:
        return {"image": self._images[index], "label": 0, "path": self.paths[index]}

    def record_names(self) -> list[str]:
        return content_names(self._images)


class Pairs(NamedTuple):
    """What a verification protocol runs on. The order of the pairs is the file's, because folds are cut from it."""

    images: Source      # labels say nothing
    pairs: np.ndarray   # i64[M,2], indices of images
    same: np.ndarray    # bool[M]


def load_bin(path: str) -> Pairs:
    """Opens insightface's `.bin`: a pickle of 2M encoded images, a pair after the other, and M booleans.

    A flipped boolean leaves no other trace, so a set that does not have as many pairs of the same person as of
    different ones is refused; `FILE#unbalanced` admits it. Raises FileNotFoundError, or UserError for a file of
    something else.
    """
    path, option = parted(path)
    if option not in ("", "unbalanced"):
        raise UserError(f"{path}#{option}: the only option of a .bin file is #unbalanced")
    with _opened(path) as file:
        content = file.read()
    try:
        value = safe_pickle.load(content)
    except ValueError as error:
        raise UserError(f"{path} is no .bin of pairs: {error}") from error
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(
            isinstance(part, list | tuple | np.ndarray) for part in value):
        raise UserError(f"{path} is no .bin of pairs: expected a list of images and a list of booleans")
    images, same = value
    images = [image.tobytes() if isinstance(image, np.ndarray) else image for image in images]
    truths = [bool(truth) for truth in same
              if isinstance(truth, bool | int | np.bool_ | np.integer) and truth in (0, 1)]
    if not all(isinstance(image, bytes) for image in images) or len(truths) != len(same):
        raise UserError(f"{path} is no .bin of pairs: expected encoded images and booleans")
    if not len(same) or len(images) != 2 * len(same):
        raise UserError(f"{path} has {len(images)} images for {len(same)} pairs: expected two for each")
    if 2 * sum(truths) != len(truths) and not option:
        raise UserError(f"{path} has {sum(truths)} pairs of the same person among {len(truths)}: these sets have half "
                        f"of each, so it is damaged, or of another kind; {path}#unbalanced admits it")
    return Pairs(Encoded(path, images), np.arange(len(images)).reshape(-1, 2), np.array(truths))


def load_lfw(path: str) -> Pairs:
    """Opens LFW's pairs.txt: `FILE#FOLDER`, the images below FOLDER (default: the file's own) as NAME/NAME_0001.jpg.

    `FILE#TABLE` takes the images of these names from a manifest, with their boxes and landmarks.
    Huang, Ramesh, Berg, Learned-Miller: Labeled Faces in the Wild, 2007. Its first line is folds and pairs of each
    kind in a fold (or only the latter); then, fold by fold, the same people (name, two numbers) and the different
    ones (name, number, name, number). Raises FileNotFoundError, or UserError, naming the line.
    """
    path, folder = parted(path)
    table = folder if os.path.isfile(parted(folder)[0]) else ""
    folder = "" if table else folder or os.path.dirname(path)
    with _opened(path) as file:
        # A name may be in no encoding, and stands for a file of that name.
        text = file.read().removeprefix(codecs.BOM_UTF8).decode(errors="surrogateescape").rstrip()
    lines = [line.split("\t") if "\t" in line else line.split() for line in re.split("\r\n|\r|\n", text)]
    found, pairs, same = {}, [], []
    for number, fields in enumerate(lines[1:], start=2):
        fields = [field.strip() for field in fields]
        if len(fields) == 3:
            names = [(fields[0], fields[1]), (fields[0], fields[2])]
        elif len(fields) == 4:
            names = [(fields[0], fields[1]), (fields[2], fields[3])]
        else:
            names = []
        if not names or not all(name and index.isdecimal() for name, index in names):
            raise UserError(f"{path}, line {number}: expected a name and two numbers, or two of each; got {fields}")
        pairs.append([found.setdefault(_lfw_image(folder, *name), len(found)) for name in names])
        same.append(len(fields) == 3)
    _check_lfw(path, lines, len(pairs))
    images = _of_table(table, [*found]) if table else Files(list(found), [0] * len(found), [""])
    return Pairs(images, np.array(pairs), np.array(same))


def _of_table(path: str, names: list[str]) -> Records:
    """The records of a manifest that have these names, whatever their folders."""
    table = manifest.load(path)
    places: dict[str, list[int]] = {}
    for place, file in enumerate(table.paths):
        places.setdefault(os.path.basename(file), []).append(place)
    found = [places.get(os.path.basename(name), []) for name in names]
    bad = [place for place, rows in enumerate(found) if len(rows) != 1]
    if bad:
        raise UserError(f"{path} has {len(found[bad[0]])} rows of {os.path.basename(names[bad[0]])!r}: expected one "
                        f"for each of the {len(names)} images of the pairs, and {len(bad)} have none or several")
    return Records(table, np.array(found)[:, 0])


def _lfw_image(folder: str, name: str, index: str) -> str:
    return os.path.join(folder, name, f"{name}_{int(index):04}.jpg")


def _check_lfw(path: str, lines: list[list[str]], count: int) -> None:
    head = [field.strip() for field in lines[0]] if lines else []
    if not head or len(head) > 2 or not all(field.isdecimal() for field in head):
        raise UserError(f"{path}, line 1: expected the number of folds and of pairs in each, got {head}")
    folds, each = (1, int(head[0])) if len(head) == 1 else map(int, head)
    if not count or count != 2 * folds * each:
        raise UserError(f"{path} has {count} pairs; its first line says {folds} x {each} of each kind")


def _opened(path: str):
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no file {path!r}")
    return open(path, "rb")
