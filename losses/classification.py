"""Linear classifiers on the embedding: softmax, and one sigmoid per class.

The logit of class j is <x, w_j> + b_j, of embeddings that are not normalised. Both losses are linear in the target, so
they take mixed ones (`labels.Mixed`): weight * loss(label) + (1 - weight) * loss(other), in one pass over the classes.
Accuracies are weighted alike, as in the code of mixup's authors. Each loss takes its classes first
(`losses.build` makes the axis); the weights and biases are params {"prototypes": f32[C,D], "bias": f32[C]}, split over
devices like any prototypes.
"""

import jax
import jax.numpy as jnp

from ..errors import UserError
from . import class_axis, cross_entropy, partial_fc, reduction, similarity
from .class_axis import ClassAxis, Piece
from .labels import Mixed
from .loss import Loss
from .reduction import Totals


def softmax(axis: ClassAxis, *, label_smoothing: float = 0.0) -> Loss:
    """Softmax cross-entropy: -log(e^logit_y / sum_j e^logit_j), averaged over the batch.

    Args:
      label_smoothing: the share of the target that is spread evenly over all classes in the softmax, the label's among
        them; in [0, 1).

    Raises:
      UserError: label_smoothing is no such share.

    References:
      Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture, 2015, arXiv:1512.00567, for
      label smoothing.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("softmax", num_classes=2)
      >>> params = {"prototypes": jnp.eye(2), "bias": jnp.zeros(2)}
      >>> value, _, _ = loss.apply(params, {}, jnp.array([[3.0, 4.0]]), jnp.array([0]), jax.random.key(0))
      >>> round(float(value), 4)   # log(1 + exp(4 - 3))
      1.3133
    """
    _check_smoothing("softmax", label_smoothing)

    def summarize(piece: Piece) -> Totals:
        logits = jnp.where(piece.valid, piece.values, 0.0)
        others = jnp.where(piece.valid & ~piece.own, logits, -jnp.inf)
        other = {"other": jnp.sum(jnp.where(_other(piece), logits, 0.0), axis=-1)} if piece.rows else {}
        return Totals(sums={"target": jnp.sum(jnp.where(piece.own, logits, 0.0), axis=-1),
                            "logits": jnp.sum(logits, axis=-1), **other},
                      maxima={"largest": jnp.max(others, axis=-1)},
                      logs={"others": reduction.logsumexp(others, axis=-1)})

    def apply(params, state, embeddings, labels, rng):
        totals, state = _totals(axis, summarize, params, state, embeddings, labels, rng)
        target, others, largest = totals.sums["target"], totals.logs["others"], totals.maxima["largest"]
        losses, right = cross_entropy.cross_entropy(target, others), target > largest
        if isinstance(labels, Mixed):
            mixed = labels.weight * target + (1 - labels.weight) * totals.sums["other"]
            losses += target - mixed
            right = jnp.where(right, labels.weight, 0.0) + jnp.where(
                totals.sums["other"] >= jnp.maximum(target, largest), 1 - labels.weight, 0.0)
            target = mixed
        if label_smoothing:
            losses += label_smoothing * (target - totals.sums["logits"] / axis.softmax_classes)
        return jnp.mean(losses), state, {"accuracy": jnp.mean(right)}

    return Loss(_init(axis), apply, _scores(axis), probabilities=jax.nn.softmax, mixed_targets=True)


def sigmoid(axis: ClassAxis, *, label_smoothing: float = 0.0) -> Loss:
    """Binary cross-entropy of every class: log(1 + e^logit_j) - t_j logit_j, averaged over examples and classes.

    Labels are i32[B], one class for each example, or multi-hot [B,C] of zeros and ones: t_j is 1 for the example's
    classes, and 0 for the others. The accuracy is the share of (example, class) on the right side of 0.

    Args:
      label_smoothing: t_j is 1 - label_smoothing / 2 and label_smoothing / 2 in place of 1 and 0; in [0, 1).

    Raises:
      UserError: label_smoothing is no such share.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("sigmoid", num_classes=2)
      >>> params = {"prototypes": jnp.eye(2), "bias": jnp.zeros(2)}
      >>> value, _, _ = loss.apply(params, {}, jnp.array([[3.0, 4.0]]), jnp.array([[1, 1]]), jax.random.key(0))
      >>> round(float(value), 4)   # (log(1 + exp(-3)) + log(1 + exp(-4))) / 2
      0.0334
    """
    _check_smoothing("sigmoid", label_smoothing)
    on, off = 1 - label_smoothing / 2, label_smoothing / 2

    def summarize(piece: Piece) -> Totals:
        targets, right = jnp.where(piece.own, on, off), (piece.values > 0) == piece.own
        if piece.rows:
            other, weight = _other(piece), piece.rows.weight[:, None]
            targets = weight * targets + (1 - weight) * jnp.where(other, on, off)
            right = weight * right + (1 - weight) * ((piece.values > 0) == other)
        entropy = jax.nn.softplus(piece.values) - targets * piece.values
        return Totals(sums={"entropy": jnp.sum(jnp.where(piece.valid, entropy, 0.0), axis=-1),
                            "right": jnp.sum(jnp.where(piece.valid, right, False), axis=-1)}, maxima={}, logs={})

    def apply(params, state, embeddings, labels, rng):
        totals, state = _totals(axis, summarize, params, state, embeddings, labels, rng)
        loss = jnp.mean(totals.sums["entropy"]) / axis.softmax_classes
        accuracy = jnp.mean(totals.sums["right"] / axis.softmax_classes)
        return loss, state, {"accuracy": accuracy}

    return Loss(_init(axis), apply, _scores(axis), probabilities=jax.nn.sigmoid, multi_hot=True,
                mixed_targets=True)


def _totals(axis: ClassAxis, summarize, params: dict, state: dict, embeddings: jax.Array, labels, rng) -> tuple:
    """(the totals over the classes, the loss's state). Where labels are mixed, they are the rows of a piece, too."""
    label, rows = (labels.label, labels) if isinstance(labels, Mixed) else (labels, ())
    taking_part = jnp.concatenate([labels.label, labels.other]) if rows else labels
    sample, state = partial_fc.sample(axis, state, taking_part, rng)
    return class_axis.totals(axis, summarize, embeddings.astype(jnp.float32), params, label, rows, sample,
                             similarity.affine), state


def _other(piece: Piece) -> jax.Array:
    """bool[B,c], whether a class is the row's other label."""
    return piece.rows.other[:, None] == piece.classes


def _init(axis: ClassAxis):
    def init(rng, embedding_size):
        params = {"prototypes": class_axis.init_prototypes(rng, axis, embedding_size),
                  "bias": jnp.zeros(axis.rows, jnp.float32)}
        return params, partial_fc.init_state(axis)

    return init


def _scores(axis: ClassAxis):
    return class_axis.scores(axis, similarity.affine, normalize=False)


def _check_smoothing(name: str, label_smoothing: float) -> None:
    if not 0 <= label_smoothing < 1:
        raise UserError(f"{name}: label_smoothing is a share of the target, in [0, 1); got {label_smoothing}")
