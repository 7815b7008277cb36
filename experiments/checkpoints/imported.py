"""Weights from outside, in a folder that `evaluate`, `embed` and `init_from` accept as they accept a run's.

Beside config.json it holds weights.npz, the arrays by path, and weights.json: where they come from, a digest of
every bit, and what their images look like. Normalisation belongs to the weights: another one is refused. The classifier
that they bring along lies in head.npz, with the names of its classes.
"""

import io
import os
from typing import NamedTuple

import numpy as np
from flax import traverse_util

from geodesic.configs import stored
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import checkpoint
from geodesic.experiments.process import storage
from geodesic.experiments.process import workdir as workdirs


class Head(NamedTuple):
    """The classifier of imported weights: logits are embeddings @ kernel + bias.

    kernel f32[D,C], bias f32[C]; of a detector they say nothing, and D is 0. class_names: of the C classes. class_ids:
    what data may call them too; "" for none.
    """

    kernel: np.ndarray
    bias: np.ndarray
    class_names: list[str]
    class_ids: list[str]


def exist(workdir: str) -> bool:
    """Whether this folder holds imported weights."""
    return storage.exists(_record_path(workdir))


def save(workdir: str, config, variables: dict, record: dict, head: Head | None = None) -> None:
    """config: with the embedder and the input that these weights need; record: what to remember of their origin."""
    buffer = io.BytesIO()
    if head is not None:
        record = {**record, "head": {"classes": len(head.class_names), "digest": _digest(head)}}
        np.savez(buffer, **{name: np.asarray(values) for name, values in head._asdict().items()})
        workdirs.write_atomically(_head_path(workdir), buffer.getvalue())
        buffer = io.BytesIO()
    np.savez(buffer, **traverse_util.flatten_dict(variables, sep="/"))
    workdirs.write_json(workdirs.config_path(workdir), stored.as_dict(config))
    workdirs.write_atomically(_arrays_path(workdir), buffer.getvalue())
    normalisation = {"mean": list(config.input.mean), "std": list(config.input.std)}
    workdirs.write_json(_record_path(workdir), {**record, **normalisation, "digest": checkpoint.digest(variables)})


def load(workdir: str, config) -> dict:
    """{"params", "batch_stats"} as saved.

    Raises UserError where a bit has changed, and where `config.input` normalises otherwise than these weights need.
    """
    record = workdirs.read_json(_record_path(workdir))
    check_normalisation(record, config, f"the weights in {workdir}")
    with storage.opened(_arrays_path(workdir)) as opened, np.load(opened, allow_pickle=False) as file:
        variables = {"batch_stats": {}} | traverse_util.unflatten_dict(dict(file), sep="/")
    if checkpoint.digest(variables) != record["digest"]:
        raise UserError(f"the weights in {workdir} are damaged: import them again")
    return variables


def load_head(workdir: str) -> Head | None:
    """The classifier as saved; None where these weights brought none, or an older version imported them.

    Raises UserError where a bit has changed.
    """
    record = workdirs.read_json(_record_path(workdir)).get("head")
    if record is None:
        return None
    with storage.opened(_head_path(workdir)) as opened, np.load(opened, allow_pickle=False) as file:
        head = Head(file["kernel"], file["bias"], file["class_names"].tolist(), file["class_ids"].tolist())
    if _digest(head) != record["digest"]:
        raise UserError(f"the classifier in {workdir} is damaged: import the weights again")
    return head


def check_normalisation(needed: dict, config, what: str) -> None:
    """Raises UserError, naming all that must be given, where `config.input` is not of this mean and std."""
    differing = [name for name in ("mean", "std") if not np.allclose(needed[name], config.input[name])]
    if differing:
        theirs = ", ".join(f"{name} {tuple(needed[name])}" for name in differing)
        ours = ", ".join(f"{name} {tuple(config.input[name])}" for name in differing)
        options = " ".join(f"--config.input.{name}='{tuple(needed[name])}'" for name in differing)
        raise UserError(f"{what} need images of {theirs}, and config.input has {ours}: give {options}")


def differing(given: dict, needed: dict) -> list[str]:
    """The paths of arrays that one of the two lacks, or has of another shape."""
    return sorted(path for path in {*given, *needed} if shape(given, path) != shape(needed, path))


def differences(given: dict, needed: dict, paths: list[str]) -> str:
    """The first of the paths whose arrays differ, with both shapes."""
    first = ", ".join(f"{path} is {shape(given, path) or 'absent'} there and {shape(needed, path) or 'absent'} here"
                      for path in paths[:2])
    return f"{first} ({len(paths)} of {len(needed)} arrays differ)"


def shape(arrays: dict, path: str) -> tuple | None:
    """None where there is no such array."""
    return tuple(arrays[path].shape) if path in arrays else None


def _arrays_path(workdir: str) -> str:
    return os.path.join(workdir, "weights.npz")


def _head_path(workdir: str) -> str:
    return os.path.join(workdir, "head.npz")


def _digest(head: Head) -> str:
    return checkpoint.digest({name: np.frombuffer("\n".join(values).encode(), np.uint8) if isinstance(values, list)
                              else values for name, values in head._asdict().items()})


def _record_path(workdir: str) -> str:
    return os.path.join(workdir, "weights.json")
