"""ResNeXt: a ResNet whose 3x3 convolutions work on groups of channels.

32x4d means 32 groups, of 4 channels in the first stage.

Xie, Girshick, Dollár, Tu, He: Aggregated Residual Transformations for Deep Neural Networks, 2016, arXiv:1611.05431.
"""

import jax.numpy as jnp
from flax import linen as nn

from .resnet import Block


class ResNeXtBlock(Block):
    """A residual block of 1x1, grouped 3x3 and 1x1 convolutions, [B,H,W,C] -> [B,H/strides,W/strides,4*features].

    Attributes:
      groups: how many groups of channels.
      group_width: the channels of a group in a stage of 64 features, with which they grow. Other fields are `Block`'s.

    Example:
      >>> from geodesic import embedders
      >>> embedders.build("resnext50_32x4d").block.keywords
      {'groups': 32, 'group_width': 4}
    """

    groups: int
    group_width: int

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        width = self.features * self.group_width // 64 * self.groups
        first, second = (self.strides, 1) if self.version == "v1" else (1, self.strides)
        y = self.norm(name="bn1", activate=True)(self.conv(width, 1, first, name="conv1")(x))
        y = self.conv(width, 3, second, groups=self.groups, name="conv2")(y)
        y = self.norm(name="bn2", activate=True)(y)
        y = self.conv(4 * self.features, 1, name="conv3")(y)
        return self.residual(x, self.last_norm("bn3")(y))
