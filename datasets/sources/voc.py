"""Boxes of PASCAL VOC's form: an XML file for each picture, as VOC itself and labelling programs write them.

Everingham, Van Gool, Williams, Winn, Zisserman: The PASCAL Visual Object Classes (VOC) Challenge, 2010.
"""

import os
import xml.etree.ElementTree
from typing import NamedTuple

import numpy as np

from ...errors import UserError
from .. import buckets
from ..boxes import BoxFiles, gather
from ..source import parted
from . import class_names as naming
from . import lists
from .image_folder import EXTENSIONS

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Picture(NamedTuple):
    """What an XML file says. objects: (name of the class, its four numbers, whether it is difficult)."""

    path: str
    file: str
    size: tuple[int, int]
    objects: list[tuple[str, list[float], bool]]


def load(path: str) -> BoxFiles:
    """Opens `FOLDER[#SET]`: Annotations/*.xml and JPEGImages of a folder, or XML files and pictures side by side.

    SET names a list, ImageSets/Main/SET.txt, of the pictures that are kept. VOC's corners are numbers of pixels, from 1
    and inclusive: x from xmin - 1 to xmax. A difficult object is one that is neither to be learnt nor to be judged, as
    in VOC's own evaluation: a crowd of the `Boxes`. Classes are those of all files of the folder, whatever set is kept,
    in the order of their text.
    Raises FileNotFoundError, or UserError, naming the file, for what cannot be meant.
    """
    if buckets.is_remote(path):
        raise UserError(f"{path}: VOC's form, a file for each picture, is read from a disk; of a bucket, coco is")
    path, part = parted(path)
    if not os.path.isdir(path):
        raise FileNotFoundError(f"no folder {path!r}: expected one with Annotations and JPEGImages")
    inner = os.path.join(path, "Annotations")
    folder = inner if os.path.isdir(inner) else path
    files = sorted(name for name in os.listdir(folder) if name.lower().endswith(".xml") and not name.startswith("."))
    if not files:
        raise FileNotFoundError(f"no XML file in {folder!r}")
    images = [os.path.join(path, name) for name in ("JPEGImages", "images")]
    images = next((one for one in images if os.path.isdir(one)), path)
    there = {*os.listdir(images)}
    stems = {os.path.splitext(name)[0]: name for name in sorted(there, reverse=True)
             if name.lower().endswith(EXTENSIONS)}
    found = [_read(os.path.join(folder, name), stems, there) for name in files]
    source = _source(folder, images, found)
    return _kept(source, os.path.join(path, "ImageSets", "Main", f"{part}.txt"), files) if part else source


def _kept(source: BoxFiles, path: str, files: list[str]) -> BoxFiles:
    """The pictures of a list of names without an extension."""
    if not os.path.isfile(path):
        there = sorted(os.listdir(os.path.dirname(path))) if os.path.isdir(os.path.dirname(path)) else []
        raise UserError(f"no list {path!r}; there is " + (", ".join(
            os.path.splitext(name)[0] for name in there[:10]) or "none"))
    places = {os.path.splitext(name)[0]: place for place, name in enumerate(files)}
    names = lists.read(path)
    missing = [name for name in names if name not in places]
    if missing:
        raise UserError(f"{path}: {len(missing):,} of its {len(names):,} names have no XML file, the first "
                        f"{missing[0]!r}")
    return source.subset(np.array([places[name] for name in names], np.int64))


def _source(folder: str, images: str, found: list[_Picture]) -> BoxFiles:
    class_names = sorted({name for picture in found for name, _, _ in picture.objects})
    if not class_names:
        raise UserError(f"{folder}: none of its {len(found):,} XML files has an object")
    number = {name: place for place, name in enumerate(class_names)}
    owners = np.repeat(np.arange(len(found)), [len(picture.objects) for picture in found])
    objects = [one for picture in found for one in picture.objects]
    corners = np.array([numbers for _, numbers, _ in objects], np.float64)
    from_0 = int((corners[:, :2] < 1).any(axis=1).sum())
    corners[:, :2] -= 1
    sizes = np.array([picture.size for picture in found], np.int64)
    starts = np.concatenate([[0], np.cumsum([len(picture.objects) for picture in found])])
    names = [os.path.basename(picture.path) for picture in found]
    boxes, remarks = gather(
        folder, names, owners, corners, np.array([number[name] for name, _, _ in objects]),
        crowd=np.array([difficult for _, _, difficult in objects]), sizes=sizes,
        where=lambda row: f"object {row - starts[owners[row]] + 1}")
    if from_0:
        remarks.append(f"{folder}: {from_0:,} object(s) have corners below 1, where VOC has none: all are read as "
                       f"VOC's, from 1, which is a pixel to the upper left of what is meant if they are from 0")
    remarks += [f"{folder}: {line}" for line in naming.remarks(class_names)]
    return BoxFiles([os.path.join(images, picture.file) for picture in found], class_names, boxes, sizes=sizes,
                    remarks=remarks)


def _read(path: str, stems: dict[str, str], there: set[str]) -> _Picture:
    try:
        root = xml.etree.ElementTree.parse(path).getroot()
    except (xml.etree.ElementTree.ParseError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path} is no XML: {error}") from error
    if root.tag != "annotation":
        raise UserError(f"{path} is an XML file of <{root.tag}>: expected <annotation>, of VOC's form")
    named = os.path.basename((root.findtext("filename") or "").strip().replace("\\", "/"))
    stem = os.path.splitext(os.path.basename(path))[0]
    # VOC's own name comes first, and then that of the XML file: pictures are renamed more often than their notes.
    file = named if named in there else stems.get(stem) or stems.get(os.path.splitext(named)[0])
    if file is None:
        raise UserError(f"{path}: its picture {named or stem!r} is not there")
    size = tuple(int(_number(path, "size", root.findtext(f"size/{side}") or "0")) for side in ("height", "width"))
    return _Picture(path, file, size if min(size) > 0 else (0, 0),
                    [_object(path, place, element) for place, element in enumerate(root.findall("object"))])


def _object(path: str, place: int, element: xml.etree.ElementTree.Element) -> tuple[str, list[float], bool]:
    what, name, box = f"object {place + 1}", (element.findtext("name") or "").strip(), element.find("bndbox")
    if not name:
        raise UserError(f"{path}: {what} has no name")
    missing = [corner for corner in _CORNERS if box is None or not box.findtext(corner)]
    if missing:
        raise UserError(f"{path}: {what} has no " + ("bndbox" if box is None else ", ".join(missing)))
    return (name, [_number(path, what, box.findtext(corner)) for corner in _CORNERS],
            (element.findtext("difficult") or "0").strip() == "1")


def _number(path: str, what: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise UserError(f"{path}: {what} has {text!r} where a number is expected")
    return number
