"""Splits a source into what is trained on and what is tested on, by a share and a seed."""

import hashlib
import os

import numpy as np

from ..errors import UserError
from .boxes import BoxFiles
from .source import ClassSubset, Records, Source

BY, PARTS = ("images", "classes"), ("train", "test")


def split(source: Source, share: float, by: str, seed: int, part: str) -> Source:
    """Keeps one side of a split of a source, relabelled from 0: the two sides have no image in common, and all of them.

    Which images, or classes, are set aside depends on their names and the seed alone, and not on where they lie.

    Args:
        share: of what is set aside for testing, above 0 and below 1, rounded. Each side has one class at least.
        by: "images": of each class its share, where it has two images or more at least one on either side; "classes":
            whole classes.
        seed: another one sets others aside.
        part: "train" or "test", the side that is kept, with the classes of its own images.

    Raises UserError for a share or a name that is none of these, and for a source that is too small.

    Example:
        >>> from geodesic.datasets import Files
        >>> files = Files([f"{name}/{i}.jpg" for name in "ab" for i in range(4)], [0] * 4 + [1] * 4, ["a", "b"])
        >>> [len(split(files, 0.25, "images", 0, part)) for part in ("train", "test")]
        [6, 2]
        >>> [split(files, 0.5, "classes", 0, part).class_names for part in ("train", "test")]
        [['a'], ['b']]
    """
    if not 0 < share < 1:
        raise UserError(f"the share of a test part is above 0 and below 1; got {share:g}")
    if by not in BY or part not in PARTS:
        raise UserError(f"a source is split by {' or '.join(BY)} into {' and '.join(PARTS)}; got by {by!r} "
                        f"the part {part!r}")
    if by == "classes":
        if source.num_classes < 2:
            raise UserError(f"the classes of a source that has {source.num_classes} cannot be split")
        aside = np.zeros(source.num_classes, bool)
        aside[_drawn([f"{seed} {name}" for name in source.class_names], share)] = True
        return ClassSubset(source, np.flatnonzero(aside == (part == "test")))
    aside = np.zeros(len(source), bool)
    order = np.argsort(source.labels, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(source.labels[order])) + 1):
        if len(places) > 1:
            name = source.class_names[source.labels[places[0]]]
            lines = [f"{seed} {name} {os.path.basename(source.paths[place])}" for place in places]
            aside[places[_drawn(lines, share)]] = True
    if not aside.any():
        raise UserError("the images cannot be split: no class has two of them")
    places = np.flatnonzero(aside == (part == "test"))
    if isinstance(source, BoxFiles):  # either side shows all classes
        return source.subset(places)
    kept = Records(source, places)
    return ClassSubset(kept, np.unique(kept.labels))


def _drawn(lines: list[str], share: float) -> np.ndarray:
    """The places of a share of these lines, at least one and not all, as their digests have them in order."""
    digests = [hashlib.blake2b(line.encode(errors="surrogateescape"), digest_size=8).digest() for line in lines]
    count = min(max(round(share * len(lines)), 1), len(lines) - 1)
    return np.array(sorted(range(len(lines)), key=lambda place: (digests[place], place))[:count], np.int64)
