"""Functions as ONNX, run by onnxruntime, against jax: forms of convolution, pools, products, loops, orders of axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from geodesic import heads, losses
from geodesic.errors import UserError
from geodesic.experiments.exporting import write
from tests.experiments import tiny  # noqa: F401, which registers the embedder
from tests.experiments.exporting import functions

RNG = np.random.default_rng(0)


def kernel(*shape) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


def convolution(weights, strides=1, padding=((1, 1), (1, 1)), groups=1, dilation=1):
    return lambda x: lax.conv_general_dilated(
        x, weights, (strides, strides), padding, rhs_dilation=(dilation, dilation), feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"))


def pool(value, reduce, strides, padding):
    return lambda x: lax.reduce_window(x, value, reduce, (1, 3, 3, 1), (1, strides, strides, 1), padding)


FOUR, EIGHT, MATRIX = convolution(kernel(3, 3, 8, 4)), convolution(kernel(3, 3, 8, 8), strides=2), kernel(144, 5)
CASES = {
    "a 3x3 convolution": convolution(kernel(3, 3, 8, 4)),
    "stride 2, padded alike on both sides": convolution(kernel(3, 3, 8, 4), strides=2),
    "padded on one side": convolution(kernel(3, 3, 8, 4), strides=2, padding=((0, 1), (2, 0))),
    "4 groups": convolution(kernel(3, 3, 2, 12), groups=4),
    "depthwise": convolution(kernel(3, 3, 1, 8), groups=8),
    "dilated": convolution(kernel(3, 3, 8, 4), dilation=2),
    "two in a row": lambda x: FOUR(EIGHT(x)),
    # All numbers are below zero: a pool that pads with 0 gives 0 at the border.
    "max-pool below zero": lambda x: pool(-jnp.inf, lax.max, 2, ((0, 0), (1, 1), (1, 1), (0, 0)))(-jnp.exp(x)),
    "max-pool padded at the end": lambda x: pool(-jnp.inf, lax.max, 2, ((0, 0), (0, 1), (0, 1), (0, 0)))(-jnp.exp(x)),
    "average pool": lambda x: pool(0.0, lax.add, 1, ((0, 0), (1, 1), (1, 1), (0, 0)))(x) / 9,
    "mean over rows": lambda x: jnp.mean(x, axis=1),
    "mean, then maximum": lambda x: jnp.mean(x, axis=(1, 2)) + jnp.max(x, axis=(1, 2)),
    "sum of channels": lambda x: jnp.sum(x, axis=3),
    "mirrored": lambda x: jnp.flip(x, 2),
    "flattened, then a product": lambda x: FOUR(x).reshape(x.shape[0], -1) @ MATRIX,
    "flattened, with more to it": lambda x: jnp.tanh(FOUR(x).reshape(x.shape[0], -1)),
    "places as a sequence": lambda x: x.reshape(x.shape[0], -1, 8) @ MATRIX[:8],
    "attention": lambda x: jnp.einsum("bij,bkj->bik", x.reshape(x.shape[0], -1, 8), x.reshape(x.shape[0], -1, 8)),
    "side by side": lambda x: jnp.concatenate([x, FOUR(x), lax.slice_in_dim(x, 1, 4, axis=3)], axis=-1),
    "channels before places": lambda x: x.transpose(0, 3, 1, 2),
    "a rectifier with slopes": lambda x: jnp.where(x > 0, x, np.linspace(0.1, 0.5, 8, dtype=np.float32) * x),
    "powers": lambda x: (jnp.maximum(x, 1e-6) ** 2.5 + x ** 2 + x ** 3) / 7 + lax.rsqrt(x * x + 1),
    "softmax": lambda x: jax.nn.softmax(jnp.mean(x, axis=(1, 2)), axis=-1),
    "softmax over rows of a map": lambda x: jax.nn.softmax(FOUR(x), axis=1),
    "a normalised row": lambda x: _unit(jnp.mean(x, axis=(1, 2))),
    "a part of the channels": lambda x: FOUR(x)[:, 1:, ..., 2] * x[:, 1:, :, -1],
    "several channels": lambda x: x[..., 3:5],
    "softplus": lambda x: jax.nn.softplus(FOUR(x)),
    "numbers from somewhere else": lambda x: 3 - x / jnp.arange(1.0, 9.0) + jnp.zeros_like(x, shape=(8,)),
}


def _unit(rows):
    return rows / jnp.maximum(jnp.sqrt(jnp.sum(rows * rows, axis=-1, keepdims=True)), 1e-20)


@pytest.mark.parametrize("name", CASES)
def test_a_function_gives_the_same_numbers(name):
    made = functions.model(CASES[name], 6, 6, 8)
    assert functions.difference(CASES[name], made, functions.images(3, 6, 6, 8)) < 2e-6


FREE = ("a 3x3 convolution", "stride 2, padded alike on both sides", "max-pool below zero", "average pool",
        "mean over rows", "mean, then maximum", "mirrored", "flattened, with more to it", "places as a sequence",
        "side by side", "softmax")


@pytest.mark.parametrize("name", FREE)
def test_heights_and_widths_may_be_free(name):
    made = functions.model(CASES[name], "height", "width", 8)
    for size in ((6, 6), (5, 9), (4, 3)):
        assert functions.difference(CASES[name], made, functions.images(3, *size, 8)) < 2e-6


@pytest.mark.parametrize(("function", "told"), [
    (lambda x: x[:, 1:], "slice of a size that is free"),
    (lambda x: x.reshape(x.shape[0], x.shape[1], -1) * 2, "reshape to several sizes"),
    (lambda x: x * jnp.arange(x.shape[1], dtype=jnp.float32)[:, None, None], "iota of a size that is free"),
    (lambda x: jnp.mean(x, axis=(1, 2)) * x.shape[1], "'dim_as_value'"),
    (lambda x: lax.scan(lambda c, row: (c + row, None), x[:, 0] * 0, x.transpose(1, 0, 2, 3))[0],
     "scan over a size that is free"),
])
def test_what_a_free_size_stands_in_the_way_of_is_named(function, told):
    with pytest.raises(UserError, match=f"{told}.* at .*lower_test"):
        functions.model(function, "height", "width", 8)


def test_a_part_beyond_the_end_is_refused():
    with pytest.raises(UserError, match="for the primitive 'gather of images, or beyond"):
        functions.model(lambda x: x.at[..., 9].get(mode="clip"), 6, 6, 8)


def test_several_arrays_one_of_which_makes_the_other():
    both = lambda x: (jnp.sum(x, axis=3), jnp.exp(jnp.sum(x, axis=3)))
    pictures = functions.images(3, 6, 6, 8)
    made = write.onnx_model(both, (6, 6, 8), np.float32, ("first", "second"), {})
    assert [value.name for value in made.graph.output] == ["first", "second"]
    for found, wanted in zip(functions.arrays(made, pictures), both(pictures), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


# A trunk with all that it may have above it.
ABOVE = {
    **{f"pooling {name}": {"pooling": name, "embedding_size": 8}
       for name in ("max", "average_max", "generalised_mean", "flatten")},
    **{f"neck {name}": {"neck": name, "embedding_size": 8} for name in ("bn_fc_bn", "layer_norm")},
    "bn_fc_bn of a flattened map": {"neck": "bn_fc_bn", "pooling": "flatten", "embedding_size": 8},
    "linear": {"head": heads.build("linear"), "head_layers": ("stage1", "stage2")},
    "mlp": {"head": heads.build("mlp", hidden_sizes=(9, 8), activation="gelu", size=4)},
    "conv": {"head": heads.build("conv", channels=(8,), activation="silu")},
    "gru": {"head": heads.build("recurrent", hidden_size=8)},
    "lstm, both ways": {"head": heads.build("recurrent", cell="lstm", hidden_size=8, bidirectional=True)},
    "attention_pool": {"head": heads.build("attention_pool", num_queries=2, num_heads=2, width=8, size=4)},
}

SHORT = ("pooling average_max", "neck layer_norm", "gru", "attention_pool")


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in SHORT else pytest.mark.slow)
                                  for name in ABOVE])
def test_whatever_lies_above_the_trunk(name):
    function = functions.embedder("tiny", 8, **ABOVE[name])
    made = functions.model(function, 8, 8, 3)
    assert functions.difference(function, made, functions.images(3, 8, 8, 3)) < 1e-5
    sequences = {"attention_pool": 2}  # the map becomes a sequence of its places
    assert functions.kinds(made).count("Transpose") == sequences.get(name, 1)


@pytest.mark.parametrize("layer", ["stage1", "pool"])
def test_every_named_layer_in_the_order_of_its_axes(layer):
    function = functions.embedder("tiny", 8, layer, embedding_size=8)
    made = functions.model(function, 8, 8, 3)
    assert functions.difference(function, made, functions.images(3, 8, 8, 3)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", losses.CLASS_LOSSES)
def test_the_scores_of_every_loss_that_learns_classes(name):
    loss = losses.build(name, num_classes=6)
    params, _ = loss.init(jax.random.key(0), 8)
    params = jax.tree.map(lambda like: kernel(*like.shape), params)

    def function(x):
        scores = loss.scores(params, jnp.mean(x, axis=(1, 2)))
        return scores if loss.probabilities is None else loss.probabilities(scores)

    made = functions.model(function, 2, 2, 8)
    assert functions.difference(function, made, functions.images(3, 2, 2, 8)) < 2e-6


def test_what_is_not_known_is_named_with_its_place():
    with pytest.raises(UserError, match=r"'cumsum', at \(exporting/lower_test\.py:\d+\): export stablehlo"):
        functions.model(lambda x: jnp.cumsum(x, axis=1), 6, 6, 8)


def test_what_depends_on_no_picture_is_refused():
    with pytest.raises(UserError, match="does not depend on the picture"):
        functions.model(lambda x: jnp.ones((x.shape[0], 3)), 6, 6, 8)
