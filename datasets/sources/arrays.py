"""Sources of images that come as one array: .npz files, and the IDX files of MNIST and Fashion-MNIST."""

import gzip
import os
import struct

import numpy as np

from ...errors import UserError
from .. import grey
from ..source import content_names


class Arrays:
    """A source of pixels in memory.

    path: names the images in messages. images: u8[N,H,W] or u8[N,H,W,3]. labels: i[N]; their distinct values, in order,
    are the classes. Raises UserError where images and labels do not fit together.

    Example:
        >>> source = Arrays("noise", np.zeros((3, 8, 8), np.uint8), np.array([7, 5, 7]))
        >>> source.class_names, source.labels.tolist(), source[2]["image"].shape
        (['5', '7'], [1, 0, 1], (8, 8, 3))
    """

    def __init__(self, path: str, images: np.ndarray, labels: np.ndarray):
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
            raise UserError(f"{path}: images are u8[N,H,W] or u8[N,H,W,3], got {images.dtype}{list(images.shape)}")
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(f"{path}: labels are int[{len(images)}], got {labels.dtype}{list(labels.shape)}")
        if not len(images):
            raise UserError(f"{path} has no image")
        classes, self.labels = np.unique(labels, return_inverse=True)
        self.labels = self.labels.astype(np.int64)
        self.class_names = [str(name) for name in classes]
        self.num_classes = len(classes)
        self.paths = [f"{path}#{index}" for index in range(len(images))]
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict:
        image = self._images[index]
        image = image if image.ndim == 3 else grey.of(image)
        return {"image": image, "label": int(self.labels[index]), "path": self.paths[index]}

    def record_names(self) -> list[str]:
        return content_names(self._images)


def load_npz(path: str) -> Arrays:
    """Opens a .npz file with the arrays `images` and `labels`, as of `Arrays`. Nothing is unpickled.

    Raises FileNotFoundError, or UserError for a file of something else.
    """
    content = read_npz(path, ("images", "labels"))
    return Arrays(path, content["images"], content["labels"])


def read_npz(path: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Reads the arrays of these names from a .npz file. Nothing is unpickled.

    Raises FileNotFoundError, or UserError where one is missing or the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file.files]
            if missing:
                raise UserError(f"it has {', '.join(file.files)}; expected {' and '.join(names)}")
            return {name: file[name] for name in names}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no file {path!r}") from error
    except Exception as error:  # a damaged zip raises many kinds
        raise UserError(f"{path} is not a usable .npz file: {error}") from error


def load_idx(path: str) -> Arrays:
    """Opens an IDX image file (`*-images-idx3-ubyte`, .gz or not), with its labels beside it (`*-labels-idx1-ubyte`).

    Raises FileNotFoundError without one of them, UserError where one is damaged. LeCun, Cortes, Burges: The MNIST
    database of handwritten digits, 1998.
    """
    folder, name = os.path.split(path)
    if "images-idx3" not in name:
        raise UserError(f"expected the path of an ...images-idx3-ubyte file, got {path!r}")
    labels = os.path.join(folder, name.replace("images-idx3", "labels-idx1"))
    return Arrays(path, _read_idx(path, 3), _read_idx(labels, 1).astype(np.int64))


def _read_idx(path: str, dimensions: int) -> np.ndarray:
    if not os.path.exists(path):
        raise FileNotFoundError(f"no file {path!r}")
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    # A file begins with two zero bytes, the type (8: unsigned bytes) and the number of dimensions; then comes each of
    # these as a big-endian number.
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes((0, 0, 8, dimensions)):
        raise UserError(f"{path} is no IDX file of bytes in {dimensions} dimension(s)")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != np.prod(shape, dtype=np.int64):
        raise UserError(f"{path} is damaged: {len(content) - start} bytes for {list(shape)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
