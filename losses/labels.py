"""Labels that a loss can use: integers within its classes. Unchecked, one out of range would count as no class."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..errors import UserError
from .loss import Loss


class Mixed(NamedTuple):
    """Labels of mixed examples: the target is `weight` of one class, and 1 - weight of another, perhaps the same.

    Attributes:
      label: i32[B].
      other: i32[B].
      weight: f32[B], in 0..1.
    """

    label: jax.Array
    other: jax.Array
    weight: jax.Array


def check_labels(labels, num_classes: int) -> None:
    """Refuses labels that are not those of so many classes.

    Args:
      labels: integers [N], or multi-hot [N,C]. Of labels under jit, and of those that other hosts hold a part of, the
        range cannot be seen, and is not checked.
      num_classes: C.

    Raises:
      UserError: the shape, the type or the range is another.

    Example:
      >>> import numpy as np
      >>> from geodesic import losses
      >>> losses.check_labels(np.array([0, 3]), num_classes=3)
      Traceback (most recent call last):
      geodesic.errors.UserError: labels run from 0 to 3, but the loss has 3 classes, 0 to 2: ...
    """
    if labels.ndim not in (1, 2):
        raise UserError(f"labels are integers [B] or multi-hot [B,C]; got an array of shape {tuple(labels.shape)}")
    if labels.ndim == 2:
        if labels.shape[1] != num_classes:
            raise UserError(f"multi-hot labels need a column for each of the {num_classes} classes; "
                            f"got {labels.shape[1]} columns")
        return
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise UserError(f"labels are integers, as floats confuse classes above 2^24; got {labels.dtype}")
    if isinstance(labels, jax.core.Tracer) or not labels.size:
        return
    if isinstance(labels, jax.Array) and not labels.is_fully_addressable:
        return
    labels = jax.device_get(labels)  # jnp would trace, under the caller's jit
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise UserError(f"labels run from {low} to {high}, but the loss has {num_classes} classes, 0 to "
                        f"{num_classes - 1}: set loss.num_classes to at least {high + 1}, or relabel the data")


def checked(loss: Loss, num_classes: int) -> Loss:
    """The loss, which then refuses embeddings and labels that it cannot use.

    Under jit it sees shapes and types only, so a program checks the labels of its data first (`check_labels`).

    Args:
      loss: any loss.
      num_classes: its classes.

    Returns:
      The loss; its `apply` raises UserError for other shapes, for labels out of range, for multi-hot labels unless
      `loss.multi_hot`, and for mixed ones unless `loss.mixed_targets`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("contrastive", num_classes=3)   # `build` returns a loss that checks
      >>> loss.apply({}, {}, jnp.eye(2), jnp.array([0, 1, 2]), jax.random.key(0))
      Traceback (most recent call last):
      geodesic.errors.UserError: a loss takes embeddings [B,D] and as many labels; got (2, 2) and (3,)
    """

    def apply(params, state, embeddings, labels, rng):
        if not isinstance(labels, Mixed):
            check(embeddings, labels)
        elif not loss.mixed_targets:
            raise UserError("this loss takes one class per example, labels [B]; two of them, with a weight, are for "
                            "losses that are linear in the target, such as softmax")
        else:
            for one in labels.label, labels.other:
                check(embeddings, one)
        return loss.apply(params, state, embeddings, labels, rng)

    def check(embeddings, labels):
        if embeddings.ndim != 2 or labels.shape[:1] != embeddings.shape[:1]:
            raise UserError(f"a loss takes embeddings [B,D] and as many labels; got {tuple(embeddings.shape)} and "
                            f"{tuple(labels.shape)}")
        if labels.ndim == 2 and not loss.multi_hot:
            raise UserError("this loss takes one class per example, labels [B]; multi-hot labels are for sigmoid")
        check_labels(labels, num_classes)

    return loss._replace(apply=apply)
