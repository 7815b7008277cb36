"""The operations that RandAugment and AugMix chain, as torchvision defines them. Images are u8[H,W,3], RGB."""

from collections.abc import Callable

import cv2
import numpy as np

from . import photometry

_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13  # Pillow's filter of that name
_ORDER = np.arange(4)

# Operations whose magnitude may be of either sign.
SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness")


def magnitude(name: str, share: float, height: int, width: int, translation: float, bits: int) -> float:
    """The magnitude of an operation at a share of its range: 0 leaves an image as it is, or nearly so; 1 is the most.

    Args:
        name: one of OPERATIONS.
        share: 0..1.
        height, width: of the image.
        translation: the largest translation, as a share of the side.
        bits: how many are left by the weakest posterizing; the strongest leaves four fewer.

    Returns a slope of ShearX and ShearY, pixels of TranslateX and TranslateY, degrees of Rotate, bits of Posterize,
    a share of 255 of Solarize, and what is added to the factor 1 of the colours.

    Example:
        >>> magnitude("Rotate", 0.5, 32, 32, translation=0.3, bits=8)
        15.0
    """
    match name:
        case "ShearX" | "ShearY":
            return 0.3 * share
        case "TranslateX" | "TranslateY":
            return translation * (width if name == "TranslateX" else height) * share
        case "Rotate":
            return 30.0 * share
        case "Brightness" | "Color" | "Contrast" | "Sharpness":
            return 0.9 * share
        case "Posterize":
            return float(np.rint(bits - 4 * share))
        case "Solarize":
            return 1.0 - share
    return 0.0


def apply(name: str, image: np.ndarray, amount: float, interpolation: int = cv2.INTER_NEAREST) -> np.ndarray:
    """What an operation makes of an image at a magnitude, of `magnitude`; what it uncovers is black.

    interpolation: OpenCV's, of those that move pixels.

    Example:
        >>> apply("Posterize", np.full((1, 1, 3), 255, np.uint8), 2).tolist()
        [[[192, 192, 192]]]
    """
    return OPERATIONS[name](image, amount, interpolation)


def _shear_x(image: np.ndarray, slope: float, interpolation: int) -> np.ndarray:
    return _warp(image, (1, slope, 0, 1), (0, 0), interpolation)


def _shear_y(image: np.ndarray, slope: float, interpolation: int) -> np.ndarray:
    return _warp(image, (1, 0, slope, 1), (0, 0), interpolation)


def _translate_x(image: np.ndarray, pixels: float, interpolation: int) -> np.ndarray:
    return _shifted(image, int(pixels), 0)


def _translate_y(image: np.ndarray, pixels: float, interpolation: int) -> np.ndarray:
    return _shifted(image, 0, int(pixels))


def _rotate(image: np.ndarray, degrees: float, interpolation: int) -> np.ndarray:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return _warp(image, (cos, -sin, sin, cos), (image.shape[1] / 2, image.shape[0] / 2), interpolation)


def _shifted(image: np.ndarray, right: int, down: int) -> np.ndarray:
    """The image, moved by fewer pixels than it has."""
    (height, width), moved = image.shape[:2], np.zeros_like(image)
    moved[max(down, 0):height + min(down, 0), max(right, 0):width + min(right, 0)] = \
        image[max(-down, 0):height - max(down, 0), max(-right, 0):width - max(right, 0)]
    return moved


def _warp(image: np.ndarray, inverse: tuple, centre: tuple, interpolation: int) -> np.ndarray:
    """Each pixel is that of the input at inverse * place, about the centre; the middle of a pixel is at .5, as Pillow
    has it.
    """
    if inverse == (1, 0, 0, 1):
        return image
    a, b, c, d = inverse
    x, y = 0.5 - centre[0], 0.5 - centre[1]
    matrix = np.float64([[a, b, a * x + b * y + centre[0] - 0.5], [c, d, c * x + d * y + centre[1] - 0.5]])
    return cv2.warpAffine(image, matrix, (image.shape[1], image.shape[0]), flags=interpolation | cv2.WARP_INVERSE_MAP,
                          borderMode=cv2.BORDER_CONSTANT)


def _sharpness(image: np.ndarray, amount: float, interpolation: int) -> np.ndarray:
    smooth = image.copy()  # the border stays as it is
    smooth[1:-1, 1:-1] = cv2.filter2D(image, -1, _SMOOTH)[1:-1, 1:-1]
    return cv2.addWeighted(image, 1 + amount, smooth, -amount, 0)


def _posterize(image: np.ndarray, bits: float, interpolation: int) -> np.ndarray:
    return image & np.uint8(0x100 - (1 << (8 - int(bits))))


def _solarize(image: np.ndarray, share: float, interpolation: int) -> np.ndarray:
    values = np.arange(256)
    return cv2.LUT(image, np.where(values < 255 * share, values, 255 - values).astype(np.uint8))


def _by_channel(image: np.ndarray, table: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Gives the values of each channel those of a table [256], made of the channel's histogram."""
    tables = [table(cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel().astype(np.int64))
              for channel in range(3)]
    return cv2.LUT(image, np.clip(np.stack(tables, axis=-1), 0, 255).astype(np.uint8)[None])


def _stretched(histogram: np.ndarray) -> np.ndarray:
    """The darkest value there is becomes 0, and the brightest 255."""
    values, present = np.arange(256), np.flatnonzero(histogram)
    low, high = int(present[0]), int(present[-1])
    return values if low == high else (values - low) * (255.0 / (high - low)) + 1e-6  # cut off to whole ones


def _equalized(histogram: np.ndarray) -> np.ndarray:
    """All values become equally frequent, as far as whole ones allow."""
    present = histogram[histogram > 0]
    step = (histogram.sum() - present[-1]) // 255
    if len(present) <= 1 or not step:
        return np.arange(256)
    return (step // 2 + np.cumsum(histogram) - histogram) // step


OPERATIONS = {
    "Identity": lambda image, amount, interpolation: image,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "Rotate": _rotate,
    "Brightness": lambda image, amount, interpolation: photometry.jitter(image, 1 + amount, 1, 1, 0, _ORDER),
    "Color": lambda image, amount, interpolation: photometry.jitter(image, 1, 1, 1 + amount, 0, _ORDER),
    "Contrast": lambda image, amount, interpolation: photometry.jitter(image, 1, 1 + amount, 1, 0, _ORDER),
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": lambda image, amount, interpolation: _by_channel(image, _stretched),
    "Equalize": lambda image, amount, interpolation: _by_channel(image, _equalized),
}
