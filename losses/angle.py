"""Angles from cosines, with derivatives that are finite over all of [-1, 1]."""

import math

import jax
import jax.numpy as jnp

from ..errors import UserError

# Below this, 1 - cos^2 is rounding noise in float32 and sin(theta) is taken as constant: derivatives that grow as
# 1 / sin(theta) stay finite at cos = +-1.
MIN_SIN_SQUARED = 1e-6

# Radians that "clip" keeps away from 0 and pi.
CLIP = 1e-3

GRADIENTS = ("full", "fallback", "easy", "detached", "clip")


def sine(cosine: jax.Array) -> jax.Array:
    """sin(theta) >= .001, with derivative 0 below that."""
    squared = 1.0 - cosine * cosine
    return jnp.sqrt(jnp.where(squared > MIN_SIN_SQUARED, squared, MIN_SIN_SQUARED))


def cos_of_sum(cosine: jax.Array, angle: jax.Array | float) -> jax.Array:
    """cos(theta + angle), angle in radians."""
    cosine = jnp.clip(cosine, -1.0, 1.0)
    return cosine * jnp.cos(angle) - sine(cosine) * jnp.sin(angle)


@jax.custom_jvp
def theta(cosine: jax.Array) -> jax.Array:
    """arccos, in radians; its derivative is capped where sin(theta) < .001."""
    return jnp.arccos(jnp.clip(cosine, -1.0, 1.0))


@theta.defjvp
def _theta_jvp(primals, tangents):
    cosine = jnp.clip(primals[0], -1.0, 1.0)
    return theta(cosine), -tangents[0] / sine(cosine)


def arc_target(cosine: jax.Array, margin: jax.Array | float, gradient: str) -> jax.Array:
    """cos(theta + margin), with one of the GRADIENTS (see margin.arcface); margin f32[] or f32[B], in radians."""
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
