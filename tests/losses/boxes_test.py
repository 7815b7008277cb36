import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic.losses import boxes
from tests.losses import cases, detection_cases, goldens

LOSSES = {"giou": boxes.giou_loss, "diou": boxes.diou_loss, "ciou": boxes.ciou_loss}
WEIGHTS = np.linspace(1, 2, 64, dtype=np.float32)
# Pairs in which something divides by 0, or a corner lies on a corner.
ODD = {
    "two points": ([1, 1, 1, 1], [1, 1, 1, 1]), "points apart": ([1, 1, 1, 1], [3, 3, 3, 3]),
    "a point in a box": ([1, 1, 1, 1], [0, 0, 2, 2]), "a line in a box": ([0, 1, 2, 1], [0, 0, 2, 2]),
    "a line, no width": ([1, 0, 1, 2], [0, 0, 2, 2]), "the same line": ([0, 1, 2, 1], [0, 1, 2, 1]),
    "the same box": ([0, 0, 2, 2], [0, 0, 2, 2]), "boxes that touch": ([0, 0, 1, 1], [1, 0, 2, 1]),
    "crossed corners": ([2, 2, 0, 0], [0, 0, 2, 2]), "tiny": ([0, 0, 1e-20, 1e-20], [0, 0, 1e-20, 2e-20]),
    "far apart": ([0, 0, 1e-3, 1e-3], [1e4, 1e4, 2e4, 2e4]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradients_are_those_of_torchvision(name):
    golden = goldens.load("detection")
    value = lambda first, second: jnp.sum(WEIGHTS * LOSSES[name](first, second))
    found, gradients = cases.jit(jax.value_and_grad(value, argnums=(0, 1)))(*detection_cases.pairs())
    goldens.assert_close(found, golden[f"{name}/value"])
    for index, gradient in enumerate(gradients):
        goldens.assert_close(gradient, golden[f"{name}/gradient{index}"])


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradients_are_finite_whatever_the_boxes(name):
    first, second = (jnp.array([pair[side] for pair in ODD.values()], jnp.float32) for side in (0, 1))
    both = lambda first, second: (LOSSES[name](first, second),
                                  *jax.grad(lambda a, b: jnp.sum(LOSSES[name](a, b)), argnums=(0, 1))(first, second))
    for found in (*cases.jit(both)(first, second), *cases.jit(both)(second, first)):
        wrong = [pair for pair, good in zip(ODD, np.isfinite(found).reshape(len(ODD), -1).all(1), strict=True)
                 if not good]
        assert not wrong


def test_values_by_hand():
    """A box of 2 x 2 in the corner of one of 4 x 4; two of 1 x 1 that are 2 apart; a point in the middle of a box."""
    first = jnp.array([[0.0, 0, 2, 2], [0, 0, 1, 1], [2, 2, 2, 2]])
    second = jnp.array([[0.0, 0, 4, 4], [3, 0, 4, 1], [0, 0, 4, 4]])
    assert boxes.iou(first, second).tolist() == [0.25, 0, 0]
    assert boxes.giou_loss(first, second).tolist() == [0.75, 1.5, 1]
    np.testing.assert_allclose(boxes.diou_loss(first, second), [0.75 + 2 / 32, 1 + 9 / 17, 1], rtol=1e-6)
    np.testing.assert_allclose(boxes.ciou_loss(first, second)[:2], boxes.diou_loss(first, second)[:2], rtol=1e-6)


def test_nothing_hides_a_nan():
    for loss in LOSSES.values():
        assert np.isnan(loss(jnp.array([0.0, 0, jnp.nan, 1]), jnp.array([0.0, 0, 1, 1])))
