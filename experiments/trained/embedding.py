"""From a source of images to embeddings, with whatever model a workdir holds."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from geodesic import datasets
from geodesic.experiments.checkpoints import checkpoint, weights
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training import data, model, step


class Embedded(NamedTuple):
    """Row i is image i of the source. Where `readable` is False the row is zero, and `problems` has a line for it."""

    embeddings: np.ndarray  # f32[N,D], not normalised
    readable: np.ndarray    # bool[N]
    problems: list[str]


class Trained(NamedTuple):
    """An embedder with its weights, ready to embed."""

    variables: dict
    embed: Callable         # (variables, images on device) -> embeddings
    step: int
    digest: str
    loss_params: dict = {}  # noqa: RUF012 - the trained loss's, the classifier's among them; {} for imported weights


def load(config, workdir: str, mesh: jax.sharding.Mesh, at_step: int | None = None) -> Trained:
    """The embedder of a checkpoint of `workdir`, the latest by default. Raises as `Checkpoints.restore` does."""
    if weights.exist(workdir):
        return _imported(config, workdir, mesh)
    source = data.train_source(config)
    built = model.build(config, config.loss.num_classes or source.num_classes, len(source), mesh)
    with checkpoint.Checkpoints(workdir) as checkpoints:
        state, _ = checkpoints.restore(model.abstract_state(built, config, mesh), at_step)
    variables = model.embedder_variables(state)
    return Trained(variables, step.make_embed_step(built.embedder, config, mesh), int(state.step),
                   checkpoint.digest(variables), state.params["loss"])


def _imported(config, folder: str, mesh: jax.sharding.Mesh) -> Trained:
    embedder = model.make_embedder(config)
    variables = weights.load(folder, config)
    weights.check_complete(variables, embedder, config, folder)
    return Trained(variables, step.make_embed_step(embedder, config, mesh), 0, checkpoint.digest(variables))


def embed_source(embed: Callable, variables, source: datasets.Source, config, mesh: jax.sharding.Mesh,
                 progress: Callable[[int], None] = lambda images: None) -> Embedded:
    """Every image of the source through `embed`. An image that cannot be read is reported, not fatal.

    Each process reads its share, and all of them return everything. progress: is told of images of all processes.
    """
    embeddings, readable = None, np.zeros(len(source), bool)
    for batch in datasets.eval_batches(source, config, batch_size=config.evaluation.batch_size, **data.processes()):
        # Where each row comes from travels with it: devices need not be in the order of their hosts.
        placed = meshes.put_batch(mesh, {"image": batch["image"], "mask": batch["mask"],
                                         "index": batch["index"].astype(np.int32)})
        rows = np.asarray(embed(variables, placed["image"]))
        mask, index = meshes.everywhere(placed["mask"]), meshes.everywhere(placed["index"])
        if embeddings is None:
            embeddings = np.zeros((len(source), rows.shape[1]), np.float32)
        embeddings[index[mask]], readable[index[mask]] = rows[mask], True
        progress(int((index >= 0).sum()))
    return Embedded(embeddings, readable, [data.problem(source, index) for index in np.flatnonzero(~readable)])
