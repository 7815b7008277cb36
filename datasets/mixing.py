"""Mixup and cutmix: an example that is made of two, and belongs to the classes of both.

Everything is drawn for each example by itself, its weight too. Whom it is mixed with is a matter of its place in the
global batch alone (`partner`), and so not of hosts, devices, threads and workers.
"""

import threading
from collections.abc import Callable

import cv2
import numpy as np


def is_on(options) -> bool:
    """Whether the section `augment` mixes images.

    Example:
        >>> from geodesic.configs import default
        >>> is_on(default.get_config().augment)
        False
    """
    return bool(options.mixup_alpha or options.cutmix_alpha)


def partner(place: int, part_size: int) -> int:
    """The place that a place is mixed with: the two of a pair of neighbours in an accumulation part with each other.

    Of a part of an odd size the last takes the one before it.

    Example:
        >>> [partner(place, 3) for place in range(6)]
        [1, 0, 1, 4, 3, 4]
    """
    row = place % part_size
    other = row ^ 1
    return place - row + (other if other < part_size else row - 1)


def mixed(one: dict, other: dict, rng: np.random.Generator, options) -> dict:
    """Mixes an example with another one.

    Args:
        one, other: {"image": u8[S,S,3], "label": i32, ...}.
        rng: what is drawn from.
        options: the section `augment`. Where it has both mixup and cutmix, either is done to half of the mixed ones.

    Returns `one`, mixed, and beside its label "other_label", i32, and "label_weight", f32: the share of its own label
    in the target. The rest of the target is the other label.

    Example:
        >>> import types
        >>> one, other = ({"image": np.full((2, 2, 3), value, np.uint8), "label": np.int32(value)} for value in (0, 9))
        >>> options = types.SimpleNamespace(mixup_alpha=1.0, cutmix_alpha=0.0, mix_probability=0.0)
        >>> example = mixed(one, other, np.random.default_rng(0), options)
        >>> int(example["label"]), int(example["other_label"]), float(example["label_weight"])
        (0, 9, 1.0)
    """
    draw, which, *place = rng.random(4).tolist()
    image, weight = one["image"], 1.0
    if draw < options.mix_probability:
        cut = bool(options.cutmix_alpha) and (not options.mixup_alpha or which < 0.5)
        alpha = options.cutmix_alpha if cut else options.mixup_alpha
        weight = float(rng.beta(alpha, alpha))
        image, weight = cutmix(image, other["image"], weight, *place) if cut else (
            mixup(image, other["image"], weight), weight)
    return {**one, "image": image, "other_label": other["label"], "label_weight": np.float32(weight)}


def mixup(image: np.ndarray, other: np.ndarray, weight: float) -> np.ndarray:
    """weight * image + (1 - weight) * other, rounded.

    Zhang, Cisse, Dauphin, Lopez-Paz: mixup: Beyond Empirical Risk Minimization, 2017, arXiv:1710.09412.

    Example:
        >>> mixup(np.full((1, 1, 3), 100, np.uint8), np.full((1, 1, 3), 200, np.uint8), 0.75).tolist()
        [[[125, 125, 125]]]
    """
    return cv2.addWeighted(image, weight, other, 1 - weight, 0)


def cutmix(image: np.ndarray, other: np.ndarray, weight: float, x: float, y: float) -> tuple[np.ndarray, float]:
    """(the image with a box of the other in it, the share of it that is left of the image).

    weight: the share that would be left, were all of the box inside. x, y: its centre, in shares of the sides. Yun,
    Han, Oh, Chun, Choe, Yoo: CutMix, 2019, arXiv:1905.04899.

    Example:
        >>> image, weight = cutmix(np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8), 0.75, 0.5, 0.0)
        >>> image[:, :, 0].tolist()
        [[0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
        >>> weight
        0.875
    """
    height, width = image.shape[:2]
    left, top, right, bottom = cutmix_box(height, width, weight, int(x * width), int(y * height))
    image = image.copy()  # it is the partner's other image
    image[top:bottom, left:right] = other[top:bottom, left:right]
    return image, 1.0 - (right - left) * (bottom - top) / (width * height)


def cutmix_box(height: int, width: int, weight: float, x: int, y: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom), in pixels, of the box about (x, y) that cutmix takes from the other image.

    Its area is the share 1 - weight of the image's, and what of it is beyond the edge is cut off.

    Example:
        >>> cutmix_box(100, 100, weight=0.75, x=10, y=50)
        (0, 25, 35, 75)
    """
    half = 0.5 * (1.0 - weight) ** 0.5
    across, down = int(half * width), int(half * height)
    return max(x - across, 0), max(y - down, 0), min(x + across, width), min(y + down, height)


class LastTwo:
    """What a thread has made last, two things by their keys: the examples of a pair are made once and used twice.

    They do not travel to loader processes.

    Example:
        >>> made = LastTwo()
        >>> [made.get(key, lambda key: [print(key), key * 10][1]) for key in (1, 2, 2, 1)]
        1
        2
        [10, 20, 20, 10]
    """

    def __init__(self):
        self._of_thread = threading.local()

    def get(self, key: int, make: Callable[[int], dict]) -> dict:
        kept = getattr(self._of_thread, "kept", {})
        if key not in kept:
            kept = dict([*kept.items()][-1:]) | {key: make(key)}
            self._of_thread.kept = kept
        return kept[key]

    def __reduce__(self):
        return LastTwo, ()
