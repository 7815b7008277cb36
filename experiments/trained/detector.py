"""The network of a detector: a trunk with a feature pyramid and a head, and what the head's outputs are of."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from flax import linen as nn

from geodesic.errors import UserError
from geodesic.experiments.trained import network
from geodesic.heads.detection import fcos, retinanet
from geodesic.losses import Loss, anchors, detection, detection_targets
from geodesic.losses import retinanet as retinanet_loss

# Levels of the trunk, where the configuration names none.
_LEVELS = 3


class Kind(NamedTuple):
    """One of KINDS.

    Attributes:
      module: (options, num_classes, fields that all heads have) -> the head of the embedder, a Flax module.
      places: (the head, options) -> what its outputs are of, level by level: "places", "strides" and "sizes".
      loss: (these places, num_classes, the fields of its section of `loss`) -> the loss.
      per_cell: (options) -> how many outputs of each class a cell has.
    """

    module: Callable[..., nn.Module]
    places: Callable
    loss: Callable[..., Loss]
    per_cell: Callable[..., int] = lambda options: 1


def _anchors_of_a_cell(options) -> int:
    return len(options.scales) * len(options.ratios)


# Names of --config.detection.head and of --config.loss.name.
KINDS = {
    "fcos": Kind(
        lambda options, num_classes, **shared: fcos.Detector(num_classes, distances=options.distances, **shared),
        lambda head, options: detection_targets.points(head.image_size, head.strides, ranges=options.ranges or None,
                                                       offset=options.offset, spread=options.spread),
        detection.fcos),
    "retinanet": Kind(
        lambda options, num_classes, **shared: retinanet.Detector(num_classes, _anchors_of_a_cell(options), **shared),
        lambda head, options: anchors.make(head.image_size, head.strides, scales=options.scales, ratios=options.ratios,
                                           offset=options.offset, spread=options.spread),
        retinanet_loss.retinanet, _anchors_of_a_cell),
}


def kind(options) -> Kind:
    """Of the section `detection`. Raises UserError for a head that there is not."""
    if options.head not in KINDS:
        raise UserError(f"detection.head is one of {', '.join(KINDS)}; got {options.head!r}")
    return KINDS[options.head]


def make(config, num_classes: int) -> nn.Module:
    """The network of --config.task=detection: apply(variables, images f32[B,H,W,3], train) gives what the head of
    `config.detection` does.

    It is the embedder with a `Detector` of `heads.detection` for a head. Raises UserError for a size of images or
    layers that make no levels, for a head that there is not, and for fields of another head.
    """
    options, of = config.detection, kind(config.detection)
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
    head = of.module(options, num_classes, channels=options.channels, coarser=options.coarser, depth=options.depth,
                     image_size=size, strides=strides)
    return network.make_embedder(embedder).clone(head=head, head_layers=layers)


def points(detector: nn.Module, options) -> detection_targets.Points | anchors.Anchors:
    """The points or anchors of a detector's levels, for its loss and for decoding. options: the section `detection`.

    Raises UserError for ranges that do not fit the levels, and for anchors that cannot be.
    """
    return kind(options).places(detector.head, options)


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


def count_classes(variables: dict, options) -> int:
    """Of a detector's variables. options: the section `detection`. Raises UserError for those of another network."""
    each, above = kind(options).per_cell(options), variables["params"].get("head", {})
    there = [name for name in KINDS if name in above]
    if options.head not in there:
        raise UserError("these weights hold no detector: leave out --config.task=detection" if not there else
                        f"these weights are of --config.detection.head={there[0]}; got {options.head!r}")
    outputs = int(np.shape(variables["params"]["head"][options.head]["logits"]["bias"])[0])
    if not each or outputs % each:
        raise UserError(f"the head has {outputs} outputs, and detection.scales and ratios make {each} anchors of a "
                        f"cell: use the configuration it was trained with")
    return outputs // each
