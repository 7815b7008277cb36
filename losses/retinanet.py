"""The loss of a detector with anchors, RetinaNet: which class, and how an anchor becomes a box.

    anchors = anchors.make((416, 320), strides=(8, 16, 32))
    loss = retinanet.retinanet(anchors, num_classes=3)
    value, _, scalars = loss.apply({}, {}, outputs, targets, rng)

outputs: what the network gives of the anchors of each level, from the finest to the coarsest one,
  "logits": [f32[B,N,C], ...], of each class a sigmoid's;
  "offsets": [f32[B,N,4], ...], as of `anchors.encode`.
targets: as of `detection`.
"""

import math

import jax
import jax.numpy as jnp

from ..errors import UserError
from . import anchors as anchor_boxes
from . import boxes, detection
from .anchors import Anchors
from .loss import Loss

BOX_LOSSES = ("smooth_l1", "giou")
# The logarithm of how many times as wide as its anchor a box can be, torchvision's and Detectron's: 1000 pixels of 16.
LARGEST = math.log(1000 / 16)


def smooth_l1(difference: jax.Array, beta: float) -> jax.Array:
    """|x| - beta / 2, and x^2 / (2 beta) where |x| is below beta. Girshick: Fast R-CNN, 2015, arXiv:1504.08083.

    Args:
      difference: f32[...].
      beta: 0 or more; 0 for |x|.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import retinanet
      >>> retinanet.smooth_l1(jnp.array([-2.0, 0.5]), 1.0).tolist()
      [1.5, 0.125]
    """
    size = jnp.abs(difference)
    if not beta:
        return size
    return jnp.where(size < beta, difference * difference / (2 * beta), size - beta / 2)


def retinanet(anchors: Anchors, num_classes: int, *, box_loss: str = "smooth_l1", beta: float = 1 / 9,
              alpha: float = 0.25, gamma: float = 2.0, positive_iou: float = 0.5, negative_iou: float = 0.4) -> Loss:
    """The sum of two losses, each divided by the number of positives of the global batch, at least 1.

    An anchor is positive where it learns a box (`anchors.assign`). The class is learnt by the focal loss at all anchors
    but those that are neither positive nor background; the box at positives. torchvision divides the losses of each
    image by the positives of that image alone.

    Args:
      anchors: of all levels.
      num_classes: C.
      box_loss: of BOX_LOSSES: of the four numbers of `anchors.encode`, or of the boxes.
      beta: of "smooth_l1"; torchvision's RetinaNet has 0.
      alpha, gamma: of the focal loss.
      positive_iou, negative_iou: of `anchors.assign`.

    Returns:
      A loss that learns and remembers nothing. Scalars: "classification", "box" (the parts of the sum), and
      "positives", the number of positive anchors of the global batch.

    Raises:
      UserError: box_loss is unknown, or a number cannot be.

    References:
      Lin, Goyal, Girshick, He, Dollár: Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.losses import anchors, retinanet
      >>> loss = retinanet.retinanet(anchors.make((8, 16), (8,), scales=(1.0,), ratios=(1.0,)), num_classes=2, beta=0.0)
      >>> outputs = {"logits": [jnp.zeros((1, 2, 2))], "offsets": [jnp.full((1, 2, 4), 0.25)]}
      >>> targets = {"boxes": jnp.array([[[0.0, 0, 8, 8]]]), "classes": jnp.array([[1]]), "num_boxes": jnp.array([1])}
      >>> value, _, scalars = loss.apply({}, {}, outputs, targets, jax.random.key(0))
      >>> {name: round(float(scalar), 3) for name, scalar in sorted(scalars.items())}
      {'box': 1.0, 'classification': 0.433, 'positives': 1.0}
    """
    detection.check(num_classes, box_loss, BOX_LOSSES, alpha, gamma)
    if not (0 < negative_iou <= positive_iou <= 1 and beta >= 0):
        raise UserError(f"0 < negative_iou <= positive_iou <= 1, and beta is 0 or more; got {negative_iou}, "
                        f"{positive_iou} and {beta}")

    def apply(params, state, outputs, targets, rng):
        logits, offsets = detection.joined(outputs, {"logits": (num_classes,), "offsets": (4,)}, anchors.sizes)
        owners = anchor_boxes.assign(anchors, targets["boxes"], targets["num_boxes"], positive_iou=positive_iou,
                                     negative_iou=negative_iou)
        classes, true = detection.owned(owners, targets)
        positive = owners >= 0
        # What is no positive's is made harmless before anything is computed of it.
        wanted = anchor_boxes.encode(anchors.places, jnp.where(positive[..., None], true, anchors.places))
        focal = detection.sigmoid_focal(logits, classes[..., None] == jnp.arange(num_classes), alpha=alpha, gamma=gamma)
        focal = jnp.where((owners == anchor_boxes.NEITHER)[..., None], 0.0, focal)
        box = (boxes.giou_loss(_box(offsets), _box(wanted)) if box_loss == "giou" else
               jnp.sum(smooth_l1(offsets - wanted, beta), axis=-1))

        number = jnp.sum(positive, dtype=jnp.float32)
        mean = lambda values: jnp.sum(values) / jnp.maximum(number, 1.0)
        parts = {"classification": mean(focal), "box": mean(jnp.where(positive, box, 0.0))}
        return sum(parts.values()), state, {**parts, "positives": number}

    return Loss(lambda rng, embedding_size: ({}, {}), apply)


def _box(offsets: jax.Array) -> jax.Array:
    """The box of offsets in units of its anchor's width and height: overlaps of two boxes of an anchor are the same in
    these as in pixels.
    """
    half = jnp.exp(jnp.minimum(offsets[..., 2:], LARGEST)) / 2
    return jnp.concatenate([offsets[..., :2] - half, offsets[..., :2] + half], axis=-1)
