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
