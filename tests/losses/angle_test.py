import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic.losses import angle

COSINES = np.linspace(-1, 1, 4001, dtype=np.float32)


@pytest.mark.parametrize("gradient", angle.GRADIENTS)
@pytest.mark.parametrize("margin", [0.0, 0.5, 1.5])
def test_targets_are_finite_and_below_the_cosine_of_no_angle(gradient, margin):
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(lambda c: angle.arc_target(c, margin, gradient))))(COSINES)
    assert np.all(np.isfinite(values)) and np.all(np.isfinite(slopes))
    if gradient in ("fallback", "clip"):
        assert np.all(slopes >= 0), "monotone"
    assert np.all(values <= 1 + 1e-6)


def test_sums_of_angles():
    inside = COSINES[np.abs(COSINES) < 0.9999]
    expected = np.cos(np.arccos(inside.astype(np.float64)) + 0.7)
    np.testing.assert_allclose(angle.cos_of_sum(inside, 0.7), expected, atol=3e-6)


def test_theta_and_its_capped_slope():
    np.testing.assert_allclose(angle.theta(COSINES), np.arccos(COSINES), atol=1e-6)
    slopes = jax.jit(jax.vmap(jax.grad(angle.theta)))(COSINES)
    inside = np.abs(COSINES) < 0.9999
    np.testing.assert_allclose(slopes[inside], -1 / np.sqrt(1 - COSINES[inside].astype(np.float64) ** 2), rtol=1e-3)
    assert np.all(np.isfinite(slopes)) and np.min(slopes) >= -1001


def test_unknown_gradients_are_refused():
    with pytest.raises(ValueError, match="unknown gradient 'ful'"):
        angle.arc_target(jnp.zeros(3), math.pi / 6, "ful")
