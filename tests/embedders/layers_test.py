"""Convolution and normalisation against hand calculations; BatchNorm's statistics on eight devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from geodesic.embedders import layers
from geodesic.embedders.cpu import convolution

DEVICES = 8


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))


@pytest.fixture(scope="module")
def images():
    """Each device's shard has its own mean and spread."""
    x = np.random.default_rng(0).standard_normal((DEVICES, 2, 3, 3, 4)).astype(np.float32)
    return (x * np.arange(1, 9).reshape(8, 1, 1, 1, 1) + np.arange(8).reshape(8, 1, 1, 1, 1)).reshape(16, 3, 3, 4)


def normalise(mesh, images, kind: str, group_size: int = 0, train: bool = True):
    """(output, updated running statistics of each device [8,4], gradient by scale)."""
    make = functools.partial(layers.batch_norm, kind, dtype="float32", momentum=0.9, epsilon=1e-5)
    variables = layers.batch_norm("local", False, "float32", momentum=0.9, epsilon=1e-5)().init(
        jax.random.key(0), images[:1])
    variables = {"params": variables["params"], "batch_stats": {"mean": jnp.full(4, 2.0), "var": jnp.full(4, 9.0)}}

    def run(params, x):
        norm = make(train, group_size=group_size)()
        out, updated = norm.apply({**variables, "params": params}, x, mutable=["batch_stats"])
        return out, jax.tree.map(lambda s: s[None], updated.get("batch_stats", {}))

    sharded = jax.shard_map(run, mesh=mesh, in_specs=(P(), P("data")), out_specs=(P("data"), P("data")))

    def loss(params, x):
        out, updated = sharded(params, x)
        return jnp.sum(out ** 3), (out, updated)

    gradient, (out, updated) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"], images)
    return np.asarray(out), jax.tree.map(np.asarray, updated), gradient


def by_hand(images, groups: int):
    """Normalised with the statistics of each of `groups` parts of the batch."""
    parts = images.reshape(groups, -1, 4).astype(np.float64)
    mean, var = parts.mean(1, keepdims=True), parts.var(1, keepdims=True)
    return ((parts - mean) / np.sqrt(var + 1e-5)).reshape(images.shape), mean[:, 0], var[:, 0]


@pytest.mark.parametrize(("kind", "group_size", "groups"), [
    ("local", 0, 8), ("synchronised", 0, 1), ("synchronised", 8, 1), ("synchronised", 4, 2), ("synchronised", 2, 4)])
def test_batch_norm_takes_the_statistics_of_its_devices(mesh, images, kind, group_size, groups):
    out, updated, gradient = normalise(mesh, images, kind, group_size)
    expected, mean, var = by_hand(images, groups)
    np.testing.assert_allclose(out, expected, atol=2e-5)
    repeat = lambda s: np.repeat(s, DEVICES // groups, axis=0)
    np.testing.assert_allclose(updated["mean"], 0.9 * 2 + 0.1 * repeat(mean), rtol=1e-5)
    np.testing.assert_allclose(updated["var"], 0.9 * 9 + 0.1 * repeat(var), rtol=1e-5)
    np.testing.assert_allclose(gradient["scale"], 3 * (expected ** 3).sum((0, 1, 2)), rtol=1e-4)


def test_frozen_batch_norm_uses_and_keeps_the_running_statistics(mesh, images):
    out, updated, gradient = normalise(mesh, images, "frozen")
    np.testing.assert_allclose(out, (images - 2) / np.sqrt(9 + 1e-5), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(updated["mean"], np.full((8, 4), 2.0))
    np.testing.assert_array_equal(updated["var"], np.full((8, 4), 9.0))
    assert np.all(np.asarray(gradient["scale"]) != 0)  # scale and bias learn
    evaluated, *_ = normalise(mesh, images, "local", train=False)
    np.testing.assert_array_equal(out, evaluated)


def test_a_group_size_that_does_not_divide(mesh, images):
    with pytest.raises(ValueError, match="batch_norm_group_size 3 does not divide the 8 devices"):
        normalise(mesh, images, "synchronised", 3)


def test_convolution_pads_symmetrically():
    """PyTorch's stride-2 convolution starts on the first pixel; Flax's SAME would start on the second."""
    conv = layers.Conv(1, 3, 2)
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    out = conv.apply({"params": {"kernel": jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)}}, x)
    np.testing.assert_array_equal(out[0, :, :, 0], [[0, 2], [8, 10]])


@pytest.mark.parametrize("side", (8, 9))
def test_space_to_depth_is_the_strided_convolution(side):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, side, side + 1, 3), np.float32))
    stem = layers.SpaceToDepthConv(4, "float32")
    variables = stem.init(jax.random.key(0), x)
    expected = convolution.convolve(x, variables["params"]["kernel"], 2, 1, "native")
    np.testing.assert_allclose(stem.apply(variables, x), expected, atol=1e-5)


def test_prelu():
    x = jnp.array([[-2.0, -2.0, 3.0]])
    out = layers.PReLU().apply({"params": {"slope": jnp.array([0.5, 0.0, 0.1])}}, x)
    np.testing.assert_allclose(out, [[-1.0, 0.0, 3.0]])


def test_drop_path_drops_whole_images_and_keeps_the_mean():
    x = jnp.ones((4000, 2, 2, 1))
    run = lambda train: layers.DropPath(0.25, train).apply({}, x, rngs={"dropout": jax.random.key(0)})
    out = np.asarray(run(True)).reshape(4000, 4)
    assert np.all((out == 0).all(1) | np.isclose(out, 4 / 3).all(1))
    assert abs((out[:, 0] == 0).mean() - 0.25) < 0.03
    np.testing.assert_array_equal(run(False), x)


def test_relu():
    x = jnp.asarray([-2.0, -0.0, 0.0, 3.0, jnp.nan, jnp.inf, -jnp.inf])
    np.testing.assert_array_equal(layers.relu(x), nn.relu(x))
    np.testing.assert_array_equal(jax.vjp(layers.relu, x)[1](x * 0 + 5)[0], jax.vjp(nn.relu, x)[1](x * 0 + 5)[0])
    assert layers.relu(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_a_sum_of_residuals_is_computed_once():
    """Traffic grows with the number of blocks, not with its square."""

    def traffic(blocks):
        def network(x, kernels):
            for first, second in zip(kernels[::2], kernels[1::2], strict=True):
                x = layers.relu(x + layers.relu(x @ first) @ second)
            return x

        array = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
        kernels = [array(512, 64), array(64, 512)] * blocks
        return jax.jit(network).lower(array(1024, 512), kernels).compile().cost_analysis()["bytes accessed"]

    assert traffic(9) - traffic(6) < 1.05 * (traffic(6) - traffic(3))
