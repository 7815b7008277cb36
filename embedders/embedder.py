"""What every embedder is: fields that papers vary, named layers, and an embedding from one of them."""

import functools
from collections.abc import Callable, Collection, Mapping

import jax.numpy as jnp
from flax import linen as nn

from ..errors import UserError
from . import freezing, gradients, layers, neck

# What lies above the trunk in an embedder's variables, by name: all the rest is the trunk.
ABOVE_TRUNK = ("neck", "head")


class Embedder(nn.Module, kw_only=True):
    """A network from images [B,H,W,3], already shifted and scaled, to embeddings f32[B,D], not normalised.

    Families derive from it and bring their `trunk`. The neck follows: it pools and projects one of the trunk's layers.
    A head, where there is one, takes its place.

    Attributes:
      layer: the named layer whose pooled output goes through the neck.
      pooling: one of `neck.POOLINGS`: average, max, average_max, generalised_mean or flatten.
      neck: one of `neck.NECKS`, see `neck.Neck`.
      embedding_size: D; None or 0 takes the pooled layer as it is, without a neck.
      dropout: the share dropped before the neck's last layer.
      dtype: float32 or bfloat16, of the trunk; parameters, statistics and the neck stay float32.
      batch_norm: local, synchronised or frozen, see `layers.batch_norm`. "synchronised" needs the mesh axis "data" in
        scope (`jax.shard_map`) where `train` is True.
      batch_norm_group_size: how many devices share synchronised statistics; 0 for all.
      bn_momentum: the share of the running statistics that stays; .9 is PyTorch's .1.
      bn_epsilon: what is added to the variance.
      convolution: one of `cpu.convolution.FORMS`; "auto" is the fastest on this backend, "native" is plain XLA.
      remat: the stages whose activations are computed again in the backward pass instead of being kept.
      head: a module in place of pooling and neck: head({name: layer}, train) -> f32[B,D], such as `geodesic.heads` has.
        Its parameters are those of "head"; `pooling`, `neck`, `embedding_size` and `dropout` are then not used.
      head_layers: the named layers that the head is given; () for `layer` alone.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.embedders.embedder import Embedder
      >>> class Blur(Embedder):
      ...     layer: str = "blurred"
      ...     def trunk(self, images, train):
      ...         return {"blurred": self.conv()(4, 3)(images)}
      >>> embeddings, variables = Blur(embedding_size=2).init_with_output(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
      >>> embeddings.shape, sorted(variables["params"])
      ((1, 2), ['Conv_0', 'neck'])
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
    head: nn.Module | None = None
    head_layers: tuple[str, ...] = ()

    def trunk(self, images: jnp.ndarray, train: bool) -> dict[str, jnp.ndarray]:
        """The family's own part.

        Args:
          images: [B,H,W,3] of the trunk's dtype.
          train: whether BatchNorm takes the batch's statistics, and branches are dropped.

        Returns:
          Name -> layer [B,h,w,C], in order.
        """
        raise NotImplementedError

    @nn.compact
    def features(self, images: jnp.ndarray, train: bool = False,
                 frozen: Collection[str] = ()) -> dict[str, jnp.ndarray]:
        """Every named layer of the trunk, and then "pool", which a head does not have, and "embedding", both f32.

        Args:
          images: [B,H,W,3]; or layers of the trunk that are known, name -> [B,h,w,C], in the place of what it gives.
          train: as of `trunk`.
          frozen: parts of the network, names in its parameters, that run as in an evaluation, see `freezing`.

        Raises:
          UserError: `layer`, or one of `head_layers`, is not among the trunk's.
        """
        with gradients.by_autodiff(not train), freezing.of(frozen, self):
            if isinstance(images, Mapping):
                named = {name: layer.astype(self.dtype) for name, layer in images.items()}
            else:
                named = self.trunk(images.astype(self.dtype), train)
            wanted = (self.head and self.head_layers) or (self.layer,)
            if unknown := [layer for layer in wanted if layer not in named]:
                raise UserError(f"no layer {unknown[0]!r}; this embedder has {', '.join(named)}")
            if self.head:
                named["embedding"] = self.head({layer: named[layer] for layer in wanted}, train)
            else:
                named["pool"], named["embedding"] = neck.Neck(
                    kind=self.neck, pooling=self.pooling, embedding_size=self.embedding_size or None,
                    dropout=self.dropout, norm=self.norm(train), name="neck")(named[self.layer], train)
        return named

    def __call__(self, images: jnp.ndarray, train: bool = False, frozen: Collection[str] = ()) -> jnp.ndarray:
        """The embeddings f32[B,D] of images [B,H,W,3]. Arguments and errors are those of `features`."""
        return self.features(images, train, frozen)["embedding"]

    def conv(self) -> Callable[..., nn.Module]:
        """`layers.Conv` with this embedder's dtype and form: conv(features, kernel, strides) is a module."""
        return functools.partial(layers.Conv, dtype=self.dtype, form=self.convolution)

    def norm(self, train: bool) -> Callable[..., nn.Module]:
        """`normalization.BatchNorm` as this embedder's fields say: norm() is a module."""
        return layers.batch_norm(self.batch_norm, train, self.dtype, momentum=self.bn_momentum, epsilon=self.bn_epsilon,
                                 group_size=self.batch_norm_group_size)

    def rematerialised(self, module: Callable, stage: int) -> Callable:
        """The module, which, where the stage is one of `remat`, computes its inside again in the backward pass."""
        return nn.remat(module) if stage in self.remat else module
