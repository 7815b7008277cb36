"""Heads: features -> a task's output. Flax Linen modules, on top of an embedder.

    head = heads.build("linear", num_classes=1000)
    logits = head.apply({"params": {"kernel": kernel, "bias": bias}}, features)
"""

from flax import linen as nn

from heads.linear import Linear

HEADS = {
    "linear": Linear,
}


def build(name: str, **fields) -> nn.Module:
    """The named head with these fields. Raises ValueError for an unknown name."""
    if name not in HEADS:
        raise ValueError(f"unknown head {name!r}; known: {', '.join(HEADS)}")
    return HEADS[name](**fields)
