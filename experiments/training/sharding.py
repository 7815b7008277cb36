"""Where each array of a train state lives on the mesh."""

import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from geodesic import losses
from geodesic.experiments.process.mesh import AXIS


def state_shardings(mesh: jax.sharding.Mesh, state):
    """The sharding of every array of a train state.

    Arrays with a row for each class (`losses.is_by_class`) are split over the devices along these rows; every device
    has the whole of the others.

    Args:
      mesh: the devices, with the axis "data".
      state: a train state or a part of it, of arrays or of their shapes. Rows divide by the number of devices, as
        losses that know the mesh pad them.

    Returns:
      The tree of `state` with a `NamedSharding` for each array.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, P(AXIS) if losses.is_by_class(path, leaf) else P()), state)
