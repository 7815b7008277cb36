import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.losses import detection_targets
from tests.losses import cases, detection_cases, goldens

LEVEL = detection_targets.points((32, 32), (8,), offset=0.0)  # 4 x 4 points at 0, 8, 16, 24


def assign(points, boxes, number=None, **options):
    """Of one image."""
    boxes = jnp.asarray(boxes, jnp.float32)[None]
    return detection_targets.assign(points, boxes, jnp.array([boxes.shape[1] if number is None else number]),
                                    **options)[0]


def owners_of(sets: detection_cases.Sets):
    points = detection_targets.points(sets.image_size, sets.strides, offset=sets.offset)
    return np.asarray(cases.jit(functools.partial(detection_targets.assign, points))(sets.boxes, sets.num_boxes))


@pytest.mark.parametrize("name", detection_cases.matching())
def test_every_point_learns_the_box_that_torchvision_gives_it(name):
    """In each: images without boxes, full ones, the same box twice, rubbish after the last box."""
    sets, expected = detection_cases.matching()[name], goldens.load("detection")[f"owners/{name}"]
    assert {0, detection_cases.MAX_BOXES} <= {*sets.num_boxes.tolist()}
    assert {*np.unique(expected)} == {*range(-1, detection_cases.MAX_BOXES)} - {5}  # the second of two equal ones
    np.testing.assert_array_equal(owners_of(sets), expected)


def test_boxes_are_no_points_where_torchvision_has_none(monkeypatch):
    """Boxes of more than 1e8 square pixels: were they some point's, the golden file would say so."""
    sets, expected = detection_cases.matching()["large"], goldens.load("detection")["owners/large"]
    monkeypatch.setattr(detection_targets, "_SENTINEL", 1e12)
    found = owners_of(sets)
    areas = np.prod(sets.boxes[..., 2:] - sets.boxes[..., :2], -1)
    of_owners = np.take_along_axis(areas, np.maximum(found, 0), 1)
    more = (found >= 0) & (expected < 0)
    assert more.sum() > 50 and (of_owners[more] >= 1e8 * (1 - 1e-6)).all()


def test_points_of_the_levels():
    points = detection_targets.points((100, 60), (8, 16, 32, 64, 128))
    assert points.sizes == (13 * 8, 7 * 4, 4 * 2, 2, 1)  # rounded up, as maps of padded convolutions are
    first = np.cumsum((0, *points.sizes[:-1]))
    assert points.places[first].tolist() == [[4, 4], [8, 8], [16, 16], [32, 32], [64, 64]]
    assert points.strides[first].tolist() == [8, 16, 32, 64, 128]
    assert points.lower[first].tolist() == [0, 64, 128, 256, 512]  # of the paper
    assert points.upper[first].tolist() == [64, 128, 256, 512, np.inf]
    assert {array.dtype for array in points[:4]} == {np.dtype(np.float32)}
    assert detection_targets.points((16, 16), (8, 16), ranges=((0, 20), (20, 30))).upper.tolist() == [20] * 4 + [30]


@pytest.mark.parametrize("values", [{"strides": ()}, {"strides": (16, 8)}, {"strides": (0, 8)},
                                    {"strides": (8,), "ranges": ()}, {"strides": (8,), "ranges": ((5, 5),)}])
def test_levels_that_cannot_be(values):
    with pytest.raises(UserError):
        detection_targets.points((32, 32), **values)


def test_the_smallest_box_wins_and_of_equal_ones_the_first():
    large, small = [0, 0, 30, 30], [10, 10, 22, 22]
    for boxes in ([large, small], [small, large]):
        owners = assign(LEVEL, boxes, radius=np.inf).reshape(4, 4)
        assert boxes[owners[2, 2]] == small and boxes[owners[1, 1]] == large
    assert owners[0, 0] == -1  # a point on the side is not within
    flat, upright = [10, 8, 22, 24], [8, 10, 24, 22]  # 192 square pixels each
    for boxes in ([flat, upright], [upright, flat]):
        assert assign(LEVEL, boxes)[2 * 4 + 2] == 0


def test_a_difference_of_few_square_pixels_is_none():
    """1e8 - area in float32 has steps of 8: the first box wins, though it is larger by 3."""
    assert assign(LEVEL, [[10, 10, 21, 22], [10, 10, 21, 21.75]])[2 * 4 + 2] == 0  # 132 and 129.25
    assert assign(LEVEL, [[10, 10, 22, 22], [10, 10, 21, 22]])[2 * 4 + 2] == 1     # 144 and 132


def test_bounds_of_a_level_are_not_within_it():
    points = detection_targets.points((128, 128), (8, 16), offset=0.0)
    for side, finest, coarsest in ((64, False, False), (63, True, False), (65, False, True)):
        owners = assign(points, [[0, 0, side + 32, 64]], radius=np.inf)
        place = (points.places == (32, 32)).all(1)
        assert (owners[place] >= 0).tolist() == [finest, coarsest]


def test_only_points_near_the_centre_learn():
    owners = assign(LEVEL, [[0, 0, 32, 32]]).reshape(4, 4)  # centre 16: 8 to 24 are nearer than 12
    np.testing.assert_array_equal(owners >= 0, np.outer([0, 1, 1, 1], [0, 1, 1, 1]))
    np.testing.assert_array_equal(assign(LEVEL, [[0, 0, 32, 32]], radius=1).reshape(4, 4) >= 0,
                                  np.outer([0, 0, 1, 0], [0, 0, 1, 0]))  # a distance of 1 stride is not nearer


def test_padding_is_no_box_whatever_it_holds():
    boxes = [[8, 8, 24, 24], [np.nan] * 4, [0, 0, 32, 32]]
    np.testing.assert_array_equal(assign(LEVEL, boxes, 1), assign(LEVEL, boxes[:1]))
    assert (assign(LEVEL, boxes, 0) == -1).all()


def test_centerness():
    sides = jnp.array([[3.0, 3, 3, 3], [1, 2, 4, 8], [0, 1, 2, 1], [-1, 5, 9, 5], [jnp.nan, 1, 1, 1]])
    assert detection_targets.centerness(sides).tolist() == [1, 0.25, 0, 0, 0]
    assert np.isfinite(jax.grad(lambda sides: detection_targets.centerness(sides).sum())(sides)).all()


def test_boxes_that_no_point_learns():
    """One between all points, one hidden by a smaller one at its only point, one without points of its level."""
    boxes = jnp.array([[[1.0, 1, 6, 6], [12, 12, 20, 20], [14, 14, 18, 18], [0, 0, 32, 32]], [[0, 0, 32, 32]] * 4])
    number = jnp.array([4, 1])
    owners = detection_targets.assign(LEVEL, boxes, number)
    missed = detection_targets.without_points(owners, number, 4)
    assert missed.tolist() == [[True, True, False, False], [False] * 4]
