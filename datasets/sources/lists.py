"""Lists of which pictures of a source with boxes are kept, and several such sources as one."""

import os
from collections.abc import Sequence

import numpy as np

from ...errors import UserError
from .. import buckets
from ..boxes import Boxes, BoxFiles
from ..source import remarks


def read(path: str) -> list[str]:
    """The first word of each line, of those that have one and do not begin with #."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no list {path!r}" + (" (one in a bucket is not read)" if buckets.is_remote(path) else
                                                       ""))
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no list of names: {error}") from error
    names = [line.split()[0] for line in lines if line and not line.startswith("#")]
    if not names:
        raise UserError(f"{path} has no name")
    twice = len(names) - len({*names})
    if twice:
        raise UserError(f"{path}: {twice:,} name(s) stand there twice, the first "
                        f"{next(name for place, name in enumerate(names) if name in names[:place])!r}")
    return names


def keep(source: BoxFiles, path: str) -> BoxFiles:
    """The pictures whose file names a list has, in its order."""
    places: dict[str, int] = {}
    for place, file in enumerate(source.paths):
        name = os.path.basename(file)
        places[name] = -1 if name in places else place
    names = read(path)
    missing = [name for name in names if os.path.basename(name) not in places]
    if missing:
        raise UserError(f"{path}: {len(missing):,} of its {len(names):,} names are of no picture of the source, the "
                        f"first {missing[0]!r}")
    found = np.array([places[os.path.basename(name)] for name in names], np.int64)
    if (found < 0).any():
        raise UserError(f"{path}: several pictures of the source are called {names[int(np.argmin(found))]!r}")
    return source.subset(found)


def check(path: str, names: Sequence[str], paths: Sequence[str]) -> None:
    """Raises UserError where pictures that the annotations at `path` name are not there. Folders are listed once."""
    there = {folder: _listed(folder) for folder in {os.path.dirname(one) for one in paths}}
    missing = [name for name, one in zip(names, paths, strict=True)
               if os.path.basename(one) not in there[os.path.dirname(one)]]
    if missing:
        raise UserError(f"{path}: {len(missing):,} of its {len(names):,} pictures are not there, the first "
                        f"{missing[0]!r}")


def _listed(folder: str) -> set[str]:
    return {*os.listdir(folder or ".")} if os.path.isdir(folder or ".") else set()


def joined(parts: list[BoxFiles]) -> BoxFiles:
    """All pictures of sources of the same classes, one after the other; ids are counted from 1."""
    starts = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part.boxes.starts) for part in parts]))])
    boxes = Boxes(starts, *(np.concatenate(values) for values in zip(*(part.boxes[1:] for part in parts), strict=True)))
    return BoxFiles([path for part in parts for path in part.paths], parts[0].class_names, boxes,
                    sizes=np.concatenate([part.sizes for part in parts]), category_ids=parts[0].category_ids,
                    remarks=[line for part in parts for line in remarks(part)])
