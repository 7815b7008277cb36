"""Margin losses that adapt: to the sample's norm, its difficulty, chance, or the course of training.

Statistics are those of the GLOBAL batch and carry no gradient. Names are those of losses/margin.py.
"""

import math

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from ..errors import UserError
from . import angle, class_axis, cross_entropy, partial_fc
from .class_axis import ClassAxis
from .loss import Loss
from .margin import check_arc, init_prototypes


def curricularface(axis: ClassAxis, *, scale: float = 64.0, margin: float = 0.5) -> Loss:
    """ArcFace whose hard negatives, cos_j > cos(theta + m), count as cos_j (t + cos_j), more as training goes on.

    t <- .01 mean(cos_y) + .99 t is loss state, updated before it is used. The target is ArcFace's `fallback`.
    Huang et al.: CurricularFace, 2020, arXiv:2004.00288.
    """
    check_arc("curricularface", margin)

    def negative(cosines, rows):
        hard = cosines > rows["threshold"][:, None]
        return scale * jnp.where(hard, cosines * (rows["t"] + cosines), cosines)

    def apply(params, state, embeddings, labels, rng):
        x = class_axis.unit(embeddings)
        sample, state = partial_fc.sample(axis, state, labels, rng)
        cosine = class_axis.target_cosines(axis, x, params, labels)
        t = 0.01 * jnp.mean(cosine) + 0.99 * state["t"]
        known = {"threshold": angle.cos_of_sum(cosine, margin), "t": t}
        rows = cross_entropy.softmax(axis, x, params, labels, negative, rows=known, sample=sample)
        logit = scale * angle.arc_target(rows.target, margin, "fallback")
        loss = jnp.mean(cross_entropy.cross_entropy(logit, rows.others))
        return loss, {**state, "t": t}, cross_entropy.scalars(rows) | {"t": t}

    return Loss(init_prototypes(axis, state={"t": 0.0}), apply, class_axis.scores(axis))


def adaface(axis: ClassAxis, *, scale: float = 64.0, margin: float = 0.4, h: float = 0.333,
            t_alpha: float = 0.01) -> Loss:
    """A margin for the sample's quality, which its norm stands for: angular if low, additive if high.

    z = clip((|x| - mu) / (sigma + .001) h, -1, 1); the target is cos(clip(theta - m z, .001, pi - .001)) - (m + m z).
    mu (from 20) and sigma (from 100) are loss state, running means with rate t_alpha, updated before they are used;
    |x| is clipped to [.001, 100]. Kim, Jain, Liu: AdaFace, 2022, arXiv:2204.00964.
    """

    def apply(params, state, embeddings, labels, rng):
        sample, state = partial_fc.sample(axis, state, labels, rng)
        norm = stop_gradient(jnp.clip(norms(embeddings), 1e-3, 100.0))
        # The unbiased deviation; of a single example, none.
        deviation = jnp.sqrt(jnp.sum((norm - jnp.mean(norm)) ** 2) / max(norm.size - 1, 1))
        mean = t_alpha * jnp.mean(norm) + (1 - t_alpha) * state["mean"]
        std = t_alpha * deviation + (1 - t_alpha) * state["std"]
        z = jnp.clip((norm - mean) / (std + 1e-3) * h, -1.0, 1.0)
        rows = cross_entropy.softmax(axis, class_axis.unit(embeddings), params, labels, _scaled(scale), sample=sample)
        shifted = stop_gradient(angle.theta(rows.target)) - margin * z
        target = angle.cos_of_sum(rows.target, -margin * z)
        target = jnp.where(shifted < 1e-3, math.cos(1e-3), target)
        target = jnp.where(shifted > math.pi - 1e-3, math.cos(math.pi - 1e-3), target)
        logit = scale * (target - (margin + margin * z))
        loss = jnp.mean(cross_entropy.cross_entropy(logit, rows.others))
        scalars = cross_entropy.scalars(rows) | {"norm": jnp.mean(norm)}
        return loss, {**state, "mean": mean, "std": std}, scalars

    return Loss(init_prototypes(axis, state={"mean": 20.0, "std": 100.0}), apply, class_axis.scores(axis))


def magface(axis: ClassAxis, *, scale: float = 64.0, easy_margin: bool = True, lower_norm: float = 10.0,
            upper_norm: float = 110.0, lower_margin: float = 0.45, upper_margin: float = 0.8,
            lambda_g: float = 35.0) -> Loss:
    """An angular margin that grows with the norm a = clip(|x|, lower, upper), and a reward for large norms.

    Margin (radians) linear in a from lower_margin to upper_margin; the loss adds lambda_g (a / upper^2 + 1 / a).
    easy_margin: no margin where cos <= 0, as in the published code; else ArcFace's `fallback`. The norm has a
    gradient, through both. Meng, Zhao, Huang, Zhou: MagFace, 2021, arXiv:2103.06627.
    """
    slope = (upper_margin - lower_margin) / (upper_norm - lower_norm)

    def apply(params, state, embeddings, labels, rng):
        sample, state = partial_fc.sample(axis, state, labels, rng)
        norm = jnp.clip(norms(embeddings), lower_norm, upper_norm)
        margin = slope * (norm - lower_norm) + lower_margin
        rows = cross_entropy.softmax(axis, class_axis.unit(embeddings), params, labels, _scaled(scale), sample=sample)
        logit = scale * angle.arc_target(rows.target, margin, "easy" if easy_margin else "fallback")
        reward = norm / upper_norm**2 + 1.0 / norm
        loss = jnp.mean(cross_entropy.cross_entropy(logit, rows.others) + lambda_g * reward)
        return loss, state, cross_entropy.scalars(rows) | {"norm": jnp.mean(norm)}

    return Loss(init_prototypes(axis), apply, class_axis.scores(axis))


# Of Boutros et al., table 1: the margin's mean and deviation, by kind and plus.
_ELASTIC = {("arc", False): (0.5, 0.05), ("arc", True): (0.5, 0.0175),
            ("cos", False): (0.35, 0.05), ("cos", True): (0.35, 0.02)}


def elasticface(axis: ClassAxis, *, scale: float = 64.0, mean: float | None = None, std: float | None = None,
                kind: str = "arc", plus: bool = False) -> Loss:
    """ArcFace or CosFace with a margin drawn from N(mean, std) for every sample.

    kind: arc (radians; derivative of cos(theta + m) itself) | cos. plus: the larger margins go to the smaller cosines.
    mean, std: None takes the paper's for that kind: arc .5 and .05 (plus .0175), cos .35 and .05 (plus .02).
    The published code of `plus` orders the margins by the wrong permutation, so assigns them at random; this one
    does what the paper says. Boutros, Damer, Kirchbuchner, Kuijper: ElasticFace, 2021, arXiv:2109.09416.
    """
    if kind not in ("arc", "cos"):
        raise UserError(f"elasticface: unknown kind {kind!r}; known: arc, cos")
    mean = _ELASTIC[kind, bool(plus)][0] if mean is None else mean
    std = _ELASTIC[kind, bool(plus)][1] if std is None else std

    def apply(params, state, embeddings, labels, rng):
        sample_rng, margin_rng = jax.random.split(rng)
        sample, state = partial_fc.sample(axis, state, labels, sample_rng)
        rows = cross_entropy.softmax(axis, class_axis.unit(embeddings), params, labels, _scaled(scale), sample=sample)
        margins = elastic_margins(margin_rng, stop_gradient(rows.target), mean, std, plus)
        target = angle.cos_of_sum(rows.target, margins) if kind == "arc" else rows.target - margins
        loss = jnp.mean(cross_entropy.cross_entropy(scale * target, rows.others))
        return loss, state, cross_entropy.scalars(rows)

    return Loss(init_prototypes(axis), apply, class_axis.scores(axis))


def elastic_margins(rng: jax.Array, cosine: jax.Array, mean: float, std: float, plus: bool) -> jax.Array:
    """One margin per sample, f32[B]; with `plus`, the largest for the smallest cosine."""
    margins = mean + std * jax.random.normal(rng, cosine.shape)
    if not plus:
        return margins
    # The rank of every cosine, then the margin of that rank from the top.
    return -jnp.sort(-margins)[jnp.argsort(jnp.argsort(cosine))]


def adacos(axis: ClassAxis, *, dynamic: bool = True) -> Loss:
    """Normalised softmax with a scale of its own: sqrt(2) log(C - 1), and no other hyper-parameter.

    dynamic: every step sets it to log(B) / cos(min(pi / 4, median theta)), where B is the batch's mean of the summed
    exponentials of the other classes under the scale before; that scale is loss state. C is the number of classes
    in the softmax. Zhang, Zhao, Qiao, Wang, Li: AdaCos, 2019, arXiv:1905.00292.
    Raises UserError for fewer than three classes, where the scale would not be positive.
    """
    if axis.softmax_classes < 3:
        raise UserError(f"adacos needs at least 3 classes, as its scale is sqrt(2) log(C - 1); "
                         f"got {axis.softmax_classes}")
    fixed = math.sqrt(2) * math.log(axis.softmax_classes - 1)

    def next_scale(scale, x, params, labels, sample):
        before = cross_entropy.softmax(axis, x, params, labels, _by_row_scale, rows=scale, sample=sample)
        log_mean = class_axis.logsumexp(before.others, axis=0) - math.log(before.others.size)
        median = jnp.median(angle.theta(before.target))
        # A batch of few classes may sum to less than one; the scale stays positive.
        return jnp.maximum(log_mean, 1.0) / jnp.cos(jnp.minimum(math.pi / 4, median))

    def apply(params, state, embeddings, labels, rng):
        x = class_axis.unit(embeddings)
        sample, state = partial_fc.sample(axis, state, labels, rng)
        scale = jnp.float32(fixed)
        if dynamic:
            scale = next_scale(state["scale"], *stop_gradient((x, params)), labels, sample)
            state = {**state, "scale": scale}
        rows = cross_entropy.softmax(axis, x, params, labels, _by_row_scale, rows=scale, sample=sample)
        loss = jnp.mean(cross_entropy.cross_entropy(scale * rows.target, rows.others))
        return loss, state, cross_entropy.scalars(rows) | {"scale": scale}

    return Loss(init_prototypes(axis, state={"scale": fixed} if dynamic else None), apply, class_axis.scores(axis))


def norms(x: jax.Array) -> jax.Array:
    """|x|, f32[B], with gradient 0 (not NaN) at 0."""
    x = x.astype(jnp.float32)
    return jnp.sqrt(jnp.maximum(jnp.sum(x * x, axis=-1), class_axis.EPSILON))


def _scaled(scale: float):
    return lambda cosines, rows: scale * cosines


def _by_row_scale(cosines, scale):
    return scale * cosines
