"""The one mesh, and where each array of a run lives on it.

One axis, "data", over all devices of all hosts. Batches are split along it; so are the class prototypes and
whatever the optimizer remembers of them. Everything else is on every device.
"""

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

AXIS = "data"
SPLIT = P(AXIS)


def make(devices=None) -> jax.sharding.Mesh:
    """The mesh over `devices` (default: all). Auto axes: under Explicit ones a sharded loss does not type-check."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def is_by_class(path, leaf) -> bool:
    """Whether an array of a train state has a row for each class: `prototypes` of a loss, and its `bias`."""
    keys = [getattr(key, "key", None) for key in path]
    return leaf.ndim > 0 and ("prototypes" in keys or ("loss" in keys and keys[-1] == "bias"))


def state_shardings(mesh: jax.sharding.Mesh, state):
    """The sharding of every array of a train state: those by class are split, the others are everywhere."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, P(AXIS) if is_by_class(path, leaf) else P()), state)


def everywhere(array: jax.Array) -> np.ndarray:
    """A global array, split as it may be, in the memory of every host."""
    if array.is_fully_addressable:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def put_batch(mesh: jax.sharding.Mesh, batch: dict[str, np.ndarray], spec: P = SPLIT) -> dict[str, jax.Array]:
    """This host's part of a global batch -> global arrays, split by `spec`."""
    sharding = NamedSharding(mesh, spec)
    with jax.transfer_guard("allow"):  # with many hosts jax takes this one for a mistake
        return {key: jax.make_array_from_process_local_data(sharding, value) for key, value in batch.items()}
