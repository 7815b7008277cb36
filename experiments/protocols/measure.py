"""Follows a protocol: from trained embedders to metrics with intervals."""

from geodesic.experiments.protocols import classifying, episodes, faces, ranking
from geodesic.experiments.protocols import task as tasks

# A protocol's task -> how it is measured.
TASKS = {
    "retrieval": ranking.measure,
    "classification": classifying.measure,
    "ten_fold": faces.ten_fold,
    "templates": faces.template_pairs,
    "few_shot": episodes.few_shot,
    "one_shot": episodes.one_shot,
    "pair_accuracy": episodes.pair_accuracy,
}


def measure(protocol, runs: list, seed: int, root: str) -> tasks.Measured:
    """runs: loaded with `tasks.options_of` their configurations; root: the --data folder or "".

    Raises UserError for a task whose parts are not there.
    """
    return TASKS[protocol.task](tasks.Task(protocol, runs, seed), root)
