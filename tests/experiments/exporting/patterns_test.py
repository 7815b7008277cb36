"""Which nodes a network becomes: BatchNorm goes into convolutions, and rectifiers, means and lengths are one node."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic.experiments.exporting import patterns, trace
from tests.experiments import tiny  # noqa: F401, which registers the embedder
from tests.experiments.exporting import functions


def ops(function, *shape) -> list[str]:
    return [op.name for op in patterns.recognised(trace.trace(function, shape, np.float32)).ops]


def test_a_residual_network_is_convolutions_sums_and_rectifiers():
    made = functions.model(functions.embedder("tiny", 8, embedding_size=4), 8, 8, 3)
    block = ["Conv", "Relu", "Conv"]
    assert functions.kinds(made) == [
        "Transpose", "Conv", "Relu", *block, "Add", "Relu", *block, "Conv", "Add", "Relu", "GlobalAveragePool",
        "Flatten", "Gemm"]


def test_what_is_folded_is_what_was_there():
    """A convolution's weights with the BatchNorm behind it, by hand in float64."""
    from geodesic import embedders

    module = embedders.build("tiny", convolution="native", embedding_size=4)
    variables = functions.weights(module, 8)
    made = functions.model(functions.embedder("tiny", 8, "stem", embedding_size=4), 8, 8, 3)
    params, statistics = variables["params"], variables["batch_stats"]["bn1"]
    factor = params["bn1"]["scale"] / np.sqrt(statistics["var"].astype(np.float64) + 1e-5)
    arrays = {array.name: np.frombuffer(array.raw_data, np.float32).reshape(array.dims)
              for array in made.graph.initializer}
    weight = np.transpose(params["conv1"]["kernel"] * factor, (3, 2, 0, 1))
    np.testing.assert_allclose(arrays["conv1/weight"], weight, rtol=1e-6)
    np.testing.assert_allclose(arrays["conv1/bias"], params["bn1"]["bias"] - statistics["mean"] * factor, rtol=1e-5,
                               atol=1e-6)


def test_what_stands_before_a_padded_convolution_is_not_folded():
    """IResNet's block begins with BatchNorm, whose shift the padding of zeros does not have."""
    kinds = functions.kinds(functions.model(functions.embedder(
        "iresnet18", 16, "stage1", stage_sizes=(1, 1, 1, 1), embedding_size=4), 16, 16, 3))
    assert kinds == ["Transpose", "Conv", "PRelu", "Mul", "Add", "Conv", "PRelu", "Conv", "Conv", "Add", "Transpose"]


@pytest.mark.parametrize(("function", "expected"), [
    (lambda x: jnp.maximum(x, 0), ["relu"]),
    (jax.nn.softplus, ["softplus"]),
    (lambda x: jnp.where(x <= 0, 0, x), ["relu"]),
    (lambda x: jnp.where(x <= 0, 1, x), ["le", "select_n"]),
    (lambda x: jnp.where(x > 0, x, 0.5 * x), ["prelu"]),
    (lambda x: jnp.where(x > 1, x, 0.5 * x), ["gt", "affine", "select_n"]),
    (lambda x: jnp.mean(x, axis=(1, 2)), ["mean"]),
    (lambda x: jnp.sum(x, axis=(1, 2)) / 7, ["reduce_sum", "affine"]),
    (lambda x: jnp.sqrt(jnp.sum(x * x, axis=-1)), ["length"]),
    (lambda x: jnp.sqrt(jnp.sum(x * jnp.abs(x), axis=-1)), ["abs", "mul", "reduce_sum", "sqrt"]),
    (lambda x: jax.nn.softmax(x, axis=2), ["softmax"]),
    (lambda x: jnp.exp(x) / jnp.sum(jnp.exp(x - 1), axis=2, keepdims=True),
     ["exp", "affine", "exp", "reduce_sum", "reshape", "div"]),
    (lambda x: (x - 1) * jnp.arange(4.0) / 3, ["affine"]),
    (lambda x: x * jnp.arange(4.0).reshape(4, 1), ["mul"]),
    (lambda x: 1 / x, ["div"]),
])
def test_what_is_recognised_and_what_is_not(function, expected):
    assert ops(function, 4, 4, 4) == expected


def test_a_result_that_is_used_twice_stays():
    def function(x):
        y = x @ jnp.ones((4, 4))
        return y * 3 + jnp.tanh(y)

    assert ops(function, 4) == ["dense", "affine", "tanh", "add"]


@pytest.mark.slow
def test_resnet_50_is_few_nodes():
    made = functions.model(functions.embedder("resnet50", 64, embedding_size=512), 64, 64, 3)
    assert len(made.graph.node) == 123  # and 4 of preprocessing, 3 of the length
    assert functions.difference(functions.embedder("resnet50", 64, embedding_size=512), made,
                                functions.images(2, 64, 64, 3)) < 1e-5
