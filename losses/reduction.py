"""Sums, maxima and log-sum-exps over many classes, that come in chunks and lie on many devices."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# Classes at a time where no chunk size is given. What follows a product makes a few copies of it (the CPU's compiler
# materialises what it reduces), and this bounds them. Products are kept for the backward pass, not computed again.
UNSTREAMED_CHUNK = 4096


class Totals(NamedTuple):
    """What a loss wants to know over all classes: dicts of sums, of maxima (without gradient), and of log-sum-exps."""

    sums: dict
    maxima: dict
    logs: dict


def over_chunks(size: int, piece: Callable, classes) -> Totals:
    """The totals over one device's classes, chunk by chunk.

    Of each chunk's [B,c] the products alone are kept for the backward pass; with a chunk size nothing is, and the
    backward pass computes the products again.

    Args:
      size: classes of a chunk; 0 for UNSTREAMED_CHUNK.
      piece: from some of the classes to their `Totals`.
      classes: arrays with a row for each class.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import reduction
      >>> total = lambda rows: reduction.Totals({"rows": rows.sum()}, {"rows": rows.max()}, {})
      >>> found = reduction.over_chunks(2, total, jnp.arange(5.0))
      >>> found.sums["rows"].item(), found.maxima["rows"].item()
      (10.0, 4.0)
    """
    policy = None if size else jax.checkpoint_policies.save_only_these_names("products")
    piece = jax.checkpoint(piece, policy=policy)
    count = jax.tree.leaves(classes)[0].shape[0]
    size = chunk_of(count, size or UNSTREAMED_CHUNK)
    if size == count:
        return piece(classes)
    whole = count // size * size
    result = _reduce(lax.map(piece, jax.tree.map(lambda a: a[:whole].reshape(-1, size, *a.shape[1:]), classes)))
    if whole == count:
        return result
    rest = piece(jax.tree.map(lambda a: a[whole:], classes))
    return _reduce(jax.tree.map(lambda a, b: jnp.stack([a, b]), result, rest))


def chunk_of(count: int, size: int) -> int:
    """A chunk size of at most `size`, and more than half of it that divides `count` where there is one.

    A remainder would cost a copy of the prototypes.

    Example:
      >>> from geodesic.losses import reduction
      >>> reduction.chunk_of(100, 30), reduction.chunk_of(100, 200)
      (25, 100)
    """
    if size >= count:
        return count
    divisors = (n for n in range(size, size // 2, -1) if count % n == 0)
    return next(divisors, size)


def _reduce(stacked: Totals) -> Totals:
    """The totals over chunks that lie along the first axis."""
    return Totals(jax.tree.map(lambda a: jnp.sum(a, axis=0), stacked.sums),
                  jax.tree.map(lambda a: jnp.max(a, axis=0), stacked.maxima),
                  jax.tree.map(lambda a: logsumexp(a, axis=0), stacked.logs))


def over_shards(mesh: jax.sharding.Mesh | None, name: str, result: Totals) -> Totals:
    """Inside of `shards.on_shards`: the totals over the devices of a mesh's axis, from each device's own.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import reduction
      >>> reduction.over_shards(None, "data", reduction.Totals({"a": jnp.float32(2)}, {}, {})).sums["a"].item()
      2.0
    """
    maxima = lax.stop_gradient(result.maxima)
    if mesh is None:
        return result._replace(maxima=maxima)
    largest = lambda x: lax.pmax(lax.stop_gradient(x), name)
    return Totals(jax.tree.map(lambda x: lax.psum(x, name), result.sums), jax.tree.map(largest, maxima),
                  jax.tree.map(lambda x: _shifted_log(x, largest(x), lambda v: lax.psum(v, name)), result.logs))


def _shifted_log(x, largest, add, squeeze=lambda largest: largest):
    """log of what `add` makes of e^x; `largest` are the largest x, and `squeeze` gives them the shape of the sum."""
    # Subtracting the largest keeps exp in range. Where all is -inf, nothing is subtracted.
    shift = jnp.where(jnp.isfinite(largest), largest, 0.0)
    total = add(jnp.exp(x - shift))
    # The inner where: log's infinite slope at 0 would turn the gradient of a row that the outer one masks into NaN. A
    # total of NaN is not empty, and stays NaN.
    empty = total == 0
    return squeeze(shift) + jnp.where(empty, -jnp.inf, jnp.log(jnp.where(empty, 1.0, total)))


def logsumexp(x: jax.Array, axis: int) -> jax.Array:
    """log sum e^x along an axis; -inf, with gradient 0, where there is nothing to add but -inf.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import reduction
      >>> reduction.logsumexp(jnp.log(jnp.array([[1.0, 3.0], [0.0, 0.0]])), axis=1).tolist()   # log 4, log 0
      [1.386..., -inf]
    """
    largest = lax.stop_gradient(jnp.max(x, axis=axis, keepdims=True))
    return _shifted_log(x, largest, lambda values: jnp.sum(values, axis=axis), lambda m: jnp.squeeze(m, axis))
