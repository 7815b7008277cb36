"""Reads images and makes NumPy batches of them. This part never imports jax, so that loader workers stay light.

A source gives random access to records (`build`, `Source`); `train_batches` and `eval_batches` make batches of it.

Example:
    >>> from geodesic import datasets
    >>> source = datasets.build("orl_faces", classes=(0, 30))
    >>> len(source), source.num_classes, datasets.decode(source[0]).shape
    (300, 30, (112, 92, 3))
"""

import functools

from ..errors import UserError
from . import identity, splits
from .batches import eval_batches, train_batches
from .box_batches import detection_batches, detection_eval_batches
from .boxes import BoxFiles
from .decoding import decode, from_pillow, problem
from .source import Classes, Files, Fold, Records, Source, parted, remarks
from .sources import (
    arrays,
    coco,
    ijb,
    image_folder,
    manifest,
    omniglot,
    orl_faces,
    pairs,
    retrieval_sets,
    rotated,
    voc,
    webdataset,
    yolo,
)
from .sources.array_record import ArrayRecord
from .sources.hugging_face import HuggingFace
from .sources.pair_images import PairImages
from .sources.pairs import Pairs
from .sources.parquet import Parquet
from .sources.record_io import RecordIO
from .sources.tfds import Tfds

# The class or function of each name takes the path.
SOURCES = {
    "orl_faces": orl_faces.load,
    "image_folder": image_folder.load,
    "manifest": manifest.load,
    "record_io": RecordIO,
    "npz": arrays.load_npz,
    "idx": arrays.load_idx,
    "omniglot": omniglot.load,
    "tfds": Tfds,
    "array_record": ArrayRecord,
    "webdataset": webdataset.load,
    "parquet": Parquet,
    "hugging_face": HuggingFace,
    "omniglot_rotations": rotated.load_omniglot,
    "omniglot_dihedral": rotated.load_omniglot_dihedral,
    "cars196": retrieval_sets.load_cars196,
    "sop": retrieval_sets.load_sop,
    "in_shop": retrieval_sets.load_in_shop,
    "pair_images": PairImages,
    "ijb": ijb.Ijb,
    "coco": coco.load,
    "voc": voc.load,
    "yolo": yolo.load,
}

# Sources that are one data set each. Another one's name does not say which images it reads.
DATA_SETS = frozenset({"orl_faces", "omniglot", "omniglot_rotations", "omniglot_dihedral", "cars196", "sop", "in_shop",
                       "ijb"})
# Sources that find their images without being told where they lie.
FIND_THEMSELVES = frozenset({"orl_faces", "tfds"})

# A verification set is images and pairs of them. The function of each name takes a path.
PAIRS = {
    "bin": pairs.load_bin,
    "lfw": pairs.load_lfw,
}

# Whom to thank for the images of a source, to be shown wherever they are.
CREDITS = {
    "orl_faces": "Faces: the ORL Database of Faces, courtesy of AT&T Laboratories Cambridge.",
}


def build(name: str, *, path: str = "", classes: tuple[int, int] = (0, 0), folds: int = 0, fold: int = 0,
          part: str = "train", test_share: float = 0.0, split_by: str = "images", split_seed: int = 0) -> Source:
    """Opens a source of images. What it remarks of its data (files that it passed over, say) is printed, once.

    Args:
        name: one of SOURCES.
        path: the folder or file that it reads; docs/data.md says which. "" for those that find themselves.
        classes: (start, stop), keeps the classes start..stop-1 in the source's order, relabelled from 0; stop 0 keeps
            all to the end.
        folds: into how many folds these are then cut, for a class-disjoint cross-validation; 0 does not.
        fold: the one that validates.
        part: "train" or "validation", the side of the fold that is kept; "train" or "test" with a share.
        test_share: of these that is set aside for testing, in place of folds; 0 sets nothing aside.
        split_by: "images", that share of each class's images, or "classes", whole ones.
        split_seed: another one sets others aside.

    Returns a `Source`. Raises UserError for an unknown name or part, for classes, folds and shares that there are not,
    and for data that are damaged; FileNotFoundError where nothing is at the path.

    Example:
        >>> build("orl_faces", classes=(38, 40)).class_names
        ['s39', 's40']
        >>> build("orl_faces", folds=4, fold=0, part="validation").num_classes
        10
    """
    if name not in SOURCES:
        raise UserError(f"unknown source {name!r}; known: {', '.join(SOURCES)}")
    if folds and test_share:
        raise UserError(f"data are cut into folds ({folds}) or split by a share ({test_share:g}), not both")
    if part == "test" and not folds and not test_share:
        raise UserError("the test part of data is a share of them: give test_share, the same as of the training data")
    source = SOURCES[name](path)
    for remark in remarks(source):
        _say(remark)
    if isinstance(source, BoxFiles) and (tuple(classes) != (0, 0) or folds or (test_share and split_by == "classes")):
        raise UserError(f"{name} {path} has pictures of several classes each: they are not cut by classes or folds. "
                        f"test_share sets pictures aside")
    source = source if tuple(classes) == (0, 0) else Classes(source, *classes)
    if test_share:
        return splits.split(source, test_share, split_by, split_seed, part)
    return Fold(source, folds, fold, part) if folds else source


@functools.cache
def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except UnicodeEncodeError:  # a name in no encoding, where no program has said how to print one
        print(line.encode("ascii", "backslashreplace").decode(), flush=True)


def build_pairs(name: str, *, path: str) -> Pairs:
    """Opens a verification set: one of PAIRS, with the path of its file.

    Raises UserError for an unknown name and for a damaged file, FileNotFoundError where there is none.
    """
    if name not in PAIRS:
        raise UserError(f"unknown verification set {name!r}; known: {', '.join(PAIRS)}")
    return PAIRS[name](path)


__all__ = ["CREDITS", "DATA_SETS", "FIND_THEMSELVES", "PAIRS", "SOURCES", "ArrayRecord", "BoxFiles", "Classes",
           "Files", "Fold", "Pairs", "Records", "Source", "build", "build_pairs", "decode", "detection_batches",
           "detection_eval_batches", "eval_batches", "from_pillow", "identity", "parted", "problem", "remarks",
           "train_batches"]
