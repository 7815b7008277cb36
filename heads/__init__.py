"""Heads: what a task makes of features, such as class scores. Flax Linen modules, on top of an embedder.

    head = heads.build("linear", num_classes=1000)
    logits = head.apply({"params": {"kernel": kernel, "bias": bias}}, features)

Training does not use them: the classifiers that are trained belong to losses, which split their classes over devices. A
head is for using a classifier that is there already, such as the one that public weights bring along for their trunk
(`embedders.public_weights.pretrained.convert_head`).
"""

from flax import linen as nn

from ..errors import UserError
from .linear import Linear

# Name -> class.
HEADS = {
    "linear": Linear,
}


def build(name: str, **fields) -> nn.Module:
    """The named head.

    Args:
      name: of HEADS.
      **fields: fields of its class.

    Returns:
      A Flax module: `apply(variables, features)` gives the task's output.

    Raises:
      UserError: the name is unknown.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import heads
      >>> logits, _ = heads.build("linear", num_classes=10).init_with_output(jax.random.key(0), jnp.ones((2, 4)))
      >>> logits.shape
      (2, 10)
    """
    if name not in HEADS:
        raise UserError(f"unknown head {name!r}; known: {', '.join(HEADS)}")
    return HEADS[name](**fields)
