"""Losses of pairs: everything of the anchor's class is to be near, everything else far.

Distances are Euclidean, of normalised embeddings, and similarities are cosines, unless stated. Where pytorch-metric-
learning (Musgrave, Belongie, Lim: 2020, arXiv:2008.09164) has the loss, defaults and averages are its own.
"""

import jax
import jax.numpy as jnp

from .class_axis import logsumexp
from .loss import Loss
from .pair_axis import PairAxis, Terms, distance, masked_sum, pair_loss


def contrastive(axis: PairAxis, *, pos_margin: float = 0.0, neg_margin: float = 1.0) -> Loss:
    """Positive pairs further than pos_margin and negative ones nearer than neg_margin pay the difference (distances).

    Each kind is averaged over the pairs that pay. Hadsell, Chopra, LeCun: Dimensionality Reduction by Learning an
    Invariant Mapping, 2006, CVPR (there squared).
    """

    def rule(anchor):
        d = distance(anchor.similarity)
        near = jnp.where(anchor.positive, jax.nn.relu(d - pos_margin), 0.0)
        far = jnp.where(anchor.negative, jax.nn.relu(neg_margin - d), 0.0)
        return Terms({"positive": jnp.sum(near), "negative": jnp.sum(far)},
                     {"positive": jnp.sum(near > 0), "negative": jnp.sum(far > 0)})

    return pair_loss(axis, rule)


def lifted_structure(axis: PairAxis, *, neg_margin: float = 1.0) -> Loss:
    """Every positive pair against the negatives of both of its ends: relu(log sum exp(neg_margin - d_n) + d_p)^2 / 2.

    Averaged over positive pairs. A remembered example brings no negatives of its own.
    Song, Xiang, Jegelka, Savarese: Deep Metric Learning via Lifted Structured Feature Embedding, 2015,
    arXiv:1511.06452.
    """

    def negatives(anchor):
        return logsumexp(jnp.where(anchor.negative, neg_margin - distance(anchor.similarity), -jnp.inf), axis=0)

    def common(per_anchor, labels, rng):
        del labels, rng
        return per_anchor(negatives)

    def rule(anchor):
        own, ends = negatives(anchor), anchor.common
        ends = jnp.concatenate([ends, jnp.full(anchor.similarity.shape[0] - ends.shape[0], -jnp.inf)])
        kept = anchor.positive & (jnp.isfinite(own) | jnp.isfinite(ends))
        pair = logsumexp(jnp.stack([jnp.broadcast_to(own, ends.shape), ends]), axis=0)
        cost = jax.nn.relu(jnp.where(kept, pair, 0.0) + distance(anchor.similarity)) ** 2 / 2
        return Terms(masked_sum(cost, kept), jnp.sum(kept))

    return pair_loss(axis, rule, common=common)


def multi_similarity(axis: PairAxis, *, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5,
                     epsilon: float | None = 0.1) -> Loss:
    """Of positives log(1 + sum exp(-alpha (s - base))) / alpha, of negatives log(1 + sum exp(beta (s - base))) / beta.

    epsilon: its miner keeps negatives more similar than the least similar positive less epsilon, and positives less
    similar than the most similar negative plus epsilon; None keeps all. Averaged over all anchors.
    Wang, Han, Huang, Dong, Scott: Multi-Similarity Loss, 2019, arXiv:1904.06627.
    """

    def rule(anchor):
        s, positive, negative = anchor.similarity, anchor.positive, anchor.negative
        if epsilon is not None:
            least = jnp.min(jnp.where(positive, s, jnp.inf))
            most = jnp.max(jnp.where(negative, s, -jnp.inf))
            positive, negative = positive & (s < most + epsilon), negative & (s > least - epsilon)
        near = jax.nn.softplus(logsumexp(jnp.where(positive, -alpha * (s - base), -jnp.inf), axis=0)) / alpha
        far = jax.nn.softplus(logsumexp(jnp.where(negative, beta * (s - base), -jnp.inf), axis=0)) / beta
        return Terms(near + far, jnp.float32(1))

    return pair_loss(axis, rule)


def circle(axis: PairAxis, *, margin: float = 0.4, gamma: float = 80.0) -> Loss:
    """softplus(log sum exp(gamma a_n (s_n - m)) + log sum exp(-gamma a_p (s_p - 1 + m))), each pair at its own pace.

    a_n = relu(s_n + m) and a_p = relu(1 + m - s_p) carry no gradient. margin .4 and gamma 80 are the paper's for
    fine-grained retrieval, .25 and 256 for faces. Averaged over anchors that have both kinds and pay.
    Sun et al.: Circle Loss, 2020, arXiv:2002.10857.
    """

    def rule(anchor):
        s = anchor.similarity
        fixed = jax.lax.stop_gradient(s)
        near = -gamma * jax.nn.relu(1 + margin - fixed) * (s - (1 - margin))
        far = gamma * jax.nn.relu(fixed + margin) * (s - margin)
        near = logsumexp(jnp.where(anchor.positive, near, -jnp.inf), axis=0)
        far = logsumexp(jnp.where(anchor.negative, far, -jnp.inf), axis=0)
        both = jnp.isfinite(near) & jnp.isfinite(far)
        cost = jnp.where(both, jax.nn.softplus(jnp.where(both, near + far, 0.0)), 0.0)
        return Terms(cost, (cost > 0).astype(jnp.float32))

    return pair_loss(axis, rule)


def n_pairs(axis: PairAxis, *, l2_weight: float = 0.0) -> Loss:
    """The first two examples of every class are anchor and positive; other classes' positives are its negatives.

    Softmax cross-entropy over dot products, not normalised, averaged over these anchors. l2_weight: of the mean
    squared length. Remembered examples of other classes are negatives too.
    Sohn: Improved Deep Metric Learning with Multi-class N-pair Loss Objective, 2016, NeurIPS.
    """

    def common(per_anchor, labels, rng):
        del per_anchor, rng
        same = labels == labels[:, None]
        place = jnp.sum(jnp.tril(same, -1), axis=1)  # how many of its class come before it
        return {"first": (place == 0) & (jnp.sum(same, axis=1) > 1), "second": place == 1}

    def rule(anchor):
        batch = anchor.common["second"].shape[0]
        second = jnp.pad(anchor.common["second"], (0, anchor.similarity.shape[0] - batch), constant_values=True)
        inside = jnp.arange(anchor.similarity.shape[0]) < batch
        own = masked_sum(anchor.similarity, anchor.positive & second & inside)
        others = logsumexp(jnp.where(anchor.negative & second, anchor.similarity, -jnp.inf), axis=0)
        chosen = anchor.common["first"][anchor.index]
        cost = jax.nn.softplus(jnp.where(chosen, others - own, -jnp.inf))
        return Terms(jnp.where(chosen, cost, 0.0), chosen.astype(jnp.float32))

    penalty = lambda x: l2_weight * jnp.mean(jnp.sum(x.astype(jnp.float32) ** 2, axis=-1))
    return pair_loss(axis, rule, normalize=False, common=common, penalty=penalty if l2_weight else None)


def nt_xent(axis: PairAxis, *, temperature: float = 0.07) -> Loss:
    """-log(e^(s_p/t) / (e^(s_p/t) + sum of e^(s_n/t))), averaged over positive pairs.

    Chen, Kornblith, Norouzi, Hinton: SimCLR, 2020, arXiv:2002.05709.
    """

    def rule(anchor):
        s = anchor.similarity / temperature
        others = logsumexp(jnp.where(anchor.negative, s, -jnp.inf), axis=0)
        return Terms(masked_sum(jax.nn.softplus(others - s), anchor.positive), jnp.sum(anchor.positive))

    return pair_loss(axis, rule)


def sup_con(axis: PairAxis, *, temperature: float = 0.1) -> Loss:
    """The mean over an anchor's positives of -log(e^(s_p/t) / sum over all others of e^(s/t)), averaged over anchors.

    Khosla et al.: Supervised Contrastive Learning, 2020, arXiv:2004.11362 (L_out).
    """

    def rule(anchor):
        s = anchor.similarity / temperature
        everything = logsumexp(jnp.where(anchor.positive | anchor.negative, s, -jnp.inf), axis=0)
        count = jnp.sum(anchor.positive)
        # Double where: without others, everything is -inf.
        cost = jnp.where(count > 0, everything, 0.0) - masked_sum(s, anchor.positive) / jnp.maximum(count, 1)
        cost = jax.nn.relu(cost)  # rounding: it cannot be negative
        return Terms(jnp.where(count > 0, cost, 0.0), (count > 0).astype(jnp.float32))

    return pair_loss(axis, rule)
