"""From a detector's outputs to boxes with classes and scores, in pixels of the network's input.

    found = postprocess.detect(outputs, points.places, points.strides, image_size=(416, 320))

One program for a batch: decoding, the best candidates of each level, suppression. Of an image in which less is found
than there is room for, the rest has class -1 and score 0. Scores of a network that gives NaN are NaN.

It is a part of the network's side: where a batch is split over devices, it belongs inside the `jax.shard_map` that the
network runs in. Outside of it the result is the same, but the search for candidates gathers all scores on every device.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ...errors import UserError
from . import nms

# Hard suppression, and the ways of soft suppression.
SUPPRESSIONS = ("hard", "linear", "gaussian")


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


def detect(outputs: dict, places: jax.Array, strides: jax.Array, *, image_size: tuple[int, int],
           smallest: float = 0.05, candidates: int = 1000, suppression: str = "hard", threshold: float = 0.6,
           sigma: float = 0.5, kept: int = 100) -> Detections:
    """What a batch of images shows.

    The score of a class at a point is sqrt(sigmoid(class) * sigmoid(centerness)).

    Args:
      outputs: of each level, from the finest to the coarsest one: "logits" f32[B,P,C], "distances" f32[B,P,4] in
        strides and "centerness" f32[B,P].
      places: f32[P,2], the points of all levels, x and y in pixels.
      strides: f32[P], in pixels.
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
    places, strides = jnp.asarray(places), jnp.asarray(strides)

    def image(outputs):
        boxes, scores, classes = _candidates(outputs, places, strides, image_size, smallest, candidates)
        if suppression == "hard":
            best, scores = nms.nms(boxes, scores, classes, threshold=threshold, kept=kept)
        else:
            best, scores = nms.soft_nms(boxes, scores, classes, kept=kept, method=suppression, threshold=threshold,
                                        sigma=sigma, smallest=smallest)
        there = best >= 0
        return Detections(jnp.where(there[:, None], boxes[best], 0.0), jnp.where(there, scores, 0.0),
                          jnp.where(there, classes[best], -1))

    return jax.vmap(image)(jax.tree.map(lambda level: level.astype(jnp.float32), outputs))


def _candidates(outputs: dict, places: jax.Array, strides: jax.Array, image_size: tuple[int, int], smallest: float,
                number: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(boxes [N,4], scores [N], classes i32[N]) of one image: the best of each level, score -inf of what is none."""
    found, start = [], 0
    height, width = image_size
    for logits, distances, centre in zip(outputs["logits"], outputs["distances"], outputs["centerness"], strict=True):
        size, num_classes = logits.shape
        scores = jnp.sqrt(jax.nn.sigmoid(logits) * jax.nn.sigmoid(centre)[:, None]).reshape(-1)
        scores, best = jax.lax.top_k(jnp.where(scores <= smallest, -jnp.inf, scores), min(number, scores.size))
        point = best // num_classes
        boxes = decode(places[start + point], strides[start + point], distances[point])
        boxes = jnp.clip(boxes, 0.0, jnp.array([width, height, width, height], jnp.float32))
        found.append((boxes, scores, (best % num_classes).astype(jnp.int32)))
        start += size
    if start != len(places):
        raise ValueError(f"the levels have {start} points, and there are places for {len(places)}")
    return tuple(map(jnp.concatenate, zip(*found, strict=True)))
