"""Angles from cosines, with derivatives that are finite over all of [-1, 1].

The derivative of cos(theta + m) with respect to cos(theta) grows as 1 / sin(theta). In float32, 1 - cos^2 below
MIN_SIN_SQUARED is rounding noise; there sin(theta) is taken as constant, so that derivatives stay finite at cos = +-1.
"""

import math

import jax
import jax.numpy as jnp

from ..errors import UserError

MIN_SIN_SQUARED = 1e-6

# How far "clip" keeps theta + margin away from 0 and pi, in radians.
CLIP = 1e-3

# What `arc_target` can do past theta + margin = pi; `margin.arcface` says what each is.
GRADIENTS = ("full", "fallback", "easy", "detached", "clip")


def sine(cosine: jax.Array) -> jax.Array:
    """sin(theta) of cosines of any shape, but at least .001, with derivative 0 where it is less.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import angle
      >>> [round(float(angle.sine(jnp.float32(cosine))), 3) for cosine in (0.6, 1.0)]
      [0.8, 0.001]
    """
    squared = 1.0 - cosine * cosine
    return jnp.sqrt(jnp.where(squared > MIN_SIN_SQUARED, squared, MIN_SIN_SQUARED))


def cos_of_sum(cosine: jax.Array, angle: jax.Array | float) -> jax.Array:
    """cos(theta + angle).

    Args:
      cosine: cos(theta), of any shape; clipped to [-1, 1].
      angle: radians, of a shape that fits.

    Returns:
      An array like `cosine`.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import angle
      >>> round(float(angle.cos_of_sum(jnp.float32(0.6), jnp.pi / 2)), 4)   # -sin(theta)
      -0.8
    """
    cosine = jnp.clip(cosine, -1.0, 1.0)
    return cosine * jnp.cos(angle) - sine(cosine) * jnp.sin(angle)


@jax.custom_jvp
def theta(cosine: jax.Array) -> jax.Array:
    """arccos of cosines of any shape, in radians; the derivative is capped where sin(theta) < .001.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.losses import angle
      >>> value, slope = jax.value_and_grad(angle.theta)(jnp.float32(1.0))
      >>> round(float(value), 4), round(float(slope))
      (0.0, -1000)
    """
    return jnp.arccos(jnp.clip(cosine, -1.0, 1.0))


@theta.defjvp
def _theta_jvp(primals, tangents):
    cosine = jnp.clip(primals[0], -1.0, 1.0)
    return theta(cosine), -tangents[0] / sine(cosine)


def arc_target(cosine: jax.Array, margin: jax.Array | float, gradient: str) -> jax.Array:
    """The target of ArcFace: cos(theta + margin), and something else past theta + margin = pi.

    Args:
      cosine: the label's cosines, f32[B]; clipped to [-1, 1].
      margin: radians, f32[] or f32[B].
      gradient: one of GRADIENTS, see `margin.arcface`.

    Returns:
      f32[B].

    Raises:
      UserError: the gradient's name is unknown.

    References:
      Deng, Guo, Xue, Zafeiriou: ArcFace, 2018, arXiv:1801.07698.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import angle
      >>> cosines = jnp.array([0.6, -1.0])
      >>> for name in ("full", "fallback", "easy"):
      ...     print(name, [round(float(value), 3) for value in angle.arc_target(cosines, 0.5, name)])
      full [0.143, -0.878]
      fallback [0.143, -1.24]
      easy [0.143, -1.0]
    """
    cosine = jnp.clip(cosine, -1.0, 1.0)
    full = cos_of_sum(cosine, margin)
    past_pi = cosine <= jnp.cos(math.pi - margin)
    match gradient:
        case "full":
            return full
        case "fallback":
            return jnp.where(past_pi, cosine - margin * jnp.sin(math.pi - margin), full)
        case "easy":
            return jnp.where(cosine > 0, full, cosine)
        case "detached":
            return cosine + jax.lax.stop_gradient(full - cosine)
        case "clip":
            return jnp.minimum(jnp.where(cosine <= jnp.cos(math.pi - CLIP - margin), -math.cos(CLIP), full),
                               math.cos(CLIP))
        case _:
            raise UserError(f"unknown gradient {gradient!r}; known: {', '.join(GRADIENTS)}")
