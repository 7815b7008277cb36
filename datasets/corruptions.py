"""What happens to pictures between two cameras, at five strengths: compression, blur, noise, light, a turn.

    corrupted = corruptions.apply("jpeg", 3, view, np.random.default_rng(0))

Strengths of the first four are those of ImageNet-C (Hendrycks, Dietterich: Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations, 2019, arXiv:1903.12261) at 224 pixels; a blur grows with the picture. Those of the
turn are ours, as ImageNet-C has none.
"""

from collections.abc import Callable

import cv2
import numpy as np

from ..errors import UserError

STRENGTHS = (1, 2, 3, 4, 5)
_SIDE = 224  # pixels of the shorter side that the blur is of
# Kind -> its amount at each strength.
AMOUNTS: dict[str, tuple[float, ...]] = {
    "jpeg": (25, 18, 15, 10, 7),                   # quality
    "blur": (1, 2, 3, 4, 6),                       # deviation of a Gaussian, in pixels of a side of 224
    "noise": (0.08, 0.12, 0.18, 0.26, 0.38),       # deviation, as a share of 255
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),       # added to the value of HSV, as a share of 255
    "rotation": (3, 6, 10, 15, 20),                # degrees, to either side; the edge is repeated
}


def apply(kind: str, strength: int, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Corrupts a picture.

    Args:
        kind: of AMOUNTS.
        strength: of STRENGTHS, 1 the weakest.
        image: u8[H,W,3], RGB.
        rng: what noise, and the side of a turn, are drawn from.

    Returns:
        u8[H,W,3], another array.

    Raises:
        UserError: there is no such kind or strength.

    Example:
        >>> import numpy as np
        >>> from geodesic.datasets import corruptions
        >>> grey = np.full((8, 8, 3), 100, np.uint8)
        >>> corruptions.apply("brightness", 2, grey, np.random.default_rng(0))[0, 0].tolist()
        [151, 151, 151]
    """
    if kind not in AMOUNTS or strength not in STRENGTHS:
        raise UserError(f"no corruption {kind!r} of strength {strength!r}: kinds are {', '.join(AMOUNTS)}, strengths "
                        f"{STRENGTHS[0]} to {STRENGTHS[-1]}")
    return _APPLY[kind](np.ascontiguousarray(image), AMOUNTS[kind][strength - 1], rng)


def _jpeg(image: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    _, encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[:, :, ::-1])


def _blur(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma * min(image.shape[:2]) / _SIDE, borderType=cv2.BORDER_REPLICATE)


def _noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    return _bytes(image + 255 * deviation * rng.standard_normal(image.shape, np.float32))


def _brightness(image: np.ndarray, added: float, rng: np.random.Generator) -> np.ndarray:
    """The largest channel, HSV's value, grows by so much, and the others in proportion: hue and saturation stay."""
    value = image.max(axis=2, keepdims=True).astype(np.float32)
    brighter = np.minimum(value + 255 * added, 255)
    return _bytes(np.where(value > 0, image * (brighter / np.maximum(value, 1)), brighter))


def _rotation(image: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees * rng.choice((-1.0, 1.0)), 1.0)
    return cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


_APPLY: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "jpeg": _jpeg, "blur": _blur, "noise": _noise, "brightness": _brightness, "rotation": _rotation}
