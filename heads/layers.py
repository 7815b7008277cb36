"""What heads have in common: how they take the layers that they are given, and how their features leave them."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn

from ..errors import UserError

# Name -> the function between two layers of a head.
ACTIVATIONS = {"relu": nn.relu, "gelu": nn.gelu, "silu": nn.silu, "tanh": nn.tanh}


def pooled(layers: Mapping[str, jnp.ndarray]) -> jnp.ndarray:
    """All layers as one vector: each map's average, one after the other in the order of their names.

    Args:
      layers: name -> map [B,H,W,C] or vector [B,C].

    Returns:
      f32[B,F], where F is the sum of all C.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.heads import layers
      >>> print(layers.pooled({"stage4": jnp.ones((1, 2, 2, 1)), "stage3": jnp.zeros((1, 2))}))
      [[0. 0. 1.]]
    """
    # jax sorts dictionaries wherever a program begins: by name, the order is the same inside and outside of one.
    values = [layers[name].astype(jnp.float32) for name in sorted(layers)]
    return jnp.concatenate([x if x.ndim == 2 else jnp.mean(x, axis=(1, 2)) for x in values], axis=-1)


def maps(layers: Mapping[str, jnp.ndarray], head: str) -> dict[str, jnp.ndarray]:
    """All layers, for a head that gives a branch to each.

    Args:
      layers: name -> map [B,H,W,C].
      head: whose layers they are, for the error.

    Returns:
      The name of each layer's branch, which has no slash -> f32[B,H,W,C], in the order of their names.

    Raises:
      UserError: a layer is no map.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.heads import layers
      >>> list(layers.maps({"inception_5b/concat": jnp.ones((1, 2, 2, 3))}, "conv"))
      ['inception_5b_concat']
    """
    for name in sorted(layers):
        if layers[name].ndim != 4:
            raise UserError(f"head {head!r} takes maps [B,H,W,C], and layer {name!r} is {list(layers[name].shape)}: "
                            f"give it a layer with a map, or take head 'linear' or 'mlp'")
    return {name.replace("/", "_"): layers[name].astype(jnp.float32) for name in sorted(layers)}


def features(x: jnp.ndarray, size: int, dropout: float, train: bool) -> jnp.ndarray:
    """What leaves a head, to be called in its `nn.compact`: dropout, and one dense layer where a size is given.

    Args:
      x: f32[B,F].
      size: D, of the dense layer "fc"; 0 for none.
      dropout: the share that is dropped before it.
      train: whether anything is dropped.

    Returns:
      f32[B,D], or f32[B,F] without a size.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from flax import linen as nn
      >>> from geodesic.heads import layers
      >>> class Nothing(nn.Module):
      ...     @nn.compact
      ...     def __call__(self, x):
      ...         return layers.features(x, size=3, dropout=0.5, train=False)
      >>> x, variables = Nothing().init_with_output(jax.random.key(0), jnp.ones((2, 5)))
      >>> x.shape, variables["params"]["fc"]["kernel"].shape
      ((2, 3), (5, 3))
    """
    x = nn.Dropout(dropout, deterministic=not train)(x)
    return nn.Dense(size, name="fc")(x) if size else x
