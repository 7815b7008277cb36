"""Parts of a network that do not learn run as in an evaluation, in the midst of others that do."""

import contextlib
from collections.abc import Collection

from flax import linen as nn

from . import gradients, layers, normalization


@contextlib.contextmanager
def of(parts: Collection[str], network: nn.Module):
    """A context in which these parts of a network are traced as in an evaluation.

    Their BatchNorm takes the running averages, which do not change, nothing is dropped inside of them, and gradients
    that are written out make way for autodiff's. Whether they are differentiated is for the caller to say, by what the
    gradient is taken of: with respect to the other parameters, there is no backward pass below the lowest of these.

    Args:
      parts: names of the network's own submodules, as in its parameters.
      network: whose they are.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import embedders
      >>> embedder, images = embedders.build("resnet8", embedding_size=4), jnp.ones((2, 16, 16, 3))
      >>> variables = embedder.init(jax.random.key(0), images)
      >>> _, updated = embedder.apply(variables, images, train=True, frozen=("bn1",), mutable=["batch_stats"])
      >>> moved = jax.tree.map(lambda a, b: bool((a != b).any()), variables["batch_stats"], updated["batch_stats"])
      >>> moved["bn1"]["mean"], moved["stage1_block1"]["bn1"]["mean"]
      (False, True)
    """
    depth = len(network.path)

    def as_in_evaluation(call, args, kwargs, context):
        module = context.module
        if context.method_name != "__call__" or not {*module.path[depth:depth + 1]} & {*parts}:
            return call(*args, **kwargs)
        if isinstance(module, nn.Dropout | layers.DropPath):
            return args[0]
        with gradients.by_autodiff():
            return call(*args, **kwargs | ({"running": True} if isinstance(module, normalization.BatchNorm) else {}))

    with nn.intercept_methods(as_in_evaluation) if parts else contextlib.nullcontext():
        yield
