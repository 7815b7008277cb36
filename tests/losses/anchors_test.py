import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.losses import anchors, boxes
from tests.losses import cases, detection_cases, goldens, retinanet_cases


def anchors_of(grid: str) -> anchors.Anchors:
    return anchors.make(*retinanet_cases.GRIDS[grid], offset=0.0, spread=True)


@pytest.mark.parametrize("grid", retinanet_cases.GRIDS)
def test_anchors_are_those_of_torchvision(grid):
    found, (size, strides) = anchors_of(grid), retinanet_cases.GRIDS[grid]
    np.testing.assert_array_equal(found.places, goldens.load("retinanet")[f"anchors/{grid}"])
    assert found.sizes == tuple(9 * -(-size[0] // stride) * -(-size[1] // stride) for stride in strides)
    assert found.strides[[0, -1]].tolist() == [strides[0], strides[-1]]


def test_places_that_are_spread_over_the_image_or_a_stride_apart():
    """Of 96 x 160 pixels a stride of 64 makes 2 x 3 cells: 48 and 53 pixels apart, or 64."""
    middles = lambda spread: anchors.make((96, 160), (64,), scales=(1.0,), ratios=(1.0,), spread=spread).places.reshape(
        2, 3, 4)[:, :, :2] + 32
    np.testing.assert_array_equal(middles(False)[..., 0], [[32, 96, 160]] * 2)
    np.testing.assert_array_equal(middles(True)[:, 1], [[79.5, 24], [79.5, 72]])


@pytest.mark.parametrize("name", retinanet_cases.matching())
def test_matching_is_that_of_torchvision(name):
    """60 images each, some without a box, with equal overlaps, and the same box twice."""
    sets, found = retinanet_cases.matching()[name], anchors_of(name.split(",")[0])
    owners = cases.jit(lambda boxes, number: anchors.assign(found, boxes, number))(sets.boxes, sets.num_boxes)
    expected = goldens.load("retinanet")[f"owners/{name}"]
    np.testing.assert_array_equal(owners, expected)
    assert (expected == anchors.NEITHER).any() and (expected >= 0).any() and (sets.num_boxes == 0).any()


def test_the_best_anchor_of_every_box_is_positive():
    """Of small ones too, that no anchor overlaps by half; of an image's only box, it is its own."""
    sets = detection_cases.random_sets(11, 40, False, smallest=0.01)
    sets.num_boxes[:10] = 1
    found = anchors.make(sets.image_size, sets.strides)
    assign = cases.jit(lambda boxes, number: anchors.assign(found, boxes, number))
    small = 0
    for image, own in enumerate(np.asarray(assign(sets.boxes, sets.num_boxes))):
        for place, box in enumerate(sets.boxes[image, :sets.num_boxes[image]]):
            overlap = np.asarray(boxes.iou(found.places, box))
            assert own[overlap.argmax()] >= 0 and (image >= 10 or own[overlap.argmax()] == place)
            small += overlap.max() < 0.4
    assert small > 20


def test_a_box_that_no_anchor_overlaps_has_none():
    found = anchors.make((16, 16), (8,), scales=(1.0,), ratios=(1.0,))
    owners = anchors.assign(found, np.float32([[[50, 50, 60, 60], [0, 0, 8, 8]]]), np.array([2]))
    assert owners.tolist() == [[1, -1, -1, -1]]


def test_padding_is_nothing_whatever_it_holds():
    sets = retinanet_cases.matching()["even, any"]
    padded = np.where(np.arange(sets.boxes.shape[1])[:, None] < sets.num_boxes[:, None, None], sets.boxes, np.nan)
    assign = cases.jit(lambda boxes, number: anchors.assign(anchors_of("even"), boxes, number))
    np.testing.assert_array_equal(assign(padded, sets.num_boxes), assign(sets.boxes, sets.num_boxes))


@pytest.mark.parametrize(("values", "message"), [
    ({"scales": ()}, "one or more scales"), ({"ratios": (1.0, 0.0)}, r"ratios, above 0; got \(1.0, 0.0\)"),
    ({"scales": (0.1,)}, "scale 0.1 of stride 8 is less"), ({"strides": (16, 8)}, "1 or more pixels and grow")])
def test_values_that_cannot_be(values, message):
    with pytest.raises(UserError, match=message):
        anchors.make(**{"image_size": (32, 32), "strides": (8,), **values})
