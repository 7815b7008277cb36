"""Against torchvision's own: goldens/transforms.py."""

import functools
import pathlib

import numpy as np
import pytest

from geodesic.configs import default
from geodesic.datasets import alignment, crops, decoding
from geodesic.errors import UserError
from tests.datasets import goldens, images
from tests.datasets.goldens import alignment as faces

GOLDEN = goldens.load()
FACES = dict(np.load(pathlib.Path(faces.__file__).with_suffix(".npz")))


def boxes(height, width, area, ratio, count=20_000):
    rng = np.random.default_rng(0)
    return np.array([crops.random_resized(height, width, rng.uniform(size=(crops.TRIES, 2)), rng.uniform(size=2), area,
                                          ratio) for _ in range(count)])


@pytest.mark.parametrize("name", goldens.CROPS)
def test_random_resized_crop_is_distributed_as_torchvisions(name):
    (height, width), area, ratio = goldens.CROPS[name]
    ours = goldens.box_quantiles(boxes(height, width, area, ratio), height, width)
    # Of the share, the log of the ratio, and the centre. Two samples of 20,000 differ by up to .01.
    np.testing.assert_allclose(ours, GOLDEN[f"crop/{name}"], atol=0.015)


def test_the_distributions_are_told_apart():
    """The test above would notice a ratio drawn uniformly, or an area of another range."""
    wrong = goldens.box_quantiles(boxes(375, 500, (0.16, 1.0), (3 / 4, 4 / 3)), 375, 500)
    assert np.abs(wrong - GOLDEN["crop/photo"]).max() > 0.03


@pytest.mark.parametrize(("name", "height", "width"), [("half", 30, 40), ("third", 20, 27), ("odd", 25, 47),
                                                       ("enlarged", 90, 120), ("mixed", 20, 100)])
def test_resizing_is_near_torchvisions(name, height, width):
    """Its antialiased bilinear weighs as a triangle where ours averages a box: 2 levels of 255 in the mean."""
    difference = np.abs(crops.resize(GOLDEN["image"], height, width).astype(int) - GOLDEN[f"view/{name}"])
    assert difference.mean() < (0.4 if name == "enlarged" else 2) and difference.max() < 20


@pytest.mark.parametrize(("name", "size", "short_side"), [("centre", 37, 42), ("centre_odd", 32, 41)])
def test_centre_crop_is_torchvisions(name, size, short_side):
    ours = crops.fit(GOLDEN["image"], size, "center_crop", short_side).astype(int)
    theirs = GOLDEN[f"view/{name}"].astype(int)
    assert np.abs(ours - theirs).mean() < 1.5
    # Not a pixel beside it.
    assert np.abs(ours[1:] - theirs[:-1]).mean() > 4 and np.abs(ours[:, 1:] - theirs[:, :-1]).mean() > 4


def test_stretch_changes_the_aspect():
    image = np.zeros((40, 20, 3), np.uint8)
    image[:20] = 200  # the upper half stays the upper half
    out = crops.fit(image, 10, "stretch")
    assert out.shape == (10, 10, 3)
    assert (out[:5] == 200).all() and (out[5:] == 0).all()


@pytest.mark.parametrize(("height", "width"), [(40, 20), (20, 40), (21, 33), (15, 12)])
def test_center_crop_keeps_the_aspect_and_the_centre(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 2 - 1:height // 2 + 1, width // 2 - 1:width // 2 + 1] = 255
    out = crops.fit(image, 16, "center_crop")
    assert out.shape == (16, 16, 3)
    weights = out[:, :, 0].astype(float)
    assert np.average(np.arange(16), weights=weights.sum(1)) == pytest.approx(7.5, abs=1)
    assert np.average(np.arange(16), weights=weights.sum(0)) == pytest.approx(7.5, abs=1)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 64), (64, 8)])
def test_shrinking_is_antialiased(height, width):
    """A checkerboard of single pixels becomes its mean along a side that shrinks, not a picked pixel."""
    board = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)
    out = crops.resize(np.repeat(board[:, :, None], 3, 2), height, width)
    assert np.abs(out.astype(int) - 127.5).max() <= 1


def jpeg(height, width):
    return {"image": images.encoded(images.pixels(1, height, width), quality=95), "label": 0, "path": "x.jpg"}


@pytest.mark.parametrize(("height", "width", "least"),
                         [(800, 600, 112), (640, 427, 224), (300, 200, 112), (96, 80, 112)])
def test_decoding_to_scale_never_goes_below_what_is_wanted(height, width, least):
    cut = crops.cut(jpeg(height, width), crops.whole, (least, least))
    assert min(cut.shape[:2]) >= min(least, height, width)
    assert (cut.shape[0] < height) == (min(height, width) > 2 * (least + 1))


def test_a_crop_decoded_to_scale_holds_enough_pixels_and_the_same_picture():
    record, rng = jpeg(800, 600), np.random.default_rng(0)
    scaled = 0
    for _ in range(60):
        tries, place = rng.uniform(size=(crops.TRIES, 2)), rng.uniform(size=2)
        choose = functools.partial(crops.random_resized, tries=tries, place=place, area=(0.08, 1), ratio=(0.75, 1.3))
        box = choose(800, 600)
        cut, whole = crops.cut(record, choose, (112, 112)), crops.cut(record, choose, None)
        assert whole.shape[:2] == box[2:]
        assert (np.minimum(box[2:], 112) <= cut.shape[:2]).all()
        scaled += cut.shape != whole.shape
        views = [crops.resize(pixels, 112, 112).astype(int) for pixels in (cut, whole)]
        assert np.abs(views[0] - views[1]).mean() < 1.5
    assert scaled > 20


def test_decoding_to_scale_can_be_refused():
    assert decoding.decode_to_scale(jpeg(800, 600), None).pixels.shape == (800, 600, 3)
    assert default.get_config().input.decode_to_scale


def boxed(*box):
    return {"image": np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3), "path": "folder/x.jpg", "box": box}


@pytest.mark.parametrize(("box", "rows", "columns", "said"), [
    ((10, 5, 30, 25), (5, 25), (10, 30), []), ((-5, -5, 30, 25), (0, 25), (0, 30), ["box beyond the edge"]),
    ((50, 30, 500, 500), (30, 40), (50, 60), ["box beyond the edge"]),
    ((0, 0, 60, 40), (0, 40), (0, 60), []), ((-5, -5, 1, 3), (0, 3), (0, 1), ["box beyond the edge"]),
    ((0.1, 0.1, 0.9, 0.9), (4, 36), (6, 54), ["box in shares of the sides"]),
    ((0, 0, 1, 1), (0, 40), (0, 60), ["box in shares of the sides"]),
    ((0.5, -0.1, 1.02, 0.5), (0, 20), (30, 60), ["box in shares of the sides", "box beyond the edge"]),
])
def test_what_a_box_leaves_of_an_image(box, rows, columns, said):
    record = boxed(*box)
    np.testing.assert_array_equal(crops.cut(record, crops.whole, None), record["image"][slice(*rows), slice(*columns)])
    assert crops.remarks(record, 40, 60) == ["box", *said]


@pytest.mark.parametrize("box", [(60, 0, 80, 40), (1000, 1000, 1100, 1100), (0, -9, 60, 0), (1.2, 0, 1.5, 1)])
def test_a_box_outside_is_refused_by_name(box):
    with pytest.raises(UserError, match=r"the image folder/x.jpg: the box \(.* holds nothing of its 60 x 40 pixels"):
        crops.cut(boxed(*box), crops.whole, None)
    assert crops.remarks(boxed(*box), 40, 60)[-1] == "box outside"


def test_a_box_less_than_a_pixel_is_refused():
    with pytest.raises(UserError, match="holds nothing of its 60 x 40 pixels"):
        crops.cut(boxed(0.5, 0.5, 0.501, 0.501), crops.whole, None)


def test_shares_hold_at_any_scale_of_decoding():
    record = jpeg(800, 600) | {"box": (0.25, 0.5, 0.75, 1.0)}
    whole, scaled = (crops.cut(record, crops.whole, least) for least in (None, (50, 50)))
    assert whole.shape == (400, 300, 3) and scaled.shape[0] < 400
    views = [crops.resize(pixels, 50, 50).astype(int) for pixels in (whole, scaled)]
    assert np.abs(views[0] - views[1]).mean() < 1.5


@pytest.mark.parametrize("name", faces.FACES)
@pytest.mark.parametrize("least", [None, (16, 16)])
def test_a_face_is_aligned_before_anything_else(name, least):
    """In pixels and in shares, from a file and from pixels, with a box that then does not matter."""
    landmarks, image = FACES[f"landmarks/{name}"], FACES["image"]
    face = alignment.align(image, landmarks)
    record = {"image": images.encoded(image, "PNG"), "path": "x", "landmarks": tuple(landmarks.ravel().tolist())}
    np.testing.assert_array_equal(crops.cut(record, crops.whole, least), face)
    part = crops.cut(record | {"image": image, "box": (900, 900, 999, 999)},
                     lambda height, width: (1, 2, height - 3, width - 4), least)
    np.testing.assert_array_equal(part, face[1:110, 2:110])
    shares = landmarks / (image.shape[1], image.shape[0])
    aligned = crops.cut(record | {"landmarks": tuple(shares.ravel().tolist())}, crops.whole, least)
    assert np.abs(aligned.astype(int) - face).max() <= 1


def test_where_landmarks_lie():
    record = {"image": FACES["image"], "path": "folder/x.jpg", "landmarks": tuple(alignment.TEMPLATE.ravel() + 70)}
    assert crops.remarks(record, 180, 240) == ["landmarks"]
    assert crops.remarks(record, 150, 240) == ["landmarks", "landmarks beyond the edge"]
    assert crops.remarks(record | {"landmarks": (0.5,) * 10}, 180, 240) == ["landmarks",
                                                                           "landmarks in shares of the sides"]
    outside = record | {"landmarks": tuple(alignment.TEMPLATE.ravel() + 240)}
    assert crops.remarks(outside, 180, 240) == ["landmarks", "landmarks outside"]
    with pytest.raises(UserError, match=r"folder/x.jpg: the landmarks \(.* hold nothing of its 240 x 180 pixels"):
        crops.cut(outside, crops.whole, None)
    with pytest.raises(UserError, match=r"folder/x.jpg: the landmarks \[.* are not five points of a face"):
        crops.cut(record | {"landmarks": (9.0,) * 10}, crops.whole, None)
    assert crops.remarks({}, 180, 240) == []
