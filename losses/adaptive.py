"""Margin losses that adapt: to the sample's norm, its difficulty, chance, or the course of training.

Logits and loss are those of losses/margin.py, and so are the names: cos_j, theta, target. Each loss takes its classes
first (`losses.build` makes the axis), and its params are {"prototypes": f32[C,D]}. Statistics of a batch are those of
the global batch, whatever the devices, and carry no gradient.
"""

import math

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from ..errors import UserError
from . import angle, class_axis, cross_entropy, partial_fc, reduction, similarity
from .class_axis import ClassAxis
from .loss import Loss
from .margin import check_arc, init_prototypes


def curricularface(axis: ClassAxis, *, scale: float = 64.0, margin: float = 0.5) -> Loss:
    """CurricularFace: ArcFace whose hard negatives count for more as training goes on.

    Another class is hard where cos_j > cos(theta + margin), and has the logit scale * cos_j (t + cos_j). The loss's
    state t <- .01 mean(cos_y) + .99 t starts at 0 and is updated before it is used. The target is that of `arcface`
    with gradient="fallback".

    Args:
      scale: what multiplies the cosines.
      margin: radians, 0 to pi.

    Raises:
      UserError: the margin is no angle.

    References:
      Huang et al.: CurricularFace, 2020, arXiv:2004.00288.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("curricularface", num_classes=2, scale=1.0, margin=0.0)
      >>> value, state, _ = loss.apply({"prototypes": jnp.eye(2)}, {"t": jnp.float32(0)}, jnp.array([[3.0, 4.0]]),
      ...                              jnp.array([0]), jax.random.key(0))
      >>> round(float(state["t"]), 4), round(float(value), 4)   # .01 * .6, log(1 + exp(.8 (.006 + .8) - .6))
      (0.006, 0.7158)
    """
    check_arc("curricularface", margin)

    def negative(cosines, rows):
        hard = cosines > rows["threshold"][:, None]
        return scale * jnp.where(hard, cosines * (rows["t"] + cosines), cosines)

    def apply(params, state, embeddings, labels, rng):
        x = similarity.unit(embeddings)
        sample, state = partial_fc.sample(axis, state, labels, rng)
        cosine = class_axis.target_cosines(axis, x, params, labels)
        t = 0.01 * jnp.mean(cosine) + 0.99 * state["t"]
        known = {"threshold": angle.cos_of_sum(cosine, margin), "t": t}
        rows = cross_entropy.softmax(axis, x, params, labels, negative, rows=known, sample=sample)
        logit = scale * angle.arc_target(rows.target, margin, "fallback")
        loss = jnp.mean(cross_entropy.cross_entropy(logit, rows.others))
        return loss, {**state, "t": t}, cross_entropy.scalars(rows) | {"t": t}

    return Loss(init_prototypes(axis, state={"t": 0.0}), apply, class_axis.scores(axis), scale=scale)


def adaface(axis: ClassAxis, *, scale: float = 64.0, margin: float = 0.4, h: float = 0.333,
            t_alpha: float = 0.01) -> Loss:
    """AdaFace: a margin for the image's quality, which the embedding's norm stands for.

    With z = clip(h (|x| - mu) / (sigma + .001), -1, 1), the target is
    cos(clip(theta - margin z, .001, pi - .001)) - (margin + margin z): an angular margin where the norm is low, an
    additive one where it is high. The mean mu (from 20) and deviation sigma (from 100) of norms are loss state, running
    averages that are updated before they are used. |x| is clipped to [.001, 100] and has no gradient here.

    Args:
      scale: what multiplies the cosines.
      margin: radians and units of cosine.
      h: z is 1 from a norm of 1 / h deviations above the mean on.
      t_alpha: the share of a batch's statistics in the running averages.

    References:
      Kim, Jain, Liu: AdaFace, 2022, arXiv:2204.00964.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("adaface", num_classes=2, scale=1.0, margin=0.4, t_alpha=0.0)
      >>> state = {"mean": jnp.float32(5), "std": jnp.float32(1)}
      >>> value, _, _ = loss.apply({"prototypes": jnp.eye(2)}, state, jnp.array([[3.0, 4.0]]), jnp.array([0]),
      ...                          jax.random.key(0))
      >>> round(float(value), 4)   # the norm is the mean, so z = 0: log(1 + exp(.8 - (.6 - .4)))
      1.0375
    """

    def apply(params, state, embeddings, labels, rng):
        sample, state = partial_fc.sample(axis, state, labels, rng)
        norm = stop_gradient(jnp.clip(norms(embeddings), 1e-3, 100.0))
        # The unbiased deviation; a single example has none, and 0 / 1 says so.
        deviation = jnp.sqrt(jnp.sum((norm - jnp.mean(norm)) ** 2) / max(norm.size - 1, 1))
        mean = t_alpha * jnp.mean(norm) + (1 - t_alpha) * state["mean"]
        std = t_alpha * deviation + (1 - t_alpha) * state["std"]
        z = jnp.clip((norm - mean) / (std + 1e-3) * h, -1.0, 1.0)
        rows = cross_entropy.softmax(axis, similarity.unit(embeddings), params, labels, _scaled(scale), sample=sample)
        shifted = stop_gradient(angle.theta(rows.target)) - margin * z
        target = angle.cos_of_sum(rows.target, -margin * z)
        target = jnp.where(shifted < 1e-3, math.cos(1e-3), target)
        target = jnp.where(shifted > math.pi - 1e-3, math.cos(math.pi - 1e-3), target)
        logit = scale * (target - (margin + margin * z))
        loss = jnp.mean(cross_entropy.cross_entropy(logit, rows.others))
        scalars = cross_entropy.scalars(rows) | {"norm": jnp.mean(norm)}
        return loss, {**state, "mean": mean, "std": std}, scalars

    return Loss(init_prototypes(axis, state={"mean": 20.0, "std": 100.0}), apply, class_axis.scores(axis), scale=scale)


def magface(axis: ClassAxis, *, scale: float = 64.0, easy_margin: bool = True, lower_norm: float = 10.0,
            upper_norm: float = 110.0, lower_margin: float = 0.45, upper_margin: float = 0.8,
            lambda_g: float = 35.0) -> Loss:
    """MagFace: an angular margin that grows with the embedding's norm, and a reward for large norms.

    With a = clip(|x|, lower_norm, upper_norm), the margin is linear in a from lower_margin to upper_margin, and
    lambda_g (a / upper_norm^2 + 1 / a) is added to the loss. The norm has a gradient, through both.

    Args:
      scale: what multiplies the cosines.
      easy_margin: whether there is no margin where cos <= 0, as in the published code; False is `arcface`'s fallback.
      lower_norm, upper_norm: the norms between which the margin grows.
      lower_margin, upper_margin: the margins there, in radians.
      lambda_g: the weight of the reward.

    References:
      Meng, Zhao, Huang, Zhou: MagFace, 2021, arXiv:2103.06627.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("magface", num_classes=2, scale=1.0, lower_margin=0.0, lambda_g=0.0)
      >>> value, _, _ = loss.apply({"prototypes": jnp.eye(2)}, {}, jnp.array([[3.0, 4.0]]), jnp.array([0]),
      ...                          jax.random.key(0))
      >>> round(float(value), 4)   # the norm is below lower_norm: no margin, log(1 + exp(.8 - .6))
      0.7981
    """
    slope = (upper_margin - lower_margin) / (upper_norm - lower_norm)

    def apply(params, state, embeddings, labels, rng):
        sample, state = partial_fc.sample(axis, state, labels, rng)
        norm = jnp.clip(norms(embeddings), lower_norm, upper_norm)
        margin = slope * (norm - lower_norm) + lower_margin
        rows = cross_entropy.softmax(axis, similarity.unit(embeddings), params, labels, _scaled(scale), sample=sample)
        logit = scale * angle.arc_target(rows.target, margin, "easy" if easy_margin else "fallback")
        reward = norm / upper_norm**2 + 1.0 / norm
        loss = jnp.mean(cross_entropy.cross_entropy(logit, rows.others) + lambda_g * reward)
        return loss, state, cross_entropy.scalars(rows) | {"norm": jnp.mean(norm)}

    return Loss(init_prototypes(axis), apply, class_axis.scores(axis), scale=scale)


# (kind, plus) -> the margin's mean and deviation, in table 1 of Boutros et al.
_ELASTIC = {("arc", False): (0.5, 0.05), ("arc", True): (0.5, 0.0175),
            ("cos", False): (0.35, 0.05), ("cos", True): (0.35, 0.02)}


def elasticface(axis: ClassAxis, *, scale: float = 64.0, mean: float | None = None, std: float | None = None,
                kind: str = "arc", plus: bool = False) -> Loss:
    """ElasticFace: ArcFace or CosFace with a margin drawn from N(mean, std) for every sample.

    Args:
      scale: what multiplies the cosines.
      mean, std: of the margins. None takes the paper's for that kind: arc .5 and .05 (plus: .0175), cos .35 and .05
        (plus: .02).
      kind: "arc", margins in radians, with the derivative of cos(theta + margin) itself; or "cos", in units of cosine.
      plus: whether the larger margins of a batch go to the smaller cosines. (The published code orders the margins by
        the wrong permutation, which assigns them at random; this is what the paper says.)

    Raises:
      UserError: the kind is unknown.

    References:
      Boutros, Damer, Kirchbuchner, Kuijper: ElasticFace, 2021, arXiv:2109.09416.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("elasticface", num_classes=2, scale=1.0, kind="cos", mean=0.4, std=0.0)
      >>> value, _, _ = loss.apply({"prototypes": jnp.eye(2)}, {}, jnp.array([[3.0, 4.0]]), jnp.array([0]),
      ...                          jax.random.key(0))
      >>> round(float(value), 4)   # every margin is .4: log(1 + exp(.8 - (.6 - .4)))
      1.0375
    """
    if kind not in ("arc", "cos"):
        raise UserError(f"elasticface: unknown kind {kind!r}; known: arc, cos")
    mean = _ELASTIC[kind, bool(plus)][0] if mean is None else mean
    std = _ELASTIC[kind, bool(plus)][1] if std is None else std

    def apply(params, state, embeddings, labels, rng):
        sample_rng, margin_rng = jax.random.split(rng)
        sample, state = partial_fc.sample(axis, state, labels, sample_rng)
        rows = cross_entropy.softmax(axis, similarity.unit(embeddings), params, labels, _scaled(scale), sample=sample)
        margins = elastic_margins(margin_rng, stop_gradient(rows.target), mean, std, plus)
        target = angle.cos_of_sum(rows.target, margins) if kind == "arc" else rows.target - margins
        loss = jnp.mean(cross_entropy.cross_entropy(scale * target, rows.others))
        return loss, state, cross_entropy.scalars(rows)

    return Loss(init_prototypes(axis), apply, class_axis.scores(axis), scale=scale)


def elastic_margins(rng: jax.Array, cosine: jax.Array, mean: float, std: float, plus: bool) -> jax.Array:
    """The margins that `elasticface` draws.

    Args:
      rng: the key they are drawn from.
      cosine: the label's cosines, f32[B].
      mean, std: of the normal distribution.
      plus: whether the largest margin goes to the smallest cosine, and so on.

    Returns:
      One margin for each sample, f32[B].

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.losses import adaptive
      >>> margins = adaptive.elastic_margins(jax.random.key(0), jnp.array([0.9, -0.5, 0.1]), 0.5, 0.05, plus=True)
      >>> bool(margins[1] > margins[2] > margins[0])
      True
    """
    margins = mean + std * jax.random.normal(rng, cosine.shape)
    if not plus:
        return margins
    # A sort of a sort is each cosine's rank; it gets the margin of that rank from the top.
    return -jnp.sort(-margins)[jnp.argsort(jnp.argsort(cosine))]


def adacos(axis: ClassAxis, *, dynamic: bool = True) -> Loss:
    """AdaCos: the normalised softmax with a scale of its own, and no margin.

    The scale is sqrt(2) log(C - 1) for the C classes of one step's softmax. Dynamic, it starts there, and every step
    sets it to log(B) / cos(min(pi / 4, median of theta)), where B is the batch's mean of sum over j != y of
    e^(scale before * cos_j). That scale is loss state.

    Args:
      dynamic: whether the scale follows the batch.

    Raises:
      UserError: there are fewer than three classes, for which the scale would not be positive.

    References:
      Zhang, Zhao, Qiao, Wang, Li: AdaCos, 2019, arXiv:1905.00292.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("adacos", num_classes=11, dynamic=False)
      >>> params, state = loss.init(jax.random.key(0), 4)
      >>> scalars = loss.apply(params, state, jnp.ones((2, 4)), jnp.array([0, 1]), jax.random.key(0))[2]
      >>> round(float(scalars["scale"]), 4)   # sqrt(2) log(10)
      3.2563
    """
    if axis.softmax_classes < 3:
        raise UserError(f"adacos needs at least 3 classes, as its scale is sqrt(2) log(C - 1); "
                        f"got {axis.softmax_classes}")
    fixed = math.sqrt(2) * math.log(axis.softmax_classes - 1)

    def next_scale(scale, x, params, labels, sample):
        before = cross_entropy.softmax(axis, x, params, labels, _by_row_scale, rows=scale, sample=sample)
        log_mean = reduction.logsumexp(before.others, axis=0) - math.log(before.others.size)
        median = jnp.median(angle.theta(before.target))
        # Where few classes are far away, log(B) falls to 0 and below; the floor of 1 keeps the scale positive.
        return jnp.maximum(log_mean, 1.0) / jnp.cos(jnp.minimum(math.pi / 4, median))

    def apply(params, state, embeddings, labels, rng):
        x = similarity.unit(embeddings)
        sample, state = partial_fc.sample(axis, state, labels, rng)
        scale = jnp.float32(fixed)
        if dynamic:
            scale = next_scale(state["scale"], *stop_gradient((x, params)), labels, sample)
            state = {**state, "scale": scale}
        rows = cross_entropy.softmax(axis, x, params, labels, _by_row_scale, rows=scale, sample=sample)
        loss = jnp.mean(cross_entropy.cross_entropy(scale * rows.target, rows.others))
        return loss, state, cross_entropy.scalars(rows) | {"scale": scale}

    return Loss(init_prototypes(axis, state={"scale": fixed} if dynamic else None), apply, class_axis.scores(axis),
                scale=fixed)


def norms(x: jax.Array) -> jax.Array:
    """The lengths |x| of embeddings [B,D], f32[B], with gradient 0 (not NaN) at 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import adaptive
      >>> adaptive.norms(jnp.array([[3.0, 4.0]]))
      Array([5.], dtype=float32)
    """
    x = x.astype(jnp.float32)
    return jnp.sqrt(jnp.maximum(jnp.sum(x * x, axis=-1), similarity.EPSILON))


def _scaled(scale: float):
    return lambda cosines, rows: scale * cosines


def _by_row_scale(cosines, scale):
    return scale * cosines
