"""Noise that sub-centre ArcFace has found: samples far from where their class gathers.

Deng, Guo, Liu, Gong, Zafeiriou: Sub-center ArcFace, 2020, ECCV. Train with k prototypes per class, drop the outliers,
and train again with one.
"""

import jax
import jax.numpy as jnp

from geodesic.losses.class_axis import PRECISION, unit

from ..errors import UserError


def outliers(embeddings: jax.Array, labels: jax.Array, prototypes: jax.Array,
             degrees: float = 75.0) -> tuple[jax.Array, jax.Array]:
    """(bool[N]: further than `degrees` from the class's dominant prototype; i32[C]: which of the k is dominant).

    embeddings: [N,D]. labels: i32[N]. prototypes: [C,k,D], rows past the labels ignored. Dominant is the prototype
    that is closest for most samples of the class, the first of equals.
    Raises UserError for prototypes without a k.
    """
    if prototypes.ndim != 3:
        raise UserError(f"outliers needs the prototypes [C,k,D] of subcenter_arcface; got shape {prototypes.shape}")
    cosines = jnp.einsum("nd,nkd->nk", unit(embeddings), unit(prototypes[labels]), precision=PRECISION)
    count = jnp.zeros(prototypes.shape[:2], jnp.int32).at[labels, jnp.argmax(cosines, axis=1)].add(1)
    dominant = jnp.argmax(count, axis=1)
    cosine = jnp.take_along_axis(cosines, dominant[labels][:, None], axis=1)[:, 0]
    return cosine < jnp.cos(jnp.radians(degrees)), dominant
