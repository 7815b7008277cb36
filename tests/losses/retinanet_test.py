import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from geodesic.errors import UserError
from geodesic.losses import anchors, retinanet
from tests.losses import cases, goldens, retinanet_cases

ANCHORS = anchors.make(*retinanet_cases.GRIDS["even"], offset=0.0)
PARTS = {"classification": "classification", "box": "bbox_regression"}


def batch(places=slice(None)):
    """(outputs, targets)."""
    sets = retinanet_cases.images()
    targets = {"boxes": sets.boxes, "classes": sets.classes, "num_boxes": sets.num_boxes}
    return jax.tree.map(lambda values: values[places], (retinanet_cases.outputs(), targets))


@functools.cache
def stepped(**options):
    """(outputs, targets) -> ((loss, scalars), gradients of outputs)."""
    loss = retinanet.retinanet(ANCHORS, retinanet_cases.NUM_CLASSES, **options)

    def value(outputs, targets):
        found, state, scalars = loss.apply({}, {}, outputs, targets, cases.key())
        assert state == {}
        return found, scalars

    return cases.jit(jax.value_and_grad(value, has_aux=True))


@pytest.mark.parametrize("kind", retinanet_cases.BOX_LOSSES)
def test_the_loss_of_an_image_is_that_of_torchvision(kind):
    """Both parts, and the gradients of their sum; of the last image, which has no box, too."""
    golden = goldens.load("retinanet")
    for place in range(retinanet_cases.IMAGES):
        (value, scalars), gradients = stepped(**retinanet_cases.BOX_LOSSES[kind])(*batch(slice(place, place + 1)))
        for name, theirs in PARTS.items():
            goldens.assert_close(scalars[name], golden[f"{kind}/{place}/{theirs}"])
        goldens.assert_close(value, golden[f"{kind}/{place}/value"])
        goldens.assert_close(np.concatenate(gradients["logits"], 1)[0], golden[f"l1/{place}/gradient0"])
        goldens.assert_close(np.concatenate(gradients["offsets"], 1)[0], golden[f"{kind}/{place}/gradient1"])


def test_several_images_are_divided_by_the_positives_of_all():
    outputs, targets = batch()
    (value, scalars), _ = stepped()(outputs, targets)
    alone = [stepped()(*batch(slice(place, place + 1)))[0][1] for place in range(retinanet_cases.IMAGES)]
    assert scalars["positives"] == sum(one["positives"] for one in alone) > 20
    for name in PARTS:
        summed = sum(float(one[name] * max(one["positives"], 1)) for one in alone)
        assert scalars[name] == pytest.approx(summed / float(scalars["positives"]), rel=1e-5)
    assert value == pytest.approx(sum(float(scalars[name]) for name in PARTS), rel=1e-6)


@pytest.mark.parametrize("devices", [2, 4])
def test_the_normaliser_is_of_the_global_batch(devices):
    sharding = NamedSharding(cases.mesh_of(devices), P("data"))
    outputs, targets = jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), batch())
    (value, scalars), gradients = stepped()(outputs, targets)
    (expected, theirs), others = stepped()(*batch())
    assert scalars["positives"] == theirs["positives"] and value == pytest.approx(float(expected), rel=1e-6)
    for found, other in zip(jax.tree.leaves(gradients), jax.tree.leaves(others), strict=True):
        np.testing.assert_allclose(found, other, rtol=1e-5, atol=1e-9)
    text = stepped().lower(outputs, targets).compile().as_text()
    assert not re.search(r"all-gather|all-to-all|collective-permute", text) and "all-reduce" in text


@pytest.mark.parametrize("box_loss", retinanet.BOX_LOSSES)
def test_gradients_are_finite_without_a_box_and_for_any_offset(box_loss):
    outputs, targets = batch()
    empty = {**targets, "boxes": np.full_like(targets["boxes"], np.nan), "num_boxes": np.zeros(4, np.int32)}
    (_, scalars), gradients = stepped(box_loss=box_loss)(outputs, empty)
    assert scalars["positives"] == scalars["box"] == 0 and not any(leaf.any() for leaf in gradients["offsets"])
    large = {**outputs, "offsets": [100 * level for level in outputs["offsets"]]}
    for given in ((outputs, empty), (large, targets)):
        (value, _), gradients = stepped(box_loss=box_loss)(*given)
        assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_a_nan_of_the_network_is_seen():
    outputs, targets = batch()
    for name in outputs:
        broken = {**outputs, name: [np.full_like(level, np.nan) for level in outputs[name]]}
        assert np.isnan(stepped()(broken, targets)[0][0]), name


def test_smooth_l1_meets_itself_at_beta():
    found = retinanet.smooth_l1(jnp.array([0.25 - 1e-6, 0.25, 1.0]), 0.25)
    np.testing.assert_allclose(found, [0.125, 0.125, 0.875], rtol=1e-5)


@pytest.mark.parametrize("values", [{"box_loss": "l2"}, {"alpha": 1.5}, {"beta": -1.0}, {"num_classes": 0},
                                    {"positive_iou": 0.3}, {"negative_iou": 0.0}])
def test_values_that_cannot_be(values):
    with pytest.raises(UserError):
        retinanet.retinanet(**{"anchors": ANCHORS, "num_classes": 3, **values})
