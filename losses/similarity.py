"""How alike embeddings and prototypes are: cosines, or the logits of a linear classifier.

Everything is float32 from here on, whatever the trunk's dtype.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

# The least squared length that is divided by: a vector of zeros gets the cosine 0 and a finite gradient.
EPSILON = 1e-12
# Products are in full float32: TPUs would multiply in bfloat16, where a scale of 64 turns rounding into whole logits.
PRECISION = lax.Precision.HIGHEST


def unit(x: jax.Array) -> jax.Array:
    """x / |x| along the last axis, in float32, with gradient 0 (not NaN) at 0.

    What is shorter than 1e-6 is not brought to length 1: it is multiplied by 1e6.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import similarity
      >>> print(similarity.unit(jnp.array([[3.0, 4.0], [0.0, 0.0]])))
      [[0.6 0.8]
       [0.  0. ]]
    """
    x = x.astype(jnp.float32)
    return x * inverse_norm(x)


def inverse_norm(x: jax.Array) -> jax.Array:
    """1 / |x| along the last axis, which is kept, in float32; at 0 a large number with gradient 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import similarity
      >>> print(similarity.inverse_norm(jnp.array([3.0, 4.0])))
      [0.2]
    """
    x = x.astype(jnp.float32)
    return lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), EPSILON))


def products(x: jax.Array, classes: dict) -> jax.Array:
    """The inner products of embeddings and prototypes.

    Args:
      x: embeddings f32[B,D].
      classes: {"prototypes": f32[c,D] or f32[c,K,D]}.

    Returns:
      f32[B,c] or f32[B,c*K].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import similarity
      >>> print(similarity.products(jnp.array([[3.0, 4.0]]), {"prototypes": jnp.array([[2.0, 0.0], [0.0, 5.0]])}))
      [[ 6. 20.]]
    """
    w = classes["prototypes"]
    return jnp.matmul(x, w.reshape(-1, w.shape[-1]).T, precision=PRECISION)


def cosines(x: jax.Array | None, classes: dict, known: jax.Array | None = None) -> jax.Array:
    """The cosines of embeddings and prototypes.

    Args:
      x: embeddings of length 1, f32[B,D]; None where the products are known.
      classes: {"prototypes": f32[c,D] or f32[c,K,D]}, of any length.
      known: their `products`.

    Returns:
      f32[B,c] or f32[B,c,K].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import similarity
      >>> print(similarity.cosines(jnp.array([[0.6, 0.8]]), {"prototypes": jnp.array([[2.0, 0.0], [0.0, 5.0]])}))
      [[0.6 0.8]]
    """
    w = classes["prototypes"]
    found = checkpoint_name(products(x, classes), "products") if known is None else known
    # The columns are scaled after the product, so that no normalised copy of [C,D] is kept.
    found = found * inverse_norm(w).reshape(-1)
    return found.reshape(found.shape[0], *w.shape[:-1])


def affine(x: jax.Array | None, classes: dict, known: jax.Array | None = None) -> jax.Array:
    """The logits of a linear classifier.

    Args:
      x: embeddings f32[B,D]; None where the products are known.
      classes: {"prototypes": f32[c,D], "bias": f32[c]}.
      known: their `products`.

    Returns:
      f32[B,c].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import similarity
      >>> print(similarity.affine(jnp.array([[3.0, 4.0]]), {"prototypes": jnp.eye(2), "bias": jnp.array([0.0, 1.0])}))
      [[3. 5.]]
    """
    found = checkpoint_name(products(x, classes), "products") if known is None else known
    return found + classes["bias"]
