"""Small images and folders of them, for tests."""

import io
import pathlib

import numpy as np
import PIL.Image


def pixels(seed: int, height: int = 24, width: int = 20) -> np.ndarray:
    """u8[H,W,3], smooth, so that JPEG keeps it nearly as it is."""
    rng = np.random.default_rng(seed)
    small = PIL.Image.fromarray(rng.integers(0, 256, (3, 3, 3), np.uint8))
    return np.array(small.resize((width, height), PIL.Image.Resampling.BICUBIC))


def encoded(image: np.ndarray, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def make_folder(root: pathlib.Path, classes: int, images: int) -> pathlib.Path:
    """root/class0/0.jpg ..., the images of a class alike."""
    for label in range(classes):
        (root / f"class{label}").mkdir(parents=True)
        for index in range(images):
            noise = np.random.default_rng((label, index)).integers(-20, 20, (24, 20, 3))
            image = np.clip(pixels(label) + noise, 0, 255).astype(np.uint8)
            (root / f"class{label}" / f"{index}.jpg").write_bytes(encoded(image))
    return root
