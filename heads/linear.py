"""The classifier's head: one dense layer."""

import jax.numpy as jnp
from flax import linen as nn


class Linear(nn.Module):
    """A linear classifier, features [B,F] -> logits f32[B,C], always in float32.

    Its parameters are {"kernel": f32[F,C], "bias": f32[C]}, as `embedders.public_weights.pretrained.convert_head`
    returns.

    Attributes:
      num_classes: C.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.heads.linear import Linear
      >>> params = {"kernel": jnp.array([[1.0, -1.0]]), "bias": jnp.array([0.0, 0.5])}
      >>> print(Linear(num_classes=2).apply({"params": params}, jnp.array([[2.0]])))
      [[ 2.  -1.5]]
    """

    num_classes: int

    @nn.compact
    def __call__(self, features: jnp.ndarray) -> jnp.ndarray:
        features = features.astype(jnp.float32)
        shape = (features.shape[-1], self.num_classes)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        return features @ kernel + self.param("bias", nn.initializers.zeros, (self.num_classes,), jnp.float32)
