"""The one mesh: one axis, "data", over all devices of all hosts, along which batches are split."""

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from geodesic.experiments.process import accelerators

AXIS = "data"
SPLIT = P(AXIS)


def make(devices=None) -> jax.sharding.Mesh:
    """The mesh over `devices` (default: all). Auto axes: under Explicit ones a sharded loss does not type-check.

    Raises UserError in a program that would run on the CPU by mistake.
    """
    accelerators.check()
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def everywhere(array: jax.Array) -> np.ndarray:
    """A global array, split as it may be, in the memory of every host."""
    if array.is_fully_addressable:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def replicate(mesh: jax.sharding.Mesh, tree):
    """Arrays that every host holds -> global arrays, whole on every device."""
    sharding = NamedSharding(mesh, P())
    place = lambda values: jax.make_array_from_callback(np.shape(values), sharding, lambda part: values[part])
    return jax.tree.map(place, tree)


def put_batch(mesh: jax.sharding.Mesh, batch, spec: P = SPLIT):
    """This host's part of a global batch, a tree of arrays -> global arrays, split by `spec`."""
    sharding = NamedSharding(mesh, spec)
    with jax.transfer_guard("allow"):  # with many hosts jax takes this one for a mistake
        return jax.tree.map(lambda values: jax.make_array_from_process_local_data(sharding, values), batch)
