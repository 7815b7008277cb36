"""Embedders: images [B,H,W,3] -> embeddings f32[B,D], not normalised. Flax Linen modules.

    embedder = embedders.build("resnet101", embedding_size=512)
    variables = embedder.init(rng, images)
    embeddings = embedder.apply(variables, images, train=False)
    layers = embedder.apply(variables, images, method="features")     # every named layer

A network of one's own is an `Embedder` with a `trunk`, and a line in EMBEDDERS.
"""

import dataclasses
import functools

from flax import linen as nn

from ..errors import UserError
from . import layers, neck, resnet
from .cpu import convolution
from .embedder import ABOVE_TRUNK as ABOVE_TRUNK
from .inception_bn import InceptionBN
from .iresnet import IResNet
from .order import layer_numbers as layer_numbers
from .places import contributions as contributions
from .resnet import BasicBlock, BottleneckBlock, ResNet
from .resnext import ResNeXtBlock

_RESNET18, _RESNET50, _RESNET101, _RESNEXT29 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 23, 3), (3, 3, 3)


def _resnext(stage_sizes: tuple[int, ...], groups: int, group_width: int) -> functools.partial:
    block = functools.partial(ResNeXtBlock, groups=groups, group_width=group_width)
    return functools.partial(ResNet, stage_sizes=stage_sizes, block=block)


# Name -> the embedder's class, with the fields in which it differs from others of its class.
EMBEDDERS = {
    # For small images on a CPU, there are three stages of one block, as in the paper's networks for CIFAR-10 (6n + 2
    # layers, n = 1), twice as wide and behind a stem of stride 2.
    "resnet8": functools.partial(ResNet, stage_sizes=(1, 1, 1), block=BasicBlock, width=32, stem="half",
                                 layer="stage3"),
    "resnet18": functools.partial(ResNet, stage_sizes=_RESNET18, block=BasicBlock),
    "resnet34": functools.partial(ResNet, stage_sizes=_RESNET50, block=BasicBlock),
    "resnet50": functools.partial(ResNet, stage_sizes=_RESNET50, block=BottleneckBlock),
    "resnet101": functools.partial(ResNet, stage_sizes=_RESNET101, block=BottleneckBlock),
    "resnet152": functools.partial(ResNet, stage_sizes=(3, 8, 36, 3), block=BottleneckBlock),
    # resnet8 with ResNeXt's blocks has 16 groups, of 4 channels in the first stage.
    "resnext11_16x4d": functools.partial(_resnext((1, 1, 1), 16, 8), width=32, stem="half", layer="stage3"),
    # For images of 32 px, there are three stages and a stem that keeps the size.
    "resnext29_32x4d": functools.partial(_resnext(_RESNEXT29, 32, 4), stem="small", layer="stage3"),
    "resnext29_8x64d": functools.partial(_resnext(_RESNEXT29, 8, 64), stem="small", layer="stage3"),
    "resnext50_32x4d": _resnext(_RESNET50, 32, 4),
    "resnext101_32x4d": _resnext(_RESNET101, 32, 4),
    "resnext101_32x8d": _resnext(_RESNET101, 32, 8),
    "resnext101_64x4d": _resnext(_RESNET101, 64, 4),
    "inception_bn": InceptionBN,
    "iresnet18": functools.partial(IResNet, stage_sizes=_RESNET18),
    "iresnet34": functools.partial(IResNet, stage_sizes=_RESNET50),
    "iresnet50": functools.partial(IResNet, stage_sizes=(3, 4, 14, 3)),
    "iresnet100": functools.partial(IResNet, stage_sizes=(3, 13, 30, 3)),
    "iresnet200": functools.partial(IResNet, stage_sizes=(6, 26, 60, 6)),
}

# The layouts in which public weights of an embedder come, names of public_weights.layouts.LAYOUTS. There are no public
# weights of an embedder that is not here.
_TORCH = ("torchvision", "timm, deep stem")
PUBLIC_LAYOUTS = {
    **dict.fromkeys(("resnet18", "resnet34"), _TORCH),
    **dict.fromkeys(("resnet50", "resnet101", "resnet152"), (*_TORCH, "Keras v1")),
    **dict.fromkeys(("resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d", "resnext101_64x4d"), _TORCH),
    "inception_bn": ("Cadene",),
    **dict.fromkeys(("iresnet18", "iresnet34", "iresnet50", "iresnet100", "iresnet200"), ("insightface",)),
}

# Names of parameters that are the shape of a function: the exponent of generalised-mean pooling and PReLU's slopes.
# Towards 0 that function becomes another, no simpler one: weight decay leaves them alone, as in public implementations.
SHAPES_OF_FUNCTIONS = ("p", "slope")

# What `build` checks of fields: their choices, and which are shares.
_CHOICES = {
    "pooling": tuple(neck.POOLINGS),
    "neck": neck.NECKS,
    "batch_norm": layers.BATCH_NORMS,
    "convolution": convolution.FORMS,
    "dtype": ("float32", "bfloat16"),
    "stem": resnet.STEMS,
    "version": resnet.VERSIONS,
}
_SHARES = ("dropout", "drop_path", "bn_momentum")


def build(name: str, **fields) -> nn.Module:
    """The named embedder.

    Args:
      name: of EMBEDDERS.
      **fields: fields of its class (`Embedder` and the family's own) in place of the embedder's defaults.

    Returns:
      A Flax module: `init(rng, images)` gives its variables, `apply(variables, images, train)` embeddings f32[B,D].

    Raises:
      UserError: a name, field or choice is unknown, or a neck is asked for without an embedding size.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import embedders
      >>> embedder = embedders.build("resnet8", embedding_size=16, pooling="max")
      >>> images = jnp.zeros((2, 32, 32, 3))
      >>> variables = jax.eval_shape(embedder.init, jax.random.key(0), images)   # shapes alone
      >>> jax.eval_shape(embedder.apply, variables, images)
      ShapeDtypeStruct(shape=(2, 16), dtype=float32)
    """
    if name not in EMBEDDERS:
        raise UserError(f"unknown embedder {name!r}; known: {', '.join(EMBEDDERS)}")
    family = getattr(EMBEDDERS[name], "func", EMBEDDERS[name])
    known = [field.name for field in dataclasses.fields(family) if field.name not in ("parent", "name")]
    for key, value in fields.items():
        if key not in known:
            raise UserError(f"{name} has no field {key!r}; it has {', '.join(known)}")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise UserError(f"{name}: {key} is one of {', '.join(_CHOICES[key])}; got {value!r}")
        if key in _SHARES and not 0 <= value < 1:
            raise UserError(f"{name}: {key} is a share, 0 <= {key} < 1; got {value!r}")
    embedder = EMBEDDERS[name](**fields)
    if fields.get("neck", "none") != "none" and not embedder.embedding_size:
        raise UserError(f"{name}: neck {embedder.neck!r} makes an embedding of a size, and embedding_size is "
                        f"{embedder.embedding_size}: give one, or leave the neck out for the pooled layer as it is")
    return embedder
