"""ResNet. Its layers are stem, stage1 to stage4, pool and embedding.

Version 1.5 has the stride of a bottleneck on its 3x3 convolution, as in torchvision; version 1, the paper's, has it on
the first 1x1 convolution.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from . import layers
from .embedder import Embedder

# What `ResNet.stem` and `ResNet.version` can be.
STEMS = ("imagenet", "space_to_depth", "deep", "half", "small")
VERSIONS = ("v1.5", "v1")


class Block(nn.Module, kw_only=True):
    """A residual block, relu(branch(x) + shortcut(x)): [B,H,W,C] -> [B,H/strides,W/strides,expansion*features].

    Attributes:
      features: the channels inside; those that leave it are `expansion` times as many, 4 for bottlenecks and else 1.
      strides: of the block, 1 or 2.
      conv, norm: constructors that carry dtype, form and statistics.
      version: one of VERSIONS.
      zero_init: whether the branch's last BatchNorm starts with the scale 0, so that the block starts as its shortcut
        (Goyal et al.: Accurate, Large Minibatch SGD, 2017, arXiv:1706.02677).
      drop_path: the share of images that skip the branch.
      train: whether they do.
    """

    features: int
    strides: int
    conv: Callable
    norm: Callable
    version: str
    zero_init: bool
    drop_path: float
    train: bool

    def residual(self, x: jnp.ndarray, branch: jnp.ndarray) -> jnp.ndarray:
        """The end of a block, from its input and its branch's output."""
        if x.shape != branch.shape:  # the shortcut is projected by a strided 1x1 convolution and BatchNorm
            x = self.conv(branch.shape[-1], 1, self.strides, name="downsample_conv")(x)
            x = self.norm(name="downsample_bn")(x)
        return layers.relu(layers.DropPath(self.drop_path, self.train)(branch) + x)

    def last_norm(self, name: str) -> nn.Module:
        """The branch's last BatchNorm."""
        init = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        return self.norm(scale_init=init, name=name)


class BasicBlock(Block):
    """A residual block of two 3x3 convolutions."""

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        y = self.conv(self.features, 3, self.strides, name="conv1")(x)
        y = self.norm(name="bn1", activate=True)(y)
        y = self.conv(self.features, 3, name="conv2")(y)
        return self.residual(x, self.last_norm("bn2")(y))


class BottleneckBlock(Block):
    """A residual block of 1x1, 3x3 and 1x1 convolutions, of which the last has four times the features."""

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        first, second = (self.strides, 1) if self.version == "v1" else (1, self.strides)
        y = self.norm(name="bn1", activate=True)(self.conv(self.features, 1, first, name="conv1")(x))
        y = self.norm(name="bn2", activate=True)(self.conv(self.features, 3, second, name="conv2")(y))
        y = self.conv(4 * self.features, 1, name="conv3")(y)
        return self.residual(x, self.last_norm("bn3")(y))


class ResNet(Embedder, kw_only=True):
    """Stages of residual blocks, each of half the size and twice the width of the one before.

    Attributes:
      stage_sizes: the blocks of each stage.
      block: the constructor of a `Block`.
      width: the channels of the first stage.
      version: one of VERSIONS, where a bottleneck has its stride.
      stem: one of STEMS:
        imagenet        7x7 with stride 2, then a max-pool: the last stage is at 1/32 of the image's side;
        space_to_depth  the same parameters and values, computed on squares of 2x2 pixels as 12 channels;
        deep            three 3x3 in place of the 7x7 (He et al.: Bag of Tricks, 2018, arXiv:1812.01187);
        half            for small images: 3x3 with stride 2 and no pool, 1/16;
        small           for small images: 3x3 with stride 1 and no pool, 1/8.
      drop_path: the share of images that skip the last block's branch; it grows linearly from 0 at the first block.
      zero_init_last_scale: `Block.zero_init` of all blocks.
      Other fields are `Embedder`'s.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.embedders.resnet import BasicBlock, ResNet
      >>> resnet = ResNet(stage_sizes=(1, 1), block=BasicBlock, width=8, stem="half", layer="stage2", neck="none")
      >>> shapes = jax.eval_shape(lambda rng, x: resnet.init_with_output(rng, x, method="features")[0],
      ...                         jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
      >>> [(name, shapes[name].shape) for name in ("stem", "stage1", "stage2", "pool", "embedding")]
      [('stem', (1, 16, 16, 8)), ('stage1', (1, 16, 16, 8)), ('stage2', (1, 8, 8, 16)), ('pool', (1, 16)),
       ('embedding', (1, 16))]
    """

    stage_sizes: tuple[int, ...]
    block: Callable
    width: int = 64
    version: str = "v1.5"
    stem: str = "imagenet"
    layer: str = "stage4"
    drop_path: float = 0.0
    zero_init_last_scale: bool = False

    def trunk(self, images: jnp.ndarray, train: bool) -> dict[str, jnp.ndarray]:
        conv, norm = self.conv(), self.norm(train)
        x = self.first_convolutions(images, conv, norm)
        x = norm(name="bn1", activate=True)(x)
        named = {"stem": x if self.stem in ("half", "small") else layers.max_pool(x, self.convolution)}
        x, shares = named["stem"], layers.drop_path_shares(self.drop_path, sum(self.stage_sizes))
        for stage, blocks in enumerate(self.stage_sizes, start=1):
            block = self.rematerialised(self.block, stage)
            for index in range(blocks):
                x = block(features=self.width * 2 ** (stage - 1), strides=2 if stage > 1 and index == 0 else 1,
                          conv=conv, norm=norm, version=self.version, zero_init=self.zero_init_last_scale,
                          drop_path=next(shares), train=train, name=f"stage{stage}_block{index + 1}")(x)
            named[f"stage{stage}"] = x
        return named

    def first_convolutions(self, x: jnp.ndarray, conv: Callable, norm: Callable) -> jnp.ndarray:
        """The stem before its last BatchNorm."""
        match self.stem:
            case "imagenet":
                return conv(self.width, 7, 2, name="conv1")(x)
            case "space_to_depth":
                return layers.SpaceToDepthConv(self.width, self.dtype, name="conv1")(x)
            case "deep":
                x = norm(name="bn1_1", activate=True)(conv(self.width // 2, 3, 2, name="conv1_1")(x))
                x = norm(name="bn1_2", activate=True)(conv(self.width // 2, 3, name="conv1_2")(x))
                return conv(self.width, 3, name="conv1_3")(x)
            case "half" | "small":
                return conv(self.width, 3, 2 if self.stem == "half" else 1, name="conv1")(x)
