"""Softmax losses on the hypersphere, with a fixed margin on the label's own class.

x: embedding, w_j: prototype of class j, cos_j = <x/|x|, w_j/|w_j|>, theta = arccos(cos_y) for the label y.
Logits are `scale * target(cos_y)` at y and `scale * cos_j` elsewhere; the loss is the mean cross-entropy.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..errors import UserError
from . import angle, class_axis, cross_entropy, partial_fc
from .class_axis import ClassAxis
from .loss import Loss


def arcface(axis: ClassAxis, *, scale: float = 64.0, margin: float = 0.5, gradient: str = "fallback",
            filter_threshold: float | None = None) -> Loss:
    """Additive angular margin: cos(theta + margin).

    margin: radians. gradient: what is done where theta + margin passes pi, and what derivative is used:
      full      cos(theta + m) itself; its derivative has the wrong sign below cos(pi - m)
      fallback  cos - m sin(pi - m) there: monotone, but the value jumps at the threshold
      easy      cos where cos <= 0
      detached  the value of `full`, with derivative 1 everywhere
      clip      theta + m clipped to [.001, pi - .001]
    filter_threshold: other classes with a larger cosine, probably the same person under another label, get the
    logit 0 without gradient (An et al. 2022, arXiv:2203.15565, with .4); None: off.
    Raises UserError for another name. Deng, Guo, Xue, Zafeiriou: ArcFace, 2018, arXiv:1801.07698.
    """
    check_arc("arcface", margin, gradient)
    # At right angles cos(theta + m) is -sin(m); `easy` leaves the half of the cosines that are negative alone.
    cost = math.sin(margin) / 2 if gradient == "easy" else math.sin(margin)
    return margin_loss(axis, scale, lambda cosine: angle.arc_target(cosine, margin, gradient), start_cost=cost,
                       filter_threshold=filter_threshold)


def cosface(axis: ClassAxis, *, scale: float = 64.0, margin: float = 0.4) -> Loss:
    """Additive cosine margin: cos - margin. Wang et al.: CosFace, 2018, arXiv:1801.09414."""
    return margin_loss(axis, scale, lambda cosine: cosine - margin, start_cost=margin)


def normface(axis: ClassAxis, *, scale: float = 64.0) -> Loss:
    """Normalised softmax, no margin. Wang, Xiang, Cheng, Yuille: NormFace, 2017, arXiv:1704.06369."""
    return margin_loss(axis, scale, lambda cosine: cosine, start_cost=0.0)


def sphereface(axis: ClassAxis, *, scale: float = 64.0, m1: float = 1.35) -> Loss:
    """Multiplicative angular margin, monotone: (-1)^k cos(m1 theta) - 2k, where k = floor(m1 theta / pi).

    Liu, Wen, Yu, Li, Raj, Song: SphereFace, 2017, arXiv:1704.08063; with normalised embeddings.
    """

    def target(cosine):
        theta = m1 * angle.theta(cosine)
        k = jax.lax.stop_gradient(jnp.floor(theta / math.pi))
        return (1.0 - 2.0 * (k % 2)) * jnp.cos(theta) - 2.0 * k

    return margin_loss(axis, scale, target)


def combined(axis: ClassAxis, *, scale: float = 64.0, margins: tuple[float, float, float] = (1.0, 0.5, 0.0)) -> Loss:
    """cos(m1 theta + m2) - m3: all three margins, each in its own unit (factor, radians, cosine).

    Deng, Guo, Xue, Zafeiriou: ArcFace, 2018, arXiv:1801.07698, section 2.
    Raises UserError unless there are three margins.
    """
    if len(margins) != 3:
        raise UserError(f"combined takes three margins (m1 factor, m2 radians, m3 cosine); got {tuple(margins)}")
    m1, m2, m3 = margins

    def target(cosine):
        if m1 == 1:
            return angle.cos_of_sum(cosine, m2) - m3
        return jnp.cos(m1 * angle.theta(cosine) + m2) - m3

    return margin_loss(axis, scale, target)


def subcenter_arcface(axis: ClassAxis, *, scale: float = 64.0, margin: float = 0.5, k: int = 3,
                      gradient: str = "fallback") -> Loss:
    """ArcFace on the closest of k prototypes of every class; params["prototypes"] is f32[C,k,D].

    Clean samples gather at one of them; `subcenters.outliers` lists the others, and a second run without these uses
    arcface. Deng, Guo, Liu, Gong, Zafeiriou: Sub-center ArcFace, 2020, ECCV.
    """
    check_arc("subcenter_arcface", margin, gradient)
    if k < 1:
        raise UserError(f"subcenter_arcface: k is the number of prototypes of a class, at least 1; got {k}")
    closest = lambda x, classes: jnp.max(class_axis.cosines(x, classes), axis=-1)
    target = lambda cosine: angle.arc_target(cosine, margin, gradient)
    return margin_loss(axis, scale, target, columns=closest, centres=k)


def check_arc(name: str, margin: float, gradient: str = "full") -> None:
    if gradient not in angle.GRADIENTS:
        raise UserError(f"{name}: unknown gradient {gradient!r}; known: {', '.join(angle.GRADIENTS)}")
    if not 0 <= margin <= math.pi:
        raise UserError(f"{name}: margin is an angle in radians, 0 to pi; got {margin}")


def margin_loss(axis: ClassAxis, scale: float, target: Callable, *, start_cost: float | None = None,
                filter_threshold: float | None = None, columns: Callable = class_axis.cosines,
                centres: int | None = None) -> Loss:
    """The loss of a target function cos [B] -> [B].

    start_cost: what the target is below a cosine of 0 on average; None: there is no estimate.
    """

    def negative(cosines, rows):
        del rows
        if filter_threshold is None:
            return scale * cosines
        return jnp.where(cosines > filter_threshold, 0.0, scale * cosines)

    def apply(params, state, embeddings, labels, rng):
        sample, state = partial_fc.sample(axis, state, labels, rng)
        rows = cross_entropy.softmax(axis, class_axis.unit(embeddings), params, labels, negative, sample=sample,
                                     columns=columns)
        loss = jnp.mean(cross_entropy.cross_entropy(scale * target(rows.target), rows.others))
        return loss, state, cross_entropy.scalars(rows)

    start_loss = None if start_cost is None else functools.partial(expected_start, axis, scale, start_cost)
    return Loss(init_prototypes(axis, centres), apply, class_axis.scores(axis, columns), start_loss)


def expected_start(axis: ClassAxis, scale: float, cost: float, embedding_size: int) -> float:
    """Loss.start_loss: ln C + scale^2 / (2 D) + scale * cost.

    Cosines of independent directions in D dimensions have mean 0 and variance 1 / D. So each other class adds
    exp(s cos) to the softmax, on average exp(s^2 / (2 D)), and all C of them a logarithm of ln C + s^2 / (2 D). The
    label's logit is -s * cost. The estimate holds while s^2 / D is small beside 2 ln C.
    """
    return math.log(axis.softmax_classes) + scale**2 / (2 * embedding_size) + scale * cost


def init_prototypes(axis: ClassAxis, centres: int | None = None, state: dict | None = None) -> Callable:
    """Loss.init of one prototype per class (or several), and of a loss that remembers the scalars in `state`."""

    def init(rng, embedding_size):
        remembered = {name: jnp.asarray(value, jnp.float32) for name, value in (state or {}).items()}
        params = {"prototypes": class_axis.init_prototypes(rng, axis, embedding_size, centres)}
        return params, remembered | partial_fc.init_state(axis)

    return init
