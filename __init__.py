"""Geodesic: visual embeddings trained with angular margins, and what people do with them, in JAX and Flax.

    import geodesic

    run = geodesic.load("runs/faces")                   # a run or imported weights; no training data needed
    run.embed(["one.jpg", "other.jpg"])                 # f32[2,D], of length 1
    run.same("one.jpg", "other.jpg")                    # by the threshold that `geodesic calibrate` has set

Importing this is light: jax starts with the first thing that is used. docs/python.md shows everything.
"""

import importlib

__version__ = "0.1.0"
__all__ = ["UserError", "configs", "datasets", "embedders", "evaluate", "heads", "load", "losses", "metrics", "train"]

from .errors import UserError

_PARTS = ("configs", "datasets", "embedders", "heads", "losses", "metrics")


def load(workdir, *, step=None, devices=None, overrides=None):
    """The trained model of a workdir, ready for use on this machine, without its training data.

    workdir: the folder of a run, or of weights that `geodesic import_weights` has written; or a file .onnx or
    .stablehlo of `geodesic export`, which the other arguments are not for. step: of the checkpoint;
    default: the newest that is whole. devices: those of jax to use; default: all. overrides: fields of the
    configuration that are to be others, such as {"evaluation.layer": "stage3"}.

    Returns a `geodesic.experiments.trained.run.Run`, with `embed`, `features`, `classify`, `same` and more; of a file,
    a `geodesic.experiments.trained.exported.Exported`, with `embed`, `classify` and `same`, or an `ExportedDetector`
    with `detect`. Raises FileNotFoundError where there is no run, and UserError where its weights are damaged or a
    field is not there.
    """
    from .configs import stored
    from .experiments.process import mesh
    from .experiments.trained import exported, loading

    if str(workdir).endswith(exported.EXTENSIONS):
        return exported.load(str(workdir))
    config = loading.stored_config(workdir)
    return loading.load(workdir, stored.changed(config, overrides or {}), mesh.make(devices), step)


def train(config, workdir, *, extend_to_epochs=0):
    """Trains what a configuration asks for, or goes on where the run in `workdir` has stopped, and returns the run.

    config: a ConfigDict, such as `geodesic.configs.quickstart.get_config()`, changed as you like. workdir: a new or
    empty folder, or that of the same run. extend_to_epochs: gives a run more epochs, so many in all.

    Raises UserError, before anything is written, for what cannot be done. Ctrl-C interrupts; the same call goes on from
    the last checkpoint.
    """
    from .experiments import train as program

    program.train(config, str(workdir), extend_to_epochs=extend_to_epochs)
    return load(workdir)


def evaluate(run, *, baselines=True, also=(), overwrite=False):
    """Measures a run on its own test data, as `geodesic evaluate` does, and returns the record as a dictionary.

    run: of `load` or `train`, or a workdir. baselines: whether raw pixels, PCA and the untrained network are measured
    too. also: what else to say of the embeddings, such as ("health", "clustering"). overwrite: replaces an evaluation
    on other test data. The record is written into the workdir; its "scores" are by name of what was measured. Those of
    a run that classifies are its "classification", and "scores" are there where `also` has "retrieval".
    """
    from .experiments import evaluate as program

    run = run if hasattr(run, "embed_source") else load(run)
    return program.evaluate(run, baselines=baselines, also=tuple(also), overwrite=overwrite)


def __getattr__(name):
    if name in _PARTS:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'geodesic' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
