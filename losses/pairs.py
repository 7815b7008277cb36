"""Losses of pairs: what is of the anchor's class should be near it, and everything else far away.

Every example of a batch is an anchor, and all others are its positives, of the same class, and its negatives. Below,
s are cosines and d = sqrt(2 - 2 s) Euclidean distances of normalised embeddings, _p to a positive and _n to a negative.
Each loss takes first how pairs are compared (`losses.build` makes the axis), and has no params. Where
pytorch-metric-learning (Musgrave, Belongie, Lim: 2020, arXiv:2008.09164) has the loss, its defaults and averages are
taken.
"""

import jax
import jax.numpy as jnp

from .loss import Loss
from .pair_axis import PairAxis, Terms, distance, masked_sum, pair_loss
from .reduction import logsumexp


def contrastive(axis: PairAxis, *, pos_margin: float = 0.0, neg_margin: float = 1.0) -> Loss:
    """Contrastive loss: relu(d_p - pos_margin) + relu(neg_margin - d_n), each averaged over the pairs that pay.

    A pair pays if its term is above 0.

    Args:
      pos_margin: the distance up to which positives cost nothing.
      neg_margin: the distance from which on negatives cost nothing.

    References:
      Hadsell, Chopra, LeCun: Dimensionality Reduction by Learning an Invariant Mapping, 2006, CVPR; there, the terms
      are squared.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> embeddings = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])   # cosines are .6, 0 and .8
      >>> loss = losses.build("contrastive", num_classes=2)
      >>> value, _, _ = loss.apply({}, {}, embeddings, jnp.array([0, 0, 1]), jax.random.key(0))
      >>> round(float(value), 4)   # sqrt(.8) + (1 - sqrt(.4))
      1.262
    """

    def rule(anchor):
        d = distance(anchor.similarity)
        near = jnp.where(anchor.positive, jax.nn.relu(d - pos_margin), 0.0)
        far = jnp.where(anchor.negative, jax.nn.relu(neg_margin - d), 0.0)
        return Terms({"positive": jnp.sum(near), "negative": jnp.sum(far)},
                     {"positive": jnp.sum(near > 0), "negative": jnp.sum(far > 0)})

    return pair_loss(axis, rule)


def lifted_structure(axis: PairAxis, *, neg_margin: float = 1.0) -> Loss:
    """Lifted structure loss: relu(d_p + log sum e^(neg_margin - d_n))^2 / 2, averaged over positive pairs.

    The sum is over the negatives of both ends of the pair. A remembered example brings no negatives of its own.

    Args:
      neg_margin: a distance.

    References:
      Song, Xiang, Jegelka, Savarese: Deep Metric Learning via Lifted Structured Feature Embedding, 2015,
      arXiv:1511.06452.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> embeddings = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])   # cosines are .6, 0 and .8
      >>> loss = losses.build("lifted_structure", num_classes=2)
      >>> value, _, _ = loss.apply({}, {}, embeddings, jnp.array([0, 0, 1]), jax.random.key(0))
      >>> round(float(value), 4)   # (sqrt(.8) + log(exp(1 - sqrt(2)) + exp(1 - sqrt(.4))))^2 / 2
      1.3428
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
    """Multi-similarity loss, averaged over all anchors.

    log(1 + sum e^(-alpha (s_p - base))) / alpha + log(1 + sum e^(beta (s_n - base))) / beta.

    Args:
      alpha, beta: what multiplies the cosines of positives and of negatives.
      base: the cosine that parts near from far.
      epsilon: of the miner, in units of cosine. It keeps the negatives with s_n > min s_p - epsilon and the positives
        with s_p < max s_n + epsilon. None keeps all.

    References:
      Wang, Han, Huang, Dong, Scott: Multi-Similarity Loss, 2019, arXiv:1904.06627.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> embeddings = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])   # cosines are .6, 0 and .8
      >>> loss = losses.build("multi_similarity", num_classes=2, alpha=1.0, beta=1.0, epsilon=None)
      >>> value, _, _ = loss.apply({}, {}, embeddings, jnp.array([0, 0, 1]), jax.random.key(0))
      >>> round(float(value), 4)   # 2/3 log(1 + e^-.1) + (log(1 + e^-.5) + log(1 + e^.3) + log(1 + e^-.5 + e^.3)) / 3
      1.2337
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
    """Circle loss: log(1 + sum e^(gamma a_n (s_n - m)) * sum e^(-gamma a_p (s_p - 1 + m))), with m the margin.

    The paces a_n = relu(s_n + m) and a_p = relu(1 + m - s_p) carry no gradient, so that a pair moves faster the further
    it is from where it should be. The average is over anchors that have positives and negatives, and pay.

    Args:
      margin: in units of cosine; .4 is the paper's for fine-grained retrieval, .25 for faces.
      gamma: what multiplies the cosines; 80 is the paper's for fine-grained retrieval, 256 for faces.

    References:
      Sun et al.: Circle Loss, 2020, arXiv:2002.10857.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> embeddings = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])   # cosines are .6, 0 and .8
      >>> loss = losses.build("circle", num_classes=2, gamma=1.0)
      >>> value, _, _ = loss.apply({}, {}, embeddings, jnp.array([0, 0, 1]), jax.random.key(0))
      >>> round(float(value), 4)   # (log(1 + e^(.4 (0 - .4))) + log(1 + e^(1.2 (.8 - .4)))) / 2, as s_p - 1 + m is 0
      0.789
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
    """N-pairs loss: log(1 + sum e^(s_n - s_p)), averaged over one anchor for each class, with s the dot products.

    The first example of a class is its anchor and the second the positive; the positives of other classes are the
    anchor's negatives, and so are remembered examples of other classes. Embeddings are not normalised.

    Args:
      l2_weight: the weight of the mean squared length of embeddings, which is added.

    References:
      Sohn: Improved Deep Metric Learning with Multi-class N-pair Loss Objective, 2016, NeurIPS.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> embeddings, labels = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.6, 0.8]]), jnp.array([0, 0, 1, 1])
      >>> value, _, _ = losses.build("n_pairs", num_classes=2).apply({}, {}, embeddings, labels, jax.random.key(0))
      >>> round(float(value), 4)   # (log(1 + e^(-.6 - .6)) + log(1 + e^(.8 - .8))) / 2
      0.4782
    """

    def common(per_anchor, labels, rng):
        del per_anchor, rng
        same = labels == labels[:, None]
        place = jnp.sum(jnp.tril(same, -1), axis=1)  # how many of an example's class come before it
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
    """NT-Xent loss: -log(e^(s_p/t) / (e^(s_p/t) + sum e^(s_n/t))), with t the temperature, over positive pairs.

    Args:
      temperature: in units of cosine.

    References:
      Chen, Kornblith, Norouzi, Hinton: SimCLR, 2020, arXiv:2002.05709.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> embeddings = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])   # cosines are .6, 0 and .8
      >>> loss = losses.build("nt_xent", num_classes=2, temperature=1.0)
      >>> value, _, _ = loss.apply({}, {}, embeddings, jnp.array([0, 0, 1]), jax.random.key(0))
      >>> round(float(value), 4)   # (log(1 + e^(0 - .6)) + log(1 + e^(.8 - .6))) / 2
      0.6178
    """

    def rule(anchor):
        s = anchor.similarity / temperature
        others = logsumexp(jnp.where(anchor.negative, s, -jnp.inf), axis=0)
        return Terms(masked_sum(jax.nn.softplus(others - s), anchor.positive), jnp.sum(anchor.positive))

    return pair_loss(axis, rule)


def sup_con(axis: PairAxis, *, temperature: float = 0.1) -> Loss:
    """Supervised contrastive loss: -log(e^(s_p/t) / sum e^(s/t)), with t the temperature and the sum over all others.

    It is averaged over the positives of an anchor, and then over the anchors that have some.

    Args:
      temperature: in units of cosine.

    References:
      Khosla et al.: Supervised Contrastive Learning, 2020, arXiv:2004.11362, L_out.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> embeddings = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])   # cosines are .6, 0 and .8
      >>> loss = losses.build("sup_con", num_classes=2, temperature=1.0)
      >>> value, _, _ = loss.apply({}, {}, embeddings, jnp.array([0, 0, 1]), jax.random.key(0))
      >>> round(float(value), 4)   # (log(1 + e^(0 - .6)) + log(1 + e^(.8 - .6))) / 2
      0.6178
    """

    def rule(anchor):
        s = anchor.similarity / temperature
        everything = logsumexp(jnp.where(anchor.positive | anchor.negative, s, -jnp.inf), axis=0)
        count = jnp.sum(anchor.positive)
        # Without others, everything is -inf, whose gradient is NaN: it is replaced here, and what comes of it below.
        cost = jnp.where(count > 0, everything, 0.0) - masked_sum(s, anchor.positive) / jnp.maximum(count, 1)
        cost = jax.nn.relu(cost)  # only rounding makes it negative
        return Terms(jnp.where(count > 0, cost, 0.0), (count > 0).astype(jnp.float32))

    return pair_loss(axis, rule)
