"""RandAugment and AugMix: views of an image by chains of random operations, as torchvision draws them."""

import cv2
import numpy as np

from . import operations

MAGNITUDES = 31  # of RandAugment, 0 to 30
SEVERITIES = 10  # of AugMix, 1 to 10
_RAND_AUGMENT = tuple(operations.OPERATIONS)
_AUGMIX = tuple(name for name in operations.OPERATIONS if name != "Identity")


def rand_augment(image: np.ndarray, rng: np.random.Generator, count: int, magnitude: int) -> np.ndarray:
    """Applies `count` operations, each drawn from all, one after the other.

    magnitude: 0..30, of all operations; the sign of those that have one is drawn. Cubuk, Zoph, Shlens, Le:
    RandAugment, 2019, arXiv:1909.13719.

    Example:
        >>> rand_augment(np.zeros((8, 8, 3), np.uint8), np.random.default_rng(0), count=2, magnitude=9).shape
        (8, 8, 3)
    """
    for which, sign in rng.random((count, 2)).tolist():
        name = _RAND_AUGMENT[int(which * len(_RAND_AUGMENT))]
        amount = rand_augment_magnitude(name, magnitude, *image.shape[:2])
        image = operations.apply(name, image, _signed(name, amount, sign))
    return image


def rand_augment_magnitude(name: str, index: int, height: int, width: int) -> float:
    """The magnitude of an operation in RandAugment, without sign; `operations.magnitude` has the units.

    Example:
        >>> rand_augment_magnitude("Posterize", 9, 224, 224)
        7.0
    """
    return operations.magnitude(name, index / (MAGNITUDES - 1), height, width, translation=150 / 331, bits=8)


def augmix(image: np.ndarray, rng: np.random.Generator, severity: int, chains: int, depth: int,
           alpha: float) -> np.ndarray:
    """Mixes the image with what chains of operations make of it.

    Args:
        image: u8[H,W,3].
        rng: what is drawn from.
        severity: 1..10; magnitudes are drawn from those of the indices below it.
        chains: how many there are.
        depth: operations of a chain; 0 draws 1 to 3.
        alpha: of the Dirichlet distributions of the weights; the image's own is drawn first.

    Returns u8[H,W,3]. Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan: AugMix, 2019, arXiv:1912.02781.

    Example:
        >>> image = np.full((8, 8, 3), 10, np.uint8)
        >>> augmix(image, np.random.default_rng(0), severity=3, chains=3, depth=0, alpha=1.0).shape
        (8, 8, 3)
    """
    kept, mixed = rng.dirichlet((alpha, alpha))
    total = np.multiply(image, np.float32(kept), dtype=np.float32)
    for weight in (mixed * rng.dirichlet((alpha,) * chains)).tolist():
        chain = image
        for _ in range(depth or int(rng.integers(1, 4))):
            name = _AUGMIX[int(rng.integers(len(_AUGMIX)))]
            amount = augmix_magnitude(name, int(rng.integers(severity)), *image.shape[:2])
            chain = operations.apply(name, chain, _signed(name, amount, rng.random()), cv2.INTER_LINEAR)
        total = cv2.addWeighted(total, 1, chain, weight, 0, dtype=cv2.CV_32F)  # eight times as fast as NumPy's sum
    return cv2.convertScaleAbs(total)  # rounded; nothing is negative


def augmix_magnitude(name: str, index: int, height: int, width: int) -> float:
    """The magnitude of an operation in AugMix, as `rand_augment_magnitude` of RandAugment.

    Example:
        >>> augmix_magnitude("Posterize", 2, 224, 224)
        3.0
    """
    return operations.magnitude(name, index / (SEVERITIES - 1), height, width, translation=1 / 3, bits=4)


def _signed(name: str, amount: float, draw: float) -> float:
    return -amount if name in operations.SIGNED and draw < 0.5 else amount
