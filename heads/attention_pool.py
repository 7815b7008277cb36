"""Attention over the places of a map, in place of its average."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn

from ..errors import UserError
from . import layers


class AttentionPool(nn.Module):
    """Multi-head attention of learned queries over the H*W places of a map.

    It is the pooling of Set Transformers without their last feed-forward layer. It knows the places of a map by what
    they hold, and not by where they are, so that the parameters fit images of every size; CLIP's attention pooling, one
    query that is the map's average, has an embedding of each place. Each of several maps has queries of its own; what
    they give follows one another in the order of the layers' names.

    Lee et al.: Set Transformer, 2018, arXiv:1810.00825 (PMA). Radford et al.: Learning Transferable Visual Models from
    Natural Language Supervision, 2021, arXiv:2103.00020.

    Attributes:
      num_queries: what they give follows one another.
      num_heads: of the attention; they share `width`.
      width: the numbers that each query gives.
      dropout: the share that is dropped of what the queries give.
      size: D of a last dense layer; 0 leaves what the queries give as it is.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.heads.attention_pool import AttentionPool
      >>> features, variables = AttentionPool(num_queries=2, num_heads=4, width=32).init_with_output(
      ...     jax.random.key(0), {"stage4": jnp.ones((2, 4, 4, 64))})
      >>> features.shape, sorted(variables["params"])
      ((2, 64), ['stage4_attention', 'stage4_queries'])
    """

    num_queries: int = 1
    num_heads: int = 8
    width: int = 256
    dropout: float = 0.0
    size: int = 0

    @nn.compact
    def __call__(self, named: Mapping[str, jnp.ndarray], train: bool = False) -> jnp.ndarray:
        """Features f32[B,D] of layers, name -> map [B,H,W,C].

        Raises UserError for a layer that is no map, and for heads that do not share the width evenly.
        """
        if self.width % self.num_heads:
            raise UserError(f"head 'attention_pool': width {self.width} does not divide into num_heads "
                            f"{self.num_heads}: use a multiple")
        found = []
        for branch, x in layers.maps(named, "attention_pool").items():
            places = x.reshape(x.shape[0], -1, x.shape[-1])
            queries = self.param(f"{branch}_queries", nn.initializers.normal(1.0), (self.num_queries, self.width),
                                 jnp.float32)
            queries = jnp.broadcast_to(queries, (x.shape[0], *queries.shape))
            given = nn.MultiHeadDotProductAttention(self.num_heads, qkv_features=self.width, out_features=self.width,
                                                    name=f"{branch}_attention")(queries, places)
            found.append(given.reshape(x.shape[0], -1))
        return layers.features(jnp.concatenate(found, axis=-1), self.size, self.dropout, train)
