"""Retrieval: nearest neighbours, and what their labels say. Exact, blocked, and split over devices.

Ties are broken by gallery index, the lower first. A query's own row is excluded by index, so that duplicates of it
stay. Labels are integers throughout. Two rows are relevant to each other where their labels are equal, or, for
multi-hot labels, where they share at least one.
"""

from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .neighbors import nearest
from .relevance import EqualLabels, SharedLabels, check_labels
from .relevance import same_source as same_source


def neighbors(queries, gallery, k: int, *, exclude=None, mesh=None) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k gallery rows of the largest inner product with each query, exactly.

    Args:
        queries: f[Q,D]; rows that are normalised first give cosines.
        gallery: f[N,D]. Memory is O(block x N).
        k: how many, 1..N, or with `exclude` 1..N-E.
        exclude: i[Q], the gallery row that query q must not find (itself), -1 for none; or i[Q,E] for several.
        mesh: splits the gallery over its axis "data".

    Returns:
        Indices i32[Q,K] and scores f32[Q,K], best first.

    Raises:
        UserError: k is out of its range, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import retrieval
        >>> gallery = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
        >>> indices, scores = retrieval.neighbors(gallery[:1], gallery, 2)
        >>> indices.tolist(), scores.tolist()
        ([[0, 2]], [[1.0, 0.5]])
        >>> retrieval.neighbors(gallery[:1], gallery, 2, exclude=[0])[0].tolist()
        [[2, 1]]
    """
    available = len(gallery) - (0 if exclude is None else np.asarray(exclude).reshape(len(queries), -1).shape[1])
    if not 1 <= k <= available:
        raise UserError(f"k={k} neighbours asked of {available} candidates")
    return nearest.Gallery(gallery, mesh).top(queries, k, exclude)


class PerQuery(NamedTuple):
    """What each query's ranking says, f64[Q] unless noted: means over queries, or over classes, give the metrics.

    A query without a relevant row (R = 0) has NaN everywhere but in `matches`, and `best` = N.
    """

    matches: np.ndarray             # i[Q], R: relevant gallery rows, the query itself and the excluded left out
    best: np.ndarray                # i[Q], rows before the first relevant one; recall@k is best < k
    r_precision: np.ndarray         # (1/R) sum_{i<=R} rel(i)
    map_at_r: np.ndarray            # (1/R) sum_{i<=R} P(i) rel(i)
    average_precision: np.ndarray   # (1/R) sum_i P(i) rel(i), over the full ranking

    def recall_at(self, k: int) -> np.ndarray:
        """Says whether a relevant row is among the first k: 0 or 1 for each query, f64[Q]."""
        return np.where(self.matches > 0, (self.best < k).astype(float), np.nan)

    def terms(self, recall_at=(1,)) -> dict[str, np.ndarray]:
        """Gives each metric's term of every query, f64[Q], by the metric's name: its mean is the metric."""
        return {f"recall@{k}": self.recall_at(k) for k in recall_at} | {
            "precision@1": self.recall_at(1), "r_precision": self.r_precision, "map@r": self.map_at_r,
            "map": self.average_precision}


def rank(queries, query_labels, gallery, gallery_labels, *, exclude=None, mesh=None) -> PerQuery:
    """Ranks the gallery by inner product for every query. No ranking is sorted where counting is quicker.

    Args:
        queries: f[Q,D], L2-normalised for cosines.
        query_labels: int[Q], or multi-hot (bool, or integers 0 and 1) [Q,L].
        gallery: f[N,D], L2-normalised for cosines, or a `nearest.Gallery`. Memory is O(block x N).
        gallery_labels: int[N] or multi-hot [N,L].
        exclude: as in `neighbors`; an excluded row is neither ranked nor counted in R.
        mesh: splits the gallery over its axis "data".

    Returns:
        What each ranking says of the labels.

    Raises:
        UserError: labels are not integers, shapes do not fit, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import retrieval
        >>> gallery = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> rankings = retrieval.rank(gallery[:1], np.array([7]), gallery, np.array([3, 7, 7]))
        >>> rankings.matches.tolist(), rankings.best.tolist(), rankings.r_precision.tolist()
        ([2], [1], [0.5])
    """
    query_labels, gallery_labels = np.asarray(query_labels), np.asarray(gallery_labels)
    index = gallery if isinstance(gallery, nearest.Gallery) else nearest.Gallery(gallery, mesh)
    check_labels(len(queries), query_labels)
    check_labels(index.size, gallery_labels)
    queries, exclude = np.asarray(queries, np.float32), nearest.columns(exclude, len(queries))
    relevant = (SharedLabels if query_labels.ndim == 2 else EqualLabels)(query_labels, gallery_labels)
    result = PerQuery(np.zeros(len(queries), np.int64), np.full(len(queries), index.size, np.int64),
                      *(np.full(len(queries), np.nan) for _ in range(3)))
    # Queries of about as many relevant rows go together, so that little of a block is padding.
    excluded = (exclude >= 0).any(axis=1)
    upper = relevant.counts()
    order = np.argsort(upper, kind="stable")
    order = order[upper[order] > 0]
    width = np.array([nearest.rounded(count) for count in range(upper.max(initial=0) + 1)])
    bucket = width[np.maximum(upper - excluded, 1)[order]]
    for level in np.unique(bucket):
        members = order[bucket == level]
        # The table of relevant rows is bounded too.
        step = max(index.block, min(16 * index.block, 2**24 // int(level)) // index.block * index.block)
        for start in range(0, len(members), step):
            _score(index, queries, relevant, exclude, members[start:start + step], result)
    return result


def _score(index, queries, relevant, exclude, members, result: PerQuery) -> None:
    """Fills in the rows `members` of `result`."""
    rows = relevant.rows(members)
    for column in exclude[members].T:
        rows[rows == column[:, None]] = -1
    matches = (rows >= 0).sum(axis=1)
    rows = -np.sort(-rows, axis=1)[:, :max(matches.max(initial=0), 1)]  # the padding last
    ranks = index.ranks(queries[members], rows, exclude[members])
    found = ranks < index.size
    precision = np.where(found, np.arange(1, ranks.shape[1] + 1) / (ranks + 1.0), 0.0)
    within = ranks < matches[:, None]
    result.matches[members] = matches
    result.best[members] = ranks[:, 0]
    for name, value in (("r_precision", within.sum(axis=1)), ("map_at_r", (precision * within).sum(axis=1)),
                        ("average_precision", precision.sum(axis=1))):
        getattr(result, name)[members] = np.where(matches > 0, value / np.maximum(matches, 1), np.nan)


def rank_self(embeddings, labels, *, mesh=None) -> PerQuery:
    """Lets every row query all the others, by cosine.

    Args:
        embeddings: f[N,D], of any length.
        labels: int[N] or multi-hot [N,L], as in `rank`.
        mesh: splits the gallery over its axis "data".

    Returns:
        What each ranking says of the labels.

    Raises:
        UserError: embeddings are not finite or all equal, or no class has two images.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import retrieval
        >>> rankings = retrieval.rank_self(np.array([[1, 0], [1, 2], [0, 1]]), np.array([0, 0, 1]))
        >>> rankings.best.tolist(), rankings.matches.tolist()
        ([0, 1, 3], [1, 1, 0])
    """
    embeddings, labels = normalized(embeddings), np.asarray(labels)
    check_labels(len(embeddings), labels)
    check_spread(embeddings)
    if labels.ndim == 1 and len(np.unique(labels)) == len(labels):
        raise UserError("no class has two images: there is nothing to retrieve")
    return rank(embeddings, labels, embeddings, labels, exclude=np.arange(len(labels)), mesh=mesh)


def check_spread(embeddings) -> None:
    """Refuses embeddings that nothing can be told by: the order of equal rows is the order in which they are stored.

    Args:
        embeddings: f[N,D].

    Raises:
        UserError: a value is not finite, or all rows are the same; one row alone has not collapsed.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import retrieval
        >>> retrieval.check_spread(np.eye(2))
        >>> retrieval.check_spread(np.ones((3, 2)))
        Traceback (most recent call last):
        geodesic.errors.UserError: the embeddings have collapsed to one point: a score of them would mean nothing
    """
    embeddings = np.asarray(embeddings)
    if not np.isfinite(embeddings).all():
        raise UserError("embeddings hold NaN or infinite values: nothing is ranked")
    if len(embeddings) != 1 and np.ptp(embeddings, axis=0).max(initial=0.0) == 0:
        raise UserError("the embeddings have collapsed to one point: a score of them would mean nothing")


def summary(rankings: PerQuery, *, recall_at=(1,)) -> dict[str, float]:
    """Averages the rankings over the queries that have a match.

    Args:
        rankings: of `rank` or `rank_self`.
        recall_at: the k of recall@k, which is CMC@k: the share of queries with a match among the first k.

    Returns:
        recall@k, precision@1, r_precision, map@r and map; "queries" are those that were averaged, and
        "queries_without_match" those with R = 0, which are left out.

    Raises:
        UserError: no query has a match.

    References:
        Musgrave, Belongie, Lim: A Metric Learning Reality Check, 2020, arXiv:2003.08505 (r_precision, map@r).

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import retrieval
        >>> rankings = retrieval.rank_self(np.array([[1, 0], [1, 2], [0, 1]]), np.array([0, 0, 1]))
        >>> scores = retrieval.summary(rankings, recall_at=(1, 2))
        >>> scores["recall@1"], scores["recall@2"], scores["map"], scores["queries_without_match"]
        (0.5, 1.0, 0.75, 1)
    """
    kept = rankings.matches > 0
    if not kept.any():
        raise UserError("no query has a match in the gallery: there is nothing to retrieve")
    return {name: float(values[kept].mean()) for name, values in rankings.terms(recall_at).items()} | {
        "queries": int(kept.sum()), "queries_without_match": int((~kept).sum())}


def ranking_scores(embeddings, labels, *, recall_at=(1,), mesh=None) -> dict[str, float]:
    """Scores embeddings by retrieval: every row queries all the others, by cosine.

    Args:
        embeddings: f[N,D], of any length.
        labels: int[N] or multi-hot [N,L].
        recall_at: the k of recall@k.
        mesh: splits the gallery over its axis "data".

    Returns:
        The `summary` of `rank_self`.

    Raises:
        UserError: as `rank_self` and `summary` raise it.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import retrieval
        >>> retrieval.ranking_scores(np.array([[1, 0], [2, 1], [0, 1], [1, 2]]), np.array([0, 0, 1, 1]))["map@r"]
        1.0
    """
    return summary(rank_self(embeddings, labels, mesh=mesh), recall_at=recall_at)


def gallery_scores(queries, query_labels, gallery, gallery_labels, *, recall_at=(1,), exclude=None,
                   mesh=None) -> dict[str, float]:
    """Scores queries against a separate gallery, by cosine.

    Args:
        queries: f[Q,D], of any length.
        query_labels: int[Q] or multi-hot [Q,L].
        gallery: f[N,D], of any length.
        gallery_labels: int[N] or multi-hot [N,L].
        recall_at: the k of recall@k.
        exclude: as in `neighbors`; for re-identification it comes from `same_source`.
        mesh: splits the gallery over its axis "data".

    Returns:
        The `summary` of `rank`.

    Raises:
        UserError: the gallery is not finite or all equal, and as `rank` and `summary` raise it.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import retrieval
        >>> scores = retrieval.gallery_scores(np.array([[1, 0], [0, 1]]), np.array([4, 9]),
        ...                                   np.array([[3, 1], [2, 0]]), np.array([4, 5]))
        >>> scores["recall@1"], scores["map"], scores["queries_without_match"]
        (0.0, 0.5, 1)
    """
    queries, gallery = normalized(queries), normalized(gallery)
    check_spread(gallery)
    rankings = rank(queries, query_labels, gallery, gallery_labels, exclude=exclude, mesh=mesh)
    return summary(rankings, recall_at=recall_at)


def cmc(rankings: PerQuery, depth: int) -> np.ndarray:
    """Gives the cumulative match characteristic: the share of queries with a match within rank 1, 2, ... depth.

    Args:
        rankings: of `rank` or `rank_self`. Queries without a match (R = 0) are left out.
        depth: the last rank of the curve.

    Returns:
        f64[depth]; entry k-1 is recall@k.

    References:
        Phillips, Moon, Rizvi, Rauss: The FERET Evaluation Methodology for Face-Recognition Algorithms, 2000.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import retrieval
        >>> rankings = retrieval.rank_self(np.array([[1, 0], [1, 2], [0, 1]]), np.array([0, 0, 1]))
        >>> retrieval.cmc(rankings, 3).tolist()
        [0.5, 1.0, 1.0]
    """
    best = rankings.best[rankings.matches > 0]
    return np.cumsum(np.bincount(np.minimum(best, depth), minlength=depth + 1)[:depth]) / max(len(best), 1)


def normalized(embeddings) -> np.ndarray:
    """Divides each row by its L2 norm; a zero row stays zero.

    Args:
        embeddings: f[N,D].

    Returns:
        f32[N,D].

    Example:
        >>> from geodesic.metrics import retrieval
        >>> retrieval.normalized([[3.0, 0.0], [0.0, 0.0]]).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """
    embeddings = np.asarray(embeddings, np.float32)
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.where(norms > 0, norms, 1)
