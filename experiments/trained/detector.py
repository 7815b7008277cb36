"""The network of a detector: a trunk with a feature pyramid and FCOS's head, and the points of its levels."""

import functools

import numpy as np
from flax import linen as nn

from geodesic.errors import UserError
from geodesic.experiments.trained import network
from geodesic.heads.detection import fcos
from geodesic.losses import detection_targets

# Levels of the trunk, where the configuration names none.
_LEVELS = 3


def make(config, num_classes: int) -> nn.Module:
    """The network of --config.task=detection: apply(variables, images f32[B,H,W,3], train) gives what
    `heads.detection.fcos.FCOS` does.

    It is the embedder with a `heads.detection.fcos.Detector` for a head. Raises UserError for a size of images or
    layers that make no levels, and for fields of another head.
    """
    options = config.detection
    size = network.image_size(config)
    if config.head.name:
        raise UserError(f"--config.task=detection has a head of its own: leave out head.name {config.head.name!r}")
    for least, names in ((1, ("height", "width", "channels", "max_boxes", "kept")), (0, ("depth", "coarser"))):
        if wrong := [name for name in names if options[name] < least]:
            raise UserError(f"detection.{wrong[0]} is {least} or more; got {options[wrong[0]]}")
    embedder = config.embedder.copy_and_resolve_references()
    embedder.update(pooling=None, neck=None, dropout=None)
    layers, strides = levels(network.make_embedder(embedder), size, options.layers)
    strides += tuple(strides[-1] * 2 ** (place + 1) for place in range(options.coarser))
    head = fcos.Detector(num_classes, channels=options.channels, coarser=options.coarser, depth=options.depth,
                         distances=options.distances, image_size=size, strides=strides)
    return network.make_embedder(embedder).clone(head=head, head_layers=layers)


def points(detector: nn.Module, options) -> detection_targets.Points:
    """The points of a detector's levels, for its loss and for decoding. options: the section `detection`.

    Raises UserError for ranges that do not fit the levels.
    """
    head = detector.head
    return detection_targets.points(head.image_size, head.strides, ranges=options.ranges or None, offset=options.offset)


@functools.lru_cache(maxsize=8)
def levels(trunk: nn.Module, image_size: tuple[int, int], wanted: tuple[str, ...] = ()
           ) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """(layers, their strides in pixels), from the finest to the coarsest, read from the shapes of the trunk's maps.

    wanted: names of layers; () for the last layer of each of the three coarsest strides: stage2 to stage4 of a ResNet.
    Raises UserError for a layer that there is not, for two of one stride, and for a size that a stride does not divide.
    """
    maps = {name: shape[:2] for name, shape in network.layers(trunk, image_size).items() if len(shape) == 3}
    if unknown := [name for name in wanted if name not in maps]:
        raise UserError(f"detection.layers has {unknown[0]!r}; the trunk's maps are {', '.join(maps)}")
    exact = {name: image_size[0] // height for name, (height, _) in maps.items()}
    if any((height * exact[name], width * exact[name]) != image_size for name, (height, width) in maps.items()):
        multiple = _coarsest(trunk)
        raise UserError(f"the images of a detector are multiples of the trunk's coarsest stride high and wide, "
                        f"{multiple} pixels; got detection.height {image_size[0]} and detection.width {image_size[1]}")
    last = {stride: name for name, stride in exact.items()}  # the last layer of each stride
    strides = sorted(exact[name] for name in wanted) if wanted else sorted(last)[-_LEVELS:]
    if len({*strides}) < len(strides):
        raise UserError(f"detection.layers has two layers of one stride: {', '.join(wanted)} are of "
                        f"{', '.join(str(exact[name]) for name in wanted)} pixels")
    named = sorted(wanted, key=exact.get) if wanted else [last[stride] for stride in strides]
    return tuple(named), tuple(strides)


def _coarsest(trunk: nn.Module) -> int:
    """The coarsest stride of a trunk, on images that all strides divide."""
    side = 512
    return max(side // shape[0] for shape in network.layers(trunk, side).values() if len(shape) == 3)


def count_classes(variables: dict) -> int:
    """Of a detector's variables. Raises UserError for those of another network."""
    try:
        return int(np.shape(variables["params"]["head"]["fcos"]["logits"]["bias"])[0])
    except KeyError as error:
        raise UserError("the checkpoint holds no detector: leave out --config.task=detection") from error
