import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic.losses import cross_entropy


def test_halves_make_the_whole():
    logits = np.random.default_rng(0).normal(size=(5, 4)) * 10
    expected = np.log(np.exp(logits).sum(1)) - logits[:, 0]
    others = jax.nn.logsumexp(jnp.asarray(logits[:, 1:], jnp.float32), axis=1)
    np.testing.assert_allclose(cross_entropy.cross_entropy(jnp.float32(logits[:, 0]), others), expected, rtol=1e-5)


def test_tiny_losses_are_precise_and_never_negative():
    """log(e^64 + e^44) - 64 is 0 in float32; the loss is not."""
    assert float(cross_entropy.cross_entropy(jnp.float32(64), jnp.float32(44))) == pytest.approx(2.0611537e-9, rel=1e-5)


def test_a_single_class_costs_nothing():
    value, gradient = jax.value_and_grad(cross_entropy.cross_entropy, argnums=(0, 1))(jnp.float32(3), -jnp.inf)
    assert value == 0 and gradient == (0, 0)
