import io

import numpy as np
import PIL.Image
import pytest

from geodesic.configs import default
from geodesic.datasets import box_views
from geodesic.errors import UserError
from tests.datasets import images

GREY = 128
COLOURS = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0], [GREY] * 3], np.uint8)


@pytest.fixture
def config():
    config = default.get_config()
    config.detection.height, config.detection.width = 72, 96
    config.input.decode_to_scale = False
    return config


def painted(seed: int, colour: int | None = None) -> dict:
    """A grey picture of 40 to 200 pixels a side, with boxes apart from each other, filled with their class's colour."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(40, 200, 2).tolist()
    image, boxes, classes = np.full((height, width, 3), GREY, np.uint8), [], []
    for place in range(4):
        row, column = divmod(place, 2)
        top, left = (height // 2) * row, (width // 2) * column
        x = np.sort(rng.choice(np.arange(left + 2, left + width // 2 - 2), 2, replace=False))
        y = np.sort(rng.choice(np.arange(top + 2, top + height // 2 - 2), 2, replace=False))
        boxes.append([x[0], y[0], x[1], y[1]])
        classes.append(place if colour is None else colour)
        image[y[0]:y[1], x[0]:x[1]] = COLOURS[classes[-1]]
    return {"image": image, "path": f"{seed}.png", "boxes": np.array(boxes, np.float32),
            "classes": np.array(classes, np.int32), "crowd": np.zeros(4, bool)}


def coloured(image: np.ndarray, label: int) -> np.ndarray | None:
    """x1, y1, x2, y2 of the pixels whose colour is nearest to that of a class, or None."""
    near = np.abs(image[:, :, None].astype(int) - COLOURS).sum(axis=3).argmin(axis=2) == label
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    return None if not len(rows) else np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def to_input(boxes: np.ndarray, scale: float, offset: np.ndarray) -> np.ndarray:
    """Where letterboxing puts boxes."""
    return boxes.astype(np.float64) * scale + np.tile(offset, 2)


def seen(record, seed, config, **kind):
    draws = box_views.Draws(np.random.default_rng(seed))
    return box_views.picture_view(record, draws, 0, config.input, config.detection, config.box_augment, **kind)


FLIPS = {"horizontal_flip": 0.5, "vertical_flip": 0.5}
OPTIONS = {"letterbox": {}, "flips": FLIPS, "scale": {"scale": (0.4, 2.0)}, "crop": {"crop": 1.0},
           "all": FLIPS | {"scale": (0.5, 2.0), "crop": 0.7}}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_box_is_where_its_pixels_are(config, options):
    config.box_augment.update(options)
    errors = []
    for seed in range(100):
        record = painted(seed)
        view = seen(record, seed, config)
        assert view.image.shape == (72, 96, 3) and view.image.dtype == np.uint8
        assert view.boxes.dtype == np.float32 and view.classes.dtype == np.int32
        for box, label in zip(view.boxes, view.classes, strict=True):
            if (box[2:] - box[:2]).min() < 3:  # too few pixels for a colour of their own
                continue
            errors.append(coloured(view.image, label) - box)
            assert np.abs(errors[-1]).max() <= 1, (seed, box)
    assert len(errors) > 120 and np.abs(np.mean(errors, axis=0)).max() < 0.1  # none is moved by half a pixel


@pytest.mark.parametrize("options", [OPTIONS["letterbox"], OPTIONS["all"]], ids=["letterbox", "all"])
def test_a_mosaic_has_the_boxes_of_four_pictures(config, options):
    config.box_augment.update(options)
    found, together = 0, 0
    for seed in range(60):
        draws = box_views.Draws(np.random.default_rng(seed))
        tiles, records = [], [painted(10 * seed + place, place) for place in range(4)]
        for place, ((x, y), into, corner) in enumerate(box_views.mosaic_tiles(draws, config.detection)):
            tiles.append(box_views.picture_view(records[place], draws, place, config.input, config.detection,
                                                config.box_augment, into, corner))
            assert tiles[-1].image.shape[:2] == into and 0 <= x < 96 and 0 <= y < 72
        view = box_views.mosaic(tiles, draws, config.detection)
        assert view.image.shape == (72, 96, 3)
        together += len({*view.classes.tolist()}) == 4
        for ((x, y), (height, width), _), label in zip(box_views.mosaic_tiles(draws, config.detection), range(4),
                                                       strict=True):
            for box in view.boxes[view.classes == label]:
                assert (box[:2] >= (x, y)).all() and (box[2:] <= (x + width, y + height)).all()
                left, top, right, bottom = np.round(box).astype(int).tolist()
                inside = view.image[top + 1:bottom - 1, left + 1:right - 1].reshape(-1, 3)
                assert (np.abs(inside.astype(int) - COLOURS[label]).sum(axis=1) < 60).all()
                found += len(inside) > 0
    assert found > 100 and together > 10


def test_plain_is_letterboxed_as_evaluation_is(config):
    for seed in range(20):
        record = painted(seed)
        view, judged = seen(record, seed, config), box_views.eval_view(record, config.input, config.detection)
        np.testing.assert_array_equal(view.image, judged.image)
        expected = to_input(record["boxes"], judged.scale, judged.offset)
        large = (expected[:, 2:] - expected[:, :2]).min(axis=1) >= 1
        np.testing.assert_allclose(view.boxes, expected[large], atol=1e-4)


def test_letterboxing_is_undone():
    rng = np.random.default_rng(0)
    for height, width in rng.integers(20, 1000, (200, 2)).tolist():
        scale, offset = box_views.letterbox(height, width, (320, 416))
        boxes = np.sort(rng.uniform(0, 1, (10, 2, 2)) * [width, height], axis=1).reshape(10, 4).astype(np.float32)
        there = to_input(boxes, scale, offset)
        assert (there >= 0).all() and (there <= np.array([416, 320, 416, 320]) + 1e-3).all()
        back = box_views.to_picture(there, scale, offset, np.array([height, width]))
        np.testing.assert_allclose(back, boxes, atol=1e-4 * max(1, 1 / scale))


def test_a_picture_of_the_networks_size_stays_pixel_by_pixel(config):
    image = images.pixels(0, 72, 96)
    record = {"image": image, "path": "x"}
    view = box_views.eval_view(record, config.input, config.detection)
    np.testing.assert_array_equal(view.image, image)
    assert (float(view.scale), view.offset.tolist(), view.size.tolist()) == (1.0, [0, 0], [72, 96])


def test_what_is_beside_the_picture_is_zero_once_normalised(config):
    config.input.mean = (10.0, 20.0, 30.0)
    view = box_views.eval_view({"image": np.full((40, 80, 3), 200, np.uint8), "path": "x"}, config.input,
                               config.detection)
    assert view.offset.tolist() == [0, 12] and (view.image[:12] == (10, 20, 30)).all()
    assert (view.image[12:60] == 200).all() and (view.image[60:] == (10, 20, 30)).all()


def test_what_shrinks_much_is_averaged(config):
    stripes = np.zeros((576, 768, 3), np.uint8)
    stripes[:, ::8] = 240  # samples of the middle of every 8 x 8 pixels would miss them
    image = box_views.eval_view({"image": stripes, "path": "stripes"}, config.input, config.detection).image
    assert image.shape == (72, 96, 3) and np.abs(image.astype(int) - 30).max() <= 1


def test_decoding_to_scale_moves_no_box(config):
    record = painted(3)
    large = np.kron(record["image"], np.ones((8, 8, 1), np.uint8))
    record |= {"image": images.encoded(large, quality=95), "boxes": record["boxes"] * 8}
    whole = box_views.eval_view(record, config.input, config.detection)
    config.input.decode_to_scale = True
    shrunk = box_views.eval_view(record, config.input, config.detection)
    assert (whole.scale, whole.size.tolist()) == (shrunk.scale, [*large.shape[:2]])
    for label, box in enumerate(to_input(record["boxes"], shrunk.scale, shrunk.offset)):
        if (box[2:] - box[:2]).min() >= 3:
            assert np.abs(coloured(shrunk.image, label) - box).max() <= 1


def test_boxes_are_of_the_upright_picture(config):
    record = painted(5)
    exif, buffer = PIL.Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    PIL.Image.fromarray(np.ascontiguousarray(np.rot90(record["image"]))).save(buffer, "PNG", exif=exif)
    height, width = record["image"].shape[:2]
    view = box_views.eval_view(record | {"image": buffer.getvalue(), "size": (height, width)}, config.input,
                               config.detection)
    assert view.size.tolist() == [height, width]
    np.testing.assert_array_equal(view.image, box_views.eval_view(record, config.input, config.detection).image)
    with pytest.raises(UserError, match=f"it has {width} x {height} pixels, upright, and its boxes are of {height} x "):
        box_views.eval_view(record | {"image": buffer.getvalue(), "size": (width, height)}, config.input,
                            config.detection)


def test_crowds_and_boxes_beyond_the_edge(config):
    config.detection.height = config.detection.width = 100
    record = {"image": np.zeros((100, 100, 3), np.uint8), "path": "x", "classes": np.arange(4, dtype=np.int32),
              "boxes": np.float32([[-10, -10, 20, 20], [5, 5, 60, 60], [90, 90, 120, 130], [40, 40, 40.5, 60]]),
              "crowd": np.array([False, True, False, False])}
    view = seen(record, 0, config)
    assert view.boxes.tolist() == [[0, 0, 20, 20], [90, 90, 100, 100]] and view.classes.tolist() == [0, 2]
    config.box_augment.smallest_side = 0.0
    assert seen(record, 0, config).classes.tolist() == [0, 2, 3]


def test_a_box_stays_where_its_middle_does(config):
    boxes = np.array([[0.0, 0, 10, 10], [4, 4, 20, 20], [6, 0, 8, 4]])
    boxes, classes = box_views._cut(boxes, np.arange(3), (5, 0, 12, 9))
    assert boxes.tolist() == [[5, 0, 10, 9], [6, 0, 8, 4]] and classes.tolist() == [0, 2]


def test_one_option_does_not_change_the_draws_of_another(config):
    record = painted(1)
    config.box_augment.scale = (0.5, 0.9)
    plain = seen(record, 4, config)
    assert len(plain.boxes) > 1
    for across, flip in enumerate(("vertical_flip", "horizontal_flip")):
        config.box_augment.update({"horizontal_flip": 0.0, "vertical_flip": 0.0, flip: 1.0})
        flipped = seen(record, 4, config)
        np.testing.assert_allclose(flipped.boxes[:, across], plain.boxes[:, across])
        assert (flipped.boxes[:, 1 - across] != plain.boxes[:, 1 - across]).any()
        sizes = [view.boxes[:, 2:] - view.boxes[:, :2] for view in (plain, flipped)]
        np.testing.assert_allclose(*sizes, rtol=1e-4)


def test_colours_change_and_places_do_not(config):
    config.box_augment.update({"color_jitter": (0.3, 0.0, 0.0, 0.0), "blur": 0.0})
    image, draws = images.pixels(0, 20, 30), box_views.Draws(np.random.default_rng(0))
    brighter = box_views.colours(image, draws, config.box_augment)
    assert (brighter != image).mean() > 0.5
    factor = 1 + 0.3 * (2 * draws.jitter_amounts[0] - 1)
    np.testing.assert_allclose(brighter, np.clip(image * factor, 0, 255), atol=1)
    config.box_augment.grayscale = 1.0
    grey = box_views.colours(image, draws, config.box_augment)
    assert (grey[:, :, 0] == grey[:, :, 1]).all()


@pytest.mark.parametrize("options, message", [
    ({"horizontal_flip": 1.5}, "horizontal_flip is a probability"), ({"scale": (2.0, 1.0)}, "scale is a range"),
    ({"crop_area": (0.5, 1.5)}, "crop_area is a range from low to high, above 0 and at most 1"),
    ({"color_jitter": (0.1, 0.1, 0.1, 0.7)}, "color_jitter is brightness"), ({"smallest_side": -1.0}, "smallest_side")])
def test_options_that_cannot_be_followed(config, options, message):
    config.box_augment.update(options)
    with pytest.raises(UserError, match=message):
        box_views.check_options(config.detection, config.box_augment)
