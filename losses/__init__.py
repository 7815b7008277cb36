"""Losses: embeddings [B, D] and labels [B] -> a scalar. Pure functions.

    loss = losses.build("arcface", num_classes=1000, scale=64.0, margin=0.5)
    params, state = loss.init(rng, embedding_size=512)
    value, state, scalars = loss.apply(params, state, embeddings, labels, rng)
"""

import inspect

import jax

from losses import margin
from losses.class_axis import ClassAxis
from losses.loss import Loss

LOSSES = {
    "arcface": margin.arcface,
    "cosface": margin.cosface,
    "normface": margin.normface,
}


def hyper_parameters(name: str) -> dict[str, object]:
    """The hyper-parameters of a loss and their defaults. Raises ValueError for an unknown name."""
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}; known: {', '.join(sorted(LOSSES))}")
    parameters = inspect.signature(LOSSES[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def build(name: str, *, num_classes: int, mesh: jax.sharding.Mesh | None = None, **values) -> Loss:
    """The named loss over `num_classes` classes.

    With a mesh, prototypes are split by class over its axis "data", and their number of rows is `num_classes`
    rounded up to the device count.
    Raises ValueError for an unknown name or hyper-parameter.
    """
    known = hyper_parameters(name)
    for key in values:
        if key not in known:
            raise ValueError(f"{name} has no hyper-parameter {key!r}; it takes {', '.join(known)}")
    if num_classes < 1:
        raise ValueError(f"{name} needs at least one class, got num_classes={num_classes}")
    return LOSSES[name](ClassAxis(num_classes, mesh), **values)
