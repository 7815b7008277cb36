"""ONNX files of `geodesic export`, back as variables of the network that they were written from.

The way there takes every BatchNorm into the layer in front of it, or makes it a product and a sum. The way back leaves
them so: what was taken in stays there, and the BatchNorm becomes one that changes nothing but adds the bias. The
network computes what the file computes; in training, where BatchNorm takes the statistics of the batch, it is another
one than the run's, whose weights themselves are in safetensors.
"""

import json
import re
from collections.abc import Mapping

import numpy as np

from ...errors import UserError
from . import orders
from .onnx_file import Model, Node

# The note in which a file says what network it holds: sections of a configuration, as JSON.
NOTE = "network"


def sections(model: Model) -> dict[str, dict] | None:
    """The sections of a configuration, such as `embedder` and `input`, that say which network an ONNX file holds.

    Args:
      model: the file, of `onnx_file.read_model`.

    Returns:
      Section -> its fields; None where the file does not say, as it is no embedder of `geodesic export`.

    Raises:
      UserError: what it says cannot be read.

    Example:
      >>> from geodesic.embedders.public_weights import onnx_file, own_onnx
      >>> own_onnx.sections(onnx_file.Model({}, [], {"network": '{"embedder": {"name": "resnet8"}}'}))
      {'embedder': {'name': 'resnet8'}}
    """
    if NOTE not in model.notes:
        return None
    try:
        found = json.loads(model.notes[NOTE])
        return {section: {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
                for section, fields in found.items()}
    except (ValueError, AttributeError) as error:
        raise UserError(f"this ONNX file is damaged: its note {NOTE!r} is no sections of a configuration: "
                        f"{error}") from error


def convert(model: Model, wanted: Mapping[str, tuple[int, ...]], channels: int, epsilon: float
            ) -> tuple[dict[str, np.ndarray], list[str]]:
    """The variables of the network that an ONNX file of `geodesic export` holds.

    Args:
      model: the file, of `onnx_file.read_model`.
      wanted: path -> shape, of the variables of the network that the file's note names.
      channels: of the layer that the neck is given, whose map may be flattened.
      epsilon: what the network's BatchNorm adds to the variance.

    Returns:
      (path -> f32 array, of all that the file needs of the network: what lies above its layer is missing; modules of
      the file that the network does not have, such as a classifier's).

    Raises:
      UserError: the file lacks a tensor, or has one of another shape or with numbers that are not finite.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import onnx_file, own_onnx
      >>> model = onnx_file.Model({"k": np.ones((2, 3, 1, 1)), "b": np.array([1.0, 2.0])},
      ...                         [onnx_file.Node("Conv", "conv1/Conv", ["images", "k", "b"])], {})
      >>> wanted = {"params/conv1/kernel": (1, 1, 3, 2), "params/bn1/scale": (2,), "params/bn1/bias": (2,),
      ...           "batch_stats/bn1/mean": (2,), "batch_stats/bn1/var": (2,)}
      >>> variables, left_out = own_onnx.convert(model, wanted, channels=2, epsilon=0.0)
      >>> variables["params/bn1/bias"].tolist(), variables["batch_stats/bn1/var"].tolist(), left_out
      ([1.0, 2.0], [1.0, 1.0], [])
    """
    found, left_out = {}, {}
    for node in model.nodes:
        module = node.name.rpartition("/")[0]
        arrays = [orders.array(model.arrays[name], module) for name in node.inputs if name in model.arrays]
        for path, value in _parameters(node, module, arrays, wanted).items():
            if path not in wanted and f"params/{module}/kernel" in wanted:
                raise UserError(f"{module} has a bias in this file, and neither it nor a BatchNorm behind it has one "
                                f"in the network that its note names")
            if path not in wanted:
                left_out[module or node.name] = None
            elif path in found and not np.array_equal(found[path], value):
                raise UserError(f"{module} has several weights in this file, and one here")
            else:
                found[path] = value
    _flatten_rows_first(found, wanted, channels)
    # Whatever is left of a part of which the file has anything is a BatchNorm that was taken in whole.
    parts = {"neck", "head"} | {path.split("/")[1] for path in found}
    for path in wanted:
        norm, _, leaf = path.partition("/")[2].rpartition("/")
        if path.split("/")[1] in parts and f"batch_stats/{norm}/mean" in wanted:
            alone = {"scale": 1.0, "mean": 0.0, "var": 1.0 - epsilon, "bias": 0.0}[leaf]
            found.setdefault(path, np.full(wanted[path], alone, np.float32))
    missing = [path for path in wanted if path not in found and path.split("/")[1] in parts]
    if missing:
        raise UserError(f"this file is not the whole network that its note names: {', '.join(missing[:3])}"
                        + (f" and {len(missing) - 3} more" if len(missing) > 3 else "") + " missing. A head whose "
                        "weights ONNX has in another form cannot be read back")
    wrong = [path for path in found if found[path].shape != tuple(wanted[path])]
    if wrong:
        raise UserError(f"{wrong[0]} is of shape {found[wrong[0]].shape} in this file, and {tuple(wanted[wrong[0]])} "
                        f"in the network that its note names")
    return found, [*left_out]


def _parameters(node: Node, module: str, arrays: list[np.ndarray], wanted: Mapping) -> dict[str, np.ndarray]:
    """Path -> array of the parameters that a node brings. Its module is the node's name without the operator."""
    ours = f"params/{module}/"
    match node.kind, arrays:
        case "Conv" | "Gemm", [kernel, *biases]:
            axes = (2, 3, 1, 0) if kernel.ndim == 4 else (1, 0)
            path = ours + "bias" if ours + "bias" in wanted else f"params/{_norm_behind(module, wanted)}/bias"
            bias = biases[0] if biases else np.zeros(len(kernel), np.float32)
            of_bias = {path: bias} if path in wanted or np.any(bias) else {}
            return {ours + "kernel": kernel.transpose(axes), **of_bias}
        case "PRelu", [slope]:
            return {ours + "slope": slope.reshape(-1)}
        case "Mul", [scale] if f"batch_stats/{module}/mean" in wanted:
            return {ours + "scale": scale.reshape(-1)}
        case "Add", [bias] if f"batch_stats/{module}/mean" in wanted:
            return {ours + "bias": bias.reshape(-1)}
        case "Pow", [exponent] if ours + "p" in wanted and node.name == module + "/Pow":  # Pow_2 is the root
            return {ours + "p": exponent.reshape(())}
    return {}


def _norm_behind(module: str, wanted: Mapping) -> str:
    """The BatchNorm that was taken into a layer: that of its own number, or the next one where one lies in front."""
    parent, slash, leaf = module.rpartition("/")
    inside = parent + slash
    if leaf == "fc":
        return inside + "bn_out"
    in_front = f"params/{inside}bn3/bias" in wanted and f"params/{inside}conv3/kernel" not in wanted
    if in_front and (number := re.fullmatch(r"conv(\d)", leaf)):
        return f"{inside}bn{int(number[1]) + 1}"
    norm = inside + leaf.replace("conv", "bn")
    return norm if f"params/{norm}/bias" in wanted else re.sub(r"_\d$", "", norm)


def _flatten_rows_first(found: dict, wanted: Mapping, channels: int) -> None:
    """Reorders the rows of a projection of a flattened map, which ONNX flattens channel by channel."""
    path = "params/neck/fc/kernel"
    if path in found and path in wanted and found[path].shape[0] != channels:
        found[path] = orders.rows_first(found[path], channels)
