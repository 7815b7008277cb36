"""From a feature map to the embedding: pooling, then the neck."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

POOLINGS: dict[str, Callable] = {
    "average": lambda x: jnp.mean(x, axis=(1, 2)),
    "max": lambda x: jnp.max(x, axis=(1, 2)),
    "average_max": lambda x: jnp.mean(x, axis=(1, 2)) + jnp.max(x, axis=(1, 2)),
    "flatten": lambda x: x.reshape(x.shape[0], -1),
}
NECKS = ("none", "linear", "bn_fc_bn")


def pool(x: jnp.ndarray, kind: str) -> jnp.ndarray:
    """[B,H,W,C] -> f32[B,C], or [B,H*W*C] for "flatten". A layer that is a vector already stays as it is."""
    return x.astype(jnp.float32) if x.ndim == 2 else POOLINGS[kind](x.astype(jnp.float32))


class Neck(nn.Module):
    """f32[B,F] -> f32[B,D], not normalised. Always in float32: margins are taken of what leaves here.

    none      the features themselves (embedding_size must be None or F)
    linear    dropout, then one dense layer
    bn_fc_bn  BatchNorm, dropout, dense, BatchNorm with its scale fixed at 1 (Deng et al., arXiv:1801.07698)
    """

    kind: str
    embedding_size: int | None
    dropout: float
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jnp.ndarray, train: bool) -> jnp.ndarray:
        if self.kind == "none" or self.embedding_size is None:
            if self.embedding_size not in (None, x.shape[-1]):
                raise ValueError(f"neck 'none' leaves {x.shape[-1]} features; embedding_size {self.embedding_size} "
                                 f"needs neck 'linear' or 'bn_fc_bn'")
            return x
        if self.kind == "bn_fc_bn":
            x = self.norm(dtype=jnp.float32, name="bn_in")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(self.embedding_size, use_bias=True, dtype=jnp.float32, name="fc")(x)
        if self.kind == "bn_fc_bn":
            x = self.norm(dtype=jnp.float32, use_scale=False, name="bn_out")(x)
        return x
