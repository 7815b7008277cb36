"""A file in eight bits: nearly the same numbers, from weights of a quarter of the size."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from onnx import TensorProto

from geodesic.experiments.exporting import int8
from tests.experiments.exporting import functions

RNG = np.random.default_rng(0)
FIRST, SECOND, LAST = (RNG.standard_normal(shape, np.float32) / 9 for shape in ((3, 3, 3, 32), (3, 3, 32, 64), (64, 8)))


def network(x):
    for kernel in (FIRST, SECOND):
        x = jax.nn.relu(lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
    return jnp.mean(x, axis=(1, 2)) @ LAST


def test_all_but_the_first_layer_is_in_eight_bits(caplog):
    made, pictures = functions.model(network, 8, 8, 3), functions.images(5, 8, 8, 3)
    before = made.SerializeToString()
    with caplog.at_level(logging.WARNING):
        found = int8.quantized(made)
    assert not caplog.records and logging.root.isEnabledFor(logging.WARNING)
    assert made.SerializeToString() == before
    kinds = functions.kinds(found)
    assert kinds.count("Conv") == kinds.count("ConvInteger") == kinds.count("MatMulInteger") == 1
    stored = {array.data_type for array in found.graph.initializer if np.prod(array.dims) >= LAST.size}
    assert stored == {TensorProto.FLOAT, TensorProto.UINT8}
    assert len(found.SerializeToString()) < 0.4 * len(before)
    one, other = functions.run(found, pictures), functions.run(made, pictures)
    difference = np.abs(one - other).max() / np.abs(other).max()
    assert 1e-5 < difference < 0.05
