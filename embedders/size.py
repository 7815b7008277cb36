"""How large an embedder is, from shapes alone: nothing is computed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from . import layers

_COUNTED = layers.Conv | layers.SpaceToDepthConv | nn.Dense


class Size(NamedTuple):
    parameters: int      # that learn; running statistics are not among them
    multiply_adds: int   # of convolutions and dense layers, one image forward, whatever form computes them


def measure(embedder: nn.Module, image_size: int) -> Size:
    """Of an embedder that sees image_size x image_size pixels. Takes about .1 ms per layer."""
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
