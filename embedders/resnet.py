"""ResNet 18, 34, 50, 101, 152 (He, Zhang, Ren, Sun: Deep Residual Learning, 2015, arXiv:1512.03385).

Version 1.5: the stride of a bottleneck is on its 3x3 convolution, as in torchvision. The layers that can be
named are stem, stage1 .. stage4, pool and embedding.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from embedders import layers, neck


class BasicBlock(nn.Module):
    """Two 3x3 convolutions. [B,H,W,C] -> [B,H/strides,W/strides,features]."""

    features: int
    strides: int
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        y = self.conv(self.features, 3, self.strides, name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = self.conv(self.features, 3, name="conv2")(y)
        y = self.norm(name="bn2")(y)
        return nn.relu(y + shortcut(self, x, y.shape))


class BottleneckBlock(nn.Module):
    """1x1, 3x3, 1x1 convolutions. [B,H,W,C] -> [B,H/strides,W/strides,4*features]."""

    features: int
    strides: int
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        y = nn.relu(self.norm(name="bn1")(self.conv(self.features, 1, name="conv1")(x)))
        y = self.conv(self.features, 3, self.strides, name="conv2")(y)
        y = nn.relu(self.norm(name="bn2")(y))
        y = self.conv(4 * self.features, 1, name="conv3")(y)
        y = self.norm(name="bn3")(y)
        return nn.relu(y + shortcut(self, x, y.shape))


def shortcut(block: nn.Module, x: jnp.ndarray, shape: tuple[int, ...]) -> jnp.ndarray:
    """x itself where it fits, else projected by a strided 1x1 convolution and BatchNorm."""
    if x.shape == shape:
        return x
    return block.norm(name="downsample_bn")(block.conv(shape[-1], 1, block.strides, name="downsample_conv")(x))


class ResNet(nn.Module):
    """images [B,H,W,3], already mean and std normalised -> f32[B,D], not L2-normalised.

    stage_sizes: blocks of each of the four stages. width: channels of the first stage.
    stem: "imagenet" (7x7 stride 2, max-pool: features at 1/32); for small images "half" (3x3 stride 2, no pool: 1/16)
    or "small" (3x3 stride 1, no pool: 1/8).
    layer: the named layer whose pooled output goes through the neck; embedding_size None or 0 takes it as it is.
    batch_norm "synchronised" needs the mesh axis "data" in scope (`jax.shard_map`) when train is True.
    """

    stage_sizes: tuple[int, ...]
    block: Callable
    width: int = 64
    stem: str = "imagenet"
    layer: str = "stage4"
    pooling: str = "average"
    neck: str = "linear"
    embedding_size: int | None = None
    dropout: float = 0.0
    dtype: str = "float32"
    batch_norm: str = "local"

    @nn.compact
    def features(self, images: jnp.ndarray, train: bool = False) -> dict[str, jnp.ndarray]:
        """Every named layer, from "stem" to "embedding"."""
        conv = layers.convolution(self.dtype)
        norm = layers.batch_norm(self.batch_norm, train, self.dtype)
        x = images.astype(self.dtype)
        if self.stem == "imagenet":
            x = conv(self.width, 7, 2, name="conv1")(x)
            x = layers.max_pool(nn.relu(norm(name="bn1")(x)))
        else:
            x = nn.relu(norm(name="bn1")(conv(self.width, 3, 2 if self.stem == "half" else 1, name="conv1")(x)))
        named = {"stem": x}
        for stage, blocks in enumerate(self.stage_sizes, start=1):
            for index in range(blocks):
                strides = 2 if stage > 1 and index == 0 else 1
                features = self.width * 2 ** (stage - 1)
                x = self.block(features, strides, conv, norm, name=f"stage{stage}_block{index + 1}")(x)
            named[f"stage{stage}"] = x
        if self.layer not in named:
            raise ValueError(f"no layer {self.layer!r}; this embedder has {', '.join(named)}")
        named["pool"] = neck.pool(named[self.layer], self.pooling)
        named["embedding"] = neck.Neck(self.neck, self.embedding_size or None, self.dropout, norm,
                                       name="neck")(named["pool"], train)
        return named

    def __call__(self, images: jnp.ndarray, train: bool = False) -> jnp.ndarray:
        return self.features(images, train)["embedding"]
