"""Bytes to and from main memory, of programs compiled here and of excerpts from a TPU's."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

from geodesic.experiments.compiled import memory_traffic

# A layer of a residual network as libtpu 0.0.42 compiles it for v5e, shortened: the input, normalised with statistics
# in vector memory, is convolved, and the result summed for the next statistics. Then a part of it is prefetched.
TPU = (pathlib.Path(__file__).parent / "v5e_layer.hlo").read_text()


def test_vector_memory_is_not_main_memory():
    kernel, scale, image = 2 * 9 * 16 * 16, 4 * 16, 2 * 8 * 4 * 4 * 16
    prefetched, first, slice_of_it, second = kernel + scale, 2 * image, image // 4, image
    assert memory_traffic.main_memory(TPU) == prefetched + first + slice_of_it + second


def test_which_convolutions_need_no_pass_of_their_own():
    assert memory_traffic.convolutions(TPU) == (2, 1, 1)


def test_a_program_compiled_here():
    def text(function, *shapes):
        return jax.jit(function).lower(*map(jnp.ones, shapes)).compile().as_text()

    assert memory_traffic.main_memory(text(lambda x: jnp.cos(x) + 1, (1000,))) == 8000
    looped = memory_traffic.main_memory(text(lambda x: jax.lax.fori_loop(0, 5, lambda _, x: jnp.cos(x), x), (1000,)))
    assert 5 * 8000 <= looped <= 7 * 8000 + 100
    product = text(lambda a, b: a @ b, (64, 32), (32, 16))
    assert memory_traffic.main_memory(product) == 4 * (64 * 32 + 32 * 16 + 64 * 16)
    convolve = lambda x, kernel: jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME",
                                                              dimension_numbers=("NHWC", "HWIO", "NHWC"))
    assert memory_traffic.convolutions(text(convolve, (2, 8, 8, 4), (3, 3, 4, 4))) == (1, 0, 0)


def test_of_slices_only_what_is_used_counts():
    def text(function, *arguments, donated=(0,)):
        return jax.jit(function, donate_argnums=donated).lower(*arguments).compile().as_text()

    table, row = jnp.ones((1000, 10)), jnp.ones((1, 10))
    read = text(lambda x, i: 2 * jax.lax.dynamic_slice(x, (i, 0), (1, 10)), table, 3, donated=())
    assert 80 <= memory_traffic.main_memory(read) <= 200  # a row twice, and indices
    write = text(lambda x, y, i: jax.lax.dynamic_update_slice(x, y, (i, 0)), table, row, 3)
    assert 80 <= memory_traffic.main_memory(write) <= 200
    rows = text(lambda x: jax.lax.fori_loop(0, 20, lambda i, x: x.at[i].add(1.0), x), table)
    assert 20 * 80 <= memory_traffic.main_memory(rows) <= 20 * 200 + 2 * table.nbytes


@pytest.mark.parametrize("turns", [1, 3])
def test_the_least_counts_products_alone(turns):
    def function(x, w):
        y = jnp.tanh(x @ w) + 1
        return jax.lax.scan(lambda carry, _: (jax.nn.relu(carry @ w), None), y, None, length=turns)[0]

    jaxpr = jax.make_jaxpr(jax.jit(function))(jnp.ones((2, 4)), jnp.ones((4, 4))).jaxpr
    assert memory_traffic.least(jaxpr) == (1 + turns) * 4 * (8 + 16 + 8)
