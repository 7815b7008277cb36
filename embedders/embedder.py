"""What every family is: fields that papers vary, named layers, and an embedding from one of them."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from ..errors import UserError
from . import layers, neck


class Embedder(nn.Module, kw_only=True):
    """images [B,H,W,3], already mean and std normalised -> f32[B,D], not L2-normalised.

    layer: the named layer whose pooled output goes through the neck.
    pooling: average | max | average_max | generalised_mean | flatten. neck: see `neck.Neck`.
    embedding_size: D; None or 0 takes the pooled layer as it is.
    dropout: share dropped before the neck's last layer.
    dtype: float32 or bfloat16, of the trunk; parameters, statistics and the neck stay float32.
    batch_norm: local | synchronised | frozen, see `layers.batch_norm`. "synchronised" needs the mesh axis "data"
      in scope (`jax.shard_map`) when train is True. batch_norm_group_size: devices that share statistics; 0 = all.
    bn_momentum: share of the running statistics that stays; .9 is PyTorch's .1. bn_epsilon: added to the variance.
    convolution: a form of `convolution.FORMS`; "auto" is the fastest on this backend, "native" is plain XLA.
    remat: stages whose activations are computed again in the backward pass instead of being kept.
    """

    layer: str
    pooling: str = "average"
    neck: str = "linear"
    embedding_size: int | None = None
    dropout: float = 0.0
    dtype: str = "float32"
    batch_norm: str = "local"
    batch_norm_group_size: int = 0
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-5
    convolution: str = "auto"
    remat: tuple[int, ...] = ()

    def trunk(self, images: jnp.ndarray, train: bool) -> dict[str, jnp.ndarray]:
        """The family's named layers, in order, from images of the trunk's dtype."""
        raise NotImplementedError

    @nn.compact
    def features(self, images: jnp.ndarray, train: bool = False) -> dict[str, jnp.ndarray]:
        """Every named layer, then "pool" and "embedding". Raises UserError for a `layer` that is not there."""
        named = self.trunk(images.astype(self.dtype), train)
        if self.layer not in named:
            raise UserError(f"no layer {self.layer!r}; this embedder has {', '.join(named)}")
        named["pool"], named["embedding"] = neck.Neck(
            kind=self.neck, pooling=self.pooling, embedding_size=self.embedding_size or None, dropout=self.dropout,
            norm=self.norm(train), name="neck")(named[self.layer], train)
        return named

    def __call__(self, images: jnp.ndarray, train: bool = False) -> jnp.ndarray:
        return self.features(images, train)["embedding"]

    def conv(self) -> Callable[..., nn.Module]:
        """Conv(features, kernel, strides) with this embedder's dtype and form."""
        return functools.partial(layers.Conv, dtype=self.dtype, form=self.convolution)

    def norm(self, train: bool) -> Callable[..., nn.Module]:
        """BatchNorm() as this embedder's fields say."""
        return layers.batch_norm(self.batch_norm, train, self.dtype, momentum=self.bn_momentum, epsilon=self.bn_epsilon,
                                 group_size=self.batch_norm_group_size)

    def rematerialised(self, module: Callable, stage: int) -> Callable:
        """`module`, or, where the stage is one of `remat`, the module that forgets what it computed inside."""
        return nn.remat(module) if stage in self.remat else module
