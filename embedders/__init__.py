"""Embedders: images [B,H,W,3] -> embeddings f32[B,D], not normalised. Flax Linen modules.

    embedder = embedders.build("resnet101", embedding_size=512)
    variables = embedder.init(rng, images)
    embeddings = embedder.apply(variables, images, train=False)
    layers = embedder.apply(variables, images, method="features")     # every named layer
"""

import dataclasses
import functools

from flax import linen as nn

from embedders import layers, neck
from embedders.resnet import BasicBlock, BottleneckBlock, ResNet

EMBEDDERS = {
    # Made for small images and two CPU cores: a ResNet of a quarter of the width without the stem's reduction.
    "resnet10_quarter": functools.partial(ResNet, (1, 1, 1, 1), BasicBlock, width=16, stem="small"),
    "resnet18": functools.partial(ResNet, (2, 2, 2, 2), BasicBlock),
    "resnet34": functools.partial(ResNet, (3, 4, 6, 3), BasicBlock),
    "resnet50": functools.partial(ResNet, (3, 4, 6, 3), BottleneckBlock),
    "resnet101": functools.partial(ResNet, (3, 4, 23, 3), BottleneckBlock),
    "resnet152": functools.partial(ResNet, (3, 8, 36, 3), BottleneckBlock),
}

_CHOICES = {
    "pooling": tuple(neck.POOLINGS),
    "neck": neck.NECKS,
    "batch_norm": layers.BATCH_NORMS,
    "dtype": ("float32", "bfloat16"),
    "stem": ("imagenet", "half", "small"),
}


def build(name: str, **fields) -> nn.Module:
    """The named embedder with these fields. Raises ValueError for an unknown name, field or choice."""
    if name not in EMBEDDERS:
        raise ValueError(f"unknown embedder {name!r}; known: {', '.join(EMBEDDERS)}")
    known = [field.name for field in dataclasses.fields(EMBEDDERS[name].func) if field.name not in ("parent", "name")]
    for key, value in fields.items():
        if key not in known:
            raise ValueError(f"{name} has no field {key!r}; it has {', '.join(known)}")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise ValueError(f"{name}: {key} is one of {', '.join(_CHOICES[key])}; got {value!r}")
    return EMBEDDERS[name](**fields)
