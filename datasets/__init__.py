"""Datasets: records -> NumPy batches. Never imports jax, so that loader workers stay light.

    source = datasets.build("orl_faces", classes=(0, 30))
    batches = datasets.train_batches(source, input=config.input, augment=config.augment, sampling=config.sampling,
                                     batch_size=128, seed=0, process_index=0, process_count=1)
"""

from ..errors import UserError
from . import identity
from .batches import eval_batches, train_batches
from .decoding import decode, from_pillow, problem
from .source import Classes, Files, Fold, Records, Source
from .sources import arrays, ijb, image_folder, manifest, omniglot, orl_faces, pairs, retrieval_sets, rotated
from .sources.array_record import ArrayRecord
from .sources.pair_images import PairImages
from .sources.pairs import Pairs
from .sources.record_io import RecordIO
from .sources.tfds import Tfds

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
    "omniglot_rotations": rotated.load_omniglot,
    "cars196": retrieval_sets.load_cars196,
    "sop": retrieval_sets.load_sop,
    "in_shop": retrieval_sets.load_in_shop,
    "pair_images": PairImages,
    "ijb": ijb.Ijb,
}

# Sources that are one data set each. Another one's name does not say which images it reads.
DATA_SETS = frozenset({"orl_faces", "omniglot", "omniglot_rotations", "cars196", "sop", "in_shop", "ijb"})
# Sources that find their images without being told where they lie.
FIND_THEMSELVES = frozenset({"orl_faces", "tfds"})

# Verification sets.
PAIRS = {
    "bin": pairs.load_bin,
    "lfw": pairs.load_lfw,
}

# To be shown wherever pictures of a source are.
CREDITS = {
    "orl_faces": "Faces: the ORL Database of Faces, courtesy of AT&T Laboratories Cambridge.",
}


def build(name: str, *, path: str = "", classes: tuple[int, int] = (0, 0), folds: int = 0, fold: int = 0,
          part: str = "train") -> Source:
    """The named source, or its classes start..stop-1, or a `part` of one of its folds. Raises UserError for an
    unknown name.
    """
    if name not in SOURCES:
        raise UserError(f"unknown source {name!r}; known: {', '.join(SOURCES)}")
    source = SOURCES[name](path)
    source = source if tuple(classes) == (0, 0) else Classes(source, *classes)
    return Fold(source, folds, fold, part) if folds else source


def build_pairs(name: str, *, path: str) -> Pairs:
    """The named verification set. Raises UserError for an unknown name."""
    if name not in PAIRS:
        raise UserError(f"unknown verification set {name!r}; known: {', '.join(PAIRS)}")
    return PAIRS[name](path)


__all__ = ["CREDITS", "DATA_SETS", "FIND_THEMSELVES", "PAIRS", "SOURCES", "ArrayRecord", "Classes", "Files", "Fold",
           "Pairs", "Records", "Source", "build", "build_pairs", "decode", "eval_batches", "from_pillow", "identity",
           "problem", "train_batches"]
