"""Computing on each device's part of the global arrays; without a mesh, the same code on the whole of them.

An axis here is a `ClassAxis` or a `PairAxis`, of which the mesh and the name of the mesh's axis are read.
"""

from collections.abc import Callable

import jax
from jax import lax


def on_shards(axis, local: Callable, in_specs, out_specs) -> Callable:
    """`local`, called on every device's part; without a mesh, on everything.

    Args:
      axis: whose mesh it is.
      local: a function of arrays.
      in_specs, out_specs: how its arguments and results are split, as `jax.shard_map` takes them.

    Returns:
      A function of global arrays.

    Example:
      >>> import jax.numpy as jnp
      >>> from jax.sharding import PartitionSpec as P
      >>> from geodesic.losses import class_axis, shards
      >>> shards.on_shards(class_axis.ClassAxis(2), jnp.sum, P("data"), P())(jnp.arange(3)).item()
      3
    """
    if axis.mesh is None:
        return local
    return jax.shard_map(local, mesh=axis.mesh, in_specs=in_specs, out_specs=out_specs)


def whole_batch(axis, x: jax.Array) -> jax.Array:
    """Inside of `on_shards`: the rows of all devices, in their order, from each device's own rows.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import class_axis, shards
      >>> shards.whole_batch(class_axis.ClassAxis(2), jnp.arange(3)).tolist()   # without a mesh, they are all here
      [0, 1, 2]
    """
    return x if axis.mesh is None else lax.all_gather(x, axis.name, tiled=True)


def psum(axis, x: jax.Array) -> jax.Array:
    """Inside of `on_shards`: the sum over the devices.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import class_axis, shards
      >>> shards.psum(class_axis.ClassAxis(2), jnp.arange(3)).tolist()   # without a mesh, there is one
      [0, 1, 2]
    """
    return x if axis.mesh is None else lax.psum(x, axis.name)
