"""What else somebody may like: rows near to what is liked, away from what is not, and not all alike."""

import numpy as np

from ..errors import UserError
from . import retrieval

# Candidates among which diversity chooses: so many times as many as are wanted, and this many at least.
_TIMES, _LEAST = 20, 200
# What is disliked counts half: the mean of what is liked stays the main thing. Qdrant's average of vectors does so too.
DISLIKED = 0.5
_SAME = 1 - 1e-6  # a row as near as this to a seed is the seed


def query(liked, disliked=()) -> np.ndarray:
    """Makes one direction of what is liked and what is not: the mean of the former minus half the mean of the latter.

    Args:
        liked: f[L,D], unit vectors, one at least.
        disliked: f[U,D], unit vectors.

    Returns:
        f32[D], of length 1.

    Raises:
        UserError: nothing is liked, or what is liked and what is not leave nothing.

    References:
        Rocchio: Relevance Feedback in Information Retrieval, 1971.

    Example:
        >>> from geodesic.metrics import recommendation
        >>> [round(float(value), 3) for value in recommendation.query([[1.0, 0.0]], [[0.0, 1.0]])]
        [0.894, -0.447]
    """
    if not len(liked):
        raise UserError("nothing is liked: a recommendation needs one picture at least")
    wanted = np.asarray(liked, np.float32).mean(axis=0)
    if len(disliked):
        wanted = wanted - np.float32(DISLIKED) * np.asarray(disliked, np.float32).mean(axis=0)
    length = float(np.linalg.norm(wanted))
    if length < 1e-6:
        raise UserError("what is liked cancels itself out: no direction is left to look in")
    return wanted / np.float32(length)


def recommend(embeddings, liked, disliked=(), k: int = 10, *, diversity: float = 0.0, exclude=()
              ) -> tuple[np.ndarray, np.ndarray]:
    """Finds rows near to the `query` that are not near to each other, by maximal marginal relevance.

    One after the other is taken that has the greatest (1 - diversity) x its cosine to the query - diversity x its
    greatest cosine to one that was taken before.

    Args:
        embeddings: f[N,D], unit vectors.
        liked, disliked: as of `query`. Rows that have the same vector as one of these are not found.
        k: how many are wanted.
        diversity: 0 the nearest, however alike they are; 1 the most different ones among the 20 x k nearest.
        exclude: i[E], further rows that are not to be found.

    Returns:
        Rows i64[K] in the order of being taken, and their cosines to the query f32[K]. K is k, or what there is.

    Raises:
        UserError: as of `query`; k is less than 1, or the diversity not within 0 and 1.

    References:
        Carbonell, Goldstein: The Use of MMR, Diversity-Based Reranking, 1998.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import recommendation
        >>> rows = np.array([[1.0, 0.0], [0.96, 0.28], [0.96, 0.28], [0.8, -0.6]])
        >>> recommendation.recommend(rows, rows[:1], k=2)[0].tolist()
        [1, 2]
        >>> recommendation.recommend(rows, rows[:1], k=2, diversity=0.5)[0].tolist()
        [1, 3]
    """
    if k < 1 or not 0 <= diversity <= 1:
        raise UserError(f"ask for one recommendation at least, and a diversity between 0 and 1; got k={k}, "
                        f"diversity={diversity:g}")
    embeddings, wanted = np.asarray(embeddings, np.float32), query(liked, disliked)
    seeds = np.concatenate([np.asarray(some, np.float32).reshape(-1, len(wanted)) for some in (liked, disliked)])
    cosines, left = embeddings @ wanted, (embeddings @ seeds.T < _SAME).all(axis=1)
    left[np.asarray(exclude, np.int64)] = False
    places = np.flatnonzero(left)
    places = places[np.argsort(-cosines[places], kind="stable")]
    if diversity:
        places = _marginal(embeddings, cosines, places[:max(_TIMES * k, _LEAST)], k, diversity)
    return places[:k], cosines[places[:k]]


def _marginal(embeddings, cosines, places: np.ndarray, k: int, diversity: float) -> np.ndarray:
    """The k that are taken of these candidates, which come the nearest first."""
    rows, relevance = embeddings[places], cosines[places]
    nearest, taken = np.full(len(places), -1.0, np.float32), []
    gain = relevance  # before one is taken, all are as different
    for _ in range(min(k, len(places))):
        best = int(np.argmax(gain))
        taken.append(best)
        nearest = np.maximum(nearest, rows @ rows[best])
        gain = (1 - diversity) * relevance - diversity * nearest
        gain[taken] = -np.inf
    return places[taken]


def spread(embeddings) -> float:
    """Says how alike rows are: their mean pairwise cosine. The less, the more diverse.

    Args:
        embeddings: f[K,D], unit vectors, two at least.

    Returns:
        -1..1.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import recommendation
        >>> recommendation.spread(np.eye(3))
        0.0
    """
    rows = retrieval.normalized(embeddings)
    total = float(np.square(rows.sum(axis=0)).sum()) - len(rows)
    return total / (len(rows) * (len(rows) - 1))
