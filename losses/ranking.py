"""Smooth versions of what retrieval is scored on, in which every example is a query and the others are its gallery.

The rank of a positive is 1 plus the number of images that come before it; the count is made smooth by a sigmoid of the
differences of cosines. Queries without positives are left out. Each loss takes first how pairs are compared
(`losses.build` makes the axis), and has no params.
"""

import jax
import jax.numpy as jnp

from ..errors import UserError
from .loss import Loss
from .pair_axis import Anchor, PairAxis, Terms, masked_sum, pair_loss


def smooth_ap(axis: PairAxis, *, temperature: float = 0.01) -> Loss:
    """Smooth-AP: 1 - average precision, averaged over queries.

    The query is not among its own positives. (In the published code it is, and always ranks first.)

    Args:
      temperature: in units of cosine.

    References:
      Brown, Xie, Kalogeiton, Zisserman: Smooth-AP, 2020, arXiv:2007.12163.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> embeddings = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])   # cosines are .6, 0 and .8
      >>> loss = losses.build("smooth_ap", num_classes=2)
      >>> value, _, _ = loss.apply({}, {}, embeddings, jnp.array([0, 0, 1]), jax.random.key(0))
      >>> round(float(value), 4)   # the second example's positive comes after its negative: (0 + 1/2) / 2
      0.25
    """

    def rule(anchor):
        before = _before(anchor, temperature)
        among_positives = 1 + jnp.sum(jnp.where(anchor.positive[None, :], before, 0.0), axis=1)
        precision = among_positives / (1 + jnp.sum(before, axis=1))
        count = jnp.sum(anchor.positive)
        average = masked_sum(precision, anchor.positive) / jnp.maximum(count, 1)
        return Terms(jnp.where(count > 0, jax.nn.relu(1 - average), 0.0), (count > 0).astype(jnp.float32))

    return pair_loss(axis, rule)


def recall_at_k(axis: PairAxis, *, ks: tuple[int, ...] = (1, 2, 4, 8, 16), rank_temperature: float = 1.0,
                temperature: float = 0.01) -> Loss:
    """Recall@k loss: 1 - the share of a query's positives that rank within k, averaged over ks and queries.

    Args:
      ks: places in the ranking, at least 1.
      rank_temperature: of the comparison of a rank with k, in places.
      temperature: of the comparisons of similarities that make a rank, in units of cosine.

    Raises:
      UserError: there is no k, or one below 1.

    References:
      Patel, Tolias, Matas: Recall@k Surrogate Loss with Large Batches and Similarity Mixup, 2021, arXiv:2108.11179.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> embeddings = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])   # cosines are .6, 0 and .8
      >>> loss = losses.build("recall_at_k", num_classes=2, ks=(1,))
      >>> value, _, _ = loss.apply({}, {}, embeddings, jnp.array([0, 0, 1]), jax.random.key(0))
      >>> round(float(value), 4)   # ranks are 1 and 2: 1 - (sigmoid(0) + sigmoid(-1)) / 2
      0.6155
    """
    if not ks or min(ks) < 1:
        raise UserError(f"recall_at_k: ks are places in the ranking, at least 1; got {tuple(ks)}")

    def rule(anchor):
        places_before = jnp.sum(_before(anchor, temperature), axis=1)
        within = sum(jax.nn.sigmoid((k - 1 - places_before) / rank_temperature) for k in ks) / len(ks)
        count = jnp.sum(anchor.positive)
        recall = masked_sum(within, anchor.positive) / jnp.maximum(count, 1)
        return Terms(jnp.where(count > 0, 1 - recall, 0.0), (count > 0).astype(jnp.float32))

    return pair_loss(axis, rule)


def _before(anchor: Anchor, temperature: float) -> jax.Array:
    """How much item j comes before item p, f32[p,j]: near 1 or 0, and 0 for the query, p itself and empty memory."""
    s = anchor.similarity
    gallery = (anchor.positive | anchor.negative)[None, :] & ~jnp.eye(s.shape[0], dtype=bool)
    return jnp.where(gallery, jax.nn.sigmoid((s[None, :] - s[:, None]) / temperature), 0.0)
