import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from geodesic.errors import UserError
from geodesic.heads.detection import postprocess
from geodesic.losses import detection, detection_targets
from tests.heads.detection import detection_cases

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "torchvision.npz"
VALUES = {"image_size": detection_cases.IMAGE_SIZE, "smallest": 0.3, "candidates": 40, "threshold": 0.5, "kept": 20}


def points() -> tuple[np.ndarray, np.ndarray]:
    """Of torchvision: the corners of cells."""
    height, width = detection_cases.IMAGE_SIZE
    places = [[x, y] for stride in detection_cases.STRIDES for y in range(0, height, stride)
              for x in range(0, width, stride)]
    sizes = [height // stride * width // stride for stride in detection_cases.STRIDES]
    return np.array(places, np.float32), np.repeat(np.array(detection_cases.STRIDES, np.float32), sizes)


@functools.cache
def detect(**values):
    return jax.jit(functools.partial(postprocess.detect, **{**VALUES, **values}))


def one(logits, **values) -> postprocess.Detections:
    """Of an image with three points of one level, two pixels apart: boxes of 2 x 2 pixels that touch."""
    outputs = {"logits": [jnp.asarray(logits, jnp.float32)[None]], "distances": [jnp.full((1, 3, 4), 0.5)],
               "centerness": [jnp.full((1, 3), 50.0)]}
    places = jnp.array([[1.0, 1], [3, 1], [5, 1]])
    found = postprocess.detect(outputs, places, jnp.full(3, 2.0), **{"image_size": (2, 6), "kept": 4, **values})
    return jax.tree.map(lambda array: array[0], found)


def test_what_is_detected_is_what_torchvision_detects():
    """Four images at once: of one less is found than there is room for."""
    found, golden = detect()(detection_cases.outputs(), *points()), np.load(GOLDEN)
    numbers = [len(golden[f"{index}/scores"]) for index in range(4)]
    assert numbers[0] == 20 and 0 < numbers[3] < 20
    for index, number in enumerate(numbers):
        np.testing.assert_array_equal(found.classes[index, :number], golden[f"{index}/labels"])
        np.testing.assert_allclose(found.scores[index, :number], golden[f"{index}/scores"], rtol=1e-5)
        np.testing.assert_allclose(found.boxes[index, :number], golden[f"{index}/boxes"], atol=1e-4)
        assert (found.classes[index, number:] == -1).all()
        assert not found.scores[index, number:].any() and not found.boxes[index, number:].any()


def test_an_image_is_detected_as_in_a_batch_of_its_own():
    outputs = detection_cases.outputs()
    alone = detect()(jax.tree.map(lambda level: level[2:3], outputs), *points())
    for one, other in zip(alone, detect()(outputs, *points()), strict=True):
        np.testing.assert_allclose(one[0], other[2], rtol=1e-6)


def test_by_hand():
    """Two classes at the first point, none at the second one, and the third one's, best first."""
    found = one([[0.0, 2.0], [-9, -9], [1.0, -9]])
    assert found.classes.tolist() == [1, 0, 0, -1]
    np.testing.assert_allclose(found.scores, [*np.sqrt(1 / (1 + np.exp([-2.0, -1, 0]))), 0], rtol=1e-6)
    assert found.boxes.tolist() == [[0, 0, 2, 2], [4, 0, 6, 2], [0, 0, 2, 2], [0, 0, 0, 0]]


def test_boxes_are_cut_at_the_edges():
    assert one([[3.0], [2], [1]], image_size=(1, 5)).boxes.tolist()[:3] == [[0, 0, 2, 1], [2, 0, 4, 1], [4, 0, 5, 1]]


def test_the_best_candidates_of_each_level_go_on():
    assert (one([[3.0, -9], [2, -9], [1, 4]], candidates=2).classes >= 0).tolist() == [True, True, False, False]
    outputs, (places, strides) = detection_cases.outputs(), points()
    found = detect(candidates=1, smallest=0.0)(outputs, places, strides)
    assert (found.classes >= 0).sum(1).max() == 2  # of two levels


@pytest.mark.parametrize("suppression", ["linear", "gaussian"])
def test_soft_suppression_finds_more_boxes_with_lower_scores(suppression):
    """Of the same candidates: the best one is the same, and the scores fall."""
    hard = detect(kept=60)(detection_cases.outputs(), *points())
    soft = detect(kept=60, suppression=suppression)(detection_cases.outputs(), *points())
    np.testing.assert_allclose(soft.scores[:, 0], hard.scores[:, 0], rtol=1e-6)
    assert (np.diff(soft.scores, axis=1) <= 0).all() and ((soft.scores == 0) | (soft.scores > 0.3)).all()
    assert not np.array_equal(soft.classes, hard.classes)


def test_a_nan_of_the_network_is_seen():
    found = one([[jnp.nan], [2], [1]])
    assert np.isnan(found.scores[0]) and found.classes[0] == 0 and np.isfinite(found.scores[1:]).all()


def test_outputs_without_loss_are_read_as_the_true_boxes():
    """Points, units and order are the same for the loss and for what reads the network."""
    points = detection_targets.points((96, 128), (8, 16, 32))
    boxes = jnp.array([[[10.0, 20, 50, 44], [60, 8, 124, 90], [70, 50, 90, 80]], [[0, 0, 120, 90], [0] * 4, [0] * 4]])
    targets = {"boxes": boxes, "classes": jnp.array([[2, 0, 1], [1, -1, -1]]), "num_boxes": jnp.array([3, 1])}
    owners = jax.jit(functools.partial(detection_targets.assign, points))(boxes, targets["num_boxes"])
    own = jnp.maximum(owners, 0)
    sides = detection_targets.distances(points.places, jnp.take_along_axis(boxes, own[..., None], 1))
    right = jnp.where(owners >= 0, jnp.take_along_axis(targets["classes"], own, 1), -1)[..., None] == jnp.arange(3)
    values = {"logits": jnp.where(right, 20.0, -20.0), "distances": sides / points.strides[:, None],
              "centerness": jax.scipy.special.logit(jnp.clip(detection_targets.centerness(sides), 0.01, 0.99))}
    outputs = {name: jnp.split(value, np.cumsum(points.sizes)[:-1], 1) for name, value in values.items()}

    _, _, scalars = jax.jit(detection.fcos(points, 3).apply)({}, {}, outputs, targets, jax.random.key(0))
    assert abs(scalars["box"]) < 1e-5 and scalars["classification"] < 1e-5
    found = detect(image_size=(96, 128), kept=5)(outputs, points.places, points.strides)
    for index, number in enumerate((3, 1)):
        assert (found.classes[index, number:] == -1).all()
        order = np.argsort(found.classes[index, :number])
        expected = np.argsort(targets["classes"][index, :number])
        np.testing.assert_allclose(found.boxes[index][order], boxes[index][expected], atol=1e-4)
        assert found.classes[index][order].tolist() == targets["classes"][index][expected].tolist()


@pytest.mark.parametrize("suppression", postprocess.SUPPRESSIONS)
def test_each_device_detects_in_its_own_images(suppression):
    """Inside jax.shard_map, as networks run."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    outputs = jax.tree.map(lambda level: jax.device_put(level, NamedSharding(mesh, P("data"))),
                           detection_cases.outputs())
    plain = detect(suppression=suppression)
    split = jax.jit(jax.shard_map(lambda outputs: plain(outputs, *points()), mesh=mesh, in_specs=P("data"),
                                  out_specs=P("data")))
    text = split.lower(outputs).compile().as_text()
    assert not re.search(r"all-gather|all-to-all|all-reduce|collective-permute", text)
    for one, other in zip(split(outputs), plain(detection_cases.outputs(), *points()), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_values_that_cannot_be():
    with pytest.raises(UserError, match="hard, linear, gaussian"):
        one([[0.0]] * 3, suppression="soft")
    with pytest.raises(UserError, match="candidate"):
        one([[0.0]] * 3, candidates=0)
    with pytest.raises(ValueError, match="3 points, and there are places for 5"):
        outputs = {"logits": [jnp.zeros((1, 3, 1))], "distances": [jnp.zeros((1, 3, 4))],
                   "centerness": [jnp.zeros((1, 3))]}
        postprocess.detect(outputs, jnp.zeros((5, 2)), jnp.ones(5), image_size=(2, 2))
