"""From a feature map to the embedding: pooling, then the neck."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from ..errors import UserError

POOLINGS: dict[str, Callable] = {
    "average": lambda x: jnp.mean(x, axis=(1, 2)),
    "max": lambda x: jnp.max(x, axis=(1, 2)),
    "average_max": lambda x: jnp.mean(x, axis=(1, 2)) + jnp.max(x, axis=(1, 2)),
    "generalised_mean": lambda x: GeneralisedMean(name="generalised_mean")(x),
    "flatten": lambda x: x.reshape(x.shape[0], -1),
}
NECKS = ("none", "linear", "bn_fc_bn", "layer_norm")


class GeneralisedMean(nn.Module):
    """(mean x^p)^(1/p) over the map, one learned p for all channels: [B,H,W,C] -> [B,C]. p 1 averages, p inf is max.

    Radenović, Tolias, Chum: Fine-tuning CNN Image Retrieval with No Human Annotation, 2017, arXiv:1711.02512.
    """

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        p = self.param("p", nn.initializers.constant(3.0), (), jnp.float32)
        # Clipped as in the public implementation: powers of 0 have no gradient.
        return jnp.mean(jnp.maximum(x, 1e-6) ** p, axis=(1, 2)) ** (1 / p)


class Neck(nn.Module):
    """A layer [B,H,W,C] (or [B,F]) -> (pooled f32[B,F], embedding f32[B,D]), not normalised.

    Always in float32: margins are taken of what leaves here.

    none        the pooled layer itself (embedding_size must be None or F)
    linear      dropout, then one dense layer
    bn_fc_bn    BatchNorm of the layer, pooling, dropout, dense, BatchNorm with its scale fixed at 1
                (Deng et al., arXiv:1801.07698)
    layer_norm  LayerNorm without scale and bias, dropout, dense (Teh et al.: ProxyNCA++, arXiv:2004.01113)
    """

    kind: str
    pooling: str
    embedding_size: int | None
    dropout: float
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jnp.ndarray, train: bool) -> tuple[jnp.ndarray, jnp.ndarray]:
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
