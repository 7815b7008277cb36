"""A classifier that is there already, such as the one that public weights bring along for their trunk."""

import jax.numpy as jnp
from flax import linen as nn


class Classifier(nn.Module):
    """A linear classifier, features [B,F] -> logits f32[B,C], always in float32.

    Nothing trains it: the classifiers that are trained belong to losses, which split their classes over devices. Its
    parameters are {"kernel": f32[F,C], "bias": f32[C]}, as `embedders.public_weights.pretrained.convert_head` returns.

    Attributes:
      num_classes: C.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.heads.classifier import Classifier
      >>> params = {"kernel": jnp.array([[1.0, -1.0]]), "bias": jnp.array([0.0, 0.5])}
      >>> print(Classifier(num_classes=2).apply({"params": params}, jnp.array([[2.0]])))
      [[ 2.  -1.5]]
    """

    num_classes: int

    @nn.compact
    def __call__(self, features: jnp.ndarray) -> jnp.ndarray:
        features = features.astype(jnp.float32)
        shape = (features.shape[-1], self.num_classes)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        return features @ kernel + self.param("bias", nn.initializers.zeros, (self.num_classes,), jnp.float32)
