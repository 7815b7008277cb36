"""Public weights, by their names, into the variables of one of our embedders.

    variables = pretrained.convert(weight_files.read("resnet101.safetensors"), "resnet101")
    embeddings = embedders.build("resnet101", embedding_size=0).apply(variables, images)
"""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import UserError
from .. import PUBLIC_LAYOUTS, build
from . import layouts, orders
from .orders import array

# PyTorch counts batches beside its running statistics; nothing here reads that.
_IGNORED = re.compile(r".*\.num_batches_tracked|num_batches_tracked")


class Conversion(NamedTuple):
    """What became of some public weights.

    Attributes:
      variables: {"params", "batch_stats"} of the matched tensors, float32.
      head: {"kernel": f32[F,C], "bias": f32[C]} of their classifier; None where they have none.
      layout: the layout they were recognised by.
      fields: the embedder's fields that fit them, for `embedders.build`.
      matched: public name -> our path.
      missing: our paths for which there is no tensor.
      unexpected: public names that have no place here.
      prefixes: what stands in front of their names, that of the network that was taken first; several where the weights
        are of several networks.
    """

    variables: dict
    head: dict | None
    layout: layouts.Layout
    fields: dict
    matched: dict[str, str]
    missing: list[str]
    unexpected: list[str]
    prefixes: list[str]


def convert(state_dict: Mapping[str, np.ndarray], name: str) -> dict:
    """Variables of an embedder from whole public weights.

    The layout is recognised by the tensors' names, behind any prefix: ResNets and ResNeXts of torchvision and timm,
    ResNets of Keras (version 1), Inception-BN of Cadene, IResNets of insightface. Weights for blue-green-red images
    become weights for red-green-blue ones. A classifier's head is left out; `convert_head` has it.

    Args:
      state_dict: public name -> array, as `weight_files.read` gives.
      name: the embedder, of `embedders.EMBEDDERS`.

    Returns:
      {"params", "batch_stats"}, float32, of `embedders.build(name, **fields)` with the fields of `inspect(...)`: the
      embedding is the pooled trunk, but for IResNets, whose weights contain a neck.

    Raises:
      UserError: the layout is unknown, or a tensor is missing, unexpected or of another shape.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import pretrained
      >>> pretrained.convert({"conv1.weight": np.zeros((64, 3, 7, 7))}, "resnet18")
      Traceback (most recent call last):
      geodesic.errors.UserError: these torchvision weights are not a whole resnet18: ... and 96 more missing. ...
    """
    conversion = inspect(state_dict, name)
    check(conversion, name)
    return conversion.variables


def convert_head(state_dict: Mapping[str, np.ndarray], name: str) -> dict:
    """The classifier that public weights bring for their trunk.

    Args:
      state_dict: public name -> array, as `weight_files.read` gives; the trunk need not be whole.
      name: the embedder, of `embedders.EMBEDDERS`.

    Returns:
      {"kernel": f32[F,C], "bias": f32[C]}, the parameters of `heads.Classifier(num_classes=C)`.

    Raises:
      UserError: the layout is unknown, or has no classifier in these weights.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import pretrained
      >>> names = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (10, 512), "fc.bias": (10,)}
      >>> head = pretrained.convert_head({name: np.zeros(shape) for name, shape in names.items()}, "resnet18")
      >>> head["kernel"].shape, head["bias"].shape
      ((512, 10), (10,))
    """
    conversion = inspect(state_dict, name)
    if conversion.head is None:
        raise UserError(f"these {conversion.layout.name} weights have no classifier "
                        f"(looked for {conversion.layout.head or 'nothing: the layout has none'})")
    return conversion.head


def inspect(state_dict: Mapping[str, np.ndarray], name: str, *, channel_order: str = "",
            fields: Mapping[str, object] = MappingProxyType({})) -> Conversion:
    """Converts public weights, whole or not, and says what became of each tensor.

    Args:
      state_dict: public name -> array, as `weight_files.read` gives.
      name: the embedder, of `embedders.EMBEDDERS`.
      channel_order: "rgb" or "bgr", the images that the weights were trained on; "" is the layout's own.
      fields: fields of the embedder beyond those that the weights tell.

    Returns:
      A `Conversion`. `check` refuses one that is not whole; `complete` fills it up.

    Raises:
      UserError: the layout is unknown, or a tensor has another shape, or numbers that are not finite.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import pretrained
      >>> found = pretrained.inspect({"conv1.weight": np.zeros((64, 3, 7, 7)), "odd.weight": np.zeros(1)}, "resnet18")
      >>> found.matched, found.unexpected, found.fields
      ({'conv1.weight': 'params/conv1/kernel'}, ['odd.weight'], {'embedding_size': 0})
    """
    state_dict = {_plain(key): np.asarray(value) for key, value in state_dict.items()}
    layout, prefix = layouts.recognise(state_dict, name, PUBLIC_LAYOUTS.get(name, ()))
    head, found, matched, unexpected = {}, {}, {}, []
    for key, value in state_dict.items():
        inner = key.removeprefix(prefix)
        place = layouts.path(layout, inner, value) if key.startswith(prefix) else None
        if _IGNORED.fullmatch(key):
            continue
        if layout.head and key.startswith(prefix) and inner.rpartition(".")[0] == layout.head:
            head["bias" if inner.endswith(".bias") else "kernel"] = array(value, key)
        elif place is None:
            unexpected.append(key)
        else:
            found[place] = array(value, key)
            matched[key] = "/".join(place)
    fields = layout.fields | _fields(found, layout) | fields
    folded = orders.fold_biases(found) if layout.conv_bias else []
    if (channel_order or layout.preprocessing.channel_order) == "bgr":
        orders.red_first(found)
    if layout.neck:
        _flatten_rows_first(found)
        unexpected += _drop_fixed_scale(found, matched)
    variables, missing, extra = _fill(found, name, fields)
    unexpected += [key for key, path in matched.items() if path in extra and path not in folded]
    return Conversion(variables, head or None, layout, fields, matched, missing, unexpected,
                      layouts.prefixes(state_dict, layout))


def check(conversion: Conversion, name: str, allow_missing=(), allow_unexpected=()) -> None:
    """Refuses a conversion that is not whole.

    Args:
      conversion: of `inspect`.
      name: the embedder, for the message.
      allow_missing: our paths that may be missing.
      allow_unexpected: public names that may be left over.

    Raises:
      UserError: a tensor is missing or left over that is not allowed to be.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import pretrained
      >>> found = pretrained.inspect({"conv1.weight": np.zeros((64, 3, 7, 7)), "odd.weight": np.zeros(1)}, "resnet18")
      >>> pretrained.check(found, "resnet18", allow_missing=found.missing, allow_unexpected=["odd.weight"])
    """
    missing = [path for path in conversion.missing if path not in allow_missing]
    unexpected = [key for key in conversion.unexpected if key not in allow_unexpected]
    if missing:
        raise UserError(f"these {conversion.layout.name} weights are not a whole {name}: {_some(missing)} missing. "
                        f"Is it another depth? Name them to go on without")
    if unexpected:
        prefixes = ", ".join(f"--prefix={prefix.removesuffix('.')}" for prefix in conversion.prefixes if prefix)
        raise UserError(f"these {conversion.layout.name} weights are not only a {name}: {_some(unexpected)} "
                        f"left over. Name them to leave them out"
                        + (f", or take what lies below a prefix alone: {prefixes}" if prefixes else ""))


def complete(conversion: Conversion, name: str, rng: jax.Array) -> dict:
    """The variables of a conversion, filled up.

    Args:
      conversion: of `inspect`.
      name: the embedder, of `embedders.EMBEDDERS`.
      rng: the key from which an embedder draws what is missing.

    Returns:
      {"params", "batch_stats"}, whole.

    Example:
      >>> import jax, numpy as np
      >>> from geodesic.embedders.public_weights import pretrained
      >>> found = pretrained.inspect({"conv1.weight": np.zeros((64, 3, 7, 7))}, "resnet18",
      ...                            fields={"stage_sizes": (), "layer": "stem"})
      >>> variables = pretrained.complete(found, "resnet18", jax.random.key(0))
      >>> float(variables["params"]["conv1"]["kernel"].max()), float(variables["params"]["bn1"]["scale"].max())
      (0.0, 1.0)
    """
    side = _side({tuple(path.split("/", 1)): None for path in conversion.matched.values()})
    fresh = jax.jit(build(name, **conversion.fields).init)(rng, jnp.zeros((1, side, side, 3)))

    def leaf(keys, drawn):
        node = conversion.variables
        for key in keys:
            node = node.get(key.key) if node is not None else None
        return np.asarray(drawn) if node is None else node

    return jax.tree_util.tree_map_with_path(leaf, dict(fresh))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _plain(key: str) -> str:
    """The name of a Keras tensor, scope/scope/kernel:0, as scope.kernel; other names are as they were."""
    parts = key.removesuffix(":0").split("/")
    return ".".join(parts[-2:]) if len(parts) > 1 else key


def _fields(found: dict, layout: layouts.Layout) -> dict:
    """The size of the embedding: that of the neck where the weights have one, else the pooled trunk's, written 0."""
    if not layout.neck:
        return {"embedding_size": 0}
    kernel = found.get(("params", "neck/fc/kernel"))
    return {} if kernel is None else {"embedding_size": kernel.shape[-1]}


def _flatten_rows_first(found: dict) -> None:
    """Reorders the rows of the projection of a flattened map, where there is one."""
    place, scale = ("params", "neck/fc/kernel"), found.get(("params", "neck/bn_in/scale"))
    if place in found and scale is not None:
        found[place] = orders.rows_first(found[place], len(scale))


def _drop_fixed_scale(found: dict, matched: dict) -> list[str]:
    """Drops the scale of the last BatchNorm, which is fixed at 1 here and in the public network.

    Returns its public name where it is another number after all.
    """
    scale = found.pop(("params", "neck/bn_out/scale"), None)
    names = [key for key, path in matched.items() if path == "params/neck/bn_out/scale"]
    for key in names:
        del matched[key]
    return names if scale is not None and not np.all(scale == 1) else []


def _fill(found: dict, name: str, fields: dict) -> tuple[dict, list[str], set[str]]:
    """The embedder's variables from what was found: (variables, our paths not found, paths found that are not ours)."""
    embedder = build(name, **fields)
    wanted = jax.eval_shape(embedder.init, jax.random.key(0), jnp.zeros((1, _side(found), _side(found), 3)))
    variables, missing, ours = {}, [], set()
    for collection in ("params", "batch_stats"):
        for keys, leaf in jax.tree_util.tree_leaves_with_path(wanted[collection]):
            place = (collection, "/".join(key.key for key in keys))
            ours.add("/".join(place))
            if place not in found:
                missing.append("/".join(place))
                continue
            if found[place].shape != leaf.shape:
                raise UserError(f"{name} has {'/'.join(place)} of shape {leaf.shape}; these weights have "
                                f"{found[place].shape}: they are of another model")
            set_at(variables, ("/".join(place)).split("/"), found[place])
    return variables, missing, {"/".join(place) for place in found} - ours


def _side(found: dict) -> int:
    """The side of an image, in pixels, for which the flattened map fits the projection."""
    kernel, scale = (found.get(("params", f"neck/{leaf}")) for leaf in ("fc/kernel", "bn_in/scale"))
    return 64 if kernel is None or scale is None else 16 * math.isqrt(kernel.shape[0] // len(scale))


def set_at(tree: dict, path: list[str], value: np.ndarray) -> None:
    """Puts a value into nested dictionaries, at the path of its keys.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import pretrained
      >>> tree = {"conv1": {}}
      >>> pretrained.set_at(tree, ["conv1", "bias"], np.zeros(2))
      >>> tree
      {'conv1': {'bias': array([0., 0.])}}
    """
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = np.ascontiguousarray(value)
