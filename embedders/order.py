"""How deep in a network each of its parts lies, found by running it on shapes: no embedder has to say it of itself."""

import jax
from flax import linen as nn

from .embedder import ABOVE_TRUNK


def layer_numbers(network: nn.Module, image_size: int) -> dict[str, int]:
    """The layer of each part of a network, counted from the input.

    A part that has parts inside, such as a residual block, is a layer. Plain ones (convolutions, norms) belong to the
    layer before them, and those in front of the first block are layer 0, the stem. What lies above the trunk has the
    number after the last. For ResNets these are the groups of timm's `group_matcher` and of BEiT's layer decay.

    Args:
      network: an embedder, or another module, init(rng, images).
      image_size: the side of its images; nothing is computed.

    Returns:
      Name in the parameters -> number, in the order of the forward pass. Parameters of the network's own, that no part
      has, are not there; they belong to layer 0.

    Example:
      >>> from geodesic import embedders
      >>> embedders.layer_numbers(embedders.build("resnet8", embedding_size=4), 32)
      {'conv1': 0, 'bn1': 0, 'stage1_block1': 1, 'stage2_block1': 2, 'stage3_block1': 3, 'neck': 4}
    """
    has_parts, number = {}, 0

    def note(call, args, kwargs, context):
        path = context.module.path
        if path:
            has_parts[path[0]] = has_parts.get(path[0], False) or len(path) > 1
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, image_size, image_size, 3), "float32"))
    found = {}
    for name, is_block in has_parts.items():
        if name not in ABOVE_TRUNK:
            number += bool(found) and is_block
            found[name] = number
    return {name: found.get(name, number + 1) for name in has_parts}
