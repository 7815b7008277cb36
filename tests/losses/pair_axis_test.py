import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import losses
from geodesic.losses import pair_axis


def test_distances_have_finite_slopes():
    cosines = jnp.array([1.0, 1 - 1e-7, 0.0, -1.0])
    values, slopes = jax.vmap(jax.value_and_grad(pair_axis.distance))(cosines)
    np.testing.assert_allclose(values, np.sqrt(2 - 2 * np.asarray(cosines, np.float64)), atol=1e-6)
    assert np.all(np.isfinite(slopes)) and slopes[0] == 0 and slopes[2] == pytest.approx(-1 / np.sqrt(2))


def temporaries(name, chunk_size, batch, **values):
    loss = losses.build(name, num_classes=10, chunk_size=chunk_size, **values)
    value = lambda x, y: loss.apply({}, {}, x, y, jax.random.key(0))[0]
    step = jax.jit(jax.grad(value)).lower(jax.ShapeDtypeStruct((batch, 16), jnp.float32),
                                          jax.ShapeDtypeStruct((batch,), jnp.int32))
    return step.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("name, batch, values", [("multi_similarity", 2048, {}), ("triplet", 128, {"mining": "all"})])
def test_chunks_bound_the_memory(name, batch, values):
    """Sixteen chunks of anchors need less than a quarter of what all at once need."""
    assert temporaries(name, batch // 16, batch, **values) < temporaries(name, 0, batch, **values) / 4
