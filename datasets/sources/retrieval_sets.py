"""Reads the retrieval benchmarks as they are distributed: Stanford Online Products, In-Shop Clothes, Cars196.

Each reads the lists beside its images. `FOLDER#SPLIT` is one of the published splits.
"""

import os

from ...errors import UserError
from ..source import Files, parted

_IN_SHOP = ("train", "query", "gallery")


def load_sop(path: str) -> Files:
    """Opens Stanford Online Products: `FOLDER#train` or `FOLDER#test`, the lists Ebay_train.txt and Ebay_test.txt.

    A line has the image, its class and super-class, and its path. Raises FileNotFoundError, or UserError naming a line.

    Song, Xiang, Jegelka, Savarese: Deep Metric Learning via Lifted Structured Feature Embedding, 2015.
    """
    folder, split = _split(path, ("train", "test"))
    name = os.path.join(folder, f"Ebay_{split}.txt")
    rows = [(number, line.split()) for number, line in _lines(name)[1:]]
    _check(name, rows, 4, "image_id class_id super_class_id path")
    return _files([(fields[1], os.path.join(folder, fields[3])) for _, fields in rows])


def load_in_shop(path: str) -> Files:
    """Opens In-Shop Clothes: `FOLDER#train`, `FOLDER#query` or `FOLDER#gallery`, of list_eval_partition.txt.

    A line has the image, its item and its split. Raises FileNotFoundError, or UserError naming a line.

    Liu, Luo, Qiu, Wang, Tang: DeepFashion, 2016.
    """
    folder, split = _split(path, _IN_SHOP)
    name = os.path.join(folder, "list_eval_partition.txt")
    if not os.path.exists(name) and os.path.exists(os.path.join(folder, "Eval", "list_eval_partition.txt")):
        name = os.path.join(folder, "Eval", "list_eval_partition.txt")
    rows = [(number, line.split()) for number, line in _lines(name)[2:]]
    _check(name, rows, 3, "image_name item_id evaluation_status")
    others = [(number, fields[2]) for number, fields in rows if fields[2] not in _IN_SHOP]
    if others:
        raise UserError(f"{name}, line {others[0][0]}: the split {others[0][1]!r}; expected {', '.join(_IN_SHOP)}")
    return _files([(fields[1], os.path.join(folder, fields[0])) for _, fields in rows if fields[2] == split])


def load_cars196(path: str) -> Files:
    """Opens Cars196: a folder with cars_annos.mat and car_ims, all 16,185 images of 196 classes.

    The classes are in the published order. Raises FileNotFoundError, or UserError for a list that is damaged.

    Krause, Stark, Deng, Li: 3D Object Representations for Fine-Grained Categorization, 2013.
    """
    name = os.path.join(path, "cars_annos.mat")
    if not os.path.exists(name):
        raise FileNotFoundError(f"no file {name!r}: expected the folder with cars_annos.mat and car_ims")
    try:
        import scipy.io  # of no use to other sources

        content = scipy.io.loadmat(name, squeeze_me=True)
        class_names = [str(value) for value in content["class_names"]]
        rows = [(str(row["relative_im_path"]), int(row["class"]) - 1) for row in content["annotations"]]
    except Exception as error:  # a damaged .mat raises many kinds
        raise UserError(f"{name} is not the list of Cars196: {error}") from error
    return Files([os.path.join(path, image) for image, _ in rows], [label for _, label in rows], class_names)


def _split(path: str, known: tuple[str, ...]) -> tuple[str, str]:
    folder, split = parted(path)
    if split not in known:
        raise UserError(f"{path!r}: give one of {', '.join(f'{folder}#{name}' for name in known)}")
    return folder, split


def _lines(name: str) -> list[tuple[int, str]]:
    """Reads (number, line) of the lines that are not empty."""
    try:
        # A file's name may be in no encoding, and the first line may have a mark of the encoding before it.
        with open(name, encoding="utf-8-sig", errors="surrogateescape") as file:
            return [(number, line) for number, line in enumerate(file, start=1) if line.strip()]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no list {name!r}: expected the folder as it is distributed") from error


def _check(name: str, rows, fields: int, header: str) -> None:
    bad = [number for number, values in rows if len(values) != fields]
    if bad or not rows:
        raise UserError(f"{name}, line {bad[0] if bad else 1}: expected {header!r}")


def _files(rows: list[tuple[str, str]]) -> Files:
    """Makes the source of (class, path) rows, with the classes in the order of their first image."""
    number = {name: index for index, name in enumerate(dict.fromkeys(name for name, _ in rows))}
    return Files([path for _, path in rows], [number[name] for name, _ in rows], list(number))
