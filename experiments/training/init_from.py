"""Where a new run's trunk starts: imported weights, or the last checkpoint of another run."""

import jax
import numpy as np
from flax import traverse_util

from geodesic import embedders
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.trained import loading
from geodesic.experiments.training import model


def check(variables: dict, workdir: str, config) -> None:
    """Raises UserError where `workdir` has another trunk, or other pixels, than the network of these variables."""
    _read(traverse_util.flatten_dict(variables, sep="/"), workdir, config)


def initialise(state, workdir: str, config):
    """A new train state with the trunk of `workdir`: imported weights, or the last checkpoint of a run.

    The neck keeps its own start where `workdir` has none of this shape, and a head where `workdir` has not the whole of
    it. Says what was taken. Raises UserError as `check` does.
    """
    needed = traverse_util.flatten_dict(model.embedder_variables(state), sep="/")
    given = _read(needed, workdir, config)
    other_head = any(_part(path) == "head" for path in imported.differing(given, needed))
    taken = {path for path, value in needed.items() if imported.shape(given, path) == tuple(value.shape)
             and not (other_head and _part(path) == "head")}

    def start(path: str, value: jax.Array) -> jax.Array:
        if path not in taken:
            return value
        return jax.device_put(np.asarray(given[path], value.dtype), value.sharding)

    print(_told(workdir, needed, taken), flush=True)
    filled = traverse_util.unflatten_dict({path: start(path, value) for path, value in needed.items()}, sep="/")
    started = state.replace(params={**state.params, "embedder": filled["params"]},
                            batch_stats=filled.get("batch_stats", {}))
    return model.with_average(started) if state.ema else started


def _read(needed: dict, workdir: str, config) -> dict:
    """The arrays of `workdir` by their paths."""
    variables = imported.load(workdir, config) if imported.exist(workdir) else _of_run(workdir, config)
    given = traverse_util.flatten_dict(variables, sep="/")
    differing = [path for path in imported.differing(given, needed) if _part(path) not in embedders.ABOVE_TRUNK]
    if differing:
        raise UserError(f"init_from {workdir} has another trunk than config.embedder: "
                        f"{imported.differences(given, needed, differing)}")
    return given


def _told(workdir: str, needed: dict, taken: set[str]) -> str:
    """What starts from there, and what starts anew."""
    above = [name for name in embedders.ABOVE_TRUNK if any(_part(path) == name for path in needed)]
    new = [name for name in above if any(_part(path) == name for path in needed.keys() - taken)]
    old = ["trunk", *(name for name in above if name not in new)]
    return f"init_from {workdir}: {' and '.join(old)} taken; new: {', '.join([*new, 'what the loss learns'])}"


def _part(path: str) -> str:
    """The part of the embedder that an array belongs to: params/PART/..."""
    return path.split("/")[1]


def _of_run(workdir: str, config) -> dict:
    theirs = loading.stored_config(workdir)
    imported.check_normalisation(theirs.input, config, f"the weights of the run in {workdir}")
    return loading.embedder_variables(workdir, theirs)[0]
