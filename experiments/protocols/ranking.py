"""Retrieval: every query ranks a gallery, or all other queries; and the accept rates over all pairs."""

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.protocols import intervals
from geodesic.experiments.protocols import task as tasks
from geodesic.metrics import bootstrap, retrieval, verification

# Images whose pairs are listed, for the interval of the EER: a million.
_MAX_LISTED = 1500


def measure(task: tasks.Task, root: str) -> tasks.Measured:
    """Measures every query against the gallery, or against all other queries. Raises as `score` does."""
    source = tasks.source(task, task.protocol.test, root)
    queries, places, problems = tasks.embed(task, source)
    labels = source.labels[places]
    gallery, gallery_labels, own = queries, labels, np.arange(len(queries))
    if task.protocol.gallery.name:
        gallery_source = tasks.source(task, task.protocol.gallery, root)
        gallery, gallery_places, more = tasks.embed(task, gallery_source)
        problems = problems + more
        # The two lists number their classes apart: the names are what they share.
        number = {name: index for index, name in enumerate(source.class_names)}
        gallery_labels = np.array([number.get(gallery_source.class_names[label], -1) for label in
                                   gallery_source.labels[gallery_places]])
        own = None
    return score(task, queries, labels, gallery, gallery_labels, own, problems)


def score(task: tasks.Task, queries, labels, gallery, gallery_labels, own, problems: list[str]) -> tasks.Measured:
    """Scores queries against a gallery, with intervals over classes.

    queries f[Q,D] and gallery f[N,D], L2-normalised; own: i[Q], the gallery row that is the query itself, or None.
    Raises UserError where the embeddings are not finite or have collapsed to one point, and where no query has a match.
    """
    retrieval.check_spread(gallery)
    rankings = retrieval.rank(queries, labels, gallery, gallery_labels, exclude=own, mesh=task.mesh)
    kept = rankings.matches > 0
    if not kept.any():
        raise UserError("no query has an image of its class to find: there is nothing to retrieve")
    values = {name: value[kept] for name, value in rankings.terms(task.protocol.recall_at).items()}
    found = intervals.of_means(values, labels[kept], task.seed)
    if task.protocol.far:
        found |= pair_rates(queries, labels, task.protocol.far, task.seed)
    counts = {"images": len(labels), "classes": len(np.unique(labels)), "queries": int(kept.sum()),
              "queries_without_match": int((~kept).sum()), "gallery": len(gallery)}
    complete = tasks.complete(task, len(labels), counts["classes"], 0 if own is not None else len(gallery))
    return tasks.Measured(found, counts, complete, "classes", problems)


def pair_rates(embeddings, labels, far, seed: int) -> dict[str, dict]:
    """Gives TAR at each FAR and the EER, over all pairs; the values are exact, the intervals over identities.

    The EER of very many pairs has no interval.
    """
    exact = verification.verification_scores(embeddings, labels, far=far)
    options = dict(far=far, samples=intervals.RESAMPLES, seed=seed, level=intervals.LEVEL)
    if len(labels) <= _MAX_LISTED:
        scores, same = verification.all_pairs(embeddings, labels)
        identities = np.stack(np.triu_indices(len(labels), k=1), axis=1)
        found = bootstrap.pair_intervals(scores, same, np.asarray(labels)[identities], **options)
    else:
        found = bootstrap.verification_intervals(embeddings, labels, **options)
    names = [f"tar@far={rate:g}" for rate in far] + ["eer"]
    return {name: intervals.metric(exact[name], *(found[name][1:] if name in found else ())) for name in names}
