"""What others make of the same, for tests to compare with.

transforms.py: what torchvision makes of a few images and of many random boxes. policies.py: its RandAugment, AugMix,
MixUp and CutMix. alignment.py: insightface's faces.
"""

import pathlib

import numpy as np

QUANTILES = np.linspace(0.05, 0.95, 19)
# (height, width) of images, (low, high) of area and of ratio. The last two are too long for most of their tries.
CROPS = {"photo": ((375, 500), (0.08, 1.0), (3 / 4, 4 / 3)), "reality_check": ((256, 340), (0.16, 1.0), (3 / 4, 4 / 3)),
         "panorama": ((100, 900), (0.5, 1.0), (3 / 4, 4 / 3)), "tower": ((900, 100), (0.5, 1.0), (3 / 4, 4 / 3))}
ERASINGS = {"torchvision": ((224, 224), (0.02, 1 / 3), (0.3, 3.3)), "large": ((64, 96), (0.2, 0.9), (0.3, 3.3))}
# Of policies.py: (height, width) of images, the weights of an AugMix (the image's and the mixture's, and the chains'),
# and the operations of its chains.
SIDES = ((32, 32), (60, 80), (224, 224))
MIXTURE = ((0.3, 0.7), (0.5, 0.3, 0.2))
CHAINS = (("Posterize", "Equalize"), ("AutoContrast", "ShearX"), ("Equalize", "Solarize"))


def load(name: str = "transforms") -> dict[str, np.ndarray]:
    with np.load(pathlib.Path(__file__).parent / f"{name}.npz") as file:
        return dict(file)


def box_quantiles(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """f64[4,19] of boxes [N,4] (top, left, height, width): share of the area, log of the ratio, and the centre."""
    top, left, tall, wide = boxes.T.astype(np.float64)
    values = [tall * wide / (height * width), np.log(wide / tall), (top + tall / 2) / height, (left + wide / 2) / width]
    return np.stack([np.quantile(value, QUANTILES) for value in values])
