"""FCOS's head: for every cell of every level its classes, the sides of its box, and how far in the middle of it it is.

What leaves it is what `losses.detection` learns from and what `postprocess.detect` reads.

Tian, Shen, Chen, He: FCOS: Fully Convolutional One-Stage Object Detection, 2019, arXiv:1904.01355; what later code of
the authors improved (GroupNorm, distances in strides, the centerness on the branch of the boxes): arXiv:2006.09214.
"""

import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from flax import linen as nn

from ...errors import UserError
from .pyramid import Pyramid

# Name -> the function that makes distances, 0 or more, of any number.
DISTANCES = {"softplus": nn.softplus, "relu": nn.relu, "exp": jnp.exp}

_INIT = nn.initializers.normal(0.01)
# Of the logits of classes: their sigmoids give .01 before any training, as most cells show nothing (Lin et al., 2017,
# arXiv:1708.02002).
RARE = -math.log((1 - 0.01) / 0.01)
_GROUPS = 32


def conv(features: int, name: str, bias: float = 0.0) -> nn.Conv:
    """A 3x3 convolution of a head, whose weights start small and whose biases start as this.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.heads.detection import fcos
      >>> fcos.conv(2, "logits", bias=-1.0).init(jax.random.key(0), jnp.ones((1, 4, 4, 8)))["params"]["bias"].tolist()
      [-1.0, -1.0]
    """
    return nn.Conv(features, (3, 3), padding=1, kernel_init=_INIT, bias_init=nn.initializers.constant(bias), name=name)


class Tower(nn.Module):
    """3x3 convolutions, each followed by GroupNorm and ReLU, f32[B,h,w,C] -> f32[B,h,w,C].

    Attributes:
      depth: how many.
      norm: whether there is GroupNorm.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.heads.detection.fcos import Tower
      >>> x, variables = Tower(depth=1).init_with_output(jax.random.key(0), jnp.ones((1, 4, 4, 32)))
      >>> x.shape, sorted(variables["params"])
      ((1, 4, 4, 32), ['conv1', 'norm1'])
    """

    depth: int
    norm: bool = True

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        channels = x.shape[-1]
        for place in range(1, self.depth + 1):
            x = conv(channels, f"conv{place}")(x)
            if self.norm:
                x = nn.GroupNorm(math.gcd(_GROUPS, channels), epsilon=1e-5, name=f"norm{place}")(x)
            x = nn.relu(x)
        return x


class FCOS(nn.Module):
    """The head, the same for all levels but for a learnt factor of each level's distances.

    Attributes:
      num_classes: C.
      depth: convolutions of each of the two towers, of classes and of boxes.
      distances: one of DISTANCES.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.heads.detection.fcos import FCOS
      >>> levels = [jnp.ones((1, 4, 4, 32)), jnp.ones((1, 2, 2, 32))]
      >>> run = lambda rng: FCOS(num_classes=3, depth=1).init_with_output(rng, levels)[0]
      >>> outputs = jax.eval_shape(run, jax.random.key(0))   # shapes alone
      >>> {name: [level.shape for level in outputs[name]] for name in ("logits", "distances", "centerness")}
      {'logits': [(1, 16, 3), (1, 4, 3)], 'distances': [(1, 16, 4), (1, 4, 4)], 'centerness': [(1, 16), (1, 4)]}
    """

    num_classes: int
    depth: int = 4
    distances: str = "softplus"

    @nn.compact
    def __call__(self, levels: Sequence[jnp.ndarray]) -> dict[str, list[jnp.ndarray]]:
        """{"logits": [f32[B,P,C], ...], "distances": [f32[B,P,4], ...] in strides, "centerness": [f32[B,P], ...]},
        level by level, of maps f32[B,h,w,F] with P = h w. Raises UserError for a name that DISTANCES does not have.
        """
        if self.distances not in DISTANCES:
            raise UserError(f"distances are made by one of {', '.join(DISTANCES)}; got {self.distances!r}")
        classes, sides = Tower(self.depth, name="class_tower"), Tower(self.depth, name="box_tower")
        logits = conv(self.num_classes, "logits", RARE)
        distances, centerness = conv(4, "distances"), conv(1, "centerness")
        factors = self.param("factors", nn.initializers.ones, (len(levels),), jnp.float32)
        outputs = {"logits": [], "distances": [], "centerness": []}
        for place, x in enumerate(levels):
            rows = lambda values, x=x: values.reshape(x.shape[0], x.shape[1] * x.shape[2], -1)
            of_box = sides(x)
            outputs["logits"].append(rows(logits(classes(x))))
            outputs["distances"].append(DISTANCES[self.distances](rows(distances(of_box)) * factors[place]))
            outputs["centerness"].append(rows(centerness(of_box))[..., 0])
        return outputs


class Detector(nn.Module):
    """All that a detector has above its trunk: the pyramid and FCOS's head. It is the `head` of an embedder.

    Attributes:
      num_classes, depth, distances: of `FCOS`.
      channels, coarser: of `pyramid.Pyramid`.
      image_size: (height, width) in pixels of the images that it is for; what it computes does not depend on it.
      strides: of its levels in pixels, on such images; likewise.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import embedders
      >>> from geodesic.heads.detection.fcos import Detector
      >>> head = Detector(num_classes=3, channels=32, depth=1, image_size=(32, 64), strides=(4, 8))
      >>> detector = embedders.build("resnet8", head=head, head_layers=("stage2", "stage3"))
      >>> run = lambda rng: detector.init_with_output(rng, jnp.zeros((1, 32, 64, 3)))
      >>> outputs, variables = jax.eval_shape(run, jax.random.key(0))   # shapes alone
      >>> [level.shape for level in outputs["logits"]], sorted(variables["params"]["head"])
      ([(1, 128, 3), (1, 32, 3)], ['fcos', 'pyramid'])
    """

    num_classes: int
    channels: int = 256
    coarser: int = 0
    depth: int = 4
    distances: str = "softplus"
    image_size: tuple[int, int] = (0, 0)
    strides: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, named: Mapping[str, jnp.ndarray], train: bool = False) -> dict[str, list[jnp.ndarray]]:
        """What `FCOS` gives, of a trunk's layers, name -> [B,h,w,C]."""
        maps = Pyramid(self.channels, self.coarser, name="pyramid")(named)
        return FCOS(self.num_classes, self.depth, self.distances, name="fcos")(maps)
