"""Losses between boxes x1, y1, x2, y2: generalised, distance and complete intersection over union.

Each is f32[...], one number for each pair of boxes f32[...,4], and the same at every unit of length in which a box's
area is well above 1e-7. A box whose corners have crossed is taken as one without width or height. Values and gradients
are finite for boxes without area and for pairs that do not touch: what divides is made safe before it divides.
"""

import math

import jax
import jax.numpy as jnp

_TINY = 1e-7  # an area or a squared length up to this divides nothing


def iou(first: jax.Array, second: jax.Array) -> jax.Array:
    """Intersection over union of boxes, f32[...]; 0 where neither has an area.

    Args:
      first, second: boxes f32[...,4] that broadcast against each other.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import boxes
      >>> float(boxes.iou(jnp.array([0.0, 0, 2, 2]), jnp.array([1.0, 0, 3, 2])))  # 2 of 6
      0.3333333432674408
    """
    return _ratio(*_intersection_and_union(first, second))


def giou_loss(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """1 - IoU + the share of the smallest enclosing box that is in neither box; between 0 and 2.

    Args:
      predicted, target: boxes f32[...,4].

    References:
      Rezatofighi, Tsoi, Gwak, Sadeghian, Reid, Savarese: Generalized Intersection over Union, 2019, arXiv:1902.09630.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import boxes
      >>> float(boxes.giou_loss(jnp.array([0.0, 0, 1, 1]), jnp.array([3.0, 0, 4, 1])))  # 1 - 0 + 2 / 4
      1.5
    """
    intersection, union = _intersection_and_union(predicted, target)
    width, height = _sides(_enclosing(predicted, target))
    enclosing = width * height
    return 1 - _ratio(intersection, union) + _ratio(enclosing - union, enclosing)


def diou_loss(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """1 - IoU + (distance of the centres / diagonal of the smallest enclosing box)^2; between 0 and 2.

    Args:
      predicted, target: boxes f32[...,4].

    References:
      Zheng, Wang, Liu, Li, Ye, Ren: Distance-IoU Loss, 2019, arXiv:1911.08287.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import boxes
      >>> float(boxes.diou_loss(jnp.array([0.0, 0, 3, 4]), jnp.array([3.0, 4, 6, 8])))  # 1 - 0 + 5^2 / 10^2
      1.25
    """
    return 1 - iou(predicted, target) + _squared_distance(predicted, target)


def ciou_loss(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """The distance loss + a v, where v = 4 / pi^2 (difference of atan(width / height))^2 and a = v / (1 - IoU + v).

    `a` counts as a constant: no gradient passes through it. The gradient of v is the exact one (the paper drops its
    factor 1 / (width^2 + height^2)), and `a` is not set to 0 below an IoU of 1/2; torchvision does both alike.

    Args:
      predicted, target: boxes f32[...,4].

    References:
      Zheng, Wang, Liu, Li, Ye, Ren: Distance-IoU Loss, 2019, arXiv:1911.08287.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import boxes
      >>> square, flat = jnp.array([0.0, 0, 2, 2]), jnp.array([0.0, 0.5, 2, 1.5])
      >>> float(boxes.diou_loss(square, flat)), round(float(boxes.ciou_loss(square, flat)), 4)
      (0.5, 0.5032)
    """
    overlap = iou(predicted, target)
    difference = _angle(target) - _angle(predicted)
    v = 4 / math.pi ** 2 * difference * difference
    weight = jax.lax.stop_gradient(_ratio(v, 1 - overlap + v))
    return 1 - overlap + _squared_distance(predicted, target) + weight * v


def _ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
    """part / whole; 0 where there is no whole to speak of, and NaN where it is NaN."""
    none = whole <= _TINY
    return jnp.where(none, 0.0, part / jnp.where(none, 1.0, whole))


def _sides(boxes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(width, height), at least 0."""
    return (jnp.maximum(boxes[..., 2] - boxes[..., 0], 0.0), jnp.maximum(boxes[..., 3] - boxes[..., 1], 0.0))


def _intersection_and_union(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The areas that two boxes share and that they cover."""
    shared = jnp.concatenate([jnp.maximum(first[..., :2], second[..., :2]),
                              jnp.minimum(first[..., 2:], second[..., 2:])], axis=-1)
    areas = [width * height for width, height in map(_sides, (shared, first, second))]
    return areas[0], areas[1] + areas[2] - areas[0]


def _enclosing(first: jax.Array, second: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.minimum(first[..., :2], second[..., :2]),
                            jnp.maximum(first[..., 2:], second[..., 2:])], axis=-1)


def _squared_distance(first: jax.Array, second: jax.Array) -> jax.Array:
    """(distance of the centres / diagonal of the smallest enclosing box)^2."""
    centres = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2
    width, height = _sides(_enclosing(first, second))
    return _ratio(jnp.sum(centres * centres, axis=-1), width * width + height * height)


def _angle(boxes: jax.Array) -> jax.Array:
    """atan(width / height) in radians; 0 of a point, which has no shape."""
    width, height = _sides(boxes)
    point = width * width + height * height <= _TINY
    return jnp.where(point, 0.0, jnp.arctan2(jnp.where(point, 1.0, width), jnp.where(point, 1.0, height)))
