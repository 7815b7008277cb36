"""IResNet, the ResNet for faces. Its layers are stem, stage1 to stage4, pool and embedding.

It is as published with arcface_torch: the stem keeps the image's size, a block is BN-conv-BN-PReLU-conv-BN without a
last activation and has its stride on the second convolution, and the neck is BN-dropout-FC-BN on the flattened 7x7 map
of a 112 px face.

Deng, Guo, Xue, Zafeiriou: ArcFace, 2018, arXiv:1801.07698.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from . import layers
from .embedder import Embedder

# This is the published initialisation; its size matters little, as BatchNorm follows every convolution.
_CONV_INIT = nn.initializers.normal(0.1)


class IResNetBlock(nn.Module):
    """A residual block, [B,H,W,C] -> [B,H/strides,W/strides,features]. The fields are those of `resnet.Block`."""

    features: int
    strides: int
    conv: Callable
    norm: Callable
    zero_init: bool
    drop_path: float
    train: bool

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        y = self.norm(name="bn1")(x)
        y = self.conv(self.features, 3, kernel_init=_CONV_INIT, name="conv1")(y)
        y = layers.PReLU(name="prelu")(self.norm(name="bn2")(y))
        y = self.conv(self.features, 3, self.strides, kernel_init=_CONV_INIT, name="conv2")(y)
        y = self.norm(scale_init=nn.initializers.zeros if self.zero_init else nn.initializers.ones, name="bn3")(y)
        if self.strides != 1 or x.shape[-1] != self.features:
            x = self.conv(self.features, 1, self.strides, kernel_init=_CONV_INIT, name="downsample_conv")(x)
            x = self.norm(name="downsample_bn")(x)
        return layers.DropPath(self.drop_path, self.train)(y) + x


class IResNet(Embedder, kw_only=True):
    """Four stages, each of which halves the map and, after the first, doubles the width.

    Attributes:
      stage_sizes: the blocks of each stage.
      width: the channels of the stem and of the first stage.
      drop_path: the share of images that skip the last block's branch; it grows linearly from 0 at the first block.
      zero_init_last_scale: `resnet.Block.zero_init` of all blocks.
      Other fields are `Embedder`'s.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.embedders.iresnet import IResNet
      >>> iresnet = IResNet(stage_sizes=(1, 1), width=8, layer="stage2", embedding_size=4)
      >>> shapes = jax.eval_shape(lambda rng, x: iresnet.init_with_output(rng, x, method="features")[0],
      ...                         jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
      >>> [(name, shapes[name].shape) for name in ("stem", "stage1", "stage2", "pool", "embedding")]
      [('stem', (1, 32, 32, 8)), ('stage1', (1, 16, 16, 8)), ('stage2', (1, 8, 8, 16)), ('pool', (1, 1024)),
       ('embedding', (1, 4))]
    """

    stage_sizes: tuple[int, ...]
    width: int = 64
    layer: str = "stage4"
    pooling: str = "flatten"
    neck: str = "bn_fc_bn"
    embedding_size: int | None = 512
    drop_path: float = 0.0
    zero_init_last_scale: bool = False

    def trunk(self, images: jnp.ndarray, train: bool) -> dict[str, jnp.ndarray]:
        conv, norm = self.conv(), self.norm(train)
        x = norm(name="bn1")(conv(self.width, 3, kernel_init=_CONV_INIT, name="conv1")(images))
        x = layers.PReLU(name="prelu")(x)
        named, shares = {"stem": x}, layers.drop_path_shares(self.drop_path, sum(self.stage_sizes))
        for stage, blocks in enumerate(self.stage_sizes, start=1):
            block = self.rematerialised(IResNetBlock, stage)
            for index in range(blocks):
                x = block(self.width * 2 ** (stage - 1), 2 if index == 0 else 1, conv, norm,
                          self.zero_init_last_scale, next(shares), train, name=f"stage{stage}_block{index + 1}")(x)
            named[f"stage{stage}"] = x
        return named
