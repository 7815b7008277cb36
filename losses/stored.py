"""Products of embeddings and prototypes that are stored in less than float32 from the forward to the backward pass."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

# What the products can be stored in.
DTYPES = ("float32", "bfloat16")


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def summary(of: Callable, dtype: str, products: jax.Array, given: tuple):
    """of(products, given), whose derivative is taken at products that were stored in another dtype.

    Under a `jax.checkpoint` that saves what is called "products", nothing else is kept.

    Args:
      of: gives a `reduction.Totals`; what it takes of tracers is in `given`.
      dtype: of 16 bits.
      products: f32[B,c].
      given: arrays.

    Returns:
      The totals, computed before anything is stored.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.losses import reduction, stored
      >>> square = lambda products, _: reduction.Totals({"square": products ** 2}, {}, {})
      >>> of = lambda products: stored.summary(square, "bfloat16", products, ()).sums["square"]
      >>> [float(value) for value in jax.value_and_grad(of)(jnp.float32(1.001))]   # 1.001 is 1 in bfloat16
      [1.00200..., 2.0]
    """
    return of(products, given)


def _forward(of: Callable, dtype: str, products: jax.Array, given: tuple):
    # As integers: a CPU's compiler would turn all chunks of a bfloat16 array into float32 to read or write one.
    bits, found = lax.bitcast_convert_type(products.astype(dtype), jnp.uint16), of(products, given)
    return found, (*checkpoint_name((bits, found.logs), "products"), given)


def _backward(of: Callable, dtype: str, kept: tuple, cotangents):
    bits, logs, given = kept
    rounded, pull = jax.vjp(of, lax.bitcast_convert_type(bits, jnp.dtype(dtype)).astype(jnp.float32), given)
    # A probability is e^(rounded logit - exact logarithm), in whatever pieces the classes come.
    weigh = lambda cotangent, near, exact: cotangent * jnp.exp(jnp.where(jnp.isneginf(exact), 0.0, near - exact))
    return pull(cotangents._replace(logs=jax.tree.map(weigh, cotangents.logs, rounded.logs, logs)))


summary.defvjp(_forward, _backward)
