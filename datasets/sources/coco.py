"""Boxes of COCO's form: one JSON file of images, annotations and categories, on a disk or in a bucket.

Lin, Maire, Belongie, Hays, Perona, Ramanan, Dollar, Zitnick: Microsoft COCO: Common Objects in Context, 2014,
arXiv:1405.0312.
"""

import codecs
import contextlib
import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.json

from ...errors import UserError
from .. import buckets, objects, patterns
from ..boxes import BoxFiles, gather
from ..source import parted
from . import class_names as naming
from . import lists

_MOST = 2 ** 31 - 2  # bytes of a file that the parser takes
# What is read of the file. Outlines, captions and all else are passed over unread: they are most of it.
_SCHEMA = pa.schema({
    "images": pa.list_(pa.struct({"id": pa.int64(), "file_name": pa.string(), "width": pa.float64(),
                                  "height": pa.float64()})),
    "annotations": pa.list_(pa.struct({"id": pa.int64(), "image_id": pa.int64(), "category_id": pa.int64(),
                                       "bbox": pa.list_(pa.float64()), "area": pa.float64(), "iscrowd": pa.int64()})),
    "categories": pa.list_(pa.struct({"id": pa.int64(), "name": pa.string()}))})
_LOOKED_AT = 4096   # bytes of its beginning, in which something other than blanks stands
_INSTANCES = "instances_"  # COCO's own names: annotations/instances_val2017.json, of the images in val2017


def load(path: str) -> BoxFiles:
    """Opens `FILE.json[#FOLDER][#LIST.txt]`.

    FILE may stand for several, as in {train,val}.json, of the same categories; image ids are then counted from 1.
    FOLDER is where the images lie, relative to the file, and is looked for without it. LIST has the names of the images
    that are kept. Classes are in the order of the categories' ids.
    Raises FileNotFoundError, or UserError for what is no such file, or holds ids that nothing has.
    """
    path, option = parted(path)
    listed = [part for part in option.split("#") if part.endswith(".txt")]
    folders = [part for part in option.split("#") if part and part not in listed]
    if len(listed) > 1 or len(folders) > 1:
        raise UserError(f"{path}#{option}: expected FILE.json[#FOLDER][#LIST.txt]")
    files = [path] if buckets.exists(path) else patterns.expand(path)
    parts = [_one(file, *folders) for file in files]
    source = parts[0] if len(parts) == 1 else _joined(files, parts)
    return lists.keep(source, listed[0]) if listed else source


def _one(path: str, folder: str = "") -> BoxFiles:
    table = _read(path)
    images, annotations, categories = (_columns(path, table, name) for name in _SCHEMA.names)
    _no_gaps(path, "image", images, ("id", "file_name"))
    _no_gaps(path, "category", categories, ("id", "name"))
    _no_gaps(path, "annotation", annotations, ("image_id", "category_id", "bbox"))
    names = images["file_name"].to_pylist()
    if not names:
        raise UserError(f"{path} has no images")
    image_ids, category_ids = (columns["id"].to_numpy() for columns in (images, categories))
    order = np.argsort(category_ids)
    category_ids, class_names = category_ids[order], [categories["name"][place].as_py() for place in order.tolist()]
    _no_twins(path, "image", image_ids)
    _no_twins(path, "category", category_ids)
    sizes = np.stack([np.nan_to_num(_filled(images[name], 0)) for name in ("height", "width")], axis=1).astype(np.int64)
    sizes[(sizes <= 0).any(axis=1)] = 0
    if len(annotations["bbox"]) and not (annotations["bbox"].value_lengths().to_numpy() == 4).all():
        row = int(np.flatnonzero(annotations["bbox"].value_lengths().to_numpy() != 4)[0])
        raise UserError(f"{path}: {_where(annotations, row)} has the bbox {annotations['bbox'][row].as_py()}: expected "
                        f"x, y, width, height")
    corners = annotations["bbox"].flatten().to_numpy(zero_copy_only=False).reshape(-1, 4).copy()
    corners[:, 2:] += corners[:, :2]
    boxes, remarks = gather(
        path, names, _places(path, annotations, "image", image_ids), corners,
        _places(path, annotations, "category", category_ids), crowd=_filled(annotations["iscrowd"], 0) != 0,
        areas=_filled(annotations["area"], np.nan), sizes=sizes, where=lambda row: _where(annotations, row))
    paths = _paths(path, names, folder)
    if not class_names:
        raise UserError(f"{path} has no categories")
    return BoxFiles(paths, class_names, boxes, sizes=sizes, category_ids=category_ids, image_ids=image_ids,
                    remarks=[*remarks, *(f"{path}: {line}" for line in naming.remarks(class_names))])


def _read(path: str) -> pa.Table:
    if not buckets.exists(path):
        raise FileNotFoundError(f"no file {path!r}: expected a JSON file of COCO's form")
    if not buckets.is_remote(path) and os.path.isdir(path):
        raise UserError(f"{path} is a folder: expected a JSON file of COCO's form")
    size = buckets.file(path).size if buckets.is_remote(path) else os.path.getsize(path)
    if size > _MOST:
        raise UserError(f"{path} has {size:,} bytes, and {_MOST:,} are read at most: leave out what is no box "
                        f"(segmentation), or cut it into several files {{a,b}}.json")
    file = io.BytesIO(buckets.read(buckets.file(path), 0, size)) if buckets.is_remote(path) else path
    # The parser does not survive a lone null.
    with open(path, "rb") if file is path else contextlib.nullcontext(file) as opened:
        start = opened.read(_LOOKED_AT).removeprefix(codecs.BOM_UTF8).lstrip()
    if not start.startswith(b"{"):
        raise UserError(f"{path} is no JSON of COCO's form: it begins with {start[:8]!r}; expected an object, in UTF-8")
    if file is not path:
        file.seek(0)
    try:
        table = pyarrow.json.read_json(
            file, read_options=pyarrow.json.ReadOptions(block_size=size + 1, use_threads=False),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=_SCHEMA, newlines_in_values=True,
                                                    unexpected_field_behavior="ignore"))
        table.validate(full=True)  # its texts are UTF-8
        return table
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no JSON of COCO's form: {str(error).splitlines()[0].strip()}") from error


def _columns(path: str, table: pa.Table, name: str) -> dict[str, pa.Array]:
    """The fields of the entries of a list, by their names."""
    if len(table) != 1 or (name == "images" and table[name].null_count):
        raise UserError(f"{path} is no JSON of COCO's form: expected one object, with images, annotations, categories")
    entries = table[name].combine_chunks().flatten()
    if entries.null_count:
        raise UserError(f"{path}: {entries.null_count:,} of its {name} are null")
    return {field.name: entries.field(field.name) for field in entries.type}


def _no_gaps(path: str, what: str, columns: dict[str, pa.Array], names: tuple[str, ...]) -> None:
    for name in names:
        if columns[name].null_count:
            row = int(np.flatnonzero(columns[name].is_null().to_numpy(zero_copy_only=False))[0])
            raise UserError(f"{path}: {what} {row + 1} has no {name}"
                            + (f"; of {columns[name].null_count:,} in all" if columns[name].null_count > 1 else ""))


def _no_twins(path: str, what: str, ids: np.ndarray) -> None:
    found, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise UserError(f"{path}: the {what} id {found[counts > 1][0]} stands there {counts[counts > 1][0]} times: "
                        f"expected once")


def _places(path: str, annotations: dict[str, pa.Array], what: str, known: np.ndarray) -> np.ndarray:
    """The place of each annotation's image, or category, among the known ids."""
    wanted, order = annotations[f"{what}_id"].to_numpy(), np.argsort(known)
    found = np.searchsorted(known[order], wanted)
    missing = ~np.isin(wanted, known)
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise UserError(f"{path}: {_where(annotations, row)} has the {what}_id {wanted[row]}, which no {what} has"
                        + (f"; so do {missing.sum() - 1:,} more" if missing.sum() > 1 else ""))
    return order[found]


def _filled(column: pa.Array, value: float) -> np.ndarray:
    return column.fill_null(value).to_numpy(zero_copy_only=False)


def _where(annotations: dict[str, pa.Array], row: int) -> str:
    number = annotations["id"][row].as_py()
    return f"annotation {row + 1}" if number is None else f"the annotation of id {number}"


def _paths(path: str, names: list[str], folder: str) -> list[str]:
    """Where the images lie. On a disk all of them must be there."""
    here, file = os.path.dirname(path), os.path.basename(path)
    part = os.path.splitext(file)[0].removeprefix(_INSTANCES) if file.startswith(_INSTANCES) else ""
    tried = [folder] if folder else ["", "images", *((f"../{part}", f"../images/{part}", part) if part else ()),
                                     "../images"]
    plain = objects.normal if buckets.is_remote(path) else os.path.normpath
    tried = [plain(os.path.join(here, one)) for one in tried]
    found = next((one for one in tried if buckets.exists(os.path.join(one, names[0]))), None)
    if found is None:
        raise UserError(f"{path}: its image {names[0]!r} is not in {' or '.join(tried)}"
                        + ("" if folder else ": FILE.json#FOLDER says where the images are"))
    paths = [os.path.join(found, name) for name in names]
    if not buckets.is_remote(path):
        lists.check(path, names, paths)
    return paths


def _joined(files: list[str], parts: list[BoxFiles]) -> BoxFiles:
    for file, part in zip(files, parts, strict=True):
        if (part.class_names, part.category_ids.tolist()) != (parts[0].class_names, parts[0].category_ids.tolist()):
            raise UserError(f"{file} has other categories than {files[0]}: expected the same in all")
    return lists.joined(parts)
