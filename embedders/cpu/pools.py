"""3x3 pools of maps. XLA's own have slow gradients on CPUs, and on GPUs that of the greatest is a scatter, which moves
more and adds in any order: there, they are made of shifted slices.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from . import backend
from .convolution import shifted


def max_pool(x: jax.Array, strides: int, padding: tuple[tuple[int, int], ...], form: str = "auto") -> jax.Array:
    """3x3: [B,H,W,C] -> [B,h,w,C]. strides: 1 or 2. padding: pixels of -inf before and after, of each axis."""
    if form == "native" or backend.name() == "tpu":
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, strides, strides, 1),
                                 ((0, 0), *padding, (0, 0)))
    return _pool(x, strides, padding, x.shape[1:3])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _pool(x: jax.Array, strides: int, padding: tuple, sides: tuple[int, int]) -> jax.Array:
    """sides: height and width of x."""
    return _pool_forward(x, strides, padding, sides)[0]


def _pool_forward(x, strides, padding, sides):
    """The greatest, and which tap it is: the first of equals, as in PyTorch."""
    del sides
    greatest, *others = shifted(x, 3, strides, padding, fill=-jnp.inf)
    where = jnp.zeros(greatest.shape, jnp.int8)
    for tap, other in enumerate(others, start=1):
        kept = greatest >= other
        greatest, where = jnp.where(kept, greatest, other), jnp.where(kept, where, jnp.int8(tap))
    return greatest, where


def _pool_backward(strides, padding, sides, where, gradient):
    """Every pixel takes the gradients of the windows that found it: it lies in 2 // strides + 1 of them along an axis.
    Pixels that are in the same taps of their windows, every strides-th, are found together.
    """
    reach = 2 // strides
    rows, columns = (side + reach for side in where.shape[1:3])
    around = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    where, gradient = jnp.pad(where, around, constant_values=-1), jnp.pad(gradient, around)
    found = [[0.0] * strides for _ in range(strides)]
    for tap in range(9):
        (top, row), (left, column) = (divmod(offset, strides) for offset in divmod(tap, 3))
        part = (slice(None), slice(reach - top, reach - top + rows), slice(reach - left, reach - left + columns))
        found[row][column] += jnp.where(where[part] == tap, gradient[part], 0)
    every = jnp.stack([jnp.stack(line, axis=3) for line in found], axis=2)
    every = every.reshape(len(gradient), rows * strides, columns * strides, -1)
    (top, _), (left, _) = padding
    return (every[:, top:top + sides[0], left:left + sides[1]],)


_pool.defvjp(_pool_forward, _pool_backward)


def average_pool(x: jax.Array, form: str = "auto") -> jax.Array:
    """3x3, stride 1: [B,H,W,C] -> [B,H,W,C]. The padding of zeros counts: the border is divided by nine too."""
    if form == "native" or backend.name() != "cpu":
        return lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), ((0, 0), (1, 1), (1, 1), (0, 0))) / 9
    return sum(shifted(x, 3, 1)) / 9
