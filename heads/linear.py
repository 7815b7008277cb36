"""One dense layer, or none, on the pooled layers."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn

from . import layers


class Linear(nn.Module):
    """The pooled layers, one after the other (`layers.pooled`), and one dense layer on them.

    Without a size it has no parameters: the loss's own weights are then the linear classifier of the pooled layers.

    Attributes:
      size: D of the dense layer; 0 for none.
      dropout: the share of the pooled layers that is dropped.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.heads.linear import Linear
      >>> given = {"stage3": jnp.ones((2, 4, 4, 8)), "stage4": jnp.ones((2, 2, 2, 16))}
      >>> Linear().apply({}, given).shape
      (2, 24)
    """

    size: int = 0
    dropout: float = 0.0

    @nn.compact
    def __call__(self, named: Mapping[str, jnp.ndarray], train: bool = False) -> jnp.ndarray:
        """Features f32[B,D] of layers, name -> map [B,H,W,C] or vector [B,C]."""
        return layers.features(layers.pooled(named), self.size, self.dropout, train)
