"""RetinaNet's head: for every anchor of every cell of every level its classes, and how it becomes a box.

What leaves it is what `losses.retinanet` learns from and what `postprocess.detect` reads.

Lin, Goyal, Girshick, He, Dollár: Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from flax import linen as nn

from .fcos import RARE, Tower, conv
from .pyramid import Pyramid


class RetinaNet(nn.Module):
    """The head, the same for all levels.

    Attributes:
      num_classes: C.
      anchors: A, how many a cell has.
      depth: convolutions of each of the two towers, of classes and of boxes; each is followed by ReLU.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.heads.detection.retinanet import RetinaNet
      >>> levels = [jnp.ones((1, 4, 4, 32)), jnp.ones((1, 2, 2, 32))]
      >>> run = lambda rng: RetinaNet(num_classes=3, anchors=9, depth=1).init_with_output(rng, levels)[0]
      >>> outputs = jax.eval_shape(run, jax.random.key(0))   # shapes alone
      >>> {name: [level.shape for level in outputs[name]] for name in ("logits", "offsets")}
      {'logits': [(1, 144, 3), (1, 36, 3)], 'offsets': [(1, 144, 4), (1, 36, 4)]}
    """

    num_classes: int
    anchors: int
    depth: int = 4

    @nn.compact
    def __call__(self, levels: Sequence[jnp.ndarray]) -> dict[str, list[jnp.ndarray]]:
        """{"logits": [f32[B,N,C], ...], "offsets": [f32[B,N,4], ...]}, level by level, of maps f32[B,h,w,F] with N =
        h w A, the anchors of a cell one after the other.
        """
        classes, sides = (Tower(self.depth, norm=False, name=f"{name}_tower") for name in ("class", "box"))
        logits, offsets = conv(self.anchors * self.num_classes, "logits", RARE), conv(self.anchors * 4, "offsets")
        rows = lambda values, last: values.reshape(values.shape[0], -1, last)
        return {"logits": [rows(logits(classes(x)), self.num_classes) for x in levels],
                "offsets": [rows(offsets(sides(x)), 4) for x in levels]}


class Detector(nn.Module):
    """All that a detector with anchors has above its trunk: the pyramid and RetinaNet's head. It is the `head` of an
    embedder.

    Attributes:
      num_classes, anchors, depth: of `RetinaNet`.
      channels, coarser: of `pyramid.Pyramid`.
      image_size: (height, width) in pixels of the images that it is for; what it computes does not depend on it.
      strides: of its levels in pixels, on such images; likewise.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import embedders
      >>> from geodesic.heads.detection.retinanet import Detector
      >>> head = Detector(num_classes=3, anchors=9, channels=32, depth=1, image_size=(32, 64), strides=(4, 8))
      >>> detector = embedders.build("resnet8", head=head, head_layers=("stage2", "stage3"))
      >>> run = lambda rng: detector.init_with_output(rng, jnp.zeros((1, 32, 64, 3)))
      >>> outputs, variables = jax.eval_shape(run, jax.random.key(0))   # shapes alone
      >>> [level.shape for level in outputs["logits"]], sorted(variables["params"]["head"])
      ([(1, 1152, 3), (1, 288, 3)], ['pyramid', 'retinanet'])
    """

    num_classes: int
    anchors: int
    channels: int = 256
    coarser: int = 0
    depth: int = 4
    image_size: tuple[int, int] = (0, 0)
    strides: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, named: Mapping[str, jnp.ndarray], train: bool = False) -> dict[str, list[jnp.ndarray]]:
        """What `RetinaNet` gives, of a trunk's layers, name -> [B,h,w,C]."""
        maps = Pyramid(self.channels, self.coarser, name="pyramid")(named)
        return RetinaNet(self.num_classes, self.anchors, self.depth, name="retinanet")(maps)
