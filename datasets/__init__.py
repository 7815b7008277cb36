"""Datasets: records -> NumPy batches. Never imports jax, so that loader workers stay light.

    source = datasets.build("orl_faces", classes=(0, 30))
    batches = datasets.train_batches(source, config, seed=0, process_index=0, process_count=1)
"""

from datasets import arrays, ijb, image_folder, manifest, orl_faces, retrieval_sets
from datasets.batches import eval_batches, train_batches
from datasets.decoding import decode
from datasets.record_io import RecordIO
from datasets.source import Classes, Files, Fold, Records, Source

SOURCES = {
    "orl_faces": orl_faces.load,
    "image_folder": image_folder.load,
    "manifest": manifest.load,
    "record_io": RecordIO,
    "npz": arrays.load_npz,
    "idx": arrays.load_idx,
    "cars196": retrieval_sets.load_cars196,
    "sop": retrieval_sets.load_sop,
    "in_shop": retrieval_sets.load_in_shop,
    "ijb": ijb.Ijb,
}

# To be shown wherever pictures of a source are.
CREDITS = {
    "orl_faces": "Faces: the ORL Database of Faces, courtesy of AT&T Laboratories Cambridge.",
}


def build(name: str, *, path: str = "", classes: tuple[int, int] = (0, 0), folds: int = 0, fold: int = 0,
          part: str = "train") -> Source:
    """The named source, or its classes start..stop-1, or a `part` of one of its folds. Raises ValueError for an
    unknown name.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown source {name!r}; known: {', '.join(SOURCES)}")
    source = SOURCES[name](path)
    source = source if tuple(classes) == (0, 0) else Classes(source, *classes)
    return Fold(source, folds, fold, part) if folds else source


__all__ = ["CREDITS", "SOURCES", "Classes", "Files", "Fold", "Records", "Source", "build", "decode", "eval_batches",
           "train_batches"]
