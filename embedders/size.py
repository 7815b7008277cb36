"""How large an embedder is, from shapes alone; nothing is computed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from . import layers

_COUNTED = layers.Conv | layers.SpaceToDepthConv | nn.Dense


class Size(NamedTuple):
    """How large an embedder is.

    Attributes:
      parameters: the numbers that learn; running statistics are not among them.
      multiply_adds: those of convolutions and dense layers in one image's forward pass, whatever form computes them.
    """

    parameters: int
    multiply_adds: int


def measure(embedder: nn.Module, image_size: int) -> Size:
    """The size of an embedder, in about .1 ms for each of its layers.

    Args:
      embedder: a module of `embedders.build`.
      image_size: height and width of the images in pixels.

    Returns:
      A `Size`.

    Example:
      >>> from geodesic import embedders
      >>> from geodesic.embedders import size
      >>> size.measure(embedders.build("resnet8", embedding_size=16), image_size=32)
      Size(parameters=309424, multiply_adds=12281856)
    """
    counted = []

    def count(call, args, kwargs, context):
        out = call(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(context.module, _COUNTED):
            kernel = context.module.get_variable("params", "kernel")
            counted.append(out.size // out.shape[-1] * kernel.size)
        return out

    image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    with nn.intercept_methods(count):
        variables = jax.eval_shape(embedder.init, jax.random.key(0), image)
    return Size(sum(leaf.size for leaf in jax.tree.leaves(variables["params"])), sum(counted))
