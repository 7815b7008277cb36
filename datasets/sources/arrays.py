"""Images that come as one array: .npz files, and the IDX files of MNIST and Fashion-MNIST."""

import gzip
import os
import struct

import numpy as np

from ...errors import UserError
from ..source import content_names


class Arrays:
    """A `Source` of pixels in memory. images u8[N,H,W] or u8[N,H,W,3]; labels int[N], made 0 .. classes-1.

    Raises UserError where the two do not fit together.
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
        image = image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
        return {"image": image, "label": int(self.labels[index]), "path": self.paths[index]}

    def record_names(self) -> list[str]:
        return content_names(self._images)


def load_npz(path: str) -> Arrays:
    """A .npz file with `images` and `labels`. Raises FileNotFoundError or UserError; nothing is unpickled."""
    content = read_npz(path, ("images", "labels"))
    return Arrays(path, content["images"], content["labels"])


def read_npz(path: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Those arrays of a .npz file. Raises FileNotFoundError or UserError; nothing is unpickled."""
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
    """An IDX image file (`*-images-idx3-ubyte`, .gz or not), with the labels beside it (`*-labels-idx1-ubyte`)."""
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
    # Two zero bytes, the type (8: unsigned bytes), the number of dimensions, then each as a big-endian number.
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes((0, 0, 8, dimensions)):
        raise UserError(f"{path} is no IDX file of bytes in {dimensions} dimension(s)")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != np.prod(shape, dtype=np.int64):
        raise UserError(f"{path} is damaged: {len(content) - start} bytes for {list(shape)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
