"""The classifier's head: one dense layer."""

import jax.numpy as jnp
from flax import linen as nn


class Linear(nn.Module):
    """features f32[B,F] -> logits f32[B,C], always in float32.

    Its parameters are {"kernel": f32[F,C], "bias": f32[C]}, what `embedders.pretrained.convert_head` returns.
    """

    num_classes: int

    @nn.compact
    def __call__(self, features: jnp.ndarray) -> jnp.ndarray:
        features = features.astype(jnp.float32)
        shape = (features.shape[-1], self.num_classes)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        return features @ kernel + self.param("bias", nn.initializers.zeros, (self.num_classes,), jnp.float32)
