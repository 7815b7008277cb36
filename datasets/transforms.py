"""From decoded pixels to what the trunk sees: u8[H,W,3] -> u8[S,S,3]. Normalisation happens on the device."""

import cv2
import numpy as np

FITS = ("stretch", "center_crop")


def check_fit(mode: str) -> None:
    """Raises ValueError for a mode that `fit` does not know: before the first image, not in a loader's thread."""
    if mode not in FITS:
        raise ValueError(f"input.fit is {' or '.join(FITS)}; got {mode!r}")


def fit(image: np.ndarray, size: int, mode: str) -> np.ndarray:
    """To size x size pixels. mode, one of FITS: "stretch" both sides, or the short side, then the centre.

    Shrinking averages over areas (antialiased), enlarging is bilinear.
    """
    height, width = image.shape[:2]
    if mode == "stretch":
        return _resize(image, size, size)
    short = min(height, width)
    image = _resize(image, max(size, round(width * size / short)), max(size, round(height * size / short)))
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top:top + size, left:left + size]


def _resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    shrinks = width < image.shape[1] or height < image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def augment(image: np.ndarray, rng: np.random.Generator, options) -> np.ndarray:
    """A random view, drawn from `rng` alone. options: the fields of the configuration's `augment`.

    What an affine view uncovers repeats the border.
    """
    # Every number is drawn, used or not, so that one option does not change the draws of another.
    flip, angle, dx, dy, zoom, brightness, contrast = rng.uniform(-1, 1, size=7)
    if options.rotation or options.translation or options.scaling:
        image = _affine(image, angle * options.rotation, dx * options.translation, dy * options.translation,
                        2.0 ** (zoom * options.scaling))
    if (flip + 1) / 2 < options.horizontal_flip:
        image = image[:, ::-1]
    if options.brightness or options.contrast:
        values = image.astype(np.float32)
        mean = values.mean()
        values = (values - mean) * (1 + contrast * options.contrast) + mean + 255 * brightness * options.brightness
        image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(image)


def _affine(image: np.ndarray, degrees: float, dx: float, dy: float, zoom: float) -> np.ndarray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, zoom)
    matrix[:, 2] += dx * width, dy * height
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
