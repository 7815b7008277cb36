"""From a detector's outputs to boxes with classes and scores, in pixels of the network's input.

    found = postprocess.detect(outputs, points.places, points.strides, image_size=(416, 320))

One program for a batch: decoding, the best candidates of each level, suppression. Of an image in which less is found
than there is room for, the rest has class -1 and score 0. Scores of a network that gives NaN are NaN.

It is a part of the network's side: where a batch is split over devices, it belongs inside the `jax.shard_map` that the
network runs in. Outside of it the result is the same, but the search for candidates gathers all scores on every device.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ...errors import UserError
from . import nms

# Hard suppression, and the ways of soft suppression.
SUPPRESSIONS = ("hard", "linear", "gaussian")
# The logarithm of how many times as wide as its anchor a box can be, torchvision's and Detectron's: 1000 pixels of 16.
_LARGEST = math.log(1000 / 16)


class Detections(NamedTuple):
    """What is found in each image, best first.

    Attributes:
      boxes: f32[B,K,4], x1, y1, x2, y2 in pixels of the network's input.
      scores: f32[B,K]; 0 where there is nothing.
      classes: i32[B,K]; -1 where there is nothing.
    """

    boxes: jax.Array
    scores: jax.Array
    classes: jax.Array


def decode(places: jax.Array, strides: jax.Array, distances: jax.Array) -> jax.Array:
    """The boxes of points, in pixels.

    Args:
      places: f32[P,2], x and y in pixels.
      strides: f32[P], in pixels.
      distances: f32[...,P,4], from the point to the left, upper, right and lower side, in strides.

    Returns:
      f32[...,P,4].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.heads.detection import postprocess
      >>> postprocess.decode(jnp.array([[4.0, 12]]), jnp.array([8.0]), jnp.array([[0.5, 0.5, 1, 2]])).tolist()
      [[0.0, 8.0, 12.0, 28.0]]
    """
    sides = distances * strides[:, None]
    return jnp.concatenate([places - sides[..., :2], places + sides[..., 2:]], axis=-1)


def decode_anchors(anchors: jax.Array, offsets: jax.Array) -> jax.Array:
    """The boxes that anchors become, in pixels.

    Args:
      anchors: f32[...,4], x1, y1, x2, y2 in pixels.
      offsets: f32[...,4]: how far the box's middle is from the anchor's in x and y, in the anchor's widths and heights,
        and the logarithms of how many times as wide and high it is, 62.5 at most.

    Returns:
      f32[...,4].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.heads.detection import postprocess
      >>> postprocess.decode_anchors(jnp.array([0.0, 0, 10, 10]), jnp.array([0.5, 0, 0, jnp.log(2)])).tolist()
      [5.0, -5.0, 15.0, 15.0]
    """
    size = anchors[..., 2:] - anchors[..., :2]
    middle = offsets[..., :2] * size + (anchors[..., :2] + 0.5 * size)
    half = 0.5 * (jnp.exp(jnp.minimum(offsets[..., 2:], _LARGEST)) * size)
    return jnp.concatenate([middle - half, middle + half], axis=-1)


def detect(outputs: dict, places: jax.Array, strides: jax.Array, *, image_size: tuple[int, int],
           smallest: float = 0.05, candidates: int = 1000, suppression: str = "hard", threshold: float = 0.6,
           sigma: float = 0.5, kept: int = 100) -> Detections:
    """What a batch of images shows.

    The score of a class at a point is sqrt(sigmoid(class) * sigmoid(centerness)), and of an anchor sigmoid(class).

    Args:
      outputs: of each level, from the finest to the coarsest one: "logits" f32[B,P,C], "distances" f32[B,P,4] in
        strides and "centerness" f32[B,P]; of a head with anchors "logits" and "offsets" f32[B,P,4].
      places: f32[P,2], the points of all levels, x and y in pixels; or f32[P,4], the anchors.
      strides: f32[P], in pixels; of anchors they are not used.
      image_size: (height, width) in pixels; boxes are cut at the edges.
      smallest: of a (point, class) whose score is not larger, nothing becomes.
      candidates: how many (point, class) of each level and image go on, the best ones.
      suppression: of SUPPRESSIONS; see `nms.nms` and `nms.soft_nms`, class by class.
      threshold: the largest IoU of two boxes of one class that are both kept, or keep their scores; not of "gaussian".
      sigma: of "gaussian".
      kept: K, how many boxes an image has at most.

    Returns:
      The detections.

    Raises:
      UserError: suppression is unknown, or a number cannot be.

    References:
      Tian, Shen, Chen, He: FCOS, 2019, arXiv:1904.01355; the square root, of the authors' later code, is torchvision's
      too.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.heads.detection import postprocess
      >>> outputs = {"logits": [jnp.array([[[9.0, -9], [-9, -9]]])], "distances": [jnp.ones((1, 2, 4))],
      ...            "centerness": [jnp.full((1, 2), 9.0)]}
      >>> found = postprocess.detect(outputs, jnp.array([[4.0, 4], [12, 4]]), jnp.array([8.0, 8]), image_size=(8, 16),
      ...                            kept=2)
      >>> found.boxes[0, 0].tolist(), found.classes.tolist()
      ([0.0, 0.0, 12.0, 8.0], [[0, -1]])
    """
    if suppression not in SUPPRESSIONS:
        raise UserError(f"suppression is one of {', '.join(SUPPRESSIONS)}; got {suppression!r}")
    if candidates < 1:
        raise UserError(f"1 candidate or more goes on; got {candidates}")
    scores, sides, decoded = scored(jax.tree.map(lambda level: level.astype(jnp.float32), outputs),
                                     jnp.asarray(places), jnp.asarray(strides))

    def image(scores, sides):
        boxes, scores, classes = _candidates(scores, sides, decoded, image_size, smallest, candidates)
        if suppression == "hard":
            best, scores = nms.nms(boxes, scores, classes, threshold=threshold, kept=kept)
        else:
            best, scores = nms.soft_nms(boxes, scores, classes, kept=kept, method=suppression, threshold=threshold,
                                        sigma=sigma, smallest=smallest)
        there = best >= 0
        return Detections(jnp.where(there[:, None], boxes[best], 0.0), jnp.where(there, scores, 0.0),
                          jnp.where(there, classes[best], -1))

    return jax.vmap(image)(scores, sides)


def scored(outputs: dict, places: jax.Array, strides: jax.Array) -> tuple[list, list, Callable]:
    """(scores f32[B,P,C] and sides f32[B,P,4] of each level, (points, their sides) -> boxes).

    Its arguments are those of `detect`.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.heads.detection import postprocess
      >>> outputs = {"logits": [jnp.zeros((1, 1, 2))], "offsets": [jnp.zeros((1, 1, 4))]}
      >>> scores, sides, decoded = postprocess.scored(outputs, jnp.array([[0.0, 0, 8, 4]]), jnp.array([8.0]))
      >>> scores[0].tolist(), decoded(jnp.array([0]), sides[0][0]).tolist()
      ([[[0.5, 0.5]]], [[0.0, 0.0, 8.0, 4.0]])
    """
    scores = [jax.nn.sigmoid(logits) for logits in outputs["logits"]]
    if (size := sum(level.shape[1] for level in scores)) != len(places):
        raise ValueError(f"the levels have {size} points, and there are places for {len(places)}")
    if "offsets" in outputs:
        return scores, outputs["offsets"], lambda point, sides: decode_anchors(places[point], sides)
    scores = [jnp.sqrt(score * jax.nn.sigmoid(centre)[..., None])
              for score, centre in zip(scores, outputs["centerness"], strict=True)]
    return scores, outputs["distances"], lambda point, sides: decode(places[point], strides[point], sides)


def _candidates(scores: list[jax.Array], sides: list[jax.Array], decoded: Callable, image_size: tuple[int, int],
                smallest: float, number: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(boxes [N,4], scores [N], classes i32[N]) of one image: the best of each level, score -inf of what is none.

    decoded: (points, their sides) -> boxes.
    """
    found, start = [], 0
    height, width = image_size
    for of_level, own in zip(scores, sides, strict=True):
        size, num_classes = of_level.shape
        of_level = of_level.reshape(-1)
        best_scores, best = jax.lax.top_k(jnp.where(of_level <= smallest, -jnp.inf, of_level),
                                          min(number, of_level.size))
        point = best // num_classes
        boxes = jnp.clip(decoded(start + point, own[point]), 0.0,
                         jnp.array([width, height, width, height], jnp.float32))
        found.append((boxes, best_scores, (best % num_classes).astype(jnp.int32)))
        start += size
    return tuple(map(jnp.concatenate, zip(*found, strict=True)))
