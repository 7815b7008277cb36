"""Losses of triplets: an anchor, a positive of its class, a negative of another, and how these are chosen (mined).

d_ap and d_an are the Euclidean distances of normalised embeddings from the anchor to the positive and to the negative.
Each loss takes first how pairs are compared (`losses.build` makes the axis), and has no params. Mining keeps, of every
anchor:

    all                every triplet
    semi_hard          the triplets with d_ap < d_an < d_ap + margin (Schroff, Kalenichenko, Philbin: FaceNet, 2015,
                       arXiv:1503.03832)
    batch_hard         its furthest positive with its nearest negative (Hermans, Beyer, Leibe: In Defense of the
                       Triplet Loss, 2017, arXiv:1703.07737)
    distance_weighted  for every positive one negative, drawn evenly over distances (Wu, Manmatha, Smola, Kraehenbuehl:
                       Sampling Matters, 2017, arXiv:1706.07567)
"""

import jax
import jax.numpy as jnp

from ..errors import UserError
from .loss import Loss
from .pair_axis import PairAxis, Terms, distance, pair_loss

MINING = ("all", "semi_hard", "batch_hard", "distance_weighted")
# As published for distance-weighted mining: distances below the first count as the first, and negatives further than
# the second are never drawn.
CUTOFF, NONZERO_LOSS_CUTOFF = 0.5, 1.4


def triplet(axis: PairAxis, *, margin: float = 0.2, mining: str = "semi_hard") -> Loss:
    """Triplet loss: relu(d_ap - d_an + margin), averaged over the mined triplets that pay.

    Args:
      margin: a distance.
      mining: one of MINING.

    Raises:
      UserError: the mining is unknown.

    References:
      Schroff, Kalenichenko, Philbin: FaceNet, 2015, arXiv:1503.03832.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> embeddings = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])   # cosines are .6, 0 and .8
      >>> loss = losses.build("triplet", num_classes=2, margin=1.0, mining="all")
      >>> value, _, _ = loss.apply({}, {}, embeddings, jnp.array([0, 0, 1]), jax.random.key(0))
      >>> round(float(value), 4)   # sqrt(.8) + 1 - (sqrt(2) + sqrt(.4)) / 2
      0.8711
    """
    _check(mining, "triplet")

    def rule(anchor):
        d, mined = _mine(anchor, mining, margin)
        cost = jnp.where(mined, jax.nn.relu(d[:, None] - d[None, :] + margin), 0.0)
        return Terms(jnp.sum(cost), jnp.sum(cost > 0))

    return pair_loss(axis, rule, common=_common)


def margin_pairs(axis: PairAxis, *, margin: float = 0.2, beta: float = 1.2, mining: str = "distance_weighted") -> Loss:
    """Margin loss on pairs: relu(d_ap - beta + margin) + relu(beta - d_an + margin), over the pairs of mined triplets.

    The sum is divided by how many of both terms pay. (Not to be confused with the margin losses of classes,
    losses/margin.py.)

    Args:
      margin: a distance.
      beta: the distance that parts positives from negatives; fixed, where the paper can also learn it.
      mining: one of MINING.

    Raises:
      UserError: the mining is unknown.

    References:
      Wu, Manmatha, Smola, Kraehenbuehl: Sampling Matters in Deep Embedding Learning, 2017, arXiv:1706.07567.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> embeddings = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])   # cosines are .6, 0 and .8
      >>> loss = losses.build("margin_pairs", num_classes=2, mining="all")
      >>> value, _, _ = loss.apply({}, {}, embeddings, jnp.array([0, 0, 1]), jax.random.key(0))
      >>> round(float(value), 4)   # only one pair pays: 1.2 - sqrt(.4) + .2
      0.7675
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
    """The distances f32[N] of an anchor, and which (positive, negative) are mined with it, bool[N,N]."""
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
            # A key for each anchor's place in the batch makes the draw the same whatever the chunks and devices. The
            # largest of log-weights plus Gumbel noise is a draw by the weights.
            rng = jax.random.fold_in(anchor.common, anchor.index)
            drawn = jnp.argmax(weights + jax.random.gumbel(rng, every.shape), axis=1)
            mined = every & (places == drawn[:, None]) & jnp.isfinite(weights)[None, :]
    return d, mined


def log_weights(d: jax.Array, dimensions: int) -> jax.Array:
    """The logarithm of how much rarer than others a distance is between random points of a unit sphere.

    Args:
      d: distances, of any shape.
      dimensions: of the space that the sphere is in.

    Returns:
      -log of the density of d, up to a constant, of the shape of d.

    References:
      Wu, Manmatha, Smola, Kraehenbuehl: Sampling Matters in Deep Embedding Learning, 2017, arXiv:1706.07567, (3).

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import triplets
      >>> odds = triplets.log_weights(jnp.array([0.7, 1.4]), 128)   # nearly all points are at right angles
      >>> bool(odds[0] > odds[1])
      True
    """
    d = jnp.maximum(d, CUTOFF)
    return (2.0 - dimensions) * jnp.log(d) - (dimensions - 3) / 2 * jnp.log(jnp.maximum(1 - d * d / 4, 1e-8))
