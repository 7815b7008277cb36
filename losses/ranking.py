"""Smooth versions of what retrieval is scored on. Every example is a query, the others its gallery.

Ranks count, by sigmoids of similarity differences, who comes before a positive; a query without positives has no part.
"""

import jax
import jax.numpy as jnp

from ..errors import UserError
from .loss import Loss
from .pair_axis import Anchor, PairAxis, Terms, masked_sum, pair_loss


def smooth_ap(axis: PairAxis, *, temperature: float = 0.01) -> Loss:
    """1 - average precision, averaged over queries; temperature in units of cosine.

    The query is not among its own positives (it is in the published code, and always ranks first).
    Brown, Xie, Kalogeiton, Zisserman: Smooth-AP, 2020, arXiv:2007.12163.
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
    """1 - the share of a query's positives that rank within k, averaged over ks and queries.

    temperature (cosine) smooths the comparisons that make ranks, rank_temperature (places) their comparison with k.
    Patel, Tolias, Matas: Recall@k Surrogate Loss with Large Batches and Similarity Mixup, 2021, arXiv:2108.11179.
    Raises UserError without a k of at least 1.
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
    """How much item j comes before item p, f32[p,j], near 1 or 0; 0 for the query, p itself and empty memory."""
    s = anchor.similarity
    gallery = (anchor.positive | anchor.negative)[None, :] & ~jnp.eye(s.shape[0], dtype=bool)
    return jnp.where(gallery, jax.nn.sigmoid((s[None, :] - s[:, None]) / temperature), 0.0)
