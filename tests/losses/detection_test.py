import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from geodesic.errors import UserError
from geodesic.losses import detection, detection_targets
from tests.losses import cases, detection_cases, goldens

POINTS = detection_targets.points(detection_cases.IMAGE_SIZE, detection_cases.STRIDES)


@functools.cache
def batch():
    """(outputs, targets)."""
    sets = detection_cases.random_sets(9, detection_cases.BATCH, False)
    return detection_cases.outputs(), {"boxes": sets.boxes, "classes": sets.classes, "num_boxes": sets.num_boxes}


def stepped(**options):
    """(outputs, targets) -> ((loss, scalars), gradients of outputs)."""
    loss = detection.fcos(POINTS, detection_cases.NUM_CLASSES, **options)

    def value(outputs, targets):
        found, state, scalars = loss.apply({}, {}, outputs, targets, cases.key())
        assert state == {}
        return found, scalars

    return cases.jit(jax.value_and_grad(value, has_aux=True))


@functools.cache
def plain():
    return jax.tree.map(np.asarray, stepped()(*batch()))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_focal_loss_is_that_of_torchvision(gamma):
    golden, (logits, positive) = goldens.load("detection"), detection_cases.logits()
    weights = np.linspace(1, 2, 64, dtype=np.float32)
    found, gradient = jax.value_and_grad(lambda logits: jnp.sum(weights * detection.sigmoid_focal(
        logits, positive, alpha=0.3, gamma=gamma)))(logits)
    goldens.assert_close(found, golden[f"focal/{gamma}/value"])
    goldens.assert_close(gradient, golden[f"focal/{gamma}/gradient0"])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("positive", [True, False])
def test_the_focal_loss_is_finite_at_every_logit(gamma, positive):
    logits = jnp.array([-1e4, -100, -20, 0, 20, 100, 1e4])
    focal = functools.partial(detection.sigmoid_focal, positive=jnp.full(7, positive), gamma=gamma)
    assert np.isfinite(focal(logits)).all() and np.isfinite(jax.grad(lambda x: focal(x).sum())(logits)).all()
    assert np.isnan(focal(jnp.full(7, jnp.nan))).all()


def test_the_whole_loss_is_that_of_torchvision():
    """Three parts, and the gradients of their sum with respect to all that the network gives."""
    golden = goldens.load("detection")
    parts = {"classification": "classification", "box": "bbox_regression", "centerness": "bbox_ctrness"}
    (value, scalars), gradients = plain()
    for name, theirs in parts.items():
        goldens.assert_close(scalars[name], golden[f"fcos/{theirs}"])
    goldens.assert_close(value, golden["fcos/value"])
    for index, name in enumerate(batch()[0]):
        goldens.assert_close(np.concatenate(gradients[name], 1), golden[f"fcos/gradient{index}"])


@pytest.mark.parametrize("devices", [8, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 2, 4))])
def test_the_normaliser_is_of_the_global_batch(devices):
    """Each device has few of the images, and other numbers of positives: the loss is that of one device."""
    sharding = NamedSharding(cases.mesh_of(devices), P("data"))
    outputs, targets = jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), batch())
    step = stepped()
    (value, scalars), gradients = step(outputs, targets)
    (expected, theirs), others = plain()
    assert scalars["positives"] == theirs["positives"] > 100
    assert value == pytest.approx(expected, rel=1e-6)
    for found, other in zip(jax.tree.leaves(gradients), jax.tree.leaves(others), strict=True):
        np.testing.assert_allclose(found, other, rtol=1e-5, atol=1e-9)
    text = step.lower(outputs, targets).compile().as_text()
    assert not re.search(r"all-gather|all-to-all|collective-permute", text)
    assert ("all-reduce" in text) == (devices > 1)


@pytest.mark.parametrize("box_loss", detection.BOX_LOSSES)
def test_without_a_box_the_loss_is_that_of_the_background(box_loss):
    """Padding of NaN, in every image: the number of positives counts as 1, and all gradients are finite."""
    outputs, targets = batch()
    empty = {"boxes": np.full_like(targets["boxes"], np.nan), "classes": targets["classes"],
             "num_boxes": np.zeros_like(targets["num_boxes"])}
    (value, scalars), gradients = stepped(box_loss=box_loss)(outputs, empty)
    assert scalars["positives"] == scalars["box"] == scalars["centerness"] == 0
    logits = np.concatenate(outputs["logits"], 1)
    expected = detection.sigmoid_focal(logits, np.zeros_like(logits, bool)).sum()
    assert value == pytest.approx(float(expected), rel=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    assert not any(leaf.any() for leaf in gradients["distances"])


@pytest.mark.parametrize("box_loss", detection.BOX_LOSSES)
def test_a_network_that_gives_boxes_without_area_has_finite_gradients(box_loss):
    outputs, targets = batch()
    outputs = {**outputs, "distances": [np.zeros_like(level) for level in outputs["distances"]]}
    (value, _), gradients = stepped(box_loss=box_loss)(outputs, targets)
    assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_the_parts_by_hand():
    """One point of one level in the box 0, 0, 12, 8 at 4, 4, in strides of 8: (.5, .5, 1, .5) from its sides."""
    points = detection_targets.points((8, 8), (8,))
    loss = detection.fcos(points, 1, gamma=0.0, alpha=0.5)
    outputs = {"logits": [jnp.zeros((1, 1, 1))], "distances": [jnp.array([[[0.5, 0.5, 0.25, 0.5]]])],
               "centerness": [jnp.full((1, 1), 2.0)]}
    targets = {"boxes": jnp.array([[[0.0, 0, 12, 8]]]), "classes": jnp.array([[0]]), "num_boxes": jnp.array([1])}
    value, _, scalars = loss.apply({}, {}, outputs, targets, cases.key())
    assert scalars["classification"] == pytest.approx(np.log(2) / 2, rel=1e-6)
    assert scalars["box"] == pytest.approx(0.5)  # 6 of 12 pixels' width
    assert scalars["centerness"] == pytest.approx(np.log1p(np.exp(2)) - 2 * np.sqrt(0.5), rel=1e-6)
    assert value == pytest.approx(sum(float(scalars[name]) for name in ("classification", "box", "centerness")))
    assert scalars["positives"] == 1 and loss.init(cases.key(), 0) == ({}, {})


def test_outputs_in_bfloat16_are_computed_in_float32():
    outputs, targets = batch()
    low = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), outputs)
    (value, _), gradients = stepped()(low, targets)
    (expected, _), _ = stepped()(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), low), targets)
    assert value == expected and value.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype(jnp.bfloat16)}


def test_a_nan_of_the_network_is_seen():
    outputs, targets = batch()
    for name in outputs:
        broken = {**outputs, name: [np.full_like(level, np.nan) for level in outputs[name]]}
        assert np.isnan(stepped()(broken, targets)[0][0]), name


@pytest.mark.parametrize("values", [{"box_loss": "iou"}, {"alpha": 1.5}, {"gamma": -1.0}, {"radius": 0.0},
                                    {"num_classes": 0}])
def test_values_that_cannot_be(values):
    with pytest.raises(UserError):
        detection.fcos(**{"points": POINTS, "num_classes": 3, **values})


def test_outputs_of_other_points_are_told():
    outputs, targets = batch()
    wrong = {**outputs, "centerness": [level[:, :1] for level in outputs["centerness"]]}
    with pytest.raises(ValueError, match=r"centerness of each image, level by level, have the shapes \[\(192,\)"):
        detection.fcos(POINTS, detection_cases.NUM_CLASSES).apply({}, {}, wrong, targets, cases.key())
