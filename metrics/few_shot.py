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
    """Draws random episodes: classes, and then support and query rows of each, without replacement in an episode.

    Args:
        labels: int[N].
        ways: classes of an episode.
        shots: support rows of each class.
        queries: query rows of each class.
        episodes: how many.
        seed: of the draws.
        groups: int[N]; all classes of an episode come from one group (an alphabet), and each group that has enough
            classes is as likely as any other.

    Returns:
        The episodes.

    Raises:
        UserError: classes or rows do not suffice.

    References:
        Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra: Matching Networks for One Shot Learning, 2016,
        arXiv:1606.04080.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import few_shot
        >>> labels = np.repeat(np.arange(6), 4)
        >>> (episode,) = few_shot.sample_episodes(labels, ways=3, shots=1, queries=2, episodes=1, seed=0)
        >>> episode.support.shape, episode.answers.tolist()
        ((3, 1), [0, 0, 1, 1, 2, 2])
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


def answers(embeddings: np.ndarray, episode: Episode) -> np.ndarray:
    """Gives each query of an episode to the way whose prototype is nearest, in Euclidean distance.

    A prototype is the mean of its support. Of equally near ways the first is answered.

    Args:
        embeddings: f[N,D].
        episode: rows of `embeddings`.

    Returns:
        i[M], the way of each query; it is right where it equals `episode.answers`.

    References:
        Snell, Swersky, Zemel: Prototypical Networks for Few-shot Learning, 2017, arXiv:1703.05175.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import few_shot
        >>> rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.2], [0.8, 0.1]])
        >>> few_shot.answers(rows, few_shot.Episode(np.array([[0], [1]]), np.array([2, 3]), np.array([0, 1]))).tolist()
        [0, 0]
    """
    prototypes = embeddings[episode.support].mean(axis=1)
    distance = (prototypes ** 2).sum(axis=1) - 2 * embeddings[episode.queries] @ prototypes.T
    return distance.argmin(axis=1)


def accuracy(embeddings, episodes, *, normalize: bool = True) -> FewShot:
    """Gives the share of queries that `answers` gives to the right way, averaged over episodes.

    Args:
        embeddings: f[N,D].
        episodes: of `sample_episodes`, or listed by hand.
        normalize: whether support and queries are L2-normalised first.

    Returns:
        Mean, half the width of its interval, and the accuracy of each episode.

    Raises:
        UserError: there is no episode, a value is not finite, or the embeddings are all equal: of equal distances the
            first way would always be right for its own queries.

    References:
        Snell, Swersky, Zemel: Prototypical Networks for Few-shot Learning, 2017, arXiv:1703.05175; there
        the embeddings are taken as they are (normalize=False).

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import few_shot
        >>> labels = np.repeat(np.arange(6), 4)
        >>> episodes = few_shot.sample_episodes(labels, ways=3, shots=1, queries=2, episodes=5, seed=0)
        >>> few_shot.accuracy(np.eye(6)[labels], episodes).accuracy
        1.0
    """
    embeddings = np.asarray(embeddings, np.float64)
    if not len(episodes):
        raise UserError("no episodes to score")
    retrieval.check_spread(embeddings)
    if normalize:
        embeddings = retrieval.normalized(embeddings).astype(np.float64)
    found = np.array([(answers(embeddings, episode) == episode.answers).mean() for episode in episodes])
    error = found.std(ddof=1) / np.sqrt(len(found)) if len(found) > 1 else float("nan")
    return FewShot(float(found.mean()), float(1.96 * error), found)
