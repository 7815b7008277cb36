"""Variables of one of our embedders as public weights, in the names and the order of axes that others know.

It is the inverse of `pretrained`: what is written here is read there as the very same bits.
"""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from flax import traverse_util

from ...errors import UserError
from .. import PUBLIC_LAYOUTS, build
from . import layouts, orders

_LEAVES = {"kernel": "weight", "scale": "weight", "slope": "weight", "bias": "bias", "mean": "running_mean",
           "var": "running_var"}
_KERAS_LEAVES = {"kernel": "kernel", "scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
_BLOCK = re.compile(r"stage(?P<stage>\d)_block(?P<block>\d+)/(?P<module>\w+)")
# Our modules whose public name is another one, by the layout.
_MODULES = {
    "timm, deep stem": {"conv1_1": "conv1.0", "bn1_1": "conv1.1", "conv1_2": "conv1.3", "bn1_2": "conv1.4",
                        "conv1_3": "conv1.6"},
    "insightface": {"neck/bn_in": "bn2", "neck/fc": "fc", "neck/bn_out": "features"},
    "Keras v1": {"bn1": "bn_conv1"},
}
# What a classifier is called among what is left out.
CLASSIFIER = "the classifier"


class Published(NamedTuple):
    """Public weights.

    Attributes:
      layout: the layout that they are in.
      tensors: public name -> f32 array.
      left_out: our paths that the layout has no place for.
    """

    layout: layouts.Layout
    tensors: dict[str, np.ndarray]
    left_out: list[str]


def convert(variables: Mapping, name: str, embedder, head: Mapping | None = None) -> Published:
    """Public weights of an embedder's variables.

    Args:
      variables: {"params", "batch_stats"}, f32.
      name: the embedder, of `embedders.EMBEDDERS`.
      embedder: the module, whose fields say which layout fits.
      head: {"kernel": f32[F,C], "bias": f32[C]} of a classifier on the embedding. It is the public network's last layer
        where the embedding is the averaged trunk; without one, a linear neck on the average is that layer, so that the
        public network gives the embedding.

    Returns:
      A `Published`.

    Raises:
      UserError: no layout fits.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from geodesic import embedders
      >>> from geodesic.embedders.public_weights import pretrained, publish
      >>> embedder = embedders.build("resnet18", embedding_size=0, stage_sizes=(1, 1, 1, 1))
      >>> shapes = jax.eval_shape(embedder.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
      >>> variables = jax.tree.map(lambda like: np.random.default_rng(0).normal(size=like.shape).astype("f"), shapes)
      >>> published = publish.convert(variables, "resnet18", embedder)
      >>> published.layout.name, published.tensors["layer1.0.conv1.weight"].shape
      ('torchvision', (64, 64, 3, 3))
      >>> found = pretrained.inspect(published.tensors, "resnet18", fields={"stage_sizes": (1, 1, 1, 1)})
      >>> bool((found.variables["params"]["conv1"]["kernel"] == variables["params"]["conv1"]["kernel"]).all())
      True
    """
    layout = layout_of(name, embedder)
    tensors, left_out = {}, []
    for path, value in traverse_util.flatten_dict(dict(variables), sep="/").items():
        value = np.asarray(value, np.float32)
        module, _, leaf = path.partition("/")[2].rpartition("/")
        if module.startswith(("neck", "head")) and not layout.neck:
            left_out.append(path)
            continue
        if value.ndim == 4 and value.shape[2] == 3 and layout.preprocessing.channel_order == "bgr":
            value = value[:, :, ::-1]
        if path == "params/neck/fc/kernel":
            value = orders.channels_first(value, len(variables["params"]["neck"]["bn_in"]["scale"]))
        if layout is not layouts.KERAS_RESNET and value.ndim > 1:
            value = orders.torch_axes(value)
        tensors[_public(layout, name, module, leaf, variables)] = value
    if layout.neck:
        tensors["features.weight"] = np.ones_like(tensors["features.bias"])
    if layout.conv_bias:
        tensors |= {f"{key.removesuffix('.kernel')}.bias": np.zeros(value.shape[-1], np.float32)
                    for key, value in tensors.items() if key.endswith(".kernel")}
    plain = not layout.neck and embedder.head is None and embedder.pooling == "average" and (
        embedder.layer == build(name).layer)
    neck = variables["params"].get("neck", {})
    if head is not None and (neck or not plain):
        left_out.append(CLASSIFIER)
        head = None
    elif plain and {*neck} == {"fc"} and embedder.neck == "linear":
        head, left_out = neck["fc"], []
    return Published(layout, tensors | _head(layout, head), left_out)


def layout_of(name: str, embedder) -> layouts.Layout:
    """The layout of public weights that has this network's stem, version and epsilon.

    Args:
      name: the embedder, of `embedders.EMBEDDERS`.
      embedder: the module.

    Returns:
      The layout.

    Raises:
      UserError: there is none.

    Example:
      >>> from geodesic import embedders
      >>> from geodesic.embedders.public_weights import publish
      >>> publish.layout_of("resnet50", embedders.build("resnet50", version="v1", bn_epsilon=1e-3)).name
      'Keras v1'
    """
    refused = []
    for layout in (layouts.LAYOUTS[known] for known in PUBLIC_LAYOUTS.get(name, ())):
        needs = {"bn_epsilon": 1e-5, "version": "v1.5", "stem": "imagenet"} | layout.fields
        needs |= {"neck": "bn_fc_bn", "pooling": "flatten", "head": None, "layer": build(name).layer} if (
            layout.neck) else {}
        has = {key: getattr(embedder, key, value) for key, value in needs.items() if key != "bn_momentum"}
        has |= {"stem": "imagenet"} if has["stem"] == "space_to_depth" else {}  # the same parameters
        differing = [f"{key} {value}" for key, value in has.items() if value != needs[key]]
        if not differing:
            return layout
        refused.append(f"{layout.name} has not {' and '.join(differing)}")
    raise UserError(f"no public layout has this {name}: {'; '.join(refused) or 'there are no public weights of it'}. "
                    f"Leave safetensors out of the formats")


def safetensors(tensors: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> bytes:
    """A file of safetensors: an eight-byte length, a JSON header of that length, then the tensors' bytes.

    Args:
      tensors: name -> f32 array.
      notes: what the file says of itself.

    Returns:
      The file's content.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import publish
      >>> len(publish.safetensors({"fc.bias": np.zeros(3, np.float32)}, {})) % 8
      4
    """
    header, place = {"__metadata__": dict(notes)}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [place, place + value.nbytes]}
        place += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text,
                     *(np.ascontiguousarray(value, "<f4").tobytes() for value in tensors.values())])


def _public(layout: layouts.Layout, name: str, module: str, leaf: str, variables: Mapping) -> str:
    """The public name of one of our tensors."""
    leaf = _KERAS_LEAVES[leaf] if layout is layouts.KERAS_RESNET else _LEAVES[leaf]
    module = _MODULES.get(layout.name, {}).get(module, module)
    if layout is layouts.CADENE_INCEPTION:
        module, _, kind = module.rpartition("/")
        module = module.replace("/", "_") + ("_bn" if kind == "bn" else "")
    elif found := _BLOCK.fullmatch(module):
        module = _keras_block(found, name, variables) if layout is layouts.KERAS_RESNET else _torch_block(found)
    return f"{module}.{leaf}"


def _torch_block(found: re.Match) -> str:
    module = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}.get(found["module"], found["module"])
    return f"layer{found['stage']}.{int(found['block']) - 1}.{module}"


def _keras_block(found: re.Match, name: str, variables: Mapping) -> str:
    """Blocks are a, b, c, ... or, in networks deeper than 50 layers, a, b1, b2, ... where there are more than three."""
    blocks = sum(key.startswith(f"stage{found['stage']}_") for key in variables["params"])
    block = int(found["block"]) - 1
    letter = f"b{block}" if block and name != "resnet50" and blocks > 3 else "abcdefghijklmnopqrstuvwxyz"[block]
    kind, module = ("bn" if "bn" in found["module"] else "res"), found["module"]
    branch = "1" if module.startswith("downsample") else "2" + "abc"[int(module[-1]) - 1]
    return f"{kind}{int(found['stage']) + 1}{letter}_branch{branch}"


def _head(layout: layouts.Layout, head: Mapping | None) -> dict[str, np.ndarray]:
    """The tensors of the public network's last layer."""
    if head is None:
        return {}
    kernel, keras = np.asarray(head["kernel"], np.float32), layout is layouts.KERAS_RESNET
    return {f"{layout.head}.{'kernel' if keras else 'weight'}": kernel if keras else kernel.T,
            f"{layout.head}.bias": np.asarray(head["bias"], np.float32)}
