"""BatchNorm with its ReLU, against Flax's and autodiff."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from geodesic.embedders import normalization

CHANNELS = 5


class Flax(nn.Module):
    """nn.BatchNorm and a ReLU, each differentiated by jax."""

    activate: bool
    fields: dict

    @nn.compact
    def __call__(self, x):
        y = nn.BatchNorm(name="bn", **self.fields)(x)
        return jnp.where(y > 0, y, 0) if self.activate else y


class Ours(nn.Module):
    activate: bool
    fields: dict

    @nn.compact
    def __call__(self, x):
        return normalization.BatchNorm(activate=self.activate, name="bn", **self.fields)(x)


def fields(**changes):
    return dict(use_running_average=False, momentum=0.9, epsilon=1e-3, dtype="float32") | changes


def inputs(dtype="float32"):
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)
    variables = {"params": {"bn": {"scale": draw(CHANNELS), "bias": draw(CHANNELS)}},
                 "batch_stats": {"bn": {"mean": draw(CHANNELS), "var": jnp.exp(draw(CHANNELS))}}}
    # Multiples of 1/8: a bfloat16 holds them, and both then start from the same.
    x = jnp.round(8 * (2 * draw(8, 6, 4, CHANNELS) + 3)) / 8
    return variables, x.astype(dtype), draw(8, 6, 4, CHANNELS)


def run(kind, activate, settings, variables, x, weights):
    """(value, new statistics), and the gradients by parameters and x of the sum of weights times value."""
    module = kind(activate, settings)

    def value(params, x):
        y, new = module.apply({**variables, "params": params}, x, mutable=["batch_stats"])
        return jnp.sum(y.astype(jnp.float32) * weights), (y, new["batch_stats"])

    (_, out), gradients = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)(variables["params"], x)
    return out, gradients


def close(ours, expected, tolerance):
    jax.tree.map(lambda one, other: np.testing.assert_allclose(
        np.asarray(one, np.float64), np.asarray(other, np.float64), rtol=tolerance, atol=tolerance), ours, expected)


@pytest.mark.parametrize("use_running_average", [False, True])
@pytest.mark.parametrize("activate", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("bfloat16", 2e-2)])
def test_values_statistics_and_gradients_are_flax_s(activate, use_running_average, dtype, tolerance):
    settings, arguments = fields(use_running_average=use_running_average, dtype=dtype), inputs(dtype)
    (ours, gradients), (expected, expected_gradients) = (
        jax.jit(functools.partial(run, kind, activate, settings))(*arguments) for kind in (Ours, Flax))
    close(ours, expected, 2e-6 if dtype == "float32" else tolerance)
    close(gradients, expected_gradients, tolerance)
    assert ours[0].dtype == dtype and gradients[1].dtype == dtype
    assert np.any(np.asarray(ours[0]) == 0) == activate


def test_shared_statistics_on_two_devices_are_those_of_one_batch():
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2], axis_types=(AxisType.Auto,))
    variables, x, weights = inputs()

    def value(params, x, axis_name):
        module = Ours(True, fields(axis_name=axis_name))
        y, new = module.apply({**variables, "params": params}, x, mutable=["batch_stats"])
        return y, new["batch_stats"]

    split = jax.shard_map(functools.partial(value, axis_name="data"), mesh=mesh, in_specs=(P(), P("data")),
                          out_specs=(P("data"), P()))

    def gradients(function):
        def total(params, x):
            y, new = function(params, x)
            return jnp.sum(y * weights), (y, new)

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(variables["params"], x)

    close(gradients(split), gradients(functools.partial(value, axis_name=None)), 2e-5)


def test_without_a_scale_and_at_the_start():
    module = normalization.BatchNorm(use_scale=False, **fields())
    variables = module.init(jax.random.key(0), jnp.full((2, 3), 7.0))
    assert list(variables["params"]) == ["bias"]
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], 0)
    np.testing.assert_array_equal(variables["batch_stats"]["var"], 1)


def test_nan_in_a_gradient_is_not_hidden():
    variables, x, weights = inputs()
    _, (of_params, of_x) = run(Ours, True, fields(), variables, x, weights.at[0, 0, 0, 2].set(jnp.nan))
    assert np.isnan(of_params["bn"]["bias"][2]) and np.isnan(of_x[..., 2]).all()
