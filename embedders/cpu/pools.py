"""3x3 pools of maps, made of shifted slices where XLA's own are slow.

XLA's pools have slow gradients on CPUs. On GPUs, the gradient of its max-pool is a scatter, which moves more memory,
and adds in an order that changes from run to run.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from .. import gradients
from . import backend
from .convolution import shifted


def max_pool(x: jax.Array, strides: int, padding: tuple[tuple[int, int], ...], form: str = "auto") -> jax.Array:
    """The largest of every 3x3 window.

    Args:
      x: [B,H,W,C].
      strides: 1 or 2, pixels from one window to the next along both axes.
      padding: ((top, bottom), (left, right)) pixels of -inf.
      form: "native" is XLA's own; "auto" is XLA's own on TPUs alone.

    Returns:
      [B,h,w,C]; NaN where a window has any. The gradient goes to the first of equals in a window, as in PyTorch.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.embedders.cpu import pools
      >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
      >>> print(pools.max_pool(x, strides=2, padding=((1, 1), (1, 1)))[0, :, :, 0])
      [[ 5.  7.]
       [13. 15.]]
    """
    if form == "native" or backend.name() == "tpu":
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, strides, strides, 1),
                                 ((0, 0), *padding, (0, 0)))
    if not gradients.written_out():
        return _pool_forward(x, strides, padding, None)[0]
    return _pool(x, strides, padding, x.shape[1:3])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _pool(x: jax.Array, strides: int, padding: tuple, sides: tuple[int, int]) -> jax.Array:
    """The pool of shifted slices, with a gradient of its own, for which `sides` are the height and width of x."""
    return _pool_forward(x, strides, padding, sides)[0]


def _pool_forward(x, strides, padding, sides):
    """The largest of each window, and at which of its nine taps it is, the first of equals. NaN is the largest."""
    del sides
    greatest, *others = shifted(x, 3, strides, padding, fill=-jnp.inf)
    where = jnp.zeros(greatest.shape, jnp.int8)
    for tap, other in enumerate(others, start=1):
        kept = (greatest >= other) | jnp.isnan(greatest)
        greatest, where = jnp.where(kept, greatest, other), jnp.where(kept, where, jnp.int8(tap))
    return greatest, where


def _pool_backward(strides, padding, sides, where, gradient):
    """The gradient of each pixel: the sum over the windows that found it to be their largest.

    Along an axis, a pixel lies in at most 2 // strides + 1 windows. Pixels at the same place within a stride are at the
    same taps of their windows, so these are summed together.
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
    """The mean of every 3x3 window, with stride 1. The padding of zeros counts: the border is divided by nine too.

    Args:
      x: [B,H,W,C].
      form: "native" is XLA's own; "auto" is XLA's own on accelerators alone.

    Returns:
      [B,H,W,C].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.embedders.cpu import pools
      >>> print(pools.average_pool(9 * jnp.ones((1, 2, 3, 1)))[0, :, :, 0])
      [[4. 6. 4.]
       [4. 6. 4.]]
    """
    if form == "native" or backend.name() != "cpu":
        return lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), ((0, 0), (1, 1), (1, 1), (0, 0))) / 9
    return sum(shifted(x, 3, 1)) / 9
