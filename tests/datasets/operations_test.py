"""Against torchvision's own: goldens/policies.py."""

import cv2
import numpy as np
import pytest

from geodesic.datasets import operations, policies
from tests.datasets import goldens

GOLDEN = goldens.load("policies")
VIEWS = sorted(key for key in GOLDEN if key.count("/") == 3)
# torchvision cuts off to whole levels where OpenCV rounds: at most one level, and less than one in the mean. What moves
# whole pixels, masks or looks up is the same; OpenCV interpolates in 1/32 of a pixel, and torch in floats.
EXACT = ("Identity", "Posterize", "Solarize", "Equalize", "TranslateX", "TranslateY")


@pytest.mark.parametrize("key", VIEWS)
def test_operations_are_torchvisions(key):
    kind, name, index, sign = key.split("/")
    magnitude, how = ((policies.rand_augment_magnitude, cv2.INTER_NEAREST) if kind == "RandAugment" else
                      (policies.augmix_magnitude, cv2.INTER_LINEAR))
    amount = int(sign) * magnitude(name, int(index), *GOLDEN["image"].shape[:2])
    image = GOLDEN["image"].copy()
    difference = np.abs(operations.apply(name, image, amount, how).astype(int) - GOLDEN[key])
    assert difference.max() <= (0 if name in EXACT else 1) and difference.mean() < 0.6
    np.testing.assert_array_equal(image, GOLDEN["image"])  # it may be the source's own
    if name != "Identity":
        assert np.abs(GOLDEN["image"].astype(int) - GOLDEN[key]).mean() > 1


def test_signs_are_torchvisions():
    for policy in "RandAugment", "AugMix":
        assert {*operations.SIGNED} == {*GOLDEN[f"{policy}/signed"].tolist()}


def test_an_image_of_one_value_stays_as_it_is():
    image = np.full((8, 8, 3), 77, np.uint8)
    for name in "AutoContrast", "Equalize":
        np.testing.assert_array_equal(operations.apply(name, image, 0.0), image)
