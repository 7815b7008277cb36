import jax
import numpy as np
import optax
from jax.sharding import PartitionSpec as P

from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training.sharding import state_shardings


def test_what_has_a_row_for_each_class_is_split_and_nothing_else():
    """A trunk's own prototypes are no class's, though they are called so and their rows would divide."""
    params = {"embedder": {"prototypes": np.zeros((8, 4)), "loss": {"bias": np.zeros(8)}},
              "loss": {"prototypes": np.zeros((8, 4)), "bias": np.zeros(8)}}
    state = {"params": params, "opt_state": optax.adam(0.1).init(params)}
    shardings = state_shardings(meshes.make(jax.devices()[:2]), state)
    split = {jax.tree_util.keystr(path, simple=True, separator="/")
             for path, sharding in jax.tree_util.tree_leaves_with_path(shardings) if sharding.spec == P("data")}
    assert split == {f"{tree}/loss/{name}" for tree in ("params", "opt_state/0/mu", "opt_state/0/nu")
                     for name in ("prototypes", "bias")}
    assert all(sharding.spec in (P("data"), P()) for sharding in jax.tree.leaves(shardings))
