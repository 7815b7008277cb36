"""Retrieval: nearest neighbours, and what their labels say. Exact, blocked, and split over devices.

Ties are broken by gallery index (the lower first). A query's own row is excluded by index, so that duplicates
of it stay. Labels are integers throughout. Two rows are relevant to each other where their labels are equal, or, for
multi-hot labels, where they share at least one.
"""

from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .neighbors import nearest


def neighbors(queries, gallery, k: int, *, exclude=None, mesh=None) -> tuple[np.ndarray, np.ndarray]:
    """The k gallery rows of the largest inner product: indices i32[Q,K] and scores f32[Q,K], best first.

    queries [Q,D], gallery [N,D]: float; normalise them first for cosines. exclude: i[Q], the gallery row that
    query q must not find (itself), -1 for none, or i[Q,E] for several. mesh: splits the gallery over its axis "data".
    Memory is O(block x N). Raises UserError for k outside 1..N (N-E with `exclude`) and for values not finite.
    """
    available = len(gallery) - (0 if exclude is None else np.asarray(exclude).reshape(len(queries), -1).shape[1])
    if not 1 <= k <= available:
        raise UserError(f"k={k} neighbours asked of {available} candidates")
    return nearest.Gallery(gallery, mesh).top(queries, k, exclude)


class PerQuery(NamedTuple):
    """What each query's ranking says, f64[Q] unless noted: sums over queries, or over classes, give the metrics.

    A query without a relevant row (R = 0) has NaN everywhere but in `matches`, and `best` = N.
    """

    matches: np.ndarray             # i[Q], R: relevant gallery rows, the query itself and the excluded left out
    best: np.ndarray                # i[Q], rows before the first relevant one; recall@k is best < k
    r_precision: np.ndarray         # (1/R) sum_{i<=R} rel(i)
    map_at_r: np.ndarray            # (1/R) sum_{i<=R} P(i) rel(i)
    average_precision: np.ndarray   # (1/R) sum_i P(i) rel(i), over the full ranking

    def recall_at(self, k: int) -> np.ndarray:
        return np.where(self.matches > 0, (self.best < k).astype(float), np.nan)


def rank(queries, query_labels, gallery, gallery_labels, *, exclude=None, mesh=None) -> PerQuery:
    """Ranks the gallery by inner product for every query. No ranking is sorted where counting is quicker.

    queries f[Q,D], gallery f[N,D] or a nearest.Gallery: L2-normalised for cosines. Labels: int[Q] and int[N], or
    multi-hot (bool, or integers 0 and 1) [Q,L] and [N,L]. exclude: as in `neighbors`; an excluded row is neither
    ranked nor counted in R. Memory is O(block x N). Raises UserError for labels that are not
    integers, shapes that do not fit, and values that are not finite.
    """
    query_labels, gallery_labels = np.asarray(query_labels), np.asarray(gallery_labels)
    index = gallery if isinstance(gallery, nearest.Gallery) else nearest.Gallery(gallery, mesh)
    _check_labels(len(queries), query_labels)
    _check_labels(index.size, gallery_labels)
    queries, exclude = np.asarray(queries, np.float32), nearest.columns(exclude, len(queries))
    relevant = (_SharedLabels if query_labels.ndim == 2 else _EqualLabels)(query_labels, gallery_labels)
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


def _check_labels(rows: int, labels: np.ndarray) -> None:
    if not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
        raise UserError(f"labels are integers, got {labels.dtype}")
    if rows != len(labels):
        raise UserError(f"{rows} embeddings and {len(labels)} labels: expected one for each")


class _EqualLabels:
    """Which gallery rows have the query's label."""

    def __init__(self, query_labels, gallery_labels):
        self._order = np.argsort(gallery_labels, kind="stable").astype(np.int32)
        ordered = gallery_labels[self._order]
        self._start = np.searchsorted(ordered, query_labels, side="left")
        self._count = np.searchsorted(ordered, query_labels, side="right") - self._start

    def counts(self) -> np.ndarray:
        return self._count

    def rows(self, queries) -> np.ndarray:
        """i32[Q,R], ascending; -1 pads."""
        offset = np.arange(self._count[queries].max(initial=1))
        place = np.minimum(self._start[queries][:, None] + offset, len(self._order) - 1)
        return np.where(offset < self._count[queries][:, None], self._order[place], np.int32(-1))


class _SharedLabels:
    """Which gallery rows share at least one label with the query; labels are multi-hot."""

    def __init__(self, query_labels, gallery_labels):
        if gallery_labels.ndim != 2 or query_labels.shape[1] != gallery_labels.shape[1]:
            raise UserError(f"multi-hot labels of {query_labels.shape} and {gallery_labels.shape} do not fit together")
        if query_labels.max(initial=0) > 1 or gallery_labels.max(initial=0) > 1:
            raise UserError("labels of two dimensions are multi-hot: 0 and 1 alone")
        self._queries, self._gallery = query_labels.astype(np.float32), gallery_labels.astype(np.float32).T

    def _shared(self, queries) -> np.ndarray:
        return self._queries[queries] @ self._gallery > 0

    def counts(self) -> np.ndarray:
        blocks = [self._shared(slice(start, start + 256)).sum(axis=1) for start in range(0, len(self._queries), 256)]
        return np.concatenate([np.zeros(0, np.int64), *blocks])

    def rows(self, queries) -> np.ndarray:
        shared = [np.flatnonzero(row) for part in range(0, len(queries), 256)
                  for row in self._shared(queries[part:part + 256])]
        rows = np.full((len(shared), max(1, *(len(row) for row in shared))), -1, np.int32)
        for row, found in zip(rows, shared, strict=True):
            row[:len(found)] = found
        return rows


def rank_self(embeddings, labels, *, mesh=None) -> PerQuery:
    """Every row queries all the others, by cosine. embeddings f[N,D]; labels as in `rank`.

    Raises UserError for embeddings that are not finite or all equal, and where no query has a match.
    """
    embeddings, labels = normalized(embeddings), np.asarray(labels)
    _check_labels(len(embeddings), labels)
    check_spread(embeddings)
    if labels.ndim == 1 and len(np.unique(labels)) == len(labels):
        raise UserError("no class has two images: there is nothing to retrieve")
    return rank(embeddings, labels, embeddings, labels, exclude=np.arange(len(labels)), mesh=mesh)


def check_spread(embeddings: np.ndarray) -> None:
    """Raises UserError for rows that are not finite, or of which each is the same; one row alone is not collapsed."""
    if not np.isfinite(embeddings).all():
        raise UserError("embeddings hold NaN or infinite values: nothing is ranked")
    if len(embeddings) != 1 and np.ptp(embeddings, axis=0).max(initial=0.0) == 0:
        raise UserError("the embeddings have collapsed to one point: a ranking of them would mean nothing")


def summary(rankings: PerQuery, *, recall_at=(1,)) -> dict[str, float]:
    """Means over the queries with a match: recall@k (CMC@k), precision@1, r_precision, map@r and map.

    Queries with R = 0 are left out and counted in "queries_without_match". Musgrave, Belongie, Lim: A Metric Learning
    Reality Check, 2020, arXiv:2003.08505 (r_precision, map@r). Raises UserError where no query has a match.
    """
    kept = rankings.matches > 0
    if not kept.any():
        raise UserError("no query has a match in the gallery: there is nothing to retrieve")
    return {f"recall@{k}": float((rankings.best[kept] < k).mean()) for k in recall_at} | {
        "precision@1": float((rankings.best[kept] < 1).mean()),
        "r_precision": float(rankings.r_precision[kept].mean()),
        "map@r": float(rankings.map_at_r[kept].mean()),
        "map": float(rankings.average_precision[kept].mean()),
        "queries": int(kept.sum()),
        "queries_without_match": int((~kept).sum()),
    }


def ranking_scores(embeddings, labels, *, recall_at=(1,), mesh=None) -> dict[str, float]:
    """`summary` of `rank_self`: every row queries all the others, by cosine."""
    return summary(rank_self(embeddings, labels, mesh=mesh), recall_at=recall_at)


def gallery_scores(queries, query_labels, gallery, gallery_labels, *, recall_at=(1,), exclude=None,
                   mesh=None) -> dict[str, float]:
    """`summary` of queries [Q,D] against a separate gallery [N,D], by cosine; arguments as in `rank`."""
    queries, gallery = normalized(queries), normalized(gallery)
    check_spread(gallery)
    rankings = rank(queries, query_labels, gallery, gallery_labels, exclude=exclude, mesh=mesh)
    return summary(rankings, recall_at=recall_at)


def cmc(rankings: PerQuery, depth: int) -> np.ndarray:
    """The cumulative match characteristic, f64[depth]: entry k-1 is the share of queries with a match within rank k.

    Queries with R = 0 are left out.
    """
    best = rankings.best[rankings.matches > 0]
    return np.cumsum(np.bincount(np.minimum(best, depth), minlength=depth + 1)[:depth]) / max(len(best), 1)


def same_source(query_labels, query_sources, gallery_labels, gallery_sources) -> np.ndarray:
    """`exclude` for re-identification: the gallery rows of the query's own label and camera, i32[Q,E]; -1 pads.

    All int[Q] or int[N]. Zheng et al.: Scalable Person Re-identification: A Benchmark, 2015 (Market-1501).
    """
    pairs = np.concatenate([np.stack([query_labels, query_sources], axis=1),
                            np.stack([gallery_labels, gallery_sources], axis=1)])
    _, inverse = np.unique(pairs, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    return _EqualLabels(inverse[:len(query_labels)], inverse[len(query_labels):]).rows(np.arange(len(query_labels)))


def average_precision_at_r(embeddings, labels) -> np.ndarray:
    """The term of map@r for each row, f64[N]; NaN where the row has no match. As `ranking_scores` otherwise."""
    return rank_self(embeddings, labels).map_at_r


def normalized(embeddings) -> np.ndarray:
    """f32[N,D], each row divided by its L2 norm; a zero row stays zero."""
    embeddings = np.asarray(embeddings, np.float32)
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.where(norms > 0, norms, 1)
