"""Classification with the trained loss's own class weights: top-1 and top-5."""

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.protocols import intervals
from geodesic.experiments.protocols import task as tasks
from geodesic.experiments.training import data


def measure(task: tasks.Task, root: str) -> tasks.Measured:
    """Measures how often the trained class is the first, or among the first five, of a run's own classifier.

    Raises UserError where there is no classifier, and where a test class was not trained.
    """
    if len(task.runs) > 1:
        raise UserError("classifiers are not put side by side: leave out --concatenate")
    run, source = task.runs[0], tasks.source(task, task.protocol.test, root)
    trained_on = run.class_names if run.trained_on else data.train_source(run.config).class_names
    place = {name: label for label, name in enumerate(trained_on)}
    unknown = [name for name in source.class_names if name not in place]
    if unknown:
        raise UserError(f"{len(unknown)} of the {source.num_classes} test classes were not trained, {unknown[0]!r} "
                        f"for one: classification is of trained classes")
    embeddings, places, problems = tasks.embed(task, source, unit=False)
    labels = np.array([place[name] for name in source.class_names])[source.labels[places]]
    found = _largest(run.classifier.scores(embeddings), 5)
    values = {"top1": found[:, 0] == labels, "top5": (found == labels[:, None]).any(axis=1)}
    if len(place) <= 5:
        del values["top5"]
    counts = {"images": len(labels), "classes": len(np.unique(labels))}
    return tasks.Measured(intervals.of_means({name: hits.astype(float) for name, hits in values.items()}, labels,
                                             task.seed),
                          counts, tasks.complete(task, len(labels), counts["classes"]), "classes", problems)


def _largest(values: np.ndarray, k: int) -> np.ndarray:
    """Gives the classes of the k largest, i[N,k]; of equals the lower class comes first."""
    return np.argsort(-values, axis=1, kind="stable")[:, :k]
