"""What each point of a detector learns: which box is its own, and how far in the middle of it the point lies.

    points = detection_targets.points((416, 320), strides=(8, 16, 32))
    owners = detection_targets.assign(points, boxes, num_boxes)      # i32[B,P], -1 for background

The rules are those of torchvision's FCOS (0.16.2), which differ from the paper's in three places. A point learns a box
whose farthest side lies strictly between the two bounds of the point's level, where the paper takes the bounds in: with
a farthest side of exactly 64 pixels, a box belongs to neither level. The smallest of several boxes wins by the largest
1e8 - area in float32, so boxes whose areas differ by less than about 8 square pixels count as equal, of which the first
one wins, and a box of 1e8 square pixels or more is no point's. Points near the middle of a box are told by their
distance to its centre alone, and that they lie within the box.

References:
  Tian, Shen, Chen, He: FCOS: Fully Convolutional One-Stage Object Detection, 2019, arXiv:1904.01355; the sampling of
  points near the centre: arXiv:2006.09214.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import UserError

_SENTINEL = 1e8  # square pixels, see above
_NO_AREA = 1e-5  # of the sentinel, what is left for a box that can be some point's


class Points(NamedTuple):
    """The points of all levels, from the finest level to the coarsest one, each row by row. NumPy arrays: constants.

    Attributes:
      places: f32[P,2], x and y in pixels.
      strides: f32[P], the distance of a level's points in pixels.
      lower, upper: f32[P], the bounds of a level in pixels: what its points learn has its farthest side between them.
      sizes: how many points each level has.
    """

    places: np.ndarray
    strides: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    sizes: tuple[int, ...]


def points(image_size: tuple[int, int], strides: Sequence[int], *, ranges: Sequence[tuple[float, float]] | None = None,
           offset: float = 0.5, spread: bool = False) -> Points:
    """The points of maps that are ceil(height / stride) x ceil(width / stride) large.

    Args:
      image_size: (height, width) in pixels.
      strides: of the levels, in pixels, from the finest to the coarsest one.
      ranges: the bounds of each level in pixels; None for 4 and 8 strides, 0 below the first level and infinity above
        the last, which are the paper's 64, 128, 256 and 512 of strides 8 to 128.
      offset, spread: as of `grid`.

    Raises:
      UserError: there is no level, strides do not grow, or there are other than two bounds for each level.

    Example:
      >>> from geodesic.losses import detection_targets
      >>> points = detection_targets.points((16, 24), strides=(8, 16))
      >>> points.sizes, points.places[:3].tolist(), points.upper[[0, -1]].tolist()
      ((6, 2), [[4.0, 4.0], [12.0, 4.0], [20.0, 4.0]], [64.0, inf])
    """
    check_strides(strides)
    if ranges is None:
        ranges = [(4.0 * stride, 8.0 * stride) for stride in strides]
        ranges[0], ranges[-1] = (0.0, ranges[0][1]), (ranges[-1][0] if len(strides) > 1 else 0.0, np.inf)
    if len(ranges) != len(strides) or any(lower >= upper for lower, upper in ranges):
        raise UserError(f"each of {len(strides)} levels needs two bounds, the lower one first; got {tuple(ranges)}")
    places = [grid(image_size, stride, offset, spread) for stride in strides]
    sizes = tuple(len(level) for level in places)
    each = lambda values: np.repeat(np.asarray(values, np.float32), sizes)
    return Points(np.concatenate(places), each(strides), each([lower for lower, _ in ranges]),
                  each([upper for _, upper in ranges]), sizes)


def check_strides(strides: Sequence[int]) -> None:
    """Raises UserError where there is no level, or strides do not grow.

    Example:
      >>> from geodesic.losses import detection_targets
      >>> detection_targets.check_strides((8, 8))
      Traceback (most recent call last):
      geodesic.errors.UserError: strides of a detector's levels are 1 or more pixels and grow; got (8, 8)
    """
    if not strides or strides[0] < 1 or any(low >= high for low, high in itertools.pairwise(strides)):
        raise UserError(f"strides of a detector's levels are 1 or more pixels and grow; got {tuple(strides)}")


def grid(image_size: tuple[int, int], stride: int, offset: float = 0.5, spread: bool = False) -> np.ndarray:
    """The places of a level's cells, row by row, f32[P,2], x and y in pixels.

    Args:
      image_size: (height, width) in pixels; the level has ceil(height / stride) x ceil(width / stride) cells.
      stride: in pixels.
      offset: of the first place, in strides: the middle of a cell is at 0.5, and its corner, where torchvision has it,
        at 0.
      spread: whether cells of a stride that does not divide the image are size // cells apart, as torchvision has
        them, and not a stride: at 800 pixels the 7 rows of stride 128 are then 114 pixels apart.

    Example:
      >>> from geodesic.losses import detection_targets
      >>> detection_targets.grid((4, 7), 4, spread=True).tolist()
      [[1.5, 2.0], [4.5, 2.0]]
    """
    cells = [-(-size // stride) for size in image_size]
    apart = [size // count if spread else stride for size, count in zip(image_size, cells, strict=True)]
    y, x = np.meshgrid(*(np.float32(step) * (np.arange(count, dtype=np.float32) + np.float32(offset))
                         for step, count in zip(apart, cells, strict=True)), indexing="ij")
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def assign(points: Points, boxes: jax.Array, num_boxes: jax.Array, *, radius: float = 1.5) -> jax.Array:
    """The box that each point learns: the smallest of those that it may learn.

    A point may learn a box that it lies within, whose centre is nearer than `radius` strides in x and in y, and whose
    farthest side is between the bounds of the point's level.

    Args:
      points: of all levels.
      boxes: f32[B,M,4] in pixels: x1, y1, x2, y2; what comes after an image's own boxes is padding, whatever it holds.
      num_boxes: i32[B], how many boxes are the image's own.
      radius: in strides; infinity for no sampling, as in the first paper.

    Returns:
      i32[B,P], places among the image's boxes; -1 of a point without any, which is background.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import detection_targets
      >>> points = detection_targets.points((16, 16), strides=(8,))
      >>> boxes = jnp.array([[[0.0, 0, 16, 16], [1, 1, 6, 6]]])
      >>> detection_targets.assign(points, boxes, jnp.array([2])).tolist()
      [[1, 0, 0, 0]]
    """
    return jax.vmap(lambda boxes, number: _assign_image(points, boxes, number, radius))(boxes, num_boxes)


def _assign_image(points: Points, boxes: jax.Array, number: jax.Array, radius: float) -> jax.Array:
    boxes = boxes.astype(jnp.float32)
    boxes = jnp.where(jnp.arange(boxes.shape[0])[:, None] < number, boxes, 0.0)  # no point lies within padding
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = jnp.max(jnp.abs(points.places[:, None] - centres), axis=-1) < radius * points.strides[:, None]
    sides = distances(points.places[:, None], boxes)  # [P,M,4]
    inside, farthest = jnp.min(sides, axis=-1) > 0, jnp.max(sides, axis=-1)
    fits = (farthest > points.lower[:, None]) & (farthest < points.upper[:, None])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    smallness = jnp.where(near & inside & fits, _SENTINEL - areas, 0.0)
    owners = jnp.argmax(smallness, axis=-1).astype(jnp.int32)
    return jnp.where(jnp.max(smallness, axis=-1) < _NO_AREA, -1, owners)


def distances(places: jax.Array, boxes: jax.Array) -> jax.Array:
    """How far the left, upper, right and lower side of a box are from a point, f32[...,4]: negative beyond them.

    Args:
      places: f32[...,2], x and y.
      boxes: f32[...,4].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import detection_targets
      >>> detection_targets.distances(jnp.array([4.0, 4]), jnp.array([0.0, 3, 10, 20])).tolist()
      [4.0, 1.0, 6.0, 16.0]
    """
    return jnp.concatenate([places - boxes[..., :2], boxes[..., 2:] - places], axis=-1)


def centerness(sides: jax.Array) -> jax.Array:
    """How far in the middle of its box a point lies: 1 at the centre, 0 on a side.

    sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)); 0 of a point that is not within the box.

    Args:
      sides: f32[...,4], of `distances`, in any unit of length.

    Returns:
      f32[...].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import detection_targets
      >>> detection_targets.centerness(jnp.array([[4.0, 2, 4, 2], [1, 5, 4, 5], [-1, 2, 9, 2]])).tolist()
      [1.0, 0.5, 0.0]
    """
    inside = jnp.min(sides, axis=-1) > 0
    left, top, right, bottom = jnp.moveaxis(jnp.where(inside[..., None], sides, 1.0), -1, 0)
    share = lambda one, other: jnp.minimum(one, other) / jnp.maximum(one, other)
    return jnp.where(inside, jnp.sqrt(share(left, right) * share(top, bottom)), 0.0)


def without_points(owners: jax.Array, num_boxes: jax.Array, max_boxes: int) -> jax.Array:
    """Which boxes no point learns: a detector will not find them, or their like.

    Args:
      owners: i32[B,P], of `assign`.
      num_boxes: i32[B], how many boxes are the image's own.
      max_boxes: M, how many boxes an image has with its padding.

    Returns:
      bool[B,M]; False for padding.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import detection_targets
      >>> detection_targets.without_points(jnp.array([[-1, 0, 0]]), jnp.array([2]), 3).tolist()
      [[False, True, False]]
    """
    places = jnp.arange(max_boxes)
    return (places < num_boxes[:, None]) & ~jnp.any(owners[..., None] == places, axis=1)
