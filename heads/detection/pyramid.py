"""Feature pyramid: what a trunk's coarse maps know, at the places of its fine ones.

Lin, Dollár, Girshick, He, Hariharan, Belongie: Feature Pyramid Networks for Object Detection, 2016, arXiv:1612.03144.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn

from ...errors import UserError
from .. import layers

# As torchvision's: U(-sqrt(3 / fan_in), sqrt(3 / fan_in)).
_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


class Pyramid(nn.Module):
    """Maps of one width, from the finest to the coarsest: layers [B,h,w,C] -> [f32[B,h,w,channels], ...].

    Each layer goes through a 1x1 convolution of its own; to it the next coarser map is added, each of its cells
    repeated over those that it lies on; a 3x3 convolution follows. Further levels are the coarsest map after 3x3
    convolutions of stride 2, with a ReLU before each but the first.

    Attributes:
      channels: of every level.
      coarser: how many levels are added above the trunk's last layer: 2 for P6 and P7.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.heads.detection.pyramid import Pyramid
      >>> named = {"stage3": jnp.ones((1, 5, 6, 64)), "stage4": jnp.ones((1, 3, 3, 128))}
      >>> run = lambda rng: Pyramid(channels=16, coarser=1).init_with_output(rng, named)[0]
      >>> [level.shape for level in jax.eval_shape(run, jax.random.key(0))]
      [(1, 5, 6, 16), (1, 3, 3, 16), (1, 2, 2, 16)]
    """

    channels: int = 256
    coarser: int = 0

    @nn.compact
    def __call__(self, named: Mapping[str, jnp.ndarray]) -> list[jnp.ndarray]:
        """Raises UserError for a layer that is no map, and for two of one size."""
        maps = dict(sorted(layers.maps(named, "pyramid").items(), key=lambda item: -item[1].shape[1]))
        heights = [x.shape[1] for x in maps.values()]
        if len({*heights}) < len(heights):
            raise UserError(f"each level of a pyramid is coarser than the one before; the layers {', '.join(named)} "
                            f"are {', '.join(map(str, heights))} cells high")
        found, above = [], None
        for branch, x in reversed(maps.items()):
            x = self._conv(1, name=f"lateral_{branch}")(x)
            above = x if above is None else x + repeated(above, x.shape[1:3])
            found.insert(0, self._conv(3, name=f"output_{branch}")(above))
        for place in range(self.coarser):
            x = nn.relu(found[-1]) if place else found[-1]
            found.append(self._conv(3, strides=2, name=f"coarser{place + 1}")(x))
        return found

    def _conv(self, kernel: int, strides: int = 1, *, name: str) -> nn.Module:
        return nn.Conv(self.channels, (kernel, kernel), strides, padding=kernel // 2, kernel_init=_INIT, name=name)


def repeated(x: jnp.ndarray, size: tuple[int, int]) -> jnp.ndarray:
    """A coarse map on the cells of a finer one, each of which takes the coarse cell that it lies in.

    Args:
      x: [B,h,w,C].
      size: (H, W), where h is H / n rounded up, and w is W / n.

    Returns:
      [B,H,W,C].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.heads.detection import pyramid
      >>> pyramid.repeated(jnp.array([[1.0, 2]])[:, None, :, None], (1, 3))[0, 0, :, 0].tolist()
      [1.0, 1.0, 2.0]
    """
    for axis, wanted in enumerate(size, start=1):
        times = -(-wanted // x.shape[axis])
        x = jnp.repeat(x, times, axis=axis)[(slice(None),) * axis + (slice(wanted),)]
    return x
