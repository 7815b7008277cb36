"""Face verification: listed pairs in ten folds, and the templates of IJB-B and IJB-C."""

import numpy as np

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.protocols import intervals
from geodesic.experiments.protocols import task as tasks
from geodesic.metrics import bootstrap, templates, verification
from geodesic.metrics import ten_fold as folds

# Resamples of millions of listed pairs take a second each; a tenth of them still gives two digits.
_MANY_PAIRS, _FEW_RESAMPLES = 1_000_000, 100


def ten_fold(task: tasks.Task, root: str) -> tasks.Measured:
    """Measures listed pairs in ten contiguous folds, the threshold of each chosen on the other nine.

    The sets name no identities, so the interval resamples the folds. Raises UserError where an image cannot be read:
    a pair less is another protocol.
    """
    wanted = tasks.locate(task.protocol.test, task.runs[0].config, root)
    listed = datasets.build_pairs(wanted["name"], path=wanted["path"])
    embeddings, _, problems = tasks.embed(task, listed.images)
    if problems:
        raise UserError(f"ten-fold verification needs every image; {problems[0]}")
    first, second = (embeddings[listed.pairs[:, side]] for side in (0, 1))
    result = folds.ten_fold(first, second, listed.same)
    metrics = intervals.of_means({"accuracy_10fold": result.accuracies}, np.arange(folds.FOLDS), task.seed)
    metrics["accuracy_10fold_std"] = intervals.metric(result.std)
    counts = {"images": len(listed.images), "pairs": len(listed.same)}
    return tasks.Measured(metrics, counts, tasks.complete(task, 2 * len(listed.pairs), 0), "folds", problems)


def template_pairs(task: tasks.Task, root: str) -> tasks.Measured:
    """Measures TAR at each FAR over the listed pairs of templates.

    The intervals resample templates: the lists do not name their subjects.
    """
    if len(task.runs) > 1:
        raise UserError("templates are built of one model's embeddings: leave out --concatenate")
    source = tasks.source(task, task.protocol.test, root)
    # Flips are in the embeddings already: their mean is half the sum, and the scale of all templates cancels.
    embeddings, places, problems = tasks.embed(task, source, unit=False)
    built = templates.templates(
        embeddings, source.templates[places], source.media[places], keep_norm=not task.protocol.normalise_templates,
        detector_scores=source.scores[places] if task.protocol.detector_scores else None)
    scores = templates.pair_scores(built, source.pairs[:, 0], source.pairs[:, 1])
    exact = verification.curve_scores(verification.roc(scores, source.same), task.protocol.far)
    samples = intervals.RESAMPLES if len(scores) < _MANY_PAIRS else _FEW_RESAMPLES
    found = bootstrap.pair_intervals(scores, source.same, source.pairs, far=task.protocol.far, seed=task.seed,
                                     samples=samples)
    metrics = {name: intervals.metric(exact[name], interval.low, interval.high) for name, interval in found.items()
               if name.startswith("tar@")}
    counts = {"images": len(places), "templates": len(built.ids), "pairs": len(scores),
              "genuine_pairs": int(source.same.sum()), "resamples": samples}
    return tasks.Measured(metrics, counts, not problems, "templates", problems)
