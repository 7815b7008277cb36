"""Images in any form that people have them in, as a source: the programs and the library see the very same pixels."""

import os

import numpy as np
import PIL.Image

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import storage

_EXPECTED = ("a path, encoded bytes, a Pillow image, or uint8 pixels [H,W,3] or [H,W] (several of these in a list, or "
             "pixels [N,H,W,3]), a folder or a source")


class Images:
    """A source of images given one by one, without labels.

    paths: a name for each, for messages: the path of a file, "image 3" of what has none.
    """

    def __init__(self, images: list):
        self._images = images
        self.labels, self.num_classes, self.class_names = np.zeros(len(images), np.int64), 1, [""]
        self.paths = [os.fspath(image) if isinstance(image, str | os.PathLike) else f"image {place}"
                      for place, image in enumerate(images)]
        for image, path in zip(images, self.paths, strict=True):
            _check(image, path)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict:
        image, path = self._images[index], self.paths[index]
        if isinstance(image, str | os.PathLike):
            with open(path, "rb") as file:
                image = file.read()
        elif isinstance(image, PIL.Image.Image):
            image = datasets.from_pillow(image)
        elif not isinstance(image, bytes):
            image = np.asarray(image)
            image = np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image
        return {"image": image, "label": 0, "path": path}


def is_one(images) -> bool:
    """Whether this is a single image, and not several of them: what `embed` then gives still has a row for it."""
    if isinstance(images, str | os.PathLike):
        return not storage.is_folder(os.fspath(images))
    return isinstance(images, bytes | PIL.Image.Image) or _dimensions(images) in (2, 3)


def as_source(images) -> datasets.Source:
    """The source of what `embed` and its like are given.

    images: one image or a list of them, each a path, encoded bytes, a Pillow image, or uint8 pixels [H,W,3] (grey:
    [H,W]) of any size; pixels [N,H,W,3]; the path of a folder, whose images come in name order; or a source, which
    is returned as it is. Paths and folders may lie in a bucket (gs://, s3://).
    Raises UserError, naming it, for anything else, and FileNotFoundError for a path where nothing is.
    """
    if hasattr(images, "class_names") and hasattr(images, "paths"):
        return images
    if isinstance(images, str | os.PathLike) and storage.is_folder(os.fspath(images)):
        return datasets.build("image_folder", path=os.fspath(images))
    if is_one(images):
        images = [images]
    if not isinstance(images, list | tuple) and _dimensions(images) != 4:
        raise UserError(f"images are {_EXPECTED}; got {_described(images)}")
    if not len(images):
        raise UserError("there are no images: the list is empty")
    if all(isinstance(image, str) and storage.is_remote(image) for image in images):
        return datasets.Files(list(images), [0] * len(images), [""])
    return Images(list(images))


def usable(source: datasets.Source, rows: np.ndarray, readable: np.ndarray, problems: list[str], what: str
           ) -> tuple[np.ndarray, list[str]]:
    """(the places of images that were read and whose rows [N,...] are finite, a line for each of the others).

    problems: the lines of those that could not be read. what: a row is, such as "its embedding is".
    """
    finite = np.isfinite(rows).all(axis=1)
    lines = [f"{source.paths[index]}: {what} not finite" for index in np.flatnonzero(readable & ~finite)]
    return np.flatnonzero(readable & finite), problems + lines


def _dimensions(image) -> int | None:
    """Of an array of NumPy, jax or the like; None of anything else."""
    return image.ndim if hasattr(image, "ndim") and hasattr(image, "dtype") else None


def _check(image, path: str) -> None:
    if isinstance(image, str | os.PathLike):
        if not os.path.isfile(image):
            raise FileNotFoundError(f"no image {path!r}")
    elif not isinstance(image, bytes | PIL.Image.Image):
        shape = tuple(image.shape) if _dimensions(image) in (2, 3) else ()
        if not shape or (len(shape) == 3 and shape[2] != 3) or image.dtype != np.uint8:
            raise UserError(f"{path} is {_described(image)}; images are {_EXPECTED}")


def _described(image) -> str:
    if _dimensions(image) is not None:
        return f"an array {image.dtype} {list(image.shape)}"
    return f"of type {type(image).__name__}"
