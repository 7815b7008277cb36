"""Pools in all their forms, values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic.embedders.cpu import backend, pools
from tests.embedders.cpu.convolution_test import close, value_and_gradients


@pytest.mark.parametrize("padding", (((1, 1), (1, 1)), ((0, 1), (0, 0))))
@pytest.mark.parametrize("strides", (1, 2))
def test_max_pool(strides, padding):
    # Rounded, so that windows have ties: the first of equals gets the whole gradient in both.
    x = jnp.round(jnp.asarray(np.random.default_rng(1).standard_normal((2, 8, 9, 3), np.float32)))
    run = lambda form: value_and_gradients(
        functools.partial(pools.max_pool, strides=strides, padding=padding, form=form), x)
    close(run("auto"), run("native"))


@pytest.mark.parametrize("place", [(0, 0), (2, 2), (3, 5), (7, 8)])
@pytest.mark.parametrize("strides", (1, 2))
def test_nan_is_the_largest_of_its_windows_in_every_form(strides, place):
    x = jnp.asarray(np.random.default_rng(2).standard_normal((1, 8, 9, 2), np.float32))
    x = x.at[0, *place, 0].set(jnp.nan)
    padding = ((1, 1), (1, 1))
    pooled, native = (pools.max_pool(x, strides, padding, form) for form in ("auto", "native"))
    np.testing.assert_array_equal(pooled, native)
    assert np.isnan(native).any()
    # The pixel of NaN gets the whole gradient of its windows, and no other pixel any of it.
    pull = jax.vjp(lambda x: pools.max_pool(x, strides, padding), x)[1]
    found = np.asarray(pull(jnp.where(jnp.isnan(pooled), 1.0, 0.0))[0])
    assert found[0, *place, 0] == np.isnan(native).sum() and np.count_nonzero(found) == 1


def test_average_pool_of_nan():
    x = jnp.ones((1, 6, 6, 1)).at[0, 2, 2, 0].set(jnp.nan)
    np.testing.assert_array_equal(np.isnan(pools.average_pool(x)), np.isnan(pools.average_pool(x, form="native")))


def test_average_pool():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 7, 4), np.float32))
    run = lambda form: value_and_gradients(functools.partial(pools.average_pool, form=form), x)
    close(run("auto"), run("native"))
    inner = np.asarray(pools.average_pool(x))[:, 2, 3]
    np.testing.assert_allclose(inner, np.asarray(x)[:, 1:4, 2:5].mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize(("platform", "greatest", "average"), [("cpu", False, False), ("cuda", False, True),
                                                               ("gpu", False, True), ("tpu", True, True)])
def test_auto_is_native_where_that_is_quick(platform, greatest, average):
    x = jnp.ones((1, 4, 4, 1))
    with backend.compiling_for(platform):
        for pool, native in ((lambda x: pools.max_pool(x, 2, ((1, 1), (1, 1))), greatest),
                             (lambda x: pools.average_pool(x), average)):
            assert ("reduce_window" in str(jax.make_jaxpr(pool)(x))) == native
    assert backend.name() == "cpu"
