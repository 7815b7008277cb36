"""The loss of a detector without anchors, FCOS: which class, which box, and how far in the middle of it.

`retinanet` has that of a detector with anchors; what both need is here.

    points = detection_targets.points((416, 320), strides=(8, 16, 32))
    loss = detection.fcos(points, num_classes=3)
    value, _, scalars = loss.apply({}, {}, outputs, targets, rng)

outputs: what the network gives at the points of each level, from the finest to the coarsest one,
  "logits": [f32[B,P,C], ...], of each class a sigmoid's;
  "distances": [f32[B,P,4], ...], from the point to the left, upper, right and lower side of the box, 0 or more, in
  strides;
  "centerness": [f32[B,P], ...], a sigmoid's logit.
targets: f32[B,M,4] "boxes" x1, y1, x2, y2 in pixels of the network's input, i32[B,M] "classes" below C, and i32[B]
  "num_boxes", after which an image's boxes are padding.
"""

import math
from collections.abc import Collection

import jax
import jax.numpy as jnp

from ..errors import UserError
from . import boxes, detection_targets
from .detection_targets import Points
from .loss import Loss

# Name -> the loss between predicted and true boxes.
BOX_LOSSES = {"giou": boxes.giou_loss, "diou": boxes.diou_loss, "ciou": boxes.ciou_loss}


def sigmoid_focal(logits: jax.Array, positive: jax.Array, *, alpha: float = 0.25, gamma: float = 2.0) -> jax.Array:
    """Binary cross-entropy in which examples that are right already count little: -a (1 - p)^gamma log(p).

    p is the probability of what is so; a is alpha of positives and 1 - alpha of negatives.

    Args:
      logits: f32[...].
      positive: bool[...].
      alpha: in [0, 1].
      gamma: 0 or more; 0 for the cross-entropy times a.

    Returns:
      f32[...], finite with its gradient at every logit.

    References:
      Lin, Goyal, Girshick, He, Dollár: Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import detection
      >>> found = detection.sigmoid_focal(jnp.zeros(2), jnp.array([True, False]))
      >>> [round(float(one), 4) for one in found]   # log(2) / 4 times .25 and .75
      [0.0433, 0.13]
    """
    right = jnp.where(positive, logits, -logits)  # the logit of what is so: 1 - p = exp(-softplus(right))
    return jnp.where(positive, alpha, 1 - alpha) * jnp.exp(-gamma * jax.nn.softplus(right)) * jax.nn.softplus(-right)


def centerness_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Binary cross-entropy of the centerness, f32[...].

    Args:
      logits: f32[...].
      target: f32[...] from 0 to 1, of `detection_targets.centerness`.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import detection
      >>> round(float(detection.centerness_entropy(jnp.zeros(()), jnp.float32(0.7))), 4)   # log(2)
      0.6931
    """
    return jax.nn.softplus(logits) - target * logits


def fcos(points: Points, num_classes: int, *, box_loss: str = "giou", alpha: float = 0.25, gamma: float = 2.0,
         radius: float = 1.5) -> Loss:
    """The sum of a detector's three losses, each divided by the number of positives of the global batch, at least 1.

    A point is positive where it learns a box (`detection_targets.assign`). The class is learnt at all points, by the
    focal loss; box and centerness at positives. The boxes count alike, as in torchvision, where the paper's own code
    weighs them by their centerness. A batch that is cut into parts (accumulation) is divided part by part.

    Args:
      points: of all levels.
      num_classes: C.
      box_loss: of BOX_LOSSES.
      alpha, gamma: of the focal loss.
      radius: of `detection_targets.assign`.

    Returns:
      A loss that learns and remembers nothing. Scalars: "classification", "box", "centerness" (the parts of the sum),
      and "positives", the number of positive points of the global batch.

    Raises:
      UserError: box_loss is unknown, or a number cannot be.

    References:
      Tian, Shen, Chen, He: FCOS: Fully Convolutional One-Stage Object Detection, 2019, arXiv:1904.01355.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.losses import detection, detection_targets
      >>> loss = detection.fcos(detection_targets.points((16, 16), strides=(8,)), num_classes=2)
      >>> outputs = {"logits": [jnp.zeros((1, 4, 2))], "distances": [jnp.ones((1, 4, 4))],
      ...            "centerness": [jnp.zeros((1, 4))]}
      >>> targets = {"boxes": jnp.array([[[0.0, 0, 8, 8]]]), "classes": jnp.array([[1]]), "num_boxes": jnp.array([1])}
      >>> value, _, scalars = loss.apply({}, {}, outputs, targets, jax.random.key(0))
      >>> {name: round(float(scalar), 3) for name, scalar in sorted(scalars.items())}
      {'box': 0.75, 'centerness': 0.693, 'classification': 0.953, 'positives': 1.0}
    """
    check(num_classes, box_loss, BOX_LOSSES, alpha, gamma)
    if not radius > 0:
        raise UserError(f"radius is above 0; got {radius}")

    def apply(params, state, outputs, targets, rng):
        logits, sides, centre = joined(outputs, {"logits": (num_classes,), "distances": (4,), "centerness": ()},
                                       points.sizes)
        classes, true_sides = _targets(points, targets, radius)
        positive = classes >= 0
        number = jnp.sum(positive, dtype=jnp.float32)
        mean = lambda values: jnp.sum(values) / jnp.maximum(number, 1.0)
        focal = sigmoid_focal(logits, classes[..., None] == jnp.arange(num_classes), alpha=alpha, gamma=gamma)
        box = BOX_LOSSES[box_loss](_around(sides), _around(true_sides))
        middle = centerness_entropy(centre, detection_targets.centerness(true_sides))
        parts = {"classification": mean(focal), "box": mean(jnp.where(positive, box, 0.0)),
                 "centerness": mean(jnp.where(positive, middle, 0.0))}
        return sum(parts.values()), state, {**parts, "positives": number}

    return Loss(lambda rng, embedding_size: ({}, {}), apply)


def _targets(points: Points, targets: dict, radius: float) -> tuple[jax.Array, jax.Array]:
    """(i32[B,P] the class that each point learns, -1 for none; f32[B,P,4] the sides of its box in strides, 1 of none).

    In strides, as the outputs are; what is no positive's is made harmless before anything is computed of it.
    """
    owners = detection_targets.assign(points, targets["boxes"], targets["num_boxes"], radius=radius)
    classes, true = owned(owners, targets)
    sides = detection_targets.distances(points.places, true) / points.strides[:, None]
    return classes, jnp.where((owners >= 0)[..., None], sides, 1.0)


def _around(sides: jax.Array) -> jax.Array:
    """The box of a point at 0, 0 from the distances of its sides."""
    return jnp.concatenate([-sides[..., :2], sides[..., 2:]], axis=-1)


def owned(owners: jax.Array, targets: dict) -> tuple[jax.Array, jax.Array]:
    """(classes i32[B,P], boxes f32[B,P,4]) at the places i32[B,P] in `targets`; class -1 of a negative place, whose box
    is the image's first, whatever that is.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import detection
      >>> targets = {"classes": jnp.array([[7, 3]]), "boxes": jnp.array([[[0.0, 0, 8, 8], [1, 1, 6, 6]]])}
      >>> classes, boxes = detection.owned(jnp.array([[-1, 1]]), targets)
      >>> classes.tolist(), boxes[0, 1].tolist()
      ([[-1, 3]], [1.0, 1.0, 6.0, 6.0])
    """
    own = jnp.maximum(owners, 0)
    boxes = jnp.take_along_axis(targets["boxes"].astype(jnp.float32), own[..., None], axis=1)
    return jnp.where(owners >= 0, jnp.take_along_axis(targets["classes"], own, axis=1), -1), boxes


def joined(outputs: dict, expected: dict[str, tuple[int, ...]], sizes: tuple[int, ...]) -> tuple[jax.Array, ...]:
    """The outputs of all levels, each f32[B,P,...], in the order of `expected`: name -> shape at each of the points.

    sizes: how many points each level has. Raises ValueError for outputs that are not of these points.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import detection
      >>> logits, = detection.joined({"logits": [jnp.ones((2, 6, 3)), jnp.ones((2, 2, 3))]}, {"logits": (3,)}, (6, 2))
      >>> logits.shape
      (2, 8, 3)
    """
    for name, shape in expected.items():
        found, wanted = [level.shape[1:] for level in outputs[name]], [(size, *shape) for size in sizes]
        if found != wanted:
            raise ValueError(f"{name} of each image, level by level, have the shapes {wanted}; got {found}")
    return tuple(jnp.concatenate([level.astype(jnp.float32) for level in outputs[name]], axis=1) for name in expected)


def check(num_classes: int, box_loss: str, known: Collection[str], alpha: float, gamma: float) -> None:
    """Raises UserError for values that the loss of a detector cannot have.

    Example:
      >>> from geodesic.losses import detection
      >>> detection.check(3, "l3", ("giou", "diou"), alpha=0.25, gamma=2.0)
      Traceback (most recent call last):
      geodesic.errors.UserError: box_loss is one of giou, diou; got 'l3'
    """
    if box_loss not in known:
        raise UserError(f"box_loss is one of {', '.join(known)}; got {box_loss!r}")
    if num_classes < 1:
        raise UserError(f"a detector needs at least one class, got num_classes={num_classes}")
    if not (0 <= alpha <= 1 and 0 <= gamma < math.inf):
        raise UserError(f"alpha is in [0, 1], gamma 0 or more; got {alpha} and {gamma}")
