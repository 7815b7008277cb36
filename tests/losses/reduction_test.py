"""What is added up over chunks of classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic.losses import reduction


@pytest.mark.parametrize("count, size, chunk", [(100, 0 or 200, 100), (100, 30, 25), (100, 25, 25), (97, 10, 10)])
def test_a_chunk_divides_if_a_divisor_is_near(count, size, chunk):
    assert reduction.chunk_of(count, size) == chunk


def test_logsumexp_of_nothing():
    values, gradient = jax.value_and_grad(lambda x: jnp.sum(jnp.exp(reduction.logsumexp(x, axis=1))))(
        jnp.array([[-jnp.inf, -jnp.inf], [0.0, -jnp.inf]]))
    assert values == 1
    np.testing.assert_array_equal(gradient, [[0, 0], [1, 0]])
