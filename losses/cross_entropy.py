"""Softmax cross-entropy over the class axis, from its two halves: the label's logit and all the others."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from . import class_axis
from .class_axis import ClassAxis, Piece, Totals


class Softmax(NamedTuple):
    """Per row, f32[B]. With a single class there are no others: -inf and -inf."""

    target: jax.Array   # the label's cosine (or logit), before any margin
    others: jax.Array   # log sum exp of the other classes' logits
    largest: jax.Array  # the largest of the others' cosines (or logits), without gradient


def softmax(axis: ClassAxis, x: jax.Array, classes: dict, labels: jax.Array, negative: Callable, *, rows=(),
            sample: jax.Array | None = None, columns: Callable = class_axis.cosines) -> Softmax:
    """negative: (values [B,c], rows) -> logits of classes that are not the label's."""

    def summarize(piece: Piece) -> Totals:
        others = piece.valid & ~piece.own
        logits = jnp.where(others, negative(piece.values, piece.rows), -jnp.inf)
        return Totals(sums={"target": jnp.sum(jnp.where(piece.own, piece.values, 0.0), axis=-1)},
                      maxima={"largest": jnp.max(jnp.where(others, piece.values, -jnp.inf), axis=-1)},
                      logs={"others": class_axis.logsumexp(logits, axis=-1)})

    totals = class_axis.totals(axis, summarize, x, classes, labels, rows, sample, columns)
    return Softmax(totals.sums["target"], totals.logs["others"], totals.maxima["largest"])


def cross_entropy(logit: jax.Array, others: jax.Array) -> jax.Array:
    """-log(e^logit / (e^logit + e^others)), f32[B]; never negative, and precise where it is tiny."""
    return jax.nn.softplus(others - logit)


def scalars(rows: Softmax) -> dict:
    """Accuracy without margin, and how close embeddings are to their prototypes."""
    return {"accuracy": jnp.mean(rows.target > rows.largest), "target_cosine": jnp.mean(rows.target)}
