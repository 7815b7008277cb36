"""Convolutions on a map, then its average."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn

from . import layers


class Conv(nn.Module):
    """3x3 convolutions with stride 1, each followed by the activation, and then the average over the map.

    Each of several maps goes through convolutions of its own; the averages follow one another in the order of the
    layers' names.

    Attributes:
      channels: of each convolution.
      activation: one of `layers.ACTIVATIONS`.
      dropout: the share of the averages that is dropped.
      size: D of a last dense layer; 0 leaves the averages as they are.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.heads.conv import Conv
      >>> features, variables = Conv(channels=(16, 8)).init_with_output(
      ...     jax.random.key(0), {"stage4": jnp.ones((2, 4, 4, 64))})
      >>> features.shape, sorted(variables["params"])
      ((2, 8), ['stage4_conv1', 'stage4_conv2'])
    """

    channels: tuple[int, ...] = (256,)
    activation: str = "relu"
    dropout: float = 0.0
    size: int = 0

    @nn.compact
    def __call__(self, named: Mapping[str, jnp.ndarray], train: bool = False) -> jnp.ndarray:
        """Features f32[B,D] of layers, name -> map [B,H,W,C]. Raises UserError for a layer that is no map."""
        averages = []
        for branch, x in layers.maps(named, "conv").items():
            for place, channels in enumerate(self.channels, start=1):
                x = nn.Conv(channels, (3, 3), padding=1, kernel_init=nn.initializers.he_normal(),
                            name=f"{branch}_conv{place}")(x)
                x = layers.ACTIVATIONS[self.activation](x)
            averages.append(jnp.mean(x, axis=(1, 2)))
        return layers.features(jnp.concatenate(averages, axis=-1), self.size, self.dropout, train)
