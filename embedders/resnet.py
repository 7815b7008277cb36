"""ResNet 18, 34, 50, 101, 152 (He, Zhang, Ren, Sun: Deep Residual Learning, 2015, arXiv:1512.03385).

Version 1.5 has the stride of a bottleneck on its 3x3 convolution, as in torchvision; version 1, the paper's, on
its first 1x1. The layers that can be named are stem, stage1 .. stage4, pool and embedding.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from . import layers
from .embedder import Embedder

STEMS = ("imagenet", "space_to_depth", "deep", "half", "small")
VERSIONS = ("v1.5", "v1")


class Block(nn.Module, kw_only=True):
    """A residual block: relu(branch(x) + shortcut(x)). [B,H,W,C] -> [B,H/strides,W/strides,expansion*features].

    conv, norm: constructors that carry dtype, form and statistics. drop_path: the share of images that skip the
    branch. zero_init: the branch's last BatchNorm starts at scale 0, so the block starts as the shortcut
    (Goyal et al., arXiv:1706.02677).
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
        if x.shape != branch.shape:  # projected by a strided 1x1 convolution and BatchNorm
            x = self.conv(branch.shape[-1], 1, self.strides, name="downsample_conv")(x)
            x = self.norm(name="downsample_bn")(x)
        return layers.relu(layers.DropPath(self.drop_path, self.train)(branch) + x)

    def last_norm(self, name: str) -> nn.Module:
        init = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        return self.norm(scale_init=init, name=name)


class BasicBlock(Block):
    """Two 3x3 convolutions."""

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        y = self.conv(self.features, 3, self.strides, name="conv1")(x)
        y = self.norm(name="bn1", activate=True)(y)
        y = self.conv(self.features, 3, name="conv2")(y)
        return self.residual(x, self.last_norm("bn2")(y))


class BottleneckBlock(Block):
    """1x1, 3x3, 1x1 convolutions; the last has four times the features."""

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        first, second = (self.strides, 1) if self.version == "v1" else (1, self.strides)
        y = self.norm(name="bn1", activate=True)(self.conv(self.features, 1, first, name="conv1")(x))
        y = self.norm(name="bn2", activate=True)(self.conv(self.features, 3, second, name="conv2")(y))
        y = self.conv(4 * self.features, 1, name="conv3")(y)
        return self.residual(x, self.last_norm("bn3")(y))


class ResNet(Embedder, kw_only=True):
    """Stages of residual blocks, each of half the size and twice the width of the one before.

    See `Embedder` for the fields that all families have.

    stage_sizes: blocks of each stage. block: their class. width: channels of the first stage.
    version: "v1.5" or "v1", where a bottleneck has its stride.
    stem: "imagenet" (7x7 stride 2, max-pool: features at 1/32); "space_to_depth" (the same parameters and values,
      computed on 2x2 pixels as 12 channels); "deep" (three 3x3 in place of the 7x7: He et al., arXiv:1812.01187);
      for small images "half" (3x3 stride 2, no pool: 1/16) or "small" (3x3 stride 1, no pool: 1/8).
    drop_path: of the last block; it grows linearly from 0 at the first. zero_init_last_scale: see `Block`.
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
        x, done = named["stem"], 0
        for stage, blocks in enumerate(self.stage_sizes, start=1):
            block = self.rematerialised(self.block, stage)
            for index in range(blocks):
                drop_path = self.drop_path * done / max(sum(self.stage_sizes) - 1, 1)
                x = block(features=self.width * 2 ** (stage - 1), strides=2 if stage > 1 and index == 0 else 1,
                          conv=conv, norm=norm, version=self.version, zero_init=self.zero_init_last_scale,
                          drop_path=drop_path, train=train, name=f"stage{stage}_block{index + 1}")(x)
                done += 1
            named[f"stage{stage}"] = x
        return named

    def first_convolutions(self, x: jnp.ndarray, conv: Callable, norm: Callable) -> jnp.ndarray:
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
