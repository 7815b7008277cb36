"""Proxy losses: pairs of examples and learnt proxies of classes, params["prototypes"].

They go through the class axis, so they are sharded, streamed and sampled as the margin losses are.
"""

import jax
import jax.numpy as jnp

from ..errors import UserError
from . import class_axis, cross_entropy, partial_fc
from .class_axis import ClassAxis, Piece, Totals
from .loss import Loss
from .margin import init_prototypes


def proxy_nca(axis: ClassAxis, *, scale: float = 1.0, denominator: str = "all") -> Loss:
    """-log(e^(-s d_y) / sum e^(-s d_j)), d the squared distance of normalised embedding and proxy.

    denominator: the sum over `all` proxies, as in pytorch-metric-learning and Proxy-NCA++, or over the `others`, as in
    the paper, where the loss goes below zero. Raises UserError for another.
    Movshovitz-Attias, Toshev, Leung, Ioffe, Singh: No Fuss Distance Metric Learning, 2017, arXiv:1703.07464.
    """
    if denominator not in ("all", "others"):
        raise UserError(f"proxy_nca: unknown denominator {denominator!r}; known: all, others")

    def apply(params, state, embeddings, labels, rng):
        sample, state = partial_fc.sample(axis, state, labels, rng)
        # d = 2 - 2 cos, and the 2 cancels.
        rows = cross_entropy.softmax(axis, class_axis.unit(embeddings), params, labels,
                                     lambda cosines, _: 2 * scale * cosines, sample=sample)
        logit = 2 * scale * rows.target
        if denominator == "all":
            losses = cross_entropy.cross_entropy(logit, rows.others)
        else:  # of a single class there are no others
            losses = jnp.where(jnp.isfinite(rows.others), rows.others - logit, 0.0)
        return jnp.mean(losses), state, cross_entropy.scalars(rows)

    return Loss(init_prototypes(axis), apply, class_axis.scores(axis))


def proxy_anchor(axis: ClassAxis, *, margin: float = 0.1, alpha: float = 32.0) -> Loss:
    """Every proxy against the batch: log(1 + sum exp(-alpha (s - margin))) over its own examples, averaged over proxies
    that have some, and log(1 + sum exp(alpha (s + margin))) over the other examples, averaged over all proxies.

    s are cosines. Kim, Kim, Cho, Kwak: Proxy Anchor Loss, 2020, arXiv:2003.13911.
    """

    def summarize(piece: Piece) -> Totals:
        s, own = piece.values, piece.own & piece.valid
        near = jax.nn.softplus(class_axis.logsumexp(jnp.where(own, -alpha * (s - margin), -jnp.inf), axis=0))
        far = jax.nn.softplus(class_axis.logsumexp(jnp.where(~own, alpha * (s + margin), -jnp.inf), axis=0))
        valid = piece.valid[0]
        return Totals(sums={"near": jnp.sum(near), "present": jnp.sum(jnp.any(own, axis=0)),
                            "far": jnp.sum(jnp.where(valid, far, 0.0)),
                            "target": jnp.sum(jnp.where(own, s, 0.0), axis=-1)},
                      maxima={"largest": jnp.max(jnp.where(piece.valid & ~own, s, -jnp.inf), axis=-1)}, logs={})

    def apply(params, state, embeddings, labels, rng):
        sample, state = partial_fc.sample(axis, state, labels, rng)
        totals = class_axis.totals(axis, summarize, class_axis.unit(embeddings), params, labels, sample=sample)
        sums, largest = totals.sums, totals.maxima["largest"]
        loss = sums["near"] / sums["present"] + sums["far"] / axis.softmax_classes
        scalars = {"accuracy": jnp.mean(sums["target"] > largest), "target_cosine": jnp.mean(sums["target"])}
        return loss, state, scalars

    return Loss(init_prototypes(axis), apply, class_axis.scores(axis))


def soft_triple(axis: ClassAxis, *, k: int = 10, la: float = 20.0, gamma: float = 0.1, tau: float = 0.2,
                margin: float = 0.01) -> Loss:
    """Softmax over classes of k centres each; params["prototypes"] is f32[C,k,D].

    A class's similarity is the mean of its centres' cosines under softmax(cosines / gamma); logits are la times it,
    less the margin at the label. tau weighs the mean distance of a class's centres, which merges those not needed;
    it reaches every class, those that Partial FC has not sampled too.
    Qian, Shang, Sun, Hu, Li, Jin: SoftTriple Loss, 2019, arXiv:1909.05235.
    """
    if k < 1:
        raise UserError(f"soft_triple: k is the number of centres of a class, at least 1; got {k}")

    def relaxed(x, classes):
        cosines = class_axis.cosines(x, classes)
        return jnp.sum(jax.nn.softmax(cosines / gamma, axis=-1) * cosines, axis=-1)

    def apply(params, state, embeddings, labels, rng):
        sample, state = partial_fc.sample(axis, state, labels, rng)
        rows = cross_entropy.softmax(axis, class_axis.unit(embeddings), params, labels, lambda s, _: la * s,
                                     sample=sample, columns=relaxed)
        loss = jnp.mean(cross_entropy.cross_entropy(la * (rows.target - margin), rows.others))
        if tau and k > 1:
            loss += tau * centre_distances(params["prototypes"], axis.num_classes)
        return loss, state, cross_entropy.scalars(rows)

    return Loss(init_prototypes(axis, k), apply, class_axis.scores(axis, relaxed))


def centre_distances(prototypes: jax.Array, num_classes: int) -> jax.Array:
    """Half the mean distance of two centres of one class, as published; of [C,K,D], f32[]."""
    rows, k, _ = prototypes.shape
    centres = class_axis.unit(prototypes)
    cosines = jnp.einsum("ckd,cld->ckl", centres, centres, precision=class_axis.PRECISION)
    pairs = jnp.triu(jnp.ones((k, k), bool), 1) & (jnp.arange(rows) < num_classes)[:, None, None]
    # 1e-5 as published; it also keeps the slope finite where centres have merged.
    distances = jnp.sqrt(jnp.where(pairs, jnp.maximum(2 - 2 * cosines, 0.0), 0.0) + 1e-5)
    return jnp.sum(jnp.where(pairs, distances, 0.0)) / (num_classes * k * (k - 1))
