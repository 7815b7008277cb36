"""Non-maximum suppression: of boxes of one class that lie on each other, the best one is kept.

One loop finds the kept boxes in their order, best first, as many as are wanted: in each turn the best box that is
left is taken, and what lies on it is dropped (`nms`) or gets a lower score (`soft_nms`). Shapes are static, and the
work grows with the kept boxes times the candidates, not with the candidates squared. A score that is NaN stays one, and
comes first.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import UserError

# How soft suppression lowers scores: name -> (overlap, threshold, sigma) -> factor.
_FACTORS = {
    "linear": lambda overlap, threshold, sigma: jnp.where(overlap > threshold, 1 - overlap, 1.0),
    "gaussian": lambda overlap, threshold, sigma: jnp.exp(-overlap * overlap / sigma),
}


def iou(box: jax.Array, others: jax.Array) -> jax.Array:
    """Intersection over union of one box with each of others; 0 where neither has an area.

    Args:
      box: f32[4], x1, y1, x2, y2.
      others: f32[N,4].

    Returns:
      f32[N].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.heads.detection import nms
      >>> nms.iou(jnp.array([0.0, 0, 2, 2]), jnp.array([[0.0, 0, 2, 1], [2, 0, 4, 2]])).tolist()
      [0.5, 0.0]
    """
    low, high = jnp.maximum(box[:2], others[:, :2]), jnp.minimum(box[2:], others[:, 2:])
    shared = jnp.prod(jnp.maximum(high - low, 0.0), axis=-1)
    union = jnp.prod(box[2:] - box[:2]) + jnp.prod(others[:, 2:] - others[:, :2], axis=-1) - shared
    return jnp.where(union > 0, shared / jnp.where(union > 0, union, 1.0), 0.0)


def nms(boxes: jax.Array, scores: jax.Array, classes: jax.Array, *, threshold: float,
        kept: int) -> tuple[jax.Array, jax.Array]:
    """Greedy suppression, class by class: a box is dropped where its IoU with a better one that is kept is larger.

    Of equal scores, the first box is the better one. The result is that of torchvision's `batched_nms`, which moves
    classes apart by adding to their boxes and so rounds their corners; here classes are compared.

    Args:
      boxes: f32[N,4], x1, y1, x2, y2.
      scores: f32[N]; -inf of what is no box.
      classes: i32[N].
      threshold: the largest IoU of two boxes that are kept, between 0 and 1.
      kept: K, how many boxes are wanted at most.

    Returns:
      (i32[K] places of the kept boxes, best first, -1 after the last one; f32[K] their scores, -inf after the last
      one).

    Raises:
      UserError: threshold or kept cannot be.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.heads.detection import nms
      >>> boxes = jnp.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9]])
      >>> places, _ = nms.nms(boxes, jnp.array([0.7, 0.8, 0.9]), jnp.array([0, 0, 1]), threshold=0.5, kept=3)
      >>> places.tolist()
      [2, 1, -1]
    """
    largest = _largest_float32(threshold)
    return _suppress(boxes, scores, classes, threshold, kept,
                     lambda scores, overlap: jnp.where(overlap > largest, -jnp.inf, scores))


def soft_nms(boxes: jax.Array, scores: jax.Array, classes: jax.Array, *, kept: int, method: str = "gaussian",
             threshold: float = 0.3, sigma: float = 0.5, smallest: float = 0.001) -> tuple[jax.Array, jax.Array]:
    """Suppression that lowers the scores of boxes that lie on a better one of their class, and drops none for it.

    Args:
      boxes, scores, classes, kept: as of `nms`; scores are 0 or more, or -inf.
      method: "gaussian", times exp(-IoU^2 / sigma); "linear", times 1 - IoU where the IoU is larger than threshold.
      threshold: of "linear".
      sigma: of "gaussian", above 0.
      smallest: boxes whose score is not larger are dropped, before the loop and in it.

    Returns:
      As `nms`; the scores are the lowered ones, and fall.

    Raises:
      UserError: method is unknown, or a number cannot be.

    References:
      Bodla, Singh, Chellappa, Davis: Soft-NMS, 2017, arXiv:1704.04503.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.heads.detection import nms
      >>> boxes = jnp.array([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 10]])
      >>> places, scores = nms.soft_nms(boxes, jnp.array([0.75, 0.5, 0.375]), jnp.zeros(3, int), kept=3,
      ...                               method="linear")
      >>> places.tolist(), scores.tolist()
      ([0, 2, 1], [0.75, 0.375, 0.25])
    """
    if method not in _FACTORS:
        raise UserError(f"soft suppression is one of {', '.join(_FACTORS)}; got {method!r}")
    if sigma <= 0 or smallest < 0:
        raise UserError(f"sigma is above 0, and the smallest score 0 or more; got {sigma} and {smallest}")

    def lowered(scores, overlap):
        scores = scores * _FACTORS[method](overlap, _largest_float32(threshold), sigma)
        return jnp.where(scores <= smallest, -jnp.inf, scores)

    return _suppress(boxes, jnp.where(scores <= smallest, -jnp.inf, scores), classes, threshold, kept, lowered)


def _suppress(boxes: jax.Array, scores: jax.Array, classes: jax.Array, threshold: float, kept: int,
              lowered: Callable) -> tuple[jax.Array, jax.Array]:
    """lowered: (scores [N], IoU with the box that is kept [N], 0 of other classes) -> scores of what is left."""
    if not 0 <= threshold <= 1:
        raise UserError(f"the largest IoU of two boxes that are kept is between 0 and 1; got {threshold}")
    if kept < 1:
        raise UserError(f"1 box or more is kept; got {kept}")

    def turn(left, _):
        best = jnp.argmax(left)
        score = left[best]
        overlap = jnp.where(classes == classes[best], iou(boxes[best], boxes), 0.0)
        place = jnp.where(score == -jnp.inf, -1, best.astype(jnp.int32))
        return lowered(left, overlap).at[best].set(-jnp.inf), (place, score)

    return jax.lax.scan(turn, scores.astype(jnp.float32), length=kept)[1]


def _largest_float32(threshold: float) -> np.float32:
    """The largest float32 that is not above the number: what is compared with it is compared with the number itself."""
    rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-1)) if float(rounded) > threshold else rounded
