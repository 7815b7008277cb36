"""A picture is found in an edited copy of itself, and not in another photograph of the same things."""

import cv2
import numpy as np
import pytest

from benchmarks import edits
from geodesic.datasets import overlay


def scene(seed=0, shift=0.0):
    """Squares and circles before each other; shift: of those in front, as where the camera has moved."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(20, 236, (6, 8, 3), np.uint8), (320, 240), interpolation=cv2.INTER_LINEAR)
    for layer in range(3):
        for _ in range(30):
            x, y = (int(place * 16) for place in np.add(rng.uniform(0, (320, 240)), (shift * layer, 0)))
            radius, colour = int(rng.uniform(5, 22)), rng.integers(20, 236, 3).tolist()
            if rng.random() < 0.5:
                cv2.circle(image, (x, y), radius * 16, colour, -1, cv2.LINE_AA, 4)
            else:
                cv2.rectangle(image, (x - radius * 16, y - radius * 16), (x + radius * 16, y + radius * 16), colour, -1,
                              cv2.LINE_AA, 4)
    return image


def agreement(one, other):
    return overlay.compare(overlay.outline(one), overlay.outline(other)).agreement()


@pytest.mark.parametrize("kind", [*edits.EDITS])
def test_an_edited_copy_agrees(kind):
    for seed in range(3):
        image = scene(seed)
        assert agreement(edits.make(kind, image, np.random.default_rng(seed)), image) > 0.88


def test_another_picture_and_another_photograph_of_the_same_do_not():
    first = overlay.outline(scene(0))
    assert max(overlay.compare(first, overlay.outline(scene(seed))).agreement() for seed in range(1, 6)) < 0.5
    moved = overlay.compare(first, overlay.outline(scene(0, shift=6.0)))
    assert moved.agreement() == moved.whole < moved.moved < overlay.AGREES and moved.apart > 2 * overlay.BESIDE
    assert overlay.compare(first, overlay.outline(scene(0))).agreement() == pytest.approx(1, abs=1e-5)


def test_plain_pictures_agree_with_nothing_and_nothing_is_divided_by_zero():
    plain = overlay.outline(np.full((50, 80, 3), 128, np.uint8))
    assert overlay.compare(plain, plain) == (0.0, 0.0, np.inf)
    assert overlay.compare(plain, overlay.outline(scene())).agreement() == 0.0


def test_the_order_of_the_two_changes_little():
    image, copy = scene(4), edits.make("crop", scene(4), np.random.default_rng(1))
    assert agreement(image, copy) == pytest.approx(agreement(copy, image), abs=0.03)
    assert len({overlay.compare(*map(overlay.outline, (image, copy))) for _ in range(3)}) == 1
