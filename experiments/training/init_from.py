"""Where a new run's trunk starts: imported weights, or the last checkpoint of another run."""

import jax
import numpy as np
from flax import traverse_util

from geodesic import embedders
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.trained import loading


def initialise(state, workdir: str, config):
    """A new train state with the trunk of `workdir`: imported weights, or the last checkpoint of a run.

    The neck keeps its own start where `workdir` has none of this shape. Raises UserError where the trunks differ.
    """
    variables = imported.load(workdir, config) if imported.exist(workdir) else _of_run(workdir, config)
    given = traverse_util.flatten_dict(variables, sep="/")
    ours = {"params": state.params["embedder"], "batch_stats": state.batch_stats}
    needed = traverse_util.flatten_dict(ours, sep="/")
    differing = [path for path in imported.differing(given, needed) if path.split("/")[1] not in embedders.ABOVE_TRUNK]
    if differing:
        raise UserError(f"init_from {workdir} has another trunk than config.embedder: "
                        f"{imported.differences(given, needed, differing)}")

    def start(path: str, value: jax.Array) -> jax.Array:
        if imported.shape(given, path) != tuple(value.shape):
            return value
        return jax.device_put(np.asarray(given[path], value.dtype), value.sharding)

    filled = traverse_util.unflatten_dict({path: start(path, value) for path, value in needed.items()}, sep="/")
    return state.replace(params={**state.params, "embedder": filled["params"]},
                         batch_stats=filled.get("batch_stats", {}))


def _of_run(workdir: str, config) -> dict:
    theirs = loading.stored_config(workdir)
    imported.check_normalisation(theirs.input, config, f"the weights of the run in {workdir}")
    return loading.embedder_variables(workdir)[0]
