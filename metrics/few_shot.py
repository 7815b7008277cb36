"""Few-shot classification: episodes of N classes (ways) with K examples (shots) each, answered by prototypes."""

from typing import NamedTuple

import numpy as np

from ..errors import UserError
from . import retrieval


class Episode(NamedTuple):
    """Rows of the embeddings. Way w of an episode is the class of support[w]."""

    support: np.ndarray         # i[ways, shots]
    queries: np.ndarray         # i[M]
    answers: np.ndarray         # i[M], the way of each query


def sample_episodes(labels, *, ways: int, shots: int, queries: int, episodes: int, seed: int,
                    groups=None) -> list[Episode]:
    """Random episodes: classes, and then support and `queries` rows of each, without replacement within an episode.

    labels int[N]. groups int[N]: all classes of an episode come from one group (an alphabet), each group that has
    enough classes as likely as any other. Raises UserError where classes or rows do not suffice.
    """
    labels = np.asarray(labels)
    groups = np.zeros(len(labels), np.int64) if groups is None else np.asarray(groups)
    if groups.shape != labels.shape:
        raise UserError(f"{len(labels)} labels and {len(groups)} groups: expected one for each")
    pools = []
    for group in np.unique(groups):
        inside = np.flatnonzero(groups == group)
        found = [inside[labels[inside] == label] for label in np.unique(labels[inside])]
        found = [rows for rows in found if len(rows) >= shots + queries]
        pools += [found] if len(found) >= ways else []
    if not pools:
        raise UserError(f"no group has {ways} classes of {shots + queries} examples (shots and queries)")
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(episodes):
        pool = pools[rng.integers(len(pools))]
        chosen = np.stack([rng.choice(pool[index], shots + queries, replace=False)
                           for index in rng.choice(len(pool), ways, replace=False)])
        result.append(Episode(chosen[:, :shots], chosen[:, shots:].ravel(), np.repeat(np.arange(ways), queries)))
    return result


class FewShot(NamedTuple):
    accuracy: float             # mean over the episodes
    half_width: float           # of its 95 % interval, 1.96 standard errors; NaN for one episode
    accuracies: np.ndarray      # f64[episodes]


def accuracy(embeddings, episodes, *, normalize: bool = True) -> FewShot:
    """Each query goes to the way whose prototype is nearest, in Euclidean distance; of equally near, to the first.

    embeddings f[N,D]. A prototype is the mean of its support: of L2-normalised embeddings, and the queries normalised
    too, or, with normalize=False, of the embeddings as they are (Snell, Swersky, Zemel: Prototypical Networks, 2017,
    arXiv:1703.05175). Raises UserError for values that are not finite and for embeddings that are all equal: of equal
    distances the first way is always right for its own queries.
    """
    embeddings = np.asarray(embeddings, np.float64)
    if not len(episodes):
        raise UserError("no episodes to score")
    if not np.isfinite(embeddings).all():
        raise UserError("embeddings hold NaN or infinite values: no prototype is meant")
    if np.ptp(embeddings, axis=0).max(initial=0.0) == 0:
        raise UserError("the embeddings have collapsed to one point: no prototype is nearer than another")
    if normalize:
        embeddings = retrieval.normalized(embeddings).astype(np.float64)
    found = np.array([_one(embeddings, episode) for episode in episodes])
    error = found.std(ddof=1) / np.sqrt(len(found)) if len(found) > 1 else float("nan")
    return FewShot(float(found.mean()), float(1.96 * error), found)


def _one(embeddings: np.ndarray, episode: Episode) -> float:
    prototypes = embeddings[episode.support].mean(axis=1)
    distance = (prototypes ** 2).sum(axis=1) - 2 * embeddings[episode.queries] @ prototypes.T
    return float((distance.argmin(axis=1) == episode.answers).mean())
