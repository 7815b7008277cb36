"""Labels that a loss can use: integers within its classes. A label out of range would silently count as no class."""

import jax
import jax.numpy as jnp

from ..errors import UserError
from .loss import Loss


def check_labels(labels, num_classes: int) -> None:
    """labels: integers [N], or multi-hot [N,C]. Raises UserError for another shape, type or range."""
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
    """The loss, refusing what it cannot use. Under jit it sees shapes and types only: check the data's labels first."""

    def apply(params, state, embeddings, labels, rng):
        if embeddings.ndim != 2 or labels.shape[:1] != embeddings.shape[:1]:
            raise UserError(f"a loss takes embeddings [B,D] and as many labels; got {tuple(embeddings.shape)} and "
                             f"{tuple(labels.shape)}")
        if labels.ndim == 2 and not loss.multi_hot:
            raise UserError("this loss takes one class per example, labels [B]; multi-hot labels are for sigmoid")
        check_labels(labels, num_classes)
        return loss.apply(params, state, embeddings, labels, rng)

    return loss._replace(apply=apply)
