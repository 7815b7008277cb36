import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.heads.detection import nms
from tests.heads.detection import detection_cases

APART = jnp.array([[0.0, 0, 1, 1], [5, 0, 6, 1], [0, 5, 1, 6]])
ONE_CLASS = jnp.zeros(3, int)


@functools.cache
def kept_of(seed: int, threshold: float) -> np.ndarray:
    """i32[S,N] places of random sets."""
    keep = functools.partial(nms.nms, threshold=threshold, kept=detection_cases.BOXES)
    return np.asarray(jax.jit(jax.vmap(keep))(*detection_cases.sets(seed)[:3])[0])


def expected_of(sets, threshold: float, keep) -> np.ndarray:
    found = np.full((detection_cases.SETS, detection_cases.BOXES), -1)
    for index, number in enumerate(sets.number):
        places = keep(*(array[index, :number] for array in sets[:3]), threshold)
        found[index, :len(places)] = places
    return found


@pytest.mark.parametrize("seed, threshold", [*enumerate(detection_cases.THRESHOLDS)])
def test_the_boxes_that_are_kept_are_those_of_a_plain_loop(seed, threshold):
    """250 sets each, with equal scores, and IoUs that are the threshold."""
    sets = detection_cases.sets(seed)
    expected = expected_of(sets, threshold, detection_cases.greedy)
    np.testing.assert_array_equal(kept_of(seed, threshold), expected)
    assert 100 < (expected >= 0).sum() < sets.number.sum() - 100
    assert not np.array_equal(kept_of(seed, threshold - 1e-6), kept_of(seed, threshold + 1e-6))


@pytest.mark.parametrize("seed, threshold", [(10, 0.2137), (11, 0.4391), (12, 0.5713)])
def test_the_boxes_that_are_kept_are_those_of_opencv(seed, threshold):
    """Thresholds that no IoU is: OpenCV computes in float64."""
    def opencv(boxes, scores, classes, threshold):
        places = []
        for one in range(detection_cases.NUM_CLASSES):
            own = np.flatnonzero(classes == one)
            sides = np.concatenate([boxes[own, :2], boxes[own, 2:] - boxes[own, :2]], 1).tolist()
            places += own[np.asarray(cv2.dnn.NMSBoxes(sides, scores[own].tolist(), 0.0, threshold), int)].tolist()
        return sorted(places, key=lambda place: (-scores[place], place))

    np.testing.assert_array_equal(kept_of(seed, threshold), expected_of(detection_cases.sets(seed), threshold, opencv))


def test_an_overlap_that_is_the_threshold():
    """.6 in float32 is above .6, as torchvision has it; 1/2 is 1/2, and is not larger than itself."""
    boxes = jnp.array([[0.0, 0, 5, 1], [0, 0, 3, 1], [20, 0, 22, 1], [20, 0, 21, 1]])
    keep = lambda threshold: nms.nms(boxes, jnp.array([4.0, 3, 2, 1]), jnp.zeros(4, int), threshold=threshold, kept=4)
    assert keep(0.6)[0].tolist() == [0, 2, 3, -1]
    assert keep(0.5)[0].tolist() == [0, 2, 3, -1]
    assert keep(0.49)[0].tolist() == [0, 2, -1, -1]
    assert keep(0.61)[0].tolist() == [0, 1, 2, 3]


def test_fewer_and_more_boxes_than_there_are():
    scores = jnp.array([1.0, -jnp.inf, 2.0])
    places, found = nms.nms(APART, scores, ONE_CLASS, threshold=0.5, kept=1)
    assert places.tolist() == [2] and found.tolist() == [2]
    places, found = nms.nms(APART, scores, ONE_CLASS, threshold=0.5, kept=5)
    assert places.tolist() == [2, 0, -1, -1, -1] and found.tolist() == [2, 1, -np.inf, -np.inf, -np.inf]


def test_boxes_without_area_and_of_negative_corners():
    boxes = jnp.array([[1.0, 1, 1, 1], [1, 1, 1, 1], [-9, -9, -5, -5], [-9, -9, -5, -5]])
    places, _ = nms.nms(boxes, jnp.arange(4.0), jnp.array([0, 0, 0, 1]), threshold=0.5, kept=4)
    assert places.tolist() == [3, 2, 1, 0]


def soft(boxes, scores, classes, method, threshold, sigma, smallest) -> list[tuple[int, float]]:
    """The paper's figure 2, in float64."""
    left, found = {place: float(score) for place, score in enumerate(scores) if score > smallest}, []
    while left:
        best = max(left, key=lambda place: (left[place], -place))
        found.append((best, left.pop(best)))
        overlaps = np.asarray(nms.iou(boxes[best], boxes), np.float64)
        for place in left:
            if classes[place] == classes[best]:
                overlap = overlaps[place]
                left[place] *= {"linear": 1 - overlap if overlap > threshold else 1.0,
                                "gaussian": np.exp(-overlap ** 2 / sigma)}[method]
        left = {place: score for place, score in left.items() if score > smallest}
    return found


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_soft_suppression_is_that_of_the_paper(method):
    random, classes = np.random.RandomState(0), np.random.RandomState(1).randint(0, 2, (20, 16))
    corners = random.uniform(0, 6, (20, 16, 2))
    boxes = np.concatenate([corners, corners + random.uniform(1, 6, (20, 16, 2))], -1).astype(np.float32)
    scores = random.uniform(0, 1, (20, 16)).astype(np.float32)
    values = {"method": method, "threshold": 0.3, "sigma": 0.4, "smallest": 0.2}
    places, found = jax.jit(jax.vmap(functools.partial(nms.soft_nms, kept=16, **values)))(boxes, scores, classes)
    for index in range(20):
        expected = soft(boxes[index], scores[index], classes[index], **values)
        number = len(expected)
        assert places[index, :number].tolist() == [place for place, _ in expected]
        np.testing.assert_allclose(found[index, :number], [score for _, score in expected], rtol=1e-5)
        assert (places[index, number:] == -1).all() and (found[index, number:] == -np.inf).all()
    assert 100 < (places >= 0).sum() < (scores > 0.2).sum() - 20


@pytest.mark.parametrize("keep", [functools.partial(nms.nms, threshold=0.5), nms.soft_nms])
def test_a_nan_is_seen(keep):
    places, scores = keep(APART, jnp.array([0.5, jnp.nan, 0.25]), ONE_CLASS, kept=3)
    assert places.tolist() == [1, 0, 2] and np.isnan(scores[0]) and scores[1:].tolist() == [0.5, 0.25]


@pytest.mark.parametrize("call", [
    lambda *boxes: nms.nms(*boxes, threshold=1.5, kept=1), lambda *boxes: nms.nms(*boxes, threshold=0.5, kept=0),
    lambda *boxes: nms.soft_nms(*boxes, kept=1, method="cubic"),
    lambda *boxes: nms.soft_nms(*boxes, kept=1, sigma=0.0), lambda *boxes: nms.soft_nms(*boxes, kept=1, smallest=-1.0)])
def test_values_that_cannot_be(call):
    with pytest.raises(UserError):
        call(APART, jnp.ones(3), ONE_CLASS)
