"""Softmax cross-entropy over the class axis, from its two halves: the label's logit and all the others."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from . import class_axis, reduction, similarity
from .class_axis import ClassAxis, Piece
from .reduction import Totals


class Softmax(NamedTuple):
    """What a softmax over all classes needs to know of each example, f32[B] each.

    Attributes:
      target: the label's cosine (or logit), before any margin.
      others: log sum e^logit over the other classes; -inf where there is a single class.
      largest: the largest of the others' cosines (or logits), without gradient; -inf where there is a single class.
    """

    target: jax.Array
    others: jax.Array
    largest: jax.Array


def softmax(axis: ClassAxis, x: jax.Array, classes: dict, labels: jax.Array, negative: Callable, *, rows=(),
            sample: jax.Array | None = None, columns: Callable = similarity.cosines) -> Softmax:
    """Both halves of a softmax over all classes, without its matrix of logits.

    Args:
      axis: the classes.
      x: embeddings f32[B,D], as `columns` wants them.
      classes: the loss's params.
      labels: i32[B].
      negative: (values [B,c], rows) -> logits [B,c], of classes that are not the label's.
      rows: arrays [B] or [] for `negative`.
      sample: of `partial_fc.sample`.
      columns: as of `class_axis.totals`.

    Returns:
      A `Softmax`.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import class_axis, cross_entropy
      >>> rows = cross_entropy.softmax(class_axis.ClassAxis(2), jnp.array([[0.6, 0.8]]), {"prototypes": jnp.eye(2)},
      ...                              jnp.array([0]), lambda cosines, rows: 10 * cosines)
      >>> [round(float(value[0]), 3) for value in rows]
      [0.6, 8.0, 0.8]
    """

    def summarize(piece: Piece) -> Totals:
        others = piece.valid & ~piece.own
        logits = jnp.where(others, negative(piece.values, piece.rows), -jnp.inf)
        return Totals(sums={"target": jnp.sum(jnp.where(piece.own, piece.values, 0.0), axis=-1)},
                      maxima={"largest": jnp.max(jnp.where(others, piece.values, -jnp.inf), axis=-1)},
                      logs={"others": reduction.logsumexp(logits, axis=-1)})

    totals = class_axis.totals(axis, summarize, x, classes, labels, rows, sample, columns)
    return Softmax(totals.sums["target"], totals.logs["others"], totals.maxima["largest"])


def cross_entropy(logit: jax.Array, others: jax.Array) -> jax.Array:
    """-log(e^logit / (e^logit + e^others)), never negative, and precise where it is tiny.

    Args:
      logit: of the label, f32[B].
      others: log sum e^logit of the other classes, f32[B].

    Returns:
      f32[B].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import cross_entropy
      >>> round(float(cross_entropy.cross_entropy(jnp.float32(1.0), jnp.float32(1.0))), 4)   # log 2
      0.6931
    """
    return jax.nn.softplus(others - logit)


def scalars(rows: Softmax) -> dict:
    """What class losses report: the accuracy without margin, and the mean cosine of embeddings to their prototypes.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import cross_entropy
      >>> rows = cross_entropy.Softmax(target=jnp.array([0.6, 0.2]), others=jnp.zeros(2), largest=jnp.array([0.5, 0.5]))
      >>> {name: round(float(value), 3) for name, value in cross_entropy.scalars(rows).items()}
      {'accuracy': 0.5, 'target_cosine': 0.4}
    """
    return {"accuracy": jnp.mean(rows.target > rows.largest), "target_cosine": jnp.mean(rows.target)}
