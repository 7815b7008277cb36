"""The layouts in which public weights come: how each names its tensors, and what its images look like.

A layout has rules from its names to ours. Which layouts fit an embedder is said beside the embedder, in
`embedders.PUBLIC_LAYOUTS`.
"""

import re
from typing import NamedTuple

import numpy as np

from ...errors import UserError


class Preprocessing(NamedTuple):
    """What the images must look like that some weights were trained on.

    Attributes:
      mean, std: of each channel, red first, in units of 0..255; images are (image - mean) / std.
      image_size: height and width in pixels.
      fit: how an image gets this size, a value of the configuration's `input.fit`.
      channel_order: "rgb" or "bgr", the order in which the public network takes them. Ours always take red first, and
        `pretrained` turns the first kernel round.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    image_size: int
    fit: str
    channel_order: str


class Layout(NamedTuple):
    """How a source of public weights names its tensors, and what else its weights ask for.

    Attributes:
      name: what the source is called, in messages and in `embedders.PUBLIC_LAYOUTS`.
      first: the public name of the first convolution's kernel, by which the layout, and any prefix of its names, is
        recognised.
      rules: (regular expression of a public module's name, our path of it below "params"). What a tensor is (kernel,
        scale, mean, ...) follows from the last part of its public name.
      head: the public name of the classifier, which is no part of an embedder; "" for none.
      preprocessing: what the images must look like.
      fields: the embedder's fields that these weights need.
      neck: whether the weights contain the neck, so that their embedding is the one that was trained. Otherwise the
        pooled trunk is the embedding.
      conv_bias: whether convolutions have a bias in front of their BatchNorm, which ours have not: it is folded.
    """

    name: str
    first: str
    rules: tuple[tuple[str, str], ...]
    head: str
    preprocessing: Preprocessing
    fields: dict
    neck: bool = False
    conv_bias: bool = False


IMAGENET_RGB = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 224, "center_crop", "rgb")
FACES = Preprocessing((127.5,) * 3, (127.5,) * 3, 112, "stretch", "rgb")
CADENE = Preprocessing((128.0, 117.0, 104.0), (1.0,) * 3, 224, "center_crop", "bgr")
KERAS = Preprocessing((123.68, 116.779, 103.939), (1.0,) * 3, 224, "center_crop", "bgr")

# {block} in our names is stageI_blockJ, whose J starts at 1 where public names start at 0.
_BLOCK = r"layer(?P<stage>\d)\.(?P<block>\d+)\."

TORCH_RESNET = Layout(
    "torchvision", "conv1.weight",
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
    "insightface", "conv1.weight",
    ((r"(conv1|bn1|prelu)", r"\1"),
     (_BLOCK + r"((?:conv|bn)\d|prelu)", r"{block}/\3"),
     (_BLOCK + r"downsample\.0", r"{block}/downsample_conv"),
     (_BLOCK + r"downsample\.1", r"{block}/downsample_bn"),
     (r"bn2", "neck/bn_in"), (r"fc", "neck/fc"), (r"features", "neck/bn_out")),
    "", FACES, {}, neck=True)

CADENE_INCEPTION = Layout(
    "Cadene", "conv1_7x7_s2.weight",
    ((r"(conv\d_\w+?)_bn", r"\1/bn"), (r"(conv\d_\w+?)", r"\1/conv"),
     (r"(inception_\d\w)_(\w+?)_bn", r"\1/\2/bn"), (r"(inception_\d\w)_(\w+?)", r"\1/\2/conv")),
    "last_linear", CADENE, {})

KERAS_RESNET = Layout(
    "Keras v1", "conv1.kernel",
    ((r"conv1", "conv1"), (r"bn_conv1", "bn1"),
     (r"(?P<kind>res|bn)(?P<stage>\d)(?P<letter>[a-z])(?P<number>\d*)_branch(?P<branch>1|2a|2b|2c)", "")),
    "fc1000", KERAS, {"version": "v1", "bn_epsilon": 1e-3, "bn_momentum": 0.99}, conv_bias=True)

LAYOUTS = {layout.name: layout for layout in (TORCH_RESNET, TIMM_DEEP, INSIGHTFACE, CADENE_INCEPTION, KERAS_RESNET)}

_LEAVES = {"weight": "", "kernel": "kernel", "bias": "bias", "running_mean": "mean", "running_var": "var",
           "gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}


def recognise(state_dict: dict[str, np.ndarray], embedder: str, names: tuple[str, ...]) -> tuple[Layout, str]:
    """The layout of some weights.

    Args:
      state_dict: the tensors by their public names.
      embedder: the embedder that they are for, by its name, for the message.
      names: the names of the layouts that fit it, `embedders.PUBLIC_LAYOUTS`.

    Returns:
      (the layout of these that the weights have, the prefix of its names in front of them). The first tensor of one
      may be found inside of the blocks of another, behind a longer prefix: the shortest prefix says which it is.

    Raises:
      UserError: the weights have none of these layouts.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import layouts
      >>> layout, prefix = layouts.recognise({"model.conv1.weight": np.zeros(1)}, "resnet50", ("torchvision",))
      >>> layout.name, prefix
      ('torchvision', 'model.')
    """
    found = [(layout, prefix) for layout in map(LAYOUTS.get, names) for prefix in prefixes(state_dict, layout)[:1]]
    if found:
        return min(found, key=lambda one: len(one[1]))
    known = ", ".join(f"{name} (has {LAYOUTS[name].first})" for name in names)
    some = ", ".join(list(state_dict)[:3])
    raise UserError(f"these weights are in no layout known for {embedder}: known are {known or 'none'}; "
                    f"the file has {some}, ...")


def prefixes(state_dict: dict[str, np.ndarray], layout: Layout) -> list[str]:
    """What stands in front of a layout's names, the shortest first: several where the weights are of several networks.

    Args:
      state_dict: the tensors by their public names.
      layout: the layout.

    Returns:
      The prefixes, each with its dot; "" where names begin at once; [] where the weights are of another layout.

    Example:
      >>> from geodesic.embedders.public_weights import layouts
      >>> names = ("q.conv1.weight", "q.layer1.0.conv1.weight", "k.conv1.weight")
      >>> layouts.prefixes(dict.fromkeys(names), layouts.TORCH_RESNET)
      ['q.', 'k.']
    """
    found = sorted((name.removesuffix(layout.first) for name in state_dict
                    if name == layout.first or name.endswith("." + layout.first)), key=len)
    # A block's first convolution has the name of the network's.
    return [one for place, one in enumerate(found) if not any(one.startswith(other) for other in found[:place])]


def path(layout: Layout, name: str, value: np.ndarray) -> tuple[str, str] | None:
    """Where a public tensor belongs.

    Args:
      layout: its layout.
      name: its public name, without the prefix that `recognise` found.
      value: the tensor, of which the number of axes is read.

    Returns:
      (the collection, our path in it), or None for a tensor that the layout does not have.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import layouts
      >>> layouts.path(layouts.TORCH_RESNET, "layer1.0.conv2.weight", np.zeros((64, 64, 3, 3)))
      ('params', 'stage1_block1/conv2/kernel')
    """
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
    """Our name of a module of Keras's: res3b2_branch2c is the third convolution of stage 2's third block.

    Keras counts stages from 2, and blocks as a, b, c, ... or, in deep networks, as a, b1, b2, ...
    """
    block = int(match["number"]) + 1 if match["number"] else ord(match["letter"]) - ord("a") + 1
    kind = {"res": "conv", "bn": "bn"}[match["kind"]]
    name = f"downsample_{kind}" if match["branch"] == "1" else f"{kind}{'abc'.index(match['branch'][1]) + 1}"
    return f"stage{int(match['stage']) - 1}_block{block}/{name}"
