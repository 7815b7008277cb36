import numpy as np
import pytest

from geodesic.configs import default
from geodesic.datasets import grey, transforms
from tests.datasets import images


def sections(**augment):
    """(input, augment) with nothing on but `augment`."""
    config = default.get_config()
    config.augment.horizontal_flip = 0.0
    config.augment.update(augment)
    return config.input, config.augment


def augmented(image, seed=0, **options):
    inputs, options = sections(**options)
    return transforms.augment(image, np.random.default_rng(seed), options, inputs)


def record(image):
    return {"image": image, "label": 0, "path": "x"}


def test_nothing_asked_changes_nothing():
    np.testing.assert_array_equal(augmented(images.pixels(0)), images.pixels(0))


def test_flips_are_mirrors_with_the_stated_probabilities():
    """Neither knows of the other, though both come from one draw."""
    image = images.pixels(1)
    np.testing.assert_array_equal(augmented(image, horizontal_flip=1.0), image[:, ::-1])
    np.testing.assert_array_equal(augmented(image, vertical_flip=1.0), image[::-1])
    mirrored = {"no": image, "across": image[:, ::-1], "down": image[::-1], "both": image[::-1, ::-1]}
    views = [augmented(image, seed, horizontal_flip=0.3, vertical_flip=0.6) for seed in range(600)]
    shares = {name: np.mean([np.array_equal(view, one) for view in views]) for name, one in mirrored.items()}
    assert shares == pytest.approx({"no": 0.28, "across": 0.12, "down": 0.42, "both": 0.18}, abs=0.06)


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


def _centres(image, axis):
    """The place of the ink along `axis`, for each line across it."""
    ink = image[:, :, 0].astype(float)
    return np.average(np.broadcast_to(np.arange(40)[:, None] if axis == 0 else np.arange(40), ink.shape),
                      weights=ink + 1e-9, axis=axis)


def test_shear_moves_each_line_by_a_share_of_its_distance_from_the_centre():
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 18:22] = 255
    slopes = []
    for seed in range(100):
        across = _centres(augmented(image, seed, shear=0.3), 1)
        slope, centre = np.polyfit(np.arange(40) - 19.5, across, 1)
        np.testing.assert_allclose(across[8:32], (slope * (np.arange(40) - 19.5) + centre)[8:32], atol=0.35)
        assert abs(centre - 19.5) < 0.3
        slopes.append(slope)
    assert 0.25 < np.abs(slopes).max() < 0.34 and abs(np.mean(slopes)) < 0.06


def test_elastic_offsets_have_the_stated_deviation():
    """At the middle of the grid: a ramp of 5 a pixel tells where a pixel comes from."""
    ramp = np.repeat(np.broadcast_to(np.arange(40, dtype=np.uint8) * 5, (40, 40))[:, :, None], 3, axis=2)
    for image in (ramp, np.ascontiguousarray(ramp.transpose(1, 0, 2))):
        moved = [float(augmented(image, seed, elastic=0.05)[20, 20, 0]) / 5 - 20 for seed in range(150)]
        assert np.std(moved) == pytest.approx(0.05 * 40, rel=0.2)
        assert abs(np.mean(moved)) < 0.5
        np.testing.assert_allclose(augmented(image, elastic=1e-6), image, atol=1)


EVERYTHING = dict(horizontal_flip=0.5, vertical_flip=0.5, rotation=10.0, translation=0.1, scaling=0.2,
                  brightness=0.1, contrast=0.1,
                  random_resized_crop=True, color_jitter=(0.4, 0.4, 0.4, 0.1), grayscale=0.2, blur=0.5,
                  low_resolution=0.5, erasing=0.5, erasing_fill="noise")


def test_a_view_depends_on_its_generator_alone():
    inputs, options = sections(**EVERYTHING)
    view = lambda seed: transforms.train_view(record(images.pixels(3)), np.random.default_rng(seed), inputs, options)
    first, second, other = (view(seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (112, 112, 3) and not np.array_equal(first, other)


@pytest.mark.parametrize("options", [EVERYTHING, dict(rotation=10.0, scaling=0.2, shear=0.2, elastic=0.02,
                                                      horizontal_flip=0.5, rand_augment_ops=2)])
def test_a_grey_image_that_is_one_channel_in_memory_gives_the_same_view(options):
    inputs, options = sections(**options)
    channel = np.ascontiguousarray(images.pixels(8)[:, :, 0])
    for seed in range(10):
        thin, thick = (transforms.train_view(record(image), np.random.default_rng(seed), inputs, options)
                       for image in (grey.of(channel), np.repeat(channel[:, :, None], 3, axis=2)))
        np.testing.assert_array_equal(thin, thick)
        assert thin.flags.c_contiguous and transforms.eval_view(record(grey.of(channel)), inputs).flags.c_contiguous


def test_the_draws_of_older_recipes_stay():
    """The affine, flip and shift of a view are what they were when these seven were all that was drawn."""
    flip, angle, dx, dy, zoom, brightness, contrast = np.random.default_rng(5).uniform(-1, 1, size=7)
    draws = transforms.Draws(np.random.default_rng(5))
    assert (draws.flip, draws.angle, draws.dx, draws.dy) == (flip, angle, dx, dy)
    assert (draws.zoom, draws.brightness, draws.contrast) == (zoom, brightness, contrast)


@pytest.mark.parametrize(("option", "value"), [("grayscale", 0.3), ("blur", 0.3), ("low_resolution", 0.3),
                                               ("erasing", 0.3), ("color_jitter_probability", 0.3)])
def test_what_is_applied_sometimes_is_applied_as_often_as_stated(option, value):
    options = {option: value} | ({"color_jitter": (0.5, 0.5, 0.5, 0.2)} if "jitter" in option else {})
    image = images.pixels(4)
    changed = [not np.array_equal(augmented(image, seed, **options), image) for seed in range(600)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.06)


def test_one_option_does_not_change_the_draws_of_another():
    image = images.pixels(5)
    for seed in range(20):
        plain = augmented(image, seed, horizontal_flip=0.5)
        grey = augmented(image, seed, horizontal_flip=0.5, grayscale=1.0)
        np.testing.assert_array_equal(transforms.photometry.grey(plain), grey)


@pytest.mark.parametrize("policy", [{"rand_augment_ops": 2}, {"augmix_severity": 3}, {"shear": 0.2, "elastic": 0.02}])
def test_policies_leave_all_other_draws_as_they_are(policy, monkeypatch):
    """The flip, and the noise of erasing, which is drawn last."""
    image = images.pixels(6)
    options = dict(horizontal_flip=0.5, erasing=1.0, erasing_fill="noise", erasing_area=(0.2, 0.4))
    changed = sum(not np.array_equal(augmented(image, seed, **options, **policy), augmented(image, seed, **options))
                  for seed in range(20))
    assert changed > 15
    for name in "rand_augment", "augmix":
        monkeypatch.setattr(transforms.policies, name, lambda image, *arguments: image)
    monkeypatch.setattr(transforms, "_distort", lambda image, *arguments: image)
    for seed in range(20):
        np.testing.assert_array_equal(augmented(image, seed, **options, **policy), augmented(image, seed, **options))


def test_what_is_erased_is_zero_once_normalised():
    inputs, options = sections(erasing=1.0)
    inputs.mean = (10.0, 20.0, 30.0)
    image = np.full((32, 32, 3), 200, np.uint8)
    out = transforms.augment(image, np.random.default_rng(0), options, inputs)
    erased = (out != 200).any(axis=2)
    assert erased.any() and (out[erased] == (10, 20, 30)).all()
    assert (image == 200).all()  # the source's own array is left alone


def test_erasing_with_noise_has_deviation_one_once_normalised():
    inputs, options = sections(erasing=1.0, erasing_fill="noise", erasing_area=(0.5, 0.6))
    inputs.std = (20.0,) * 3
    out = transforms.augment(np.full((64, 64, 3), 255, np.uint8), np.random.default_rng(0), options, inputs)
    values = (out[(out != 255).all(axis=2)] - 127.5) / 20
    assert values.mean() == pytest.approx(0, abs=0.1) and values.std() == pytest.approx(1, abs=0.05)


def test_a_box_is_all_that_is_seen():
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:30, 20:50] = 255
    boxed = record(image) | {"box": (20, 10, 50, 30)}
    inputs, options = sections(random_resized_crop=True)
    assert (transforms.eval_view(boxed, inputs) == 255).all()
    for seed in range(10):
        assert (transforms.train_view(boxed, np.random.default_rng(seed), inputs, options) == 255).all()
    with pytest.raises(ValueError, match=r"cannot read the image x: the box \(70, "):
        transforms.eval_view(record(image) | {"box": (70, 10, 90, 30)}, inputs)


@pytest.mark.parametrize(("section", "values", "message"), [
    ("input", {"fit": "squash"}, "stretch or center_crop; got 'squash'"),
    ("input", {"resize_size": 256}, "only with input.fit=center_crop"),
    ("input", {"fit": "center_crop", "resize_size": 100}, "at least that"),
    ("augment", {"erasing_fill": "zero"}, "mean or noise; got 'zero'"),
    ("augment", {"color_jitter": (0.1, 0.1, 0.1, 0.7)}, "hue at most 0.5"),
    ("augment", {"crop_area": (0.5, 1.5)}, "crop_area is a range"),
    ("augment", {"blur_sigma": (2.0, 1.0)}, "got 2 to 1"),
])
def test_options_that_cannot_be_followed(section, values, message):
    config = default.get_config()
    config[section].update(values)
    with pytest.raises(ValueError, match=message):
        transforms.check_options(config.input, config.augment)
