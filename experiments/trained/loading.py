"""From the folder of a run, or of imported weights, to a model that can be used. Training data are not needed."""

import os

import jax
from flax import traverse_util

from geodesic.configs import stored
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import checkpoint, imported
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import storage
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.trained import average, detector, network
from geodesic.experiments.trained.run import Run

_EMBEDDER, _STATISTICS = "params/embedder/", "batch_stats/"


def load(workdir: str, config=None, mesh: jax.sharding.Mesh | None = None, step: int | None = None) -> Run:
    """The model of `workdir`, a run or imported weights, ready to embed on this machine's devices.

    config: with other values than those that lie in the workdir, for example another layer; default: as it lies
    there. mesh: of the devices to use; default: all. step: of the checkpoint; default: the newest that is whole.
    Only the embedder's arrays are read. Raises FileNotFoundError where there is no run or no checkpoint, and UserError
    where the arrays are damaged or are those of another embedder.
    """
    workdir = os.fspath(workdir)
    storage.check(workdir)
    config = stored_config(workdir) if config is None else config
    # How many classes a detector has, its weights say.
    embedder = None if config.task == "detection" else network.make_embedder(config.embedder, config.head)
    if imported.exist(workdir):
        if step is not None:
            raise UserError(f"{workdir} holds imported weights: it has no checkpoint of step {step}")
        variables, at = imported.load(workdir, config), 0
        if embedder is None and "head" not in variables["params"]:
            raise UserError(f"{workdir} holds imported weights, and no detector: train one with --config.init_from="
                            f"{workdir}")
    else:
        variables, at = embedder_variables(workdir, config, step)
    embedder = embedder or detector.make(config, detector.count_classes(variables, config.detection))
    _check_model(variables, embedder, config, f"the checkpoint of step {at} in {workdir!r}" if at else
                 f"what lies in {workdir}")
    return Run(workdir, config, mesh or meshes.make(), embedder, variables, at)


def stored_config(workdir: str):
    """The configuration that lies in a workdir. Raises FileNotFoundError where there is none."""
    path = workdirs.config_path(os.fspath(workdir))
    if not storage.exists(path):
        raise FileNotFoundError(f"no run in {os.fspath(workdir)!r} (it has no {os.path.basename(path)}): expected the "
                                f"workdir of `geodesic train`, or the --out of `geodesic import_weights`")
    return stored.parse(storage.read(path), path)


def embedder_variables(workdir: str, config, step: int | None = None) -> tuple[dict, int]:
    """({"params", "batch_stats"} of the embedder in a checkpoint, as NumPy arrays, and the checkpoint's step).

    config: says whether they are the running average.
    """
    place = average.place(config)
    with checkpoint.Checkpoints(workdir) as checkpoints:
        arrays, record = checkpoints.read(lambda name: name.startswith((place + _EMBEDDER, place + _STATISTICS)), step)
    arrays = {name.removeprefix(place): values for name, values in arrays.items()}
    inside = {"params/" + name.removeprefix(_EMBEDDER) if name.startswith(_EMBEDDER) else name: values
              for name, values in arrays.items()}
    return {"batch_stats": {}} | traverse_util.unflatten_dict(inside, sep="/"), record["step"]


def _check_model(variables: dict, embedder, config, what: str) -> None:
    _, wanted = network.abstract(embedder, network.image_size(config))
    given, needed = (traverse_util.flatten_dict(tree, sep="/") for tree in (variables, wanted))
    differing = imported.differing(given, needed)
    if differing:
        raise UserError(f"{what} is of another model: {imported.differences(given, needed, differing)}. Use the "
                        f"configuration it was trained with")
