"""Softmax losses on the hypersphere, with a margin on the label's own class.

x: embedding, w_j: prototype of class j, cos_j = <x/|x|, w_j/|w_j|>, theta = arccos(cos_y) for the label y.
Logits are `scale * target(cos_y)` at y and `scale * cos_j` elsewhere; the loss is the mean cross-entropy.
"""

import functools
import math

import jax
import jax.numpy as jnp

from losses import class_axis
from losses.loss import Loss

GRADIENTS = ("full", "fallback", "easy", "detached", "clip")

# Below this, 1 - cos^2 is rounding noise in float32 and sin(theta) is taken as constant: the derivative of
# cos(theta + m), which grows as 1 / sin(theta), stays finite at cos = +-1.
_MIN_SIN_SQUARED = 1e-6


def arcface(axis: class_axis.ClassAxis, *, scale: float = 64.0, margin: float = 0.5,
            gradient: str = "fallback") -> Loss:
    """Additive angular margin: cos(theta + margin).

    margin: radians. gradient: what is done where theta + margin passes pi, and what derivative is used:
      full      cos(theta + m) itself; its derivative has the wrong sign below cos(pi - m)
      fallback  cos - m sin(pi - m) there: monotone, but the value jumps at the threshold
      easy      cos where cos <= 0
      detached  the value of `full`, with derivative 1 everywhere
      clip      theta + m clipped to [0, pi]
    Raises ValueError for another name. Deng, Guo, Xue, Zafeiriou: ArcFace, 2018, arXiv:1801.07698.
    """
    if gradient not in GRADIENTS:
        raise ValueError(f"arcface: unknown gradient {gradient!r}; known: {', '.join(GRADIENTS)}")
    if not 0 <= margin <= math.pi:
        raise ValueError(f"arcface: margin is an angle in radians, 0 to pi; got {margin}")
    return _margin_loss(axis, scale, functools.partial(_arcface_target, margin=margin, gradient=gradient))


def cosface(axis: class_axis.ClassAxis, *, scale: float = 64.0, margin: float = 0.4) -> Loss:
    """Additive cosine margin: cos - margin. Wang et al.: CosFace, 2018, arXiv:1801.09414."""
    return _margin_loss(axis, scale, lambda cosine: cosine - margin)


def normface(axis: class_axis.ClassAxis, *, scale: float = 64.0) -> Loss:
    """Normalised softmax, no margin. Wang, Xiang, Cheng, Yuille: NormFace, 2017, arXiv:1704.06369."""
    return _margin_loss(axis, scale, lambda cosine: cosine)


def _arcface_target(cosine: jax.Array, margin: float, gradient: str) -> jax.Array:
    cosine = jnp.clip(cosine, -1.0, 1.0)
    sin_squared = 1.0 - cosine * cosine
    safe = jnp.where(sin_squared > _MIN_SIN_SQUARED, sin_squared, _MIN_SIN_SQUARED)
    full = cosine * math.cos(margin) - jnp.sqrt(safe) * math.sin(margin)
    past_pi = cosine <= math.cos(math.pi - margin)
    match gradient:
        case "full":
            return full
        case "fallback":
            return jnp.where(past_pi, cosine - margin * math.sin(math.pi - margin), full)
        case "easy":
            return jnp.where(cosine > 0, full, cosine)
        case "detached":
            return cosine + jax.lax.stop_gradient(full - cosine)
        case "clip":
            return jnp.where(past_pi, -1.0, full)


def _margin_loss(axis: class_axis.ClassAxis, scale: float, target) -> Loss:
    def init(rng, embedding_size):
        return {"prototypes": class_axis.init_prototypes(rng, axis, embedding_size)}, {}

    def apply(params, state, embeddings, labels, rng):
        del rng
        prototypes = params["prototypes"]
        cosine = class_axis.target_cosines(axis, embeddings, prototypes, labels)
        others, largest = class_axis.other_classes(axis, embeddings, prototypes, labels, scale)
        # Cross-entropy from the two halves of the softmax: log(e^t + sum of the others) - t.
        logit = scale * target(cosine)
        loss = jnp.mean(jnp.logaddexp(logit, others) - logit)
        scalars = {"accuracy": jnp.mean(cosine > largest), "target_cosine": jnp.mean(cosine)}
        return loss, state, scalars

    return Loss(init, apply)
