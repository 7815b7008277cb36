"""From a feature map to the embedding: pooling, then the neck."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from ..errors import UserError

# Name -> function of a map [B,H,W,C] to [B,F].
POOLINGS: dict[str, Callable] = {
    "average": lambda x: jnp.mean(x, axis=(1, 2)),
    "max": lambda x: jnp.max(x, axis=(1, 2)),
    "average_max": lambda x: jnp.mean(x, axis=(1, 2)) + jnp.max(x, axis=(1, 2)),
    "generalised_mean": lambda x: GeneralisedMean(name="generalised_mean")(x),
    "flatten": lambda x: x.reshape(x.shape[0], -1),
}
# What `Neck` can be.
NECKS = ("none", "linear", "bn_fc_bn", "layer_norm")


class GeneralisedMean(nn.Module):
    """Generalised-mean pooling: (mean of x^p over the map)^(1/p), [B,H,W,C] -> [B,C], one learned p for all channels.

    With p = 1 it is the average, and the larger p is, the nearer it is to the maximum; p starts at 3.

    Radenović, Tolias, Chum: Fine-tuning CNN Image Retrieval with No Human Annotation, 2017, arXiv:1711.02512.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.embedders import neck
      >>> pooled = neck.GeneralisedMean().apply({"params": {"p": 2.0}}, jnp.array([3.0, 5.0]).reshape(1, 1, 2, 1))
      >>> round(pooled.item(), 4)   # sqrt((9 + 25) / 2)
      4.1231
    """

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        p = self.param("p", nn.initializers.constant(3.0), (), jnp.float32)
        # Values are clipped as in the public implementation: powers of 0 have no gradient.
        return jnp.mean(jnp.maximum(x, 1e-6) ** p, axis=(1, 2)) ** (1 / p)


class Neck(nn.Module):
    """From a layer to the embedding, always in float32, as margins are taken of what leaves here.

        none        the pooled layer itself
        linear      pooling, dropout, one dense layer
        bn_fc_bn    BatchNorm of the layer, pooling, dropout, dense, BatchNorm with its scale fixed at 1
                    (Deng, Guo, Xue, Zafeiriou: ArcFace, 2018, arXiv:1801.07698)
        layer_norm  pooling, LayerNorm without scale and bias, dropout, dense
                    (Teh, DeVries, Taylor: ProxyNCA++, 2020, arXiv:2004.01113)

    Attributes:
      kind: one of NECKS.
      pooling: one of POOLINGS, for layers that are maps.
      embedding_size: D; None takes the pooled layer, whatever the kind.
      dropout: the share dropped before the dense layer.
      norm: the constructor of BatchNorm.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.embedders import neck
      >>> linear = neck.Neck(kind="linear", pooling="average", embedding_size=4, dropout=0.0, norm=None)
      >>> (pooled, embedding), _ = linear.init_with_output(jax.random.key(0), jnp.ones((2, 3, 3, 8)), train=False)
      >>> pooled.shape, embedding.shape
      ((2, 8), (2, 4))
    """

    kind: str
    pooling: str
    embedding_size: int | None
    dropout: float
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jnp.ndarray, train: bool) -> tuple[jnp.ndarray, jnp.ndarray]:
        """(pooled f32[B,F], embedding f32[B,D]), not normalised, of a layer [B,H,W,C] or [B,F].

        Raises UserError where there is no projection and `embedding_size` is not F.
        """
        x = x.astype(jnp.float32)
        projected = self.kind != "none" and self.embedding_size is not None
        if projected and self.kind == "bn_fc_bn":
            x = self.norm(dtype=jnp.float32, name="bn_in")(x)
        pooled = x if x.ndim == 2 else POOLINGS[self.pooling](x)
        if not projected:
            if self.embedding_size not in (None, pooled.shape[-1]):
                raise UserError(f"neck 'none' leaves {pooled.shape[-1]} features; embedding_size "
                                f"{self.embedding_size} needs another neck: {', '.join(NECKS[1:])}")
            return pooled, pooled
        x = pooled
        if self.kind == "layer_norm":
            x = nn.LayerNorm(use_scale=False, use_bias=False, dtype=jnp.float32, name="ln_in")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(self.embedding_size, use_bias=True, dtype=jnp.float32, name="fc")(x)
        if self.kind == "bn_fc_bn":
            x = self.norm(dtype=jnp.float32, use_scale=False, name="bn_out")(x)
        return pooled, x
