"""The network that an ONNX file of `geodesic export` holds: what the file says of it, and the network from the file."""

import json

import numpy as np
from flax import traverse_util

from geodesic.configs import stored
from geodesic.embedders.public_weights import onnx_file, own_onnx
from geodesic.errors import UserError
from geodesic.experiments.trained import network


def note(config, wanted) -> dict[str, str]:
    """What a file says of the network that it holds, with which it is read back; of a detector nothing.

    wanted: an `export_wanted.Wanted`.
    """
    if wanted.detects or config.task == "detection":
        return {}
    whole = stored.as_dict(config)
    embedder = {name: value for name, value in whole["embedder"].items() if value is not None} | {"dtype": "float32"}
    head = whole["head"]
    if wanted.layer not in ("", "embedding"):
        head, embedder = None, embedder | {"neck": "none", "embedding_size": 0}
        embedder |= {} if wanted.layer == "pool" else {"layer": wanted.layer, "pooling": "average"}
    found = {"embedder": embedder, "input": whole["input"],
             "evaluation": {"average_horizontal_flips": config.evaluation.average_horizontal_flips}}
    return {own_onnx.NOTE: json.dumps(found | ({"head": head} if head else {}))}


def configure(config, model: onnx_file.Model) -> None:
    """Writes into `config` what the file says; raises UserError where this version has no such field."""
    for section, fields in own_onnx.sections(model).items():
        try:
            for name, value in fields.items():
                config[section][name] = value
        except (KeyError, TypeError) as error:
            raise UserError(f"this ONNX file holds a network that this version does not know: {section}: "
                            f"{error}") from error


def variables(model: onnx_file.Model, config) -> tuple[dict, list[str], list[str]]:
    """(the variables of the network of `configure`, the paths of those that its output does not need and that start at
    random, modules of the file that are no part of it)."""
    embedder = network.make_embedder(config.embedder, config.head)
    _, shapes = network.abstract(embedder, config.input.image_size)
    wanted = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(shapes, sep="/").items()}
    channels = network.layers(embedder, config.input.image_size)[embedder.layer][-1]
    found, left_out = own_onnx.convert(model, wanted, channels, embedder.bn_epsilon)
    missing = [path for path in wanted if path not in found]
    if missing:
        fresh = traverse_util.flatten_dict(network.untrained(embedder, config), sep="/")
        found |= {path: np.asarray(fresh[path]) for path in missing}
    return {"batch_stats": {}} | traverse_util.unflatten_dict(found, sep="/"), missing, left_out
