"""Weights from outside, in a folder that `evaluate`, `embed` and `init_from` accept as they accept a run's.

Beside config.json it holds weights.npz, the arrays by path, and weights.json: where they come from, a digest of
every bit, and what their images look like. Normalisation belongs to the weights: another one is refused.
"""

import io
import json
import os

import jax
import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.checkpoints import checkpoint
from geodesic.experiments.process import workdir

# What a projection on top of a trunk adds, and what a trunk's weights therefore need not have.
_NECK = "neck"


def exist(folder: str) -> bool:
    return os.path.exists(_record_path(folder))


def save(folder: str, config, variables: dict, record: dict) -> None:
    """config: with the embedder and the input that these weights need; record: what to remember of their origin."""
    workdir.open_for(folder, config)
    buffer = io.BytesIO()
    np.savez(buffer, **_flat(variables))
    workdir.write_atomically(_arrays_path(folder), buffer.getvalue())
    normalisation = {"mean": list(config.input.mean), "std": list(config.input.std)}
    workdir.write_json(_record_path(folder), {**record, **normalisation, "digest": checkpoint.digest(variables)})


def load(folder: str, config) -> dict:
    """{"params", "batch_stats"} as saved.

    Raises UserError where a bit has changed, and where `config.input` normalises otherwise than these weights need.
    """
    with open(_record_path(folder)) as file:
        record = json.load(file)
    for name in ("mean", "std"):
        if not np.allclose(record[name], config.input[name]):
            raise UserError(f"the weights in {folder} need images of {name} {tuple(record[name])}, and "
                             f"config.input.{name} is {tuple(config.input[name])}: give "
                             f"--config.input.{name}='{tuple(record[name])}'")
    with np.load(_arrays_path(folder), allow_pickle=False) as file:
        variables = _nested(dict(file))
    if checkpoint.digest(variables) != record["digest"]:
        raise UserError(f"the weights in {folder} are damaged: import them again")
    return variables


def check_complete(variables: dict, embedder, config, folder: str) -> None:
    """Raises UserError unless these are all of the embedder's arrays, and no others."""
    size = config.input.image_size
    wanted = jax.eval_shape(embedder.init, jax.random.key(0), jax.ShapeDtypeStruct((2, size, size, 3), "float32"))
    given, needed = _flat(variables), _flat(wanted)
    differing = sorted(path for path in {*given, *needed} if _shape(given, path) != _shape(needed, path))
    if differing:
        raise UserError(f"the weights in {folder} are not those of this embedder: "
                         f"{_differences(given, needed, differing)}. Use the configuration that lies beside them")


def initialise(state, folder: str, config):
    """A new train state with the trunk of `folder`: imported weights, or the last checkpoint of a run.

    The neck keeps its own start where `folder` has none of this shape. Raises UserError where the trunks differ.
    """
    given = _flat(load(folder, config) if exist(folder) else _of_run(folder, config))
    needed = _flat({"params": state.params["embedder"], "batch_stats": state.batch_stats})
    differing = sorted(path for path in {*given, *needed}
                       if _shape(given, path) != _shape(needed, path) and path.split("/")[1] != _NECK)
    if differing:
        raise UserError(f"init_from {folder} has another trunk than config.embedder: "
                         f"{_differences(given, needed, differing)}")

    def fill(collection: str, tree):
        def leaf(path, value):
            name = "/".join((collection, *(key.key for key in path)))
            if _shape(given, name) != tuple(value.shape):
                return value
            return jax.device_put(np.asarray(given[name], value.dtype), value.sharding)
        return jax.tree_util.tree_map_with_path(leaf, tree)

    return state.replace(params={**state.params, "embedder": fill("params", state.params["embedder"])},
                         batch_stats=fill("batch_stats", state.batch_stats))


def _of_run(folder: str, config) -> dict:
    with open(workdir.config_path(folder)) as file:
        stored = json.load(file)
    for name in ("mean", "std"):
        if not np.allclose(stored["input"][name], config.input[name]):
            raise UserError(f"the run in {folder} saw images of {name} {tuple(stored['input'][name])}, and "
                             f"config.input.{name} is {tuple(config.input[name])}: use the same")
    with checkpoint.Checkpoints(folder) as checkpoints:
        return checkpoints.restore_embedder()


def _differences(given: dict, needed: dict, differing: list[str]) -> str:
    first = ", ".join(f"{path} is {_shape(given, path) or 'absent'} there and {_shape(needed, path) or 'absent'} here"
                      for path in differing[:2])
    return f"{first} ({len(differing)} of {len(needed)} arrays differ)"


def _shape(arrays: dict, path: str) -> tuple | None:
    return tuple(arrays[path].shape) if path in arrays else None


def _flat(variables) -> dict:
    return {"/".join(key.key for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}


def _nested(arrays: dict) -> dict:
    tree = {}
    for path, value in arrays.items():
        *folders, leaf = path.split("/")
        node = tree
        for name in folders:
            node = node.setdefault(name, {})
        node[leaf] = value
    return tree


def _arrays_path(folder: str) -> str:
    return os.path.join(folder, "weights.npz")


def _record_path(folder: str) -> str:
    return os.path.join(folder, "weights.json")
