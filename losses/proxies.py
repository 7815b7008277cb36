"""Proxy losses: pair losses between examples and learnt proxies of the classes.

Proxies are params {"prototypes": f32[C,D]}, and each loss takes its classes first (`losses.build` makes the axis): they
are sharded, streamed and sampled as those of the margin losses are. cos_j is the cosine of an embedding and proxy j.
"""

import jax
import jax.numpy as jnp

from ..errors import UserError
from . import class_axis, cross_entropy, partial_fc, reduction, similarity
from .class_axis import ClassAxis, Piece
from .loss import Loss
from .margin import init_prototypes
from .reduction import Totals


def proxy_nca(axis: ClassAxis, *, scale: float = 1.0, denominator: str = "all") -> Loss:
    """Proxy-NCA: -log(e^(-scale d_y) / sum_j e^(-scale d_j)), averaged over the batch.

    d_j = 2 - 2 cos_j is the squared Euclidean distance of the normalised embedding and proxy j.

    Args:
      scale: what multiplies the distances.
      denominator: "all", the sum over all proxies, as in pytorch-metric-learning and Proxy-NCA++; or "others", over
        those of other classes, as in the paper, with which the loss goes below zero.

    Raises:
      UserError: the denominator is another.

    References:
      Movshovitz-Attias, Toshev, Leung, Ioffe, Singh: No Fuss Distance Metric Learning, 2017, arXiv:1703.07464.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("proxy_nca", num_classes=2)
      >>> value, _, _ = loss.apply({"prototypes": jnp.eye(2)}, {}, jnp.array([[3.0, 4.0]]), jnp.array([0]),
      ...                          jax.random.key(0))
      >>> round(float(value), 4)   # d are .8 and .4: log(1 + exp(.8 - .4))
      0.913
    """
    if denominator not in ("all", "others"):
        raise UserError(f"proxy_nca: unknown denominator {denominator!r}; known: all, others")

    def apply(params, state, embeddings, labels, rng):
        sample, state = partial_fc.sample(axis, state, labels, rng)
        # The 2 of d = 2 - 2 cos is in every term, so it cancels.
        rows = cross_entropy.softmax(axis, similarity.unit(embeddings), params, labels,
                                     lambda cosines, _: 2 * scale * cosines, sample=sample)
        logit = 2 * scale * rows.target
        if denominator == "all":
            losses = cross_entropy.cross_entropy(logit, rows.others)
        else:  # a single class has no others: their logarithm is -inf
            losses = jnp.where(jnp.isneginf(rows.others), 0.0, rows.others - logit)
        return jnp.mean(losses), state, cross_entropy.scalars(rows)

    return Loss(init_prototypes(axis), apply, class_axis.scores(axis), scale=2 * scale)


def proxy_anchor(axis: ClassAxis, *, margin: float = 0.1, alpha: float = 32.0) -> Loss:
    """Proxy-Anchor: every proxy against the whole batch.

    With the cosines s of a proxy and the examples, the loss is the sum of
    log(1 + sum e^(-alpha (s - margin))) over the proxy's own examples, averaged over the proxies that have some, and
    log(1 + sum e^(alpha (s + margin))) over the other examples, averaged over all proxies.

    Args:
      margin: in units of cosine.
      alpha: what multiplies the cosines.

    References:
      Kim, Kim, Cho, Kwak: Proxy Anchor Loss, 2020, arXiv:2003.13911.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("proxy_anchor", num_classes=2, margin=0.0, alpha=1.0)
      >>> value, _, _ = loss.apply({"prototypes": jnp.eye(2)}, {}, jnp.array([[3.0, 4.0]]), jnp.array([0]),
      ...                          jax.random.key(0))
      >>> round(float(value), 4)   # log(1 + exp(-.6)) / 1 + log(1 + exp(.8)) / 2
      1.023
    """

    def summarize(piece: Piece) -> Totals:
        s, own = piece.values, piece.own & piece.valid
        near = jax.nn.softplus(reduction.logsumexp(jnp.where(own, -alpha * (s - margin), -jnp.inf), axis=0))
        far = jax.nn.softplus(reduction.logsumexp(jnp.where(~own, alpha * (s + margin), -jnp.inf), axis=0))
        valid = piece.valid[0]
        return Totals(sums={"near": jnp.sum(near), "present": jnp.sum(jnp.any(own, axis=0)),
                            "far": jnp.sum(jnp.where(valid, far, 0.0)),
                            "target": jnp.sum(jnp.where(own, s, 0.0), axis=-1)},
                      maxima={"largest": jnp.max(jnp.where(piece.valid & ~own, s, -jnp.inf), axis=-1)}, logs={})

    def apply(params, state, embeddings, labels, rng):
        sample, state = partial_fc.sample(axis, state, labels, rng)
        totals = class_axis.totals(axis, summarize, similarity.unit(embeddings), params, labels, sample=sample)
        sums, largest = totals.sums, totals.maxima["largest"]
        loss = sums["near"] / sums["present"] + sums["far"] / axis.softmax_classes
        scalars = {"accuracy": jnp.mean(sums["target"] > largest), "target_cosine": jnp.mean(sums["target"])}
        return loss, state, scalars

    return Loss(init_prototypes(axis), apply, class_axis.scores(axis), scale=alpha)


def soft_triple(axis: ClassAxis, *, k: int = 10, la: float = 20.0, gamma: float = 0.1, tau: float = 0.2,
                margin: float = 0.01) -> Loss:
    """SoftTriple: the softmax over classes of k centres each, params {"prototypes": f32[C,k,D]}.

    A class's similarity is the mean of its centres' cosines with the weights softmax(cosines / gamma). The logits are
    la * (similarity - margin) for the label and la * similarity for the others. `centre_distances` times tau is added
    to the loss: it merges centres that are not needed, also of classes that Partial FC has not sampled.

    Args:
      k: centres of a class, at least 1.
      la: what multiplies the similarities.
      gamma: the temperature among a class's centres, in units of cosine.
      tau: the weight of the distances between centres.
      margin: in units of cosine.

    Raises:
      UserError: k is below 1.

    References:
      Qian, Shang, Sun, Hu, Li, Jin: SoftTriple Loss, 2019, arXiv:1909.05235.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("soft_triple", num_classes=2, k=1, la=1.0, margin=0.4)   # one centre: as cosface
      >>> value, _, _ = loss.apply({"prototypes": jnp.eye(2)[:, None]}, {}, jnp.array([[3.0, 4.0]]), jnp.array([0]),
      ...                          jax.random.key(0))
      >>> round(float(value), 4)
      1.0375
    """
    if k < 1:
        raise UserError(f"soft_triple: k is the number of centres of a class, at least 1; got {k}")

    def relaxed(*given):
        cosines = similarity.cosines(*given)
        return jnp.sum(jax.nn.softmax(cosines / gamma, axis=-1) * cosines, axis=-1)

    def apply(params, state, embeddings, labels, rng):
        sample, state = partial_fc.sample(axis, state, labels, rng)
        rows = cross_entropy.softmax(axis, similarity.unit(embeddings), params, labels, lambda s, _: la * s,
                                     sample=sample, columns=relaxed)
        loss = jnp.mean(cross_entropy.cross_entropy(la * (rows.target - margin), rows.others))
        if tau and k > 1:
            loss += tau * centre_distances(params["prototypes"], axis.num_classes)
        return loss, state, cross_entropy.scalars(rows)

    return Loss(init_prototypes(axis, k), apply, class_axis.scores(axis, relaxed), scale=la)


def centre_distances(prototypes: jax.Array, num_classes: int) -> jax.Array:
    """Half the mean Euclidean distance of two normalised centres of a class, as published.

    Args:
      prototypes: the centres, f32[rows,K,D].
      num_classes: the rows that are classes; those past it are padding.

    Returns:
      f32[].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import proxies
      >>> round(float(proxies.centre_distances(jnp.array([[[1.0, 0.0], [0.0, 1.0]]]), 1)), 4)   # sqrt(2) / 2
      0.7071
    """
    rows, k, _ = prototypes.shape
    centres = similarity.unit(prototypes)
    cosines = jnp.einsum("ckd,cld->ckl", centres, centres, precision=similarity.PRECISION)
    pairs = jnp.triu(jnp.ones((k, k), bool), 1) & (jnp.arange(rows) < num_classes)[:, None, None]
    # The 1e-5 is as published, and keeps the slope finite where centres have merged.
    distances = jnp.sqrt(jnp.where(pairs, jnp.maximum(2 - 2 * cosines, 0.0), 0.0) + 1e-5)
    return jnp.sum(jnp.where(pairs, distances, 0.0)) / (num_classes * k * (k - 1))
