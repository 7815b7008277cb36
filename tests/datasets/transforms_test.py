import ml_collections
import numpy as np
import pytest

from datasets import transforms
from tests.datasets import images

OFF = dict(horizontal_flip=0.0, rotation=0.0, translation=0.0, scaling=0.0, brightness=0.0, contrast=0.0)


def augmented(image, seed=0, **options):
    return transforms.augment(image, np.random.default_rng(seed), ml_collections.ConfigDict(OFF | options))


def test_stretch_changes_the_aspect():
    image = np.zeros((40, 20, 3), np.uint8)
    image[:20] = 200  # the upper half stays the upper half
    out = transforms.fit(image, 10, "stretch")
    assert out.shape == (10, 10, 3)
    assert (out[:5] == 200).all() and (out[5:] == 0).all()


@pytest.mark.parametrize(("height", "width"), [(40, 20), (20, 40), (21, 33), (15, 12)])
def test_center_crop_keeps_the_aspect_and_the_centre(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 2 - 1:height // 2 + 1, width // 2 - 1:width // 2 + 1] = 255
    out = transforms.fit(image, 16, "center_crop")
    assert out.shape == (16, 16, 3)
    weights = out[:, :, 0].astype(float)
    assert np.average(np.arange(16), weights=weights.sum(1)) == pytest.approx(7.5, abs=1)
    assert np.average(np.arange(16), weights=weights.sum(0)) == pytest.approx(7.5, abs=1)


def test_shrinking_is_antialiased():
    """A checkerboard of single pixels becomes its mean, not a picked pixel."""
    board = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)
    out = transforms.fit(np.repeat(board[:, :, None], 3, 2), 8, "stretch")
    assert np.abs(out.astype(int) - 127.5).max() <= 1


def test_unknown_fit_raises():
    with pytest.raises(ValueError, match="stretch or center_crop; got 'squash'"):
        transforms.check_fit("squash")


def test_nothing_asked_changes_nothing():
    np.testing.assert_array_equal(augmented(images.pixels(0)), images.pixels(0))


def test_flip_is_a_mirror_with_the_stated_probability():
    image = images.pixels(1)
    flipped = [not np.array_equal(augmented(image, seed, horizontal_flip=0.3), image) for seed in range(600)]
    assert np.mean(flipped) == pytest.approx(0.3, abs=0.06)
    np.testing.assert_array_equal(augmented(image, horizontal_flip=1.0), image[:, ::-1])


def test_brightness_stays_within_its_range():
    image = np.full((8, 8, 3), 100, np.uint8)
    shifts = [augmented(image, seed, brightness=0.1).mean() - 100 for seed in range(300)]
    assert max(shifts) <= 26 and min(shifts) >= -26
    assert max(shifts) > 22 and min(shifts) < -22


def test_contrast_keeps_the_mean():
    image = images.pixels(2)
    out = [augmented(image, seed, contrast=0.2) for seed in range(50)]
    assert np.ptp([view.std() for view in out]) > 1
    np.testing.assert_allclose([view.mean() for view in out], image.mean(), atol=2)


def test_translation_moves_by_shares_of_the_side():
    image = np.zeros((40, 40, 3), np.uint8)
    image[18:22, 18:22] = 255
    centres = np.array([[np.average(np.arange(40), weights=augmented(image, seed, translation=0.2)[:, :, 0].sum(axis))
                         for axis in (0, 1)] for seed in range(200)])
    assert np.abs(centres - 19.5).max() <= 8.1
    assert np.abs(centres - 19.5).max() > 7


def test_a_view_depends_on_its_generator_alone():
    options = dict(horizontal_flip=0.5, rotation=10.0, translation=0.1, scaling=0.2, brightness=0.1, contrast=0.1)
    first, second = (augmented(images.pixels(3), 7, **options) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, augmented(images.pixels(3), 8, **options))
