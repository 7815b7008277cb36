"""Corruptions do what their names and amounts say, more so at each strength."""

import colorsys

import numpy as np
import pytest

from geodesic.datasets import corruptions
from geodesic.errors import UserError
from tests.datasets import images


def rng():
    return np.random.default_rng(5)


@pytest.fixture(scope="module")
def picture():
    """A smooth picture, 96 x 112, of many hues."""
    y, x = np.mgrid[:96, :112]
    return np.stack([120 + 60 * np.sin(x / 9), 100 + 50 * np.cos(y / 11), 60 + x / 2], axis=2).astype(np.uint8)


@pytest.mark.parametrize("kind", corruptions.AMOUNTS)
def test_each_strength_changes_more_than_the_one_before(kind, picture):
    before, errors = picture.copy(), []
    for strength in corruptions.STRENGTHS:
        found = corruptions.apply(kind, strength, picture, rng())
        assert found.shape == picture.shape and found.dtype == np.uint8
        errors.append(float(np.mean((found.astype(float) - picture) ** 2)))
    assert errors == sorted(errors) and errors[-1] > 0.3
    np.testing.assert_array_equal(picture, before)
    again = corruptions.apply(kind, 5, picture, rng())
    np.testing.assert_array_equal(again, found)


def test_noise_has_the_deviation_that_is_stated():
    grey = np.full((200, 200, 3), 128, np.uint8)
    for strength, amount in zip((1, 2), corruptions.AMOUNTS["noise"], strict=False):
        found = corruptions.apply("noise", strength, grey, rng()).astype(float)
        assert found.std() == pytest.approx(255 * amount, rel=0.02) and found.mean() == pytest.approx(128, abs=0.5)


def test_brightness_is_added_to_the_value_and_leaves_hue_and_saturation():
    colours = np.array([[[120, 60, 30], [10, 90, 40], [0, 0, 0], [200, 100, 150]]], np.uint8)
    found = corruptions.apply("brightness", 3, colours, rng())
    for one, other in zip(colours[0] / 255, found[0] / 255, strict=True):
        (hue, saturation, value), new = colorsys.rgb_to_hsv(*one), colorsys.rgb_to_hsv(*other)
        assert new[2] == pytest.approx(min(value + 0.3, 1), abs=0.003)
        assert new[:2] == pytest.approx((hue, saturation), abs=0.01)


def test_a_blur_grows_with_the_picture():
    edge = np.zeros((224, 224, 3), np.uint8)
    edge[:, 112:] = 200
    small = corruptions.apply("blur", 3, edge[::4, ::4], rng())
    large = corruptions.apply("blur", 3, edge, rng())
    rises = [np.count_nonzero((row > 20) & (row < 180)) for row in (small[20, :, 0], large[80, :, 0])]
    assert rises[1] == pytest.approx(4 * rises[0], abs=4) and rises[1] > 6
    # 1.28 deviations to either side of an edge are 80 % of it.
    assert rises[1] == pytest.approx(2 * 1.28 * 3, abs=1.5)


def test_a_turn_is_about_the_centre_to_either_side():
    dot = np.zeros((101, 101, 3), np.uint8)
    dot[50, 85:88] = 255
    angles = set()
    for seed in range(8):
        found = corruptions.apply("rotation", 4, dot, np.random.default_rng(seed))[:, :, 0]
        y, x = (float(np.average(axis, weights=found)) for axis in np.mgrid[:101, :101])
        angles.add(round(np.degrees(np.arctan2(50 - y, x - 50))))
    assert angles == {15, -15}


def test_a_photograph_is_compressed():
    pixels = images.pixels(3, 64, 64)
    found = corruptions.apply("jpeg", 5, pixels, rng())
    assert 1 < np.abs(found.astype(int) - pixels).mean() < 80


@pytest.mark.parametrize(("kind", "strength"), [("fog", 1), ("jpeg", 0), ("jpeg", 6)])
def test_what_there_is_not(kind, strength):
    with pytest.raises(UserError, match="kinds are jpeg, blur, noise, brightness, rotation, strengths 1 to 5"):
        corruptions.apply(kind, strength, np.zeros((4, 4, 3), np.uint8), rng())
