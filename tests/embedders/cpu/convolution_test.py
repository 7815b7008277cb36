"""All forms of a convolution compute the same values and gradients."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from geodesic.embedders.cpu import backend, convolution


def close(left, right) -> None:
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert np.linalg.norm(a - b) < 1e-5 * np.linalg.norm(b)


def value_and_gradients(function, *arrays):
    def both(*arrays):
        out, pull = jax.vjp(function, *arrays)
        return out, pull(jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape))

    return jax.jit(both)(*arrays)


def arrays(side: int, kernel: int, groups: int, width: int = 16):
    rng = np.random.default_rng(0)
    return (jnp.asarray(rng.standard_normal((2, side, side + 1, width), np.float32)),
            jnp.asarray(rng.standard_normal((kernel, kernel, width // groups, 2 * width), np.float32)))


@pytest.mark.parametrize("form", ("taps", "merged", "auto"))
@pytest.mark.parametrize(("side", "kernel", "strides", "groups"), [
    (7, 3, 1, 8), (7, 3, 2, 4), (8, 3, 2, 16), (6, 3, 1, 1), (2, 3, 1, 1), (2, 3, 2, 4), (7, 1, 2, 1), (8, 1, 1, 1),
    (8, 5, 2, 1), (17, 3, 1, 1), (33, 3, 2, 1), (18, 3, 1, 8)])
def test_every_form_computes_the_same(form, side, kernel, strides, groups):
    values = arrays(side, kernel, groups)
    run = lambda form: value_and_gradients(
        functools.partial(convolution.convolve, strides=strides, groups=groups, form=form), *values)
    close(run(form), run("native"))


@pytest.mark.parametrize("width", (4, 12, 1000))
def test_any_width_of_the_merged_groups(width):
    x, kernel = arrays(5, 3, 8)
    merged = functools.partial(convolution._merged, strides=1, groups=8, width=width)
    close(value_and_gradients(merged, x, kernel),
          value_and_gradients(functools.partial(convolution._native, strides=1, groups=8), x, kernel))


def test_the_native_form_is_one_convolution_and_the_fast_ones_are_ungrouped():
    x, kernel = arrays(8, 3, 8)
    text = lambda form: str(jax.make_jaxpr(functools.partial(convolution.convolve, strides=1, groups=8, form=form))(
        x, kernel))
    assert "feature_group_count=8" in text("native")
    assert "feature_group_count=8" not in text("merged")
    assert "conv_general_dilated" not in text("taps")
    assert "feature_group_count=8" not in text("auto")  # tests run on the CPU


def test_auto_is_native_off_the_cpu():
    x, kernel = arrays(8, 3, 8)
    with backend.compiling_for("cuda"):
        assert "feature_group_count=8" in str(
            jax.make_jaxpr(functools.partial(convolution.convolve, strides=1, groups=8))(x, kernel))


def test_gradients_of_a_kernel_that_all_devices_share():
    """The kernel's gradient is the sum over the devices of a shard_map, as autodiff's own would be."""
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2], axis_types=(AxisType.Auto,))

    def run(form):
        one = functools.partial(convolution.convolve, strides=1, groups=1, form=form)
        return value_and_gradients(
            jax.shard_map(one, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data")), *arrays(17, 3, 1))

    close(run("auto"), run("native"))


def test_a_gradient_is_not_copied_transposed():
    """XLA:CPU transposes the operands of a product over several axes, in the loop that makes them: 20 times slower."""
    run = lambda x, kernel: jnp.sum(jax.nn.relu(convolution.convolve(x, kernel, 1, 1)) ** 2)
    compiled = jax.jit(jax.grad(run, (0, 1))).lower(*arrays(8, 1, 1)).compile().as_text()
    assert not re.search(r" = \S+ (copy|transpose)\(", compiled)


def test_an_unknown_form():
    with pytest.raises(ValueError, match="unknown form of convolution 'fast'; known: auto, native, taps, merged"):
        convolution.convolve(*arrays(4, 3, 1), 1, 1, form="fast")
