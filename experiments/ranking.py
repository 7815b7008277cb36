"""Retrieval: every query ranks a gallery, or all other queries; and the accept rates over all pairs."""

import numpy as np

from experiments import intervals
from experiments import task as tasks
from metrics import retrieval, verification


def measure(task: tasks.Task, root: str) -> tasks.Measured:
    """Every query against the gallery, or against all other queries."""
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
    values, kept = per_query(queries, labels, gallery, gallery_labels, own, task.protocol.recall_at)
    found = intervals.of_means(values, labels[kept], task.seed)
    if task.protocol.far:
        found |= pair_rates(queries, labels, task.protocol.far, task.seed)
    counts = {"images": len(labels), "classes": len(np.unique(labels)), "queries": int(kept.sum()),
              "queries_without_match": int((~kept).sum()), "gallery": len(gallery)}
    complete = tasks.complete(task, len(labels), counts["classes"], 0 if own is not None else len(gallery))
    return tasks.Measured(found, counts, complete, "classes", problems)


def per_query(queries, labels, gallery, gallery_labels, own, recall_at) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(metric -> its term for each query that has a match, which queries those are bool[Q]).

    own: i[Q], the gallery row of each query itself, which it does not find; None where queries are no part of it.
    Raises ValueError where embeddings have collapsed to one point, and where no query has a match.
    """
    if np.ptp(gallery, axis=0).max(initial=0.0) == 0:
        raise ValueError("the embeddings have collapsed to one point: a ranking of them would mean nothing")
    counts = np.bincount(gallery_labels[gallery_labels >= 0], minlength=labels.max() + 1)
    matches = counts[labels] - (own is not None)
    kept = matches > 0
    if not kept.any():
        raise ValueError("no query has an image of its class to find: there is nothing to retrieve")
    r = matches[kept]
    depth = min(max(int(r.max()), *recall_at, 1), len(gallery) - (own is not None))
    found, _ = retrieval.neighbors(queries[kept], gallery, depth, exclude=None if own is None else own[kept])
    relevant = gallery_labels[found] == labels[kept][:, None]
    rank = np.arange(1, depth + 1)
    within = relevant & (rank <= r[:, None])
    precision = np.cumsum(relevant, axis=1) / rank
    values = {f"recall@{k}": relevant[:, :k].any(axis=1).astype(float) for k in recall_at}
    return values | {"precision@1": relevant[:, 0].astype(float), "r_precision": within.sum(axis=1) / r,
                     "map@r": (precision * within).sum(axis=1) / r}, kept


def pair_rates(embeddings, labels, far, seed: int) -> dict[str, dict]:
    """TAR at each FAR and the EER, over all pairs; the values exact, the intervals over identities."""
    scores, same = verification.all_pairs(embeddings, labels)
    exact = verification.verification_scores(embeddings, labels, far=far)
    first, second = np.triu_indices(len(labels), k=1)
    _, identity = np.unique(labels, return_inverse=True)
    rates = intervals.Rates(scores, same, identity[first], identity[second], seed)
    resampled = {f"tar@far={rate:g}": rates.tar_at(rate) for rate in far} | {"eer": rates.equal_error()}
    return {name: intervals.metric(exact[name], *intervals.percentiles(values[1:]))
            for name, values in resampled.items()}
