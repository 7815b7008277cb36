import jax.numpy as jnp
import numpy as np
import pytest

from geodesic.metrics import subcenters


def test_outliers_are_far_from_where_their_class_gathers():
    """Class 0 gathers at its second prototype with three of four, class 1 has no sample."""
    prototypes = jnp.array([[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 1]]])
    embeddings = jnp.array([[0, 2.0, 0], [0.1, 1, 0], [1, 3.8, 0], [1, 0.2, 0]])
    found, dominant = subcenters.outliers(embeddings, jnp.zeros(4, int), prototypes)
    np.testing.assert_array_equal(found, [False, False, False, True])
    assert dominant[0] == 1
    assert not subcenters.outliers(embeddings, jnp.zeros(4, int), prototypes, degrees=89)[0].any()


def test_single_prototypes_are_refused():
    with pytest.raises(ValueError, match=r"prototypes \[C,k,D\] of subcenter_arcface"):
        subcenters.outliers(jnp.ones((2, 3)), jnp.zeros(2, int), jnp.ones((4, 3)))
