"""Softmax losses on the hypersphere, with a fixed margin on the label's own class.

Of an embedding x with the label y, and of prototypes w_j of the classes, let cos_j = <x / |x|, w_j / |w_j|> and
theta = arccos(cos_y), in radians. The logits are

    scale * target(cos_y)    for the label
    scale * cos_j            for every other class j

and the loss is the mean over the batch of -log(e^logit_y / sum_j e^logit_j). The losses of this file differ in their
`target`. Each takes its classes first (`losses.build` makes the axis), and its params are {"prototypes": f32[C,D]}.

Written plainly, ArcFace is:

    >>> import jax, jax.numpy as jnp
    >>> from geodesic import losses
    >>> def plain_arcface(prototypes, embeddings, labels, scale, margin):
    ...     x = embeddings / jnp.linalg.norm(embeddings, axis=1, keepdims=True)
    ...     w = prototypes / jnp.linalg.norm(prototypes, axis=1, keepdims=True)
    ...     cosines = x @ w.T                                                  # f32[B,C]
    ...     own = jax.nn.one_hot(labels, len(w), dtype=bool)
    ...     logits = scale * jnp.where(own, jnp.cos(jnp.arccos(cosines) + margin), cosines)
    ...     return -jnp.mean(jax.nn.log_softmax(logits)[own])

What follows is the same number, with the classes split over devices, taken in chunks that the backward pass computes
again, never as a whole [B,C], and with gradients that are finite wherever an embedding lies:

    >>> mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    >>> loss = losses.build("arcface", num_classes=11, mesh=mesh, chunk_size=1, scale=8.0, margin=0.5, gradient="full")
    >>> params, state = loss.init(jax.random.key(0), 5)
    >>> embeddings = jax.random.normal(jax.random.key(1), (2 * jax.device_count(), 5))
    >>> labels = jnp.arange(len(embeddings)) % 11
    >>> value, state, scalars = jax.jit(loss.apply)(params, state, embeddings, labels, jax.random.key(2))
    >>> bool(jnp.allclose(value, plain_arcface(params["prototypes"][:11], embeddings, labels, 8.0, 0.5), rtol=1e-5))
    True
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..errors import UserError
from . import angle, class_axis, cross_entropy, partial_fc, similarity
from .class_axis import ClassAxis
from .loss import Loss


def arcface(axis: ClassAxis, *, scale: float = 64.0, margin: float = 0.5, gradient: str = "fallback",
            filter_threshold: float | None = None) -> Loss:
    """ArcFace: an additive angular margin, target(cos) = cos(theta + margin).

    Past theta + margin = pi the target rises again, so that its gradient would push the wrong way; `gradient` names
    what is done there, and which derivative is used.

    Args:
      scale: what multiplies the cosines.
      margin: radians, 0 to pi.
      gradient: one of
        full      cos(theta + margin) itself, rising past pi;
        fallback  cos - margin * sin(margin) past pi: monotone, but the value jumps there;
        easy      cos, without margin, where cos <= 0;
        detached  the value of `full`, with the derivative 1 everywhere;
        clip      theta + margin clipped to [.001, pi - .001].
      filter_threshold: another class with a larger cosine is probably the same person under another label; its logit
        is 0, without gradient (An et al.: Killing Two Birds with One Stone, 2022, arXiv:2203.15565, with .4). None
        filters none.

    Raises:
      UserError: the margin is no angle, or the gradient's name is unknown.

    References:
      Deng, Guo, Xue, Zafeiriou: ArcFace, 2018, arXiv:1801.07698.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("arcface", num_classes=2, scale=1.0, margin=jnp.pi / 2)
      >>> value, _, scalars = loss.apply({"prototypes": jnp.eye(2)}, {}, jnp.array([[3.0, 4.0]]), jnp.array([0]),
      ...                                jax.random.key(0))
      >>> round(float(value), 4), round(float(scalars["target_cosine"]), 4)   # log(1 + exp(.8 - -.8)), .6
      (1.7839, 0.6)
    """
    check_arc("arcface", margin, gradient)
    # At right angles cos(theta + m) is -sin(m); `easy` leaves the half of the cosines that are negative alone.
    cost = math.sin(margin) / 2 if gradient == "easy" else math.sin(margin)
    return margin_loss(axis, scale, lambda cosine: angle.arc_target(cosine, margin, gradient), start_cost=cost,
                       filter_threshold=filter_threshold)


def cosface(axis: ClassAxis, *, scale: float = 64.0, margin: float = 0.4) -> Loss:
    """CosFace: an additive cosine margin, target(cos) = cos - margin.

    Args:
      scale: what multiplies the cosines.
      margin: in units of cosine.

    References:
      Wang et al.: CosFace, 2018, arXiv:1801.09414.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("cosface", num_classes=2, scale=1.0, margin=0.4)
      >>> value, _, _ = loss.apply({"prototypes": jnp.eye(2)}, {}, jnp.array([[3.0, 4.0]]), jnp.array([0]),
      ...                          jax.random.key(0))
      >>> round(float(value), 4)   # log(1 + exp(.8 - (.6 - .4)))
      1.0375
    """
    return margin_loss(axis, scale, lambda cosine: cosine - margin, start_cost=margin)


def normface(axis: ClassAxis, *, scale: float = 64.0) -> Loss:
    """NormFace, the normalised softmax: no margin, target(cos) = cos.

    Args:
      scale: what multiplies the cosines.

    References:
      Wang, Xiang, Cheng, Yuille: NormFace, 2017, arXiv:1704.06369.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("normface", num_classes=2, scale=1.0)
      >>> value, _, _ = loss.apply({"prototypes": jnp.eye(2)}, {}, jnp.array([[3.0, 4.0]]), jnp.array([0]),
      ...                          jax.random.key(0))
      >>> round(float(value), 4)   # log(1 + exp(.8 - .6))
      0.7981
    """
    return margin_loss(axis, scale, lambda cosine: cosine, start_cost=0.0)


def sphereface(axis: ClassAxis, *, scale: float = 64.0, m1: float = 1.35) -> Loss:
    """SphereFace with normalised embeddings: a multiplicative angular margin.

    target(cos) = (-1)^k cos(m1 theta) - 2k with k = floor(m1 theta / pi), which falls over all of theta.

    Args:
      scale: what multiplies the cosines.
      m1: the factor of the angle, at least 1.

    References:
      Liu, Wen, Yu, Li, Raj, Song: SphereFace, 2017, arXiv:1704.08063.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("sphereface", num_classes=2, scale=1.0, m1=2.0)
      >>> value, _, _ = loss.apply({"prototypes": jnp.eye(2)}, {}, jnp.array([[3.0, 4.0]]), jnp.array([0]),
      ...                          jax.random.key(0))
      >>> round(float(value), 4)   # log(1 + exp(.8 - cos(2 arccos .6)))
      1.3724
    """

    def target(cosine):
        theta = m1 * angle.theta(cosine)
        k = jax.lax.stop_gradient(jnp.floor(theta / math.pi))
        return (1.0 - 2.0 * (k % 2)) * jnp.cos(theta) - 2.0 * k

    return margin_loss(axis, scale, target)


def combined(axis: ClassAxis, *, scale: float = 64.0, margins: tuple[float, float, float] = (1.0, 0.5, 0.0)) -> Loss:
    """The three margins together: target(cos) = cos(m1 theta + m2) - m3.

    Args:
      scale: what multiplies the cosines.
      margins: (m1, the factor of the angle; m2 in radians; m3 in units of cosine).

    Raises:
      UserError: there are not three margins.

    References:
      Deng, Guo, Xue, Zafeiriou: ArcFace, 2018, arXiv:1801.07698, section 2.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("combined", num_classes=2, scale=1.0, margins=(1.0, 0.0, 0.4))   # as cosface
      >>> value, _, _ = loss.apply({"prototypes": jnp.eye(2)}, {}, jnp.array([[3.0, 4.0]]), jnp.array([0]),
      ...                          jax.random.key(0))
      >>> round(float(value), 4)
      1.0375
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
    """Sub-center ArcFace: ArcFace on the closest of k prototypes of every class.

    Clean samples gather at one prototype of their class. `metrics.subcenters.outliers` lists those that do not, and a
    second run without them uses `arcface`. The params are {"prototypes": f32[C,k,D]}.

    Args:
      scale: what multiplies the cosines.
      margin: radians, 0 to pi.
      k: prototypes of a class, at least 1.
      gradient: as of `arcface`.

    Raises:
      UserError: the margin is no angle, the gradient's name is unknown, or k is below 1.

    References:
      Deng, Guo, Liu, Gong, Zafeiriou: Sub-center ArcFace, 2020, ECCV.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("subcenter_arcface", num_classes=2, scale=1.0, margin=0.0, k=2)
      >>> prototypes = jnp.array([[[1.0, 0.0], [0.0, -1.0]], [[0.0, 1.0], [-1.0, 0.0]]])
      >>> value, _, _ = loss.apply({"prototypes": prototypes}, {}, jnp.array([[3.0, 4.0]]), jnp.array([0]),
      ...                          jax.random.key(0))
      >>> round(float(value), 4)   # log(1 + exp(.8 - .6)): of each class, the first prototype is the closer one here
      0.7981
    """
    check_arc("subcenter_arcface", margin, gradient)
    if k < 1:
        raise UserError(f"subcenter_arcface: k is the number of prototypes of a class, at least 1; got {k}")
    closest = lambda *given: jnp.max(similarity.cosines(*given), axis=-1)
    target = lambda cosine: angle.arc_target(cosine, margin, gradient)
    return margin_loss(axis, scale, target, columns=closest, centres=k)


def check_arc(name: str, margin: float, gradient: str = "full") -> None:
    """Raises UserError, with the loss's name, for a margin (radians) that is no angle and an unknown gradient.

    Example:
      >>> from geodesic.losses import margin
      >>> margin.check_arc("arcface", 28.6)
      Traceback (most recent call last):
      geodesic.errors.UserError: arcface: margin is an angle in radians, 0 to pi; got 28.6
    """
    if gradient not in angle.GRADIENTS:
        raise UserError(f"{name}: unknown gradient {gradient!r}; known: {', '.join(angle.GRADIENTS)}")
    if not 0 <= margin <= math.pi:
        raise UserError(f"{name}: margin is an angle in radians, 0 to pi; got {margin}")


def margin_loss(axis: ClassAxis, scale: float, target: Callable, *, start_cost: float | None = None,
                filter_threshold: float | None = None, columns: Callable = similarity.cosines,
                centres: int | None = None) -> Loss:
    """The loss of any target function, sharded, streamed and sampled as `axis` says.

    Args:
      axis: the classes.
      scale: what multiplies the cosines.
      target: a function of the label's cosines, f32[B] -> f32[B].
      start_cost: by how much the target lowers cosines at right angles on average, for `Loss.start_loss`. None where
        there is no estimate.
      filter_threshold: other classes with larger cosines get the logit 0; None filters none.
      columns: as of `class_axis.totals`, of unit embeddings [B,D]; it gives cosines f32[B,c].
      centres: prototypes of a class, whose params are then f32[C,centres,D]; None for one, f32[C,D].

    Returns:
      The loss.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.losses import class_axis, margin
      >>> halved = margin.margin_loss(class_axis.ClassAxis(2), 1.0, lambda cosine: cosine / 2)
      >>> value, _, _ = halved.apply({"prototypes": jnp.eye(2)}, {}, jnp.array([[3.0, 4.0]]), jnp.array([0]),
      ...                            jax.random.key(0))
      >>> round(float(value), 4)   # log(1 + exp(.8 - .3))
      0.9741
    """

    def negative(cosines, rows):
        del rows
        if filter_threshold is None:
            return scale * cosines
        return jnp.where(cosines > filter_threshold, 0.0, scale * cosines)

    def apply(params, state, embeddings, labels, rng):
        sample, state = partial_fc.sample(axis, state, labels, rng)
        rows = cross_entropy.softmax(axis, similarity.unit(embeddings), params, labels, negative, sample=sample,
                                     columns=columns)
        loss = jnp.mean(cross_entropy.cross_entropy(scale * target(rows.target), rows.others))
        return loss, state, cross_entropy.scalars(rows)

    start_loss = None if start_cost is None else functools.partial(expected_start, axis, scale, start_cost)
    return Loss(init_prototypes(axis, centres), apply, class_axis.scores(axis, columns), start_loss, scale=scale)


def expected_start(axis: ClassAxis, scale: float, cost: float, embedding_size: int) -> float:
    """The loss to expect before the first step: ln C + scale^2 / (2 D) + scale * cost, what `Loss.start_loss` gives.

    Cosines of independent directions in D dimensions have mean 0 and variance 1 / D. So each of the other classes adds
    e^(s cos) to the softmax, on average e^(s^2 / (2 D)), and all C of them have the logarithm ln C + s^2 / (2 D). The
    label's logit is about -s * cost. The estimate holds while s^2 / D is small beside 2 ln C.

    Args:
      axis: the classes, of which C are in one step's softmax.
      scale: s, what multiplies the cosines.
      cost: by how much the margin lowers the target at right angles, on average.
      embedding_size: D.

    Returns:
      The loss.

    Example:
      >>> from geodesic import losses
      >>> round(losses.build("cosface", num_classes=1000, scale=16.0, margin=0.4).start_loss(128), 3)
      14.308
    """
    return math.log(axis.softmax_classes) + scale**2 / (2 * embedding_size) + scale * cost


def init_prototypes(axis: ClassAxis, centres: int | None = None, state: dict | None = None) -> Callable:
    """`Loss.init` of a loss with prototypes.

    Args:
      axis: the classes.
      centres: prototypes of a class; None for one.
      state: name -> start of the scalars that the loss remembers.

    Returns:
      The function (rng, embedding_size) -> ({"prototypes": f32[rows,D] or f32[rows,centres,D]}, state).

    Example:
      >>> import jax
      >>> from geodesic.losses import class_axis, margin
      >>> params, state = margin.init_prototypes(class_axis.ClassAxis(10), state={"t": 0.5})(jax.random.key(0), 4)
      >>> params["prototypes"].shape, state
      ((10, 4), {'t': Array(0.5, dtype=float32)})
    """

    def init(rng, embedding_size):
        remembered = {name: jnp.asarray(value, jnp.float32) for name, value in (state or {}).items()}
        params = {"prototypes": class_axis.init_prototypes(rng, axis, embedding_size, centres)}
        return params, remembered | partial_fc.init_state(axis)

    return init
