"""Checkpoints: the train state and the position in the data, together, behind orbax."""

import hashlib
import os

import jax
import numpy as np
import orbax.checkpoint as ocp

from experiments import workdir as workdirs


class Checkpoints:
    """The checkpoints of a workdir, one for each saved step. A context manager: leaving it waits for the disk.

    Saving is asynchronous and atomic: a crash leaves the checkpoint before.
    """

    def __init__(self, workdir: str, *, keep: int | None = None):
        """keep: how many to keep, the newest; None opens the folder for reading only.

        Raises FileNotFoundError where there is none to read.
        """
        path = workdirs.checkpoints_path(workdir)
        reading = keep is None
        if reading and not os.path.isdir(path):
            raise FileNotFoundError(f"no checkpoint in {workdir!r}: train the run first")
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=not reading, read_only=reading)
        self._workdir = workdir
        handlers = {"state": ocp.StandardCheckpointHandler(), "data": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(path, options=options, item_handlers=handlers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._manager.close()

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def all_steps(self) -> list[int]:
        return list(self._manager.all_steps())

    def save(self, step: int, state, data_state: dict) -> None:
        """Returns when the state is copied off the devices; the writing goes on behind."""
        self._manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(state),
                                                         data=ocp.args.JsonSave(data_state)))

    def restore(self, abstract_state, step: int | None = None) -> tuple:
        """(state, data_state) of `step`, the latest by default, placed as `abstract_state` says.

        Raises FileNotFoundError where there is none, ValueError where its arrays are not those of the model.
        """
        step = self.latest_step() if step is None else step
        if step is None or step not in self._manager.all_steps():
            known = ", ".join(map(str, self._manager.all_steps())) or "none"
            raise FileNotFoundError(f"no checkpoint{'' if step is None else f' of step {step}'} in {self._workdir!r} "
                                    f"(it has {known}): train the run first")
        self._check_arrays(step, abstract_state)
        restored = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract_state),
                                                                       data=ocp.args.JsonRestore()))
        return restored["state"], restored["data"]

    def restore_embedder(self) -> dict:
        """{"params", "batch_stats"} of the latest checkpoint's embedder, as NumPy arrays, whatever the model was."""
        step = self.latest_step()
        if step is None:
            raise FileNotFoundError(f"no checkpoint in {self._workdir!r}: train the run first")
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
                                self._manager.item_metadata(step)["state"].tree)
        state = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))["state"]
        return jax.tree.map(np.asarray, {"params": state["params"]["embedder"], "batch_stats": state["batch_stats"]})

    def _check_arrays(self, step: int, abstract_state) -> None:
        stored = _shapes(self._manager.item_metadata(step)["state"])
        wanted = _shapes(abstract_state)
        differing = [name for name in sorted({*stored, *wanted}) if stored.get(name) != wanted.get(name)]
        if differing:
            name = differing[0]
            raise ValueError(
                f"the checkpoint of step {step} in {self._workdir!r} is of another model: {name} is "
                f"{stored.get(name, 'absent')} there and {wanted.get(name, 'absent')} here ({len(differing)} of "
                f"{len(wanted)} arrays differ). Use the configuration it was trained with")


def digest(variables) -> str:
    """16 hex digits that name these arrays: their paths, shapes, dtypes and every bit."""
    result = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        values = np.asarray(leaf)
        result.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape}\n".encode())
        result.update(np.ascontiguousarray(values).tobytes())
    return result.hexdigest()[:16]


def _shapes(tree) -> dict[str, tuple]:
    """Path -> shape. Orbax's metadata names attributes as keys, so only the names count."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda leaf: hasattr(leaf, "shape"))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
            for path, leaf in leaves if hasattr(leaf, "shape")}
