"""Classification with the trained loss's own class weights: top-1 and top-5."""

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.protocols import intervals
from geodesic.experiments.protocols import task as tasks
from geodesic.experiments.training import data
from geodesic.metrics import retrieval

# Losses whose logits are embeddings times weights plus bias; those of the others are cosines.
_AFFINE = ("softmax", "sigmoid")


def measure(task: tasks.Task, root: str) -> tasks.Measured:
    """Raises UserError where there is no classifier, and where a test class was not trained."""
    if len(task.models) > 1:
        raise UserError("classifiers are not put side by side: leave out --concatenate")
    config, trained = task.models[0]
    source = tasks.source(task, task.protocol.test, root)
    place = {name: label for label, name in enumerate(data.train_source(config).class_names)}
    unknown = [name for name in source.class_names if name not in place]
    if unknown:
        raise UserError(f"{len(unknown)} of the {source.num_classes} test classes were not trained, {unknown[0]!r} "
                         f"for one: classification is of trained classes")
    embeddings, places, problems = tasks.embed(task, source, unit=False)
    labels = np.array([place[name] for name in source.class_names])[source.labels[places]]
    found = _largest(logits(embeddings, trained.loss_params, config, len(place)), 5)
    values = {"top1": found[:, 0] == labels, "top5": (found == labels[:, None]).any(axis=1)}
    if len(place) <= 5:
        del values["top5"]
    counts = {"images": len(labels), "classes": len(np.unique(labels))}
    return tasks.Measured(intervals.of_means({name: hits.astype(float) for name, hits in values.items()}, labels,
                                             task.seed),
                          counts, tasks.complete(task, len(labels), counts["classes"]), "classes", problems)


def logits(embeddings: np.ndarray, loss_params: dict, config, num_classes: int) -> np.ndarray:
    """f32[N,C] of a trained loss: affine, or the cosine to the class's (nearest) prototype."""
    if "prototypes" not in loss_params:
        raise UserError(f"loss {config.loss.name!r} has learnt no classes, so nothing classifies: measure retrieval")
    weights = np.asarray(loss_params["prototypes"], np.float32)[:num_classes]
    if config.loss.name in _AFFINE:
        return embeddings @ weights.T + np.asarray(loss_params["bias"], np.float32)[:num_classes]
    unit = retrieval.normalized(weights.reshape(-1, weights.shape[-1])).reshape(weights.shape)
    cosines = retrieval.normalized(embeddings) @ unit.reshape(-1, unit.shape[-1]).T
    return cosines.reshape(len(embeddings), num_classes, -1).max(axis=-1)


def _largest(values: np.ndarray, k: int) -> np.ndarray:
    """The classes of the k largest, i[N,k]; of equals the lower class first."""
    return np.argsort(-values, axis=1, kind="stable")[:, :k]
