"""Losses of triplets: an anchor, a positive, a negative, and how these are chosen (mined).

Distances are Euclidean, of normalised embeddings. mining, for every anchor:
  all                every triplet
  semi_hard          those with d_ap < d_an < d_ap + margin (Schroff, Kalenichenko, Philbin: FaceNet, 2015,
                     arXiv:1503.03832)
  batch_hard         its furthest positive with its nearest negative (Hermans, Beyer, Leibe: In Defense of the Triplet
                     Loss, 2017, arXiv:1703.07737)
  distance_weighted  for every positive one negative, drawn evenly over distances (Wu, Manmatha, Smola, Kraehenbuehl:
                     Sampling Matters, 2017, arXiv:1706.07567)
"""

import jax
import jax.numpy as jnp

from ..errors import UserError
from .loss import Loss
from .pair_axis import PairAxis, Terms, distance, pair_loss

MINING = ("all", "semi_hard", "batch_hard", "distance_weighted")
# Of distance-weighted sampling, as published: smaller distances count as the first, larger than the second are out.
CUTOFF, NONZERO_LOSS_CUTOFF = 0.5, 1.4


def triplet(axis: PairAxis, *, margin: float = 0.2, mining: str = "semi_hard") -> Loss:
    """relu(d_ap - d_an + margin), averaged over the mined triplets that pay.

    Raises UserError for another mining. Schroff, Kalenichenko, Philbin: FaceNet, 2015, arXiv:1503.03832.
    """
    _check(mining, "triplet")

    def rule(anchor):
        d, mined = _mine(anchor, mining, margin)
        cost = jnp.where(mined, jax.nn.relu(d[:, None] - d[None, :] + margin), 0.0)
        return Terms(jnp.sum(cost), jnp.sum(cost > 0))

    return pair_loss(axis, rule, common=_common)


def margin_pairs(axis: PairAxis, *, margin: float = 0.2, beta: float = 1.2, mining: str = "distance_weighted") -> Loss:
    """relu(d_ap - beta + margin) + relu(beta - d_an + margin) of mined triplets, divided by how many of both pay.

    Raises UserError for another mining. Wu, Manmatha, Smola, Kraehenbuehl: Sampling Matters, 2017, arXiv:1706.07567;
    beta is fixed.
    """
    _check(mining, "margin_pairs")

    def rule(anchor):
        d, mined = _mine(anchor, mining, margin)
        near = jnp.where(mined, jax.nn.relu(d - beta + margin)[:, None], 0.0)
        far = jnp.where(mined, jax.nn.relu(beta - d + margin)[None, :], 0.0)
        return Terms(jnp.sum(near + far), jnp.sum(near > 0) + jnp.sum(far > 0))

    return pair_loss(axis, rule, common=_common)


def _common(per_anchor, labels, rng):
    del per_anchor, labels
    return rng


def _check(mining: str, name: str) -> None:
    if mining not in MINING:
        raise UserError(f"{name}: unknown mining {mining!r}; known: {', '.join(MINING)}")


def _mine(anchor, mining: str, margin: float):
    """(distances f32[N], whether (positive, negative) is mined, bool[N,N])."""
    d = distance(anchor.similarity)
    fixed = jax.lax.stop_gradient(d)
    every = anchor.positive[:, None] & anchor.negative[None, :]
    places = jnp.arange(d.shape[0])
    match mining:
        case "all":
            mined = every
        case "semi_hard":
            further = fixed[None, :] - fixed[:, None]
            mined = every & (further > 0) & (further < margin)
        case "batch_hard":
            furthest = jnp.argmax(jnp.where(anchor.positive, fixed, -1.0))
            nearest = jnp.argmin(jnp.where(anchor.negative, fixed, jnp.inf))
            mined = every & (places == furthest)[:, None] & (places == nearest)[None, :]
        case "distance_weighted":
            near = anchor.negative & (fixed < NONZERO_LOSS_CUTOFF)
            weights = jnp.where(near, log_weights(fixed, anchor.embedding_size), -jnp.inf)
            # Its own draw for every anchor, wherever in the chunks and devices it is; Gumbel's trick draws a row's.
            rng = jax.random.fold_in(anchor.common, anchor.index)
            drawn = jnp.argmax(weights + jax.random.gumbel(rng, every.shape), axis=1)
            mined = every & (places == drawn[:, None]) & jnp.isfinite(weights)[None, :]
    return d, mined


def log_weights(d: jax.Array, dimensions: int) -> jax.Array:
    """-log of the density of distances between random points of the unit sphere, up to a constant."""
    d = jnp.maximum(d, CUTOFF)
    return (2.0 - dimensions) * jnp.log(d) - (dimensions - 3) / 2 * jnp.log(jnp.maximum(1 - d * d / 4, 1e-8))
