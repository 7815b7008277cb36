import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from geodesic.errors import UserError
from geodesic.heads.detection.pyramid import Pyramid, repeated
from tests.heads.detection import network_cases as cases

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "network.npz"


def test_it_is_torchvisions():
    given = traverse_util.unflatten_dict(cases.weights(), sep="/")["pyramid"]
    pyramid = Pyramid(cases.CHANNELS, cases.COARSER)
    shuffled = {name: cases.layers()[name] for name in ("stage3", "stage4", "stage2")}
    for layers in (cases.layers(), shuffled):  # whatever the order in which they come
        found = jax.jit(lambda layers: pyramid.apply({"params": given}, layers))(layers)
        with np.load(GOLDEN) as golden:
            assert [x.shape for x in found] == [golden[f"map{place}"].shape for place in range(5)]
            for place, x in enumerate(found):
                np.testing.assert_allclose(x, golden[f"map{place}"], rtol=1e-4, atol=1e-5)


def test_a_cell_is_repeated_over_those_that_lie_in_it():
    coarse = jnp.arange(6.0).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(repeated(coarse, (3, 5))[0, ..., 0],
                                  [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]])
    np.testing.assert_array_equal(repeated(coarse, (8, 9))[0, 4:, :4, 0], [[3, 3, 3, 4]] * 4)  # four and three times


def test_layers_of_one_size_are_no_pyramid():
    with pytest.raises(UserError, match="each level of a pyramid is coarser than the one before; the layers a, b are "
                                        "4, 4 cells high"):
        jax.eval_shape(Pyramid(8).init, jax.random.key(0), {"a": jnp.ones((1, 4, 4, 3)), "b": jnp.ones((1, 4, 4, 5))})
