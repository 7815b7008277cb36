"""The 1,000 classes of ImageNet (ILSVRC 2012), in the order in which public classifiers have them: by WordNet's ids.

imagenet_classes.tsv holds them. Its ids are those of timm's imagenet_synsets.txt (Apache-2.0), its names those of
torchvision's models/_meta.py (BSD 3-Clause, copyright Soumith Chintala 2016), of which no two are alike.
"""

import functools
import os
from typing import NamedTuple

_FILE = os.path.join(os.path.dirname(__file__), "imagenet_classes.tsv")


class Classes(NamedTuple):
    """ids, names: one for each class, as "n01440764" and "tench"."""

    ids: list[str]
    names: list[str]


@functools.cache
def classes() -> Classes:
    """The classes, in the order of a public classifier's outputs.

    Returns:
      Their ids and their names, 1,000 of each.

    Example:
      >>> from geodesic.embedders.public_weights import imagenet
      >>> found = imagenet.classes()
      >>> found.ids[388], found.names[388], len(found.names)
      ('n02510455', 'giant panda', 1000)
    """
    with open(_FILE, encoding="utf-8") as file:
        ids, names = zip(*(line.rstrip("\n").split("\t") for line in file), strict=True)
    return Classes([*ids], [*names])
