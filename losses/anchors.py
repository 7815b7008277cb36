"""What each anchor of a detector learns: boxes of fixed sizes at every place, and the box that each overlaps.

    anchors = anchors.make((416, 320), strides=(8, 16, 32))
    owners = anchors.assign(anchors, boxes, num_boxes)      # i32[B,N], BACKGROUND, NEITHER or a place

The rules are those of torchvision's RetinaNet (0.16.2), save that a box which no anchor overlaps has none, where all
anchors that overlap nothing become its own there.

References:
  Lin, Goyal, Girshick, He, Dollár: Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import UserError
from . import boxes as overlaps
from .detection_targets import check_strides, grid

BACKGROUND, NEITHER = -1, -2
# The paper's: 4 strides, and a third and two thirds of an octave more; 32 to 812 pixels of strides 8 to 128.
SCALES = (4.0, 4 * 2 ** (1 / 3), 4 * 2 ** (2 / 3))
RATIOS = (0.5, 1.0, 2.0)


class Anchors(NamedTuple):
    """The anchors of all levels, from the finest level to the coarsest one, place by place. NumPy arrays: constants.

    Attributes:
      places: f32[N,4], x1, y1, x2, y2 in pixels, whole numbers around each place.
      strides: f32[N], the distance of a level's places in pixels.
      sizes: how many anchors each level has.
    """

    places: np.ndarray
    strides: np.ndarray
    sizes: tuple[int, ...]


def make(image_size: tuple[int, int], strides: Sequence[int], *, scales: Sequence[float] = SCALES,
         ratios: Sequence[float] = RATIOS, offset: float = 0.5, spread: bool = False) -> Anchors:
    """The anchors of maps that are ceil(height / stride) x ceil(width / stride) large.

    At each place there is one for each ratio and scale, scale after scale of the first ratio, and so on: of whole
    pixels, stride x scale rounded down is the side of its square, and half a side is rounded.

    Args:
      image_size: (height, width) in pixels.
      strides: of the levels, in pixels, from the finest to the coarsest one.
      scales: sides of the anchors' squares, in strides.
      ratios: height / width.
      offset, spread: as of `detection_targets.grid`.

    Raises:
      UserError: there is no level, strides do not grow, or a scale or ratio cannot be.

    Example:
      >>> from geodesic.losses import anchors
      >>> found = anchors.make((16, 8), strides=(8,), scales=(1.0,), ratios=(1.0, 4.0))
      >>> found.sizes, found.places[:2].tolist()
      ((4,), [[0.0, 0.0, 8.0, 8.0], [2.0, -4.0, 6.0, 12.0]])
    """
    check_strides(strides)
    for name, values in (("scales", scales), ("ratios", ratios)):
        if not values or not min(values) > 0:
            raise UserError(f"anchors have one or more {name}, above 0; got {tuple(values)}")
    height = np.sqrt(np.asarray(ratios, np.float32))
    levels = []
    for stride in strides:
        sides = np.float32([int(stride * scale) for scale in scales])
        if sides.min() < 1:
            raise UserError(f"anchors are a pixel large or more; scale {min(scales):g} of stride {stride} is less")
        own = np.stack([(1 / height[:, None] * sides).ravel(), (height[:, None] * sides).ravel()], axis=-1)
        half = np.round(own / 2)
        centres = np.tile(grid(image_size, stride, offset, spread), 2)
        levels.append((centres[:, None] + np.concatenate([-half, half], axis=-1)).reshape(-1, 4))
    sizes = tuple(map(len, levels))
    return Anchors(np.concatenate(levels), np.repeat(np.asarray(strides, np.float32), sizes), sizes)


def assign(anchors: Anchors, boxes: jax.Array, num_boxes: jax.Array, *, positive_iou: float = 0.5,
           negative_iou: float = 0.4) -> jax.Array:
    """The box that each anchor learns: the one that it overlaps most, the first of equals.

    An anchor is positive from an IoU of positive_iou on, and background below negative_iou. The anchors that overlap a
    box more than all others do are positive too, of the box that they themselves overlap most.

    Args:
      anchors: of all levels.
      boxes: f32[B,M,4] in pixels: x1, y1, x2, y2; what comes after an image's own boxes is padding, whatever it holds.
      num_boxes: i32[B], how many boxes are the image's own.
      positive_iou, negative_iou: see above.

    Returns:
      i32[B,N], places among the image's boxes; BACKGROUND; NEITHER of an anchor from which no class is learnt.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import anchors
      >>> found = anchors.make((8, 24), strides=(8,), scales=(1.0,), ratios=(1.0,))   # three squares side by side
      >>> boxes = jnp.array([[[0.0, 0, 8, 8], [19, 0, 24, 8]]])
      >>> anchors.assign(found, boxes, jnp.array([2])).tolist(), anchors.assign(found, boxes, jnp.array([0])).tolist()
      ([[0, -1, 1]], [[-1, -1, -1]])
    """
    return jax.vmap(lambda boxes, number: _assign_image(anchors, boxes, number, positive_iou, negative_iou))(
        boxes, num_boxes)


def _assign_image(anchors: Anchors, boxes: jax.Array, number: jax.Array, positive_iou: float, negative_iou: float):
    there = jnp.arange(boxes.shape[0]) < number
    boxes = jnp.where(there[:, None], boxes.astype(jnp.float32), 0.0)
    overlap = jnp.where(there, overlaps.iou(anchors.places[:, None], boxes), -1.0)  # [N,M]
    # Kept as it is: computed anew where it is compared with its maximum, it might differ in the last bit.
    overlap = jax.lax.optimization_barrier(overlap)
    most, own = jnp.max(overlap, axis=1), jnp.argmax(overlap, axis=1).astype(jnp.int32)
    owners = jnp.where(most >= positive_iou, own, jnp.where(most < negative_iou, BACKGROUND, NEITHER))
    of_box = jnp.max(overlap, axis=0)
    return jnp.where(jnp.any((overlap == of_box) & (of_box > 0), axis=1), own, owners)


def encode(anchors: jax.Array, boxes: jax.Array) -> jax.Array:
    """What a network should say of anchors, so that boxes come of them: how far their middles are, in the anchor's
    widths and heights, and the logarithms of how many times as wide and high they are.

    Args:
      anchors: f32[...,4], with an area.
      boxes: f32[...,4], likewise.

    Returns:
      f32[...,4], x, y, width and height.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import anchors
      >>> anchors.encode(jnp.array([0.0, 0, 10, 10]), jnp.array([5.0, 0, 15, 10])).tolist()
      [0.5, 0.0, 0.0, 0.0]
    """
    middle = lambda one: (one[..., :2] + one[..., 2:]) / 2
    size = lambda one: one[..., 2:] - one[..., :2]
    return jnp.concatenate([(middle(boxes) - middle(anchors)) / size(anchors),
                            jnp.log(size(boxes) / size(anchors))], axis=-1)
