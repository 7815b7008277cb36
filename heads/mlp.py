"""Fully connected layers on the pooled layers."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn

from . import layers


class MLP(nn.Module):
    """A multi-layer perceptron: the pooled layers, one after the other (`layers.pooled`), and dense layers on them.

    Attributes:
      hidden_sizes: the width of each hidden layer, which is followed by the activation and by dropout.
      activation: one of `layers.ACTIVATIONS`.
      dropout: the share of each hidden layer that is dropped.
      size: D of a last dense layer, without activation; 0 leaves the last hidden layer as it is.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.heads.mlp import MLP
      >>> features, variables = MLP(hidden_sizes=(32, 16), size=8).init_with_output(
      ...     jax.random.key(0), {"stage4": jnp.ones((2, 4, 4, 64))})
      >>> features.shape, sorted(variables["params"])
      ((2, 8), ['fc', 'hidden1', 'hidden2'])
    """

    hidden_sizes: tuple[int, ...] = (512,)
    activation: str = "relu"
    dropout: float = 0.0
    size: int = 0

    @nn.compact
    def __call__(self, named: Mapping[str, jnp.ndarray], train: bool = False) -> jnp.ndarray:
        """Features f32[B,D] of layers, name -> map [B,H,W,C] or vector [B,C]."""
        x = layers.pooled(named)
        for place, width in enumerate(self.hidden_sizes, start=1):
            if place > 1:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = nn.Dense(width, kernel_init=nn.initializers.he_normal(), name=f"hidden{place}")(x)
            x = layers.ACTIVATIONS[self.activation](x)
        return layers.features(x, self.size, self.dropout, train)
