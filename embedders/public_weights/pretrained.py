"""Weights from outside: a public state dict -> variables of one of our embedders.

    variables = pretrained.convert(weight_files.read("resnet101.safetensors"), "resnet101")
"""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ... import embedders
from ...errors import UserError
from . import layouts

# Counters that PyTorch keeps beside its running statistics, and nothing needs.
_IGNORED = re.compile(r".*\.num_batches_tracked|num_batches_tracked")


class Conversion(NamedTuple):
    """What became of a state dict."""

    variables: dict           # {"params", "batch_stats"} of the matched tensors
    head: dict | None         # {"kernel": f32[F,C], "bias": f32[C]} of the classifier, where there is one
    layout: layouts.Layout
    fields: dict              # the embedder's fields that fit these weights
    matched: dict[str, str]   # public name -> our path
    missing: list[str]        # our paths for which the file has no tensor
    unexpected: list[str]     # public names that have no place here


def convert(state_dict: Mapping[str, np.ndarray], name: str) -> dict:
    """{"params", "batch_stats"}, float32, of `embedders.build(name, **fields)` without a projection.

    Recognises the ResNets and ResNeXts of torchvision and timm, the Inception-BN of Cadene, the IResNets of
    insightface (with their projection: it is the embedding) and the ResNets of Keras (version 1), by their names,
    behind any prefix. A classifier's head is left out: `convert_head` has it. Weights for blue-green-red images
    become weights for red-green-blue ones. `inspect(...).fields` has the fields that `build` needs.
    Raises UserError for an unknown layout, and for a tensor that is missing, unexpected or of another shape.
    """
    conversion = inspect(state_dict, name)
    check(conversion, name)
    return conversion.variables


def convert_head(state_dict: Mapping[str, np.ndarray], name: str) -> dict:
    """{"kernel": f32[F,C], "bias": f32[C]}: the classifier's head. Raises UserError where there is none."""
    conversion = inspect(state_dict, name)
    if conversion.head is None:
        raise UserError(f"these {conversion.layout.name} weights have no classifier "
                         f"(looked for {conversion.layout.head or 'nothing: the layout has none'})")
    return conversion.head


def inspect(state_dict: Mapping[str, np.ndarray], name: str, *, channel_order: str = "",
            fields: Mapping[str, object] = MappingProxyType({})) -> Conversion:
    """Everything about a conversion, complete or not.

    channel_order: rgb or bgr; "" = as the layout is published. fields: of the embedder, beyond what the weights say.

    Raises UserError for an unknown layout and for a tensor of another shape.
    """
    state_dict = {_plain(key): np.asarray(value) for key, value in state_dict.items()}
    layout, prefix = layouts.recognise(state_dict, name)
    head, found, matched, unexpected = {}, {}, {}, []
    for key, value in state_dict.items():
        inner = key.removeprefix(prefix)
        place = layouts.path(layout, inner, value) if key.startswith(prefix) else None
        if _IGNORED.fullmatch(key):
            continue
        if layout.head and key.startswith(prefix) and inner.rpartition(".")[0] == layout.head:
            head["bias" if inner.endswith(".bias") else "kernel"] = _array(value, inner)
        elif place is None:
            unexpected.append(key)
        else:
            found[place] = _array(value, inner)
            matched[key] = "/".join(place)
    fields = layout.fields | _fields(found, name) | fields
    folded = _fold_biases(found) if layout is layouts.KERAS_RESNET else []
    if (channel_order or layout.preprocessing.channel_order) == "bgr":
        _red_first(found)
    if layout is layouts.INSIGHTFACE:
        _flatten_rows_first(found)
        unexpected += _drop_fixed_scale(found, matched)
    variables, missing, extra = _fill(found, name, fields)
    unexpected += [key for key, path in matched.items() if path in extra and path not in folded]
    return Conversion(variables, head or None, layout, fields, matched, missing, unexpected)


def check(conversion: Conversion, name: str, allow_missing=(), allow_unexpected=()) -> None:
    """Raises UserError for what is missing or left over, unless it is one of the names allowed."""
    missing = [path for path in conversion.missing if path not in allow_missing]
    unexpected = [key for key in conversion.unexpected if key not in allow_unexpected]
    if missing:
        raise UserError(f"these {conversion.layout.name} weights are not a whole {name}: {_some(missing)} missing. "
                         f"Is it another depth? Name them to go on without")
    if unexpected:
        raise UserError(f"these {conversion.layout.name} weights are not only a {name}: {_some(unexpected)} "
                         f"left over. Name them to leave them out")


def complete(conversion: Conversion, name: str, rng: jax.Array) -> dict:
    """The conversion's variables, with what is missing as `init` draws it."""
    side = _side({tuple(path.split("/", 1)): None for path in conversion.matched.values()})
    fresh = jax.jit(embedders.build(name, **conversion.fields).init)(rng, jnp.zeros((1, side, side, 3)))

    def leaf(keys, drawn):
        node = conversion.variables
        for key in keys:
            node = node.get(key.key) if node is not None else None
        return np.asarray(drawn) if node is None else node

    return jax.tree_util.tree_map_with_path(leaf, dict(fresh))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _plain(key: str) -> str:
    """Keras names: scope/scope/kernel:0 -> scope.kernel."""
    parts = key.removesuffix(":0").split("/")
    return ".".join(parts[-2:]) if len(parts) > 1 else key


def _array(value: np.ndarray, name: str) -> np.ndarray:
    """float32, in Flax's order of axes. Keras's kernels are in that order already."""
    value = np.asarray(value, np.float32)
    if name.endswith("weight"):
        return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
    return value


def _fields(found: dict, name: str) -> dict:
    if name.startswith("iresnet"):
        kernel = found.get(("params", "neck/fc/kernel"))
        return {} if kernel is None else {"embedding_size": kernel.shape[-1]}
    return {"embedding_size": 0}


def _fold_biases(found: dict) -> list[str]:
    """A bias in front of BatchNorm only shifts its mean. Returns the paths, which have no place here."""
    folded = []
    for place in [place for place in found if place[1].endswith("/bias")]:
        module = place[1].removesuffix("/bias")
        norm = re.sub(r"conv(?=\d?$)", "bn", module)
        if norm != module and ("batch_stats", f"{norm}/mean") in found:
            found["batch_stats", f"{norm}/mean"] = found["batch_stats", f"{norm}/mean"] - found.pop(place)
            folded.append("/".join(place))
    return folded


def _red_first(found: dict) -> None:
    for place, value in found.items():
        if value.ndim == 4 and value.shape[2] == 3:
            found[place] = value[:, :, ::-1]


def _flatten_rows_first(found: dict) -> None:
    """PyTorch flattens a map channel by channel, we pixel by pixel."""
    place = ("params", "neck/fc/kernel")
    scale = found.get(("params", "neck/bn_in/scale"))
    if place in found and scale is not None:
        side = math.isqrt(found[place].shape[0] // len(scale))
        kernel = found[place].reshape(len(scale), side, side, -1)
        found[place] = kernel.transpose(1, 2, 0, 3).reshape(-1, kernel.shape[-1])


def _drop_fixed_scale(found: dict, matched: dict) -> list[str]:
    """The last BatchNorm's scale is fixed at 1, here and there. Returns its name where it is not."""
    scale = found.pop(("params", "neck/bn_out/scale"), None)
    names = [key for key, path in matched.items() if path == "params/neck/bn_out/scale"]
    for key in names:
        del matched[key]
    return names if scale is not None and not np.all(scale == 1) else []


def _fill(found: dict, name: str, fields: dict) -> tuple[dict, list[str], set[str]]:
    """(variables, our paths that were not found, paths found that are not ours)."""
    embedder = embedders.build(name, **fields)
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
            _set(variables, ("/".join(place)).split("/"), found[place])
    return variables, missing, {"/".join(place) for place in found} - ours


def _side(found: dict) -> int:
    """Pixels of an image for which the flattened map fits the projection."""
    kernel, scale = (found.get(("params", f"neck/{leaf}")) for leaf in ("fc/kernel", "bn_in/scale"))
    return 64 if kernel is None or scale is None else 16 * math.isqrt(kernel.shape[0] // len(scale))


def _set(tree: dict, path: list[str], value: np.ndarray) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = np.ascontiguousarray(value)
