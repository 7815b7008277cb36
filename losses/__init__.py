"""Losses: embeddings [B, D] and labels [B] -> a scalar. Pure functions.

    loss = losses.build("arcface", num_classes=1000, scale=64.0, margin=0.5)
    params, state = loss.init(rng, embedding_size=512)
    value, state, scalars = loss.apply(params, state, embeddings, labels, rng)
"""

import inspect

import jax

from losses import adaptive, classification, margin, partial_fc
from losses.class_axis import ClassAxis
from losses.labels import check_labels as check_labels
from losses.labels import checked
from losses.loss import Loss

# Of embeddings against the prototypes of classes.
CLASS_LOSSES = {
    "adacos": adaptive.adacos,
    "adaface": adaptive.adaface,
    "arcface": margin.arcface,
    "combined": margin.combined,
    "cosface": margin.cosface,
    "curricularface": adaptive.curricularface,
    "elasticface": adaptive.elasticface,
    "magface": adaptive.magface,
    "normface": margin.normface,
    "sigmoid": classification.sigmoid,
    "softmax": classification.softmax,
    "sphereface": margin.sphereface,
    "subcenter_arcface": margin.subcenter_arcface,
}

LOSSES = CLASS_LOSSES


def hyper_parameters(name: str) -> dict[str, object]:
    """The hyper-parameters of a loss and their defaults. Raises ValueError for an unknown name."""
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}; known: {', '.join(sorted(LOSSES))}")
    parameters = inspect.signature(LOSSES[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def build(name: str, *, num_classes: int, mesh: jax.sharding.Mesh | None = None, chunk_size: int = 0,
          sample_rate: float = 1.0, update: str = "all", **values) -> Loss:
    """The named loss over `num_classes` classes; `values` are its hyper-parameters.

    With a mesh, prototypes are split by class over its axis "data", and their number of rows is `num_classes`
    rounded up to the device count.
    chunk_size: classes at a time on a device, 0 for all at once: the same loss in less memory.
    sample_rate, update: Partial FC, see losses/partial_fc.py.
    Raises ValueError for an unknown name or hyper-parameter, and for values that cannot be.
    """
    known = hyper_parameters(name)
    for key in values:
        if key not in known:
            raise ValueError(f"{name} has no hyper-parameter {key!r}; it takes {', '.join(known)}")
    if num_classes < 1:
        raise ValueError(f"{name} needs at least one class, got num_classes={num_classes}")
    if chunk_size < 0:
        raise ValueError(f"chunk_size is a number of classes, 0 for all at once; got {chunk_size}")
    axis = ClassAxis(num_classes, mesh, chunk_size=chunk_size, sample_rate=sample_rate, update=update)
    partial_fc.check(axis)
    return checked(LOSSES[name](axis, **values), num_classes, multi_hot=name == "sigmoid")
