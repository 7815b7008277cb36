"""Heads: features -> a task's output. Flax Linen modules, on top of an embedder.

    head = heads.build("linear", num_classes=1000)
    logits = head.apply({"params": {"kernel": kernel, "bias": bias}}, features)
"""

from flax import linen as nn

from ..errors import UserError
from .linear import Linear

HEADS = {
    "linear": Linear,
}


def build(name: str, **fields) -> nn.Module:
    """The named head with these fields. Raises UserError for an unknown name."""
    if name not in HEADS:
        raise UserError(f"unknown head {name!r}; known: {', '.join(HEADS)}")
    return HEADS[name](**fields)
