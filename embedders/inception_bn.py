"""Inception with BatchNorm. Its layers are conv1/7x7_s2, pool1/3x3_s2, conv2/3x3, pool2/3x3_s2, inception_3a/concat to
inception_5b/concat, pool and embedding.

Names, widths and pooling are those of the public Caffe model and its PyTorch conversion: convolutions have a bias
before BatchNorm, and max-pools round their size up.

Ioffe, Szegedy: Batch Normalization, 2015, arXiv:1502.03167.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from .cpu import pools
from .embedder import Embedder


class Widths(NamedTuple):
    """The channels of a module's branches.

    Attributes:
      one: of the 1x1 branch; 0 where the module halves the map and has none.
      three_reduce, three: of the 3x3 branch's two convolutions.
      double_reduce, double: of the double 3x3 branch's first convolution, and of its two others.
      pool: "average" or "max", of the pooling branch.
      projection: of the pooling branch's convolution; 0 where the module halves the map and has none.
    """

    one: int
    three_reduce: int
    three: int
    double_reduce: int
    double: int
    pool: str
    projection: int


# The modules in their order; the digit is the stage.
MODULES = {
    "3a": Widths(64, 64, 64, 64, 96, "average", 32),
    "3b": Widths(64, 64, 96, 64, 96, "average", 64),
    "3c": Widths(0, 128, 160, 64, 96, "max", 0),
    "4a": Widths(224, 64, 96, 96, 128, "average", 128),
    "4b": Widths(192, 96, 128, 96, 128, "average", 128),
    "4c": Widths(160, 128, 160, 128, 160, "average", 128),
    "4d": Widths(96, 128, 192, 160, 192, "average", 128),
    "4e": Widths(0, 128, 192, 192, 256, "max", 0),
    "5a": Widths(352, 192, 320, 160, 224, "average", 128),
    "5b": Widths(352, 192, 320, 192, 224, "max", 128),
}


class Unit(nn.Module):
    """A convolution with bias, BatchNorm and ReLU, [B,H,W,C] -> [B,ceil(H/strides),ceil(W/strides),features].

    Attributes:
      features, kernel, strides: as of `layers.Conv`.
      conv, norm: constructors that carry dtype, form and statistics.
    """

    features: int
    kernel: int
    conv: Callable
    norm: Callable
    strides: int = 1

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        norm = self.norm(name="bn", activate=True)
        # The batch's mean takes a bias away again; only the running mean leaves it a gradient.
        conv = self.conv(self.features, self.kernel, self.strides, use_bias=True, bias_learns=norm.use_running_average,
                         name="conv")
        return norm(conv(x))


class Inception(nn.Module):
    """Branches of 1x1, 3x3, double 3x3 and pooling, side by side: [B,H,W,C] -> [B,H,W,F], or half the map without 1x1.

    Attributes:
      widths: the branches' channels.
      conv, norm: constructors that carry dtype, form and statistics.
      form: of the pools, as of `cpu.pools.max_pool`.
    """

    widths: Widths
    conv: Callable
    norm: Callable
    form: str

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        widths = self.widths
        unit = lambda *args, name: Unit(*args[:2], self.conv, self.norm, *args[2:], name=name)
        strides = 1 if widths.one else 2
        branches = [unit(widths.one, 1, name="1x1")(x)] if widths.one else []
        y = unit(widths.three_reduce, 1, name="3x3_reduce")(x)
        branches.append(unit(widths.three, 3, strides, name="3x3")(y))
        y = unit(widths.double_reduce, 1, name="double_3x3_reduce")(x)
        y = unit(widths.double, 3, name="double_3x3_1")(y)
        branches.append(unit(widths.double, 3, strides, name="double_3x3_2")(y))
        if not widths.one:
            y = max_pool_up(x, self.form, odd=(1, 1))
        elif widths.pool == "max":
            y = pools.max_pool(x, 1, ((1, 1), (1, 1)), self.form)
        else:
            y = pools.average_pool(x, self.form)
        branches.append(unit(widths.projection, 1, name="pool_proj")(y) if widths.projection else y)
        return jnp.concatenate(branches, axis=-1)


def max_pool_up(x: jnp.ndarray, form: str, odd: tuple[int, int] = (0, 0)) -> jnp.ndarray:
    """A max-pool of 3x3 windows with stride 2 that rounds sizes up: even sides get one more pixel of -inf at the end.

    Args:
      x: [B,H,W,C].
      form: as of `cpu.pools.max_pool`.
      odd: pixels of -inf before and after an odd side. Beside convolutions it is (1, 1), so that maps of an odd side
        fit together; the public model raises there.

    Returns:
      [B,h,w,C].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.embedders import inception_bn
      >>> inception_bn.max_pool_up(jnp.zeros((1, 112, 7, 4)), "auto").shape
      (1, 56, 3, 4)
    """
    height, width = x.shape[1:3]
    # Of a symbolic side that may be either, int() raises: == would take it for odd.
    return pools.max_pool(x, 2, tuple((0, 1) if int(side % 2) == 0 else odd for side in (height, width)), form)


class InceptionBN(Embedder, kw_only=True):
    """Ten inception modules behind two convolutions. The fields are `Embedder`'s; stages, for `remat`, are 3, 4 and 5.

    Example:
      >>> from geodesic import embedders
      >>> embedders.build("inception_bn", embedding_size=64).layer
      'inception_5b/concat'
    """

    layer: str = "inception_5b/concat"

    def trunk(self, images: jnp.ndarray, train: bool) -> dict[str, jnp.ndarray]:
        conv, norm = self.conv(), self.norm(train)
        named = {"conv1/7x7_s2": Unit(64, 7, conv, norm, 2, name="conv1_7x7_s2")(images)}
        x = named["pool1/3x3_s2"] = max_pool_up(named["conv1/7x7_s2"], self.convolution)
        x = Unit(64, 1, conv, norm, name="conv2_3x3_reduce")(x)
        x = named["conv2/3x3"] = Unit(192, 3, conv, norm, name="conv2_3x3")(x)
        x = named["pool2/3x3_s2"] = max_pool_up(x, self.convolution)
        for name, widths in MODULES.items():
            module = self.rematerialised(Inception, int(name[0]))
            x = module(widths, conv, norm, self.convolution, name=f"inception_{name}")(x)
            named[f"inception_{name}/concat"] = x
        return named
