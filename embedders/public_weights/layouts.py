"""The layouts in which public weights come: how each names its tensors, and what its images look like.

A rule is a regular expression of the public name and ours for it, as a path below "params". What a leaf is
(kernel, scale, mean, ...) follows from the last part of the public name.
"""

import re
from typing import NamedTuple

import numpy as np

from ...errors import UserError


class Preprocessing(NamedTuple):
    """What the images must look like. mean, std: per channel, red first, in units of 0..255."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    image_size: int           # pixels
    fit: str                  # of the configuration's `input.fit`
    channel_order: str        # of the public weights; ours always see red first


class Layout(NamedTuple):
    name: str
    families: tuple[str, ...]         # prefixes of the names in embedders.EMBEDDERS
    first: str                        # the public name of the first convolution's kernel: tells layout and prefix
    rules: tuple[tuple[str, str], ...]
    head: str                         # public name of the classifier, which is not part of the embedder; "" = none
    preprocessing: Preprocessing
    fields: dict                      # the embedder's fields that these weights need


IMAGENET_RGB = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 224, "center_crop", "rgb")
FACES = Preprocessing((127.5,) * 3, (127.5,) * 3, 112, "stretch", "rgb")
CADENE = Preprocessing((128.0, 117.0, 104.0), (1.0,) * 3, 224, "center_crop", "bgr")
KERAS = Preprocessing((123.68, 116.779, 103.939), (1.0,) * 3, 224, "center_crop", "bgr")

# A group is the number of a block, which starts at 0 in public names and at 1 in ours.
_BLOCK = r"layer(?P<stage>\d)\.(?P<block>\d+)\."

TORCH_RESNET = Layout(
    "torchvision", ("resnet", "resnext"), "conv1.weight",
    ((r"(conv1|bn1)", r"\1"),
     (_BLOCK + r"((?:conv|bn)\d)", r"{block}/\3"),
     (_BLOCK + r"downsample\.0", r"{block}/downsample_conv"),
     (_BLOCK + r"downsample\.1", r"{block}/downsample_bn")),
    "fc", IMAGENET_RGB, {})

TIMM_DEEP = TORCH_RESNET._replace(
    name="timm, deep stem", first="conv1.0.weight", fields={"stem": "deep"},
    rules=((r"conv1\.0", "conv1_1"), (r"conv1\.1", "bn1_1"), (r"conv1\.3", "conv1_2"), (r"conv1\.4", "bn1_2"),
           (r"conv1\.6", "conv1_3"), *TORCH_RESNET.rules))

INSIGHTFACE = Layout(
    "insightface", ("iresnet",), "conv1.weight",
    ((r"(conv1|bn1|prelu)", r"\1"),
     (_BLOCK + r"((?:conv|bn)\d|prelu)", r"{block}/\3"),
     (_BLOCK + r"downsample\.0", r"{block}/downsample_conv"),
     (_BLOCK + r"downsample\.1", r"{block}/downsample_bn"),
     (r"bn2", "neck/bn_in"), (r"fc", "neck/fc"), (r"features", "neck/bn_out")),
    "", FACES, {})

CADENE_INCEPTION = Layout(
    "Cadene", ("inception_bn",), "conv1_7x7_s2.weight",
    ((r"(conv\d_\w+?)_bn", r"\1/bn"), (r"(conv\d_\w+?)", r"\1/conv"),
     (r"(inception_\d\w)_(\w+?)_bn", r"\1/\2/bn"), (r"(inception_\d\w)_(\w+?)", r"\1/\2/conv")),
    "last_linear", CADENE, {})

KERAS_RESNET = Layout(
    "Keras v1", ("resnet",), "conv1.kernel",
    ((r"conv1", "conv1"), (r"bn_conv1", "bn1"),
     (r"(?P<kind>res|bn)(?P<stage>\d)(?P<letter>[a-z])(?P<number>\d*)_branch(?P<branch>1|2a|2b|2c)", "")),
    "fc1000", KERAS, {"version": "v1", "bn_epsilon": 1e-3, "bn_momentum": 0.99})

LAYOUTS = (TORCH_RESNET, TIMM_DEEP, INSIGHTFACE, CADENE_INCEPTION, KERAS_RESNET)

_LEAVES = {"weight": "", "kernel": "kernel", "bias": "bias", "running_mean": "mean", "running_var": "var",
           "gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}


def recognise(state_dict: dict[str, np.ndarray], embedder: str) -> tuple[Layout, str]:
    """(layout, prefix of its names). Raises UserError where no layout of this embedder's family fits."""
    for layout in LAYOUTS:
        if not any(embedder.startswith(family) for family in layout.families):
            continue
        prefixes = [name.removesuffix(layout.first) for name in state_dict
                    if name == layout.first or name.endswith("." + layout.first)]
        if prefixes:
            return layout, min(prefixes, key=len)
    known = ", ".join(f"{layout.name} (has {layout.first})" for layout in LAYOUTS
                      if any(embedder.startswith(family) for family in layout.families))
    some = ", ".join(list(state_dict)[:3])
    raise UserError(f"these weights are in no layout known for {embedder}: known are {known or 'none'}; "
                     f"the file has {some}, ...")


def path(layout: Layout, name: str, value: np.ndarray) -> tuple[str, str] | None:
    """(collection, our path) of a public tensor, or None for one that the layout does not have."""
    module, _, leaf = name.rpartition(".")
    if leaf not in _LEAVES:
        return None
    for pattern, ours in layout.rules:
        match = re.fullmatch(pattern, module)
        if match:
            module = _keras_module(match) if "branch" in match.groupdict() else _expand(match, ours)
            leaf = _LEAVES[leaf] or ("kernel" if value.ndim > 1 else "slope" if module.endswith("prelu") else "scale")
            return ("batch_stats" if leaf in ("mean", "var") else "params"), f"{module}/{leaf}"
    return None


def _expand(match: re.Match, ours: str) -> str:
    if "block" in match.groupdict():
        ours = ours.replace("{block}", f"stage{match['stage']}_block{int(match['block']) + 1}")
    return match.expand(ours)


def _keras_module(match: re.Match) -> str:
    """res3b2_branch2c: the third convolution of stage 2's third block. Blocks are a, b, c, ... or a, b1, b2, ..."""
    block = int(match["number"]) + 1 if match["number"] else ord(match["letter"]) - ord("a") + 1
    kind = {"res": "conv", "bn": "bn"}[match["kind"]]
    name = f"downsample_{kind}" if match["branch"] == "1" else f"{kind}{'abc'.index(match['branch'][1]) + 1}"
    return f"stage{int(match['stage']) - 1}_block{block}/{name}"
