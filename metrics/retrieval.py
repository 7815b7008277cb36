"""Retrieval: nearest neighbours, and what their labels say. Exact and blocked.

Ties are broken by gallery index (the lower first). A query's own row is excluded by index, so that duplicates
of it stay. Labels are integers throughout.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Queries at a time: the block of similarities is [_BLOCK, N] float32.
_BLOCK = 1024


def neighbors(queries, gallery, k: int, *, exclude=None) -> tuple[np.ndarray, np.ndarray]:
    """The k gallery rows of the largest inner product: indices i32[Q,K] and scores f32[Q,K], best first.

    queries [Q,D], gallery [N,D]: float; normalise them first for cosines. exclude: i[Q], the gallery row that
    query q must not find (itself), -1 for none. Memory is O(block x N).
    Raises ValueError for k outside 1..N (N-1 with `exclude`) and for values that are not finite.
    """
    queries, gallery = np.asarray(queries, np.float32), np.asarray(gallery, np.float32)
    available = len(gallery) - (exclude is not None)
    if not 1 <= k <= available:
        raise ValueError(f"k={k} neighbours asked of {available} candidates")
    if not (np.isfinite(queries).all() and np.isfinite(gallery).all()):
        raise ValueError("embeddings hold NaN or infinite values: nothing is ranked")
    exclude = np.full(len(queries), -1, np.int32) if exclude is None else np.asarray(exclude, np.int32)
    block = min(_BLOCK, len(queries))
    gallery_on_device = jnp.asarray(gallery)
    indices, scores = [], []
    for start in range(0, len(queries), block):
        part = slice(start, start + block)
        padding = block - len(queries[part])
        found, score = _top(jnp.asarray(np.pad(queries[part], ((0, padding), (0, 0)))), gallery_on_device,
                            jnp.asarray(np.pad(exclude[part], (0, padding), constant_values=-1)), k)
        indices.append(np.asarray(found)[:block - padding])
        scores.append(np.asarray(score)[:block - padding])
    return np.concatenate(indices), np.concatenate(scores)


@functools.partial(jax.jit, static_argnames="k")
def _top(queries, gallery, exclude, k):
    similarity = jnp.matmul(queries, gallery.T, precision=jax.lax.Precision.HIGHEST)
    similarity = jnp.where(jnp.arange(gallery.shape[0]) == exclude[:, None], -jnp.inf, similarity)
    scores, indices = jax.lax.top_k(similarity, k)  # equal values: the lower index first
    return indices, scores


class _Rankings(NamedTuple):
    """For each query with a match: its row, R, and which of its nearest rows share its label."""

    queries: np.ndarray     # i[Q]
    matches: np.ndarray     # i[Q], R
    relevant: np.ndarray    # bool[Q,K], best first

    def average_precision_at_r(self) -> np.ndarray:
        rank = np.arange(1, self.relevant.shape[1] + 1)
        precision = np.cumsum(self.relevant, axis=1) / rank
        return (precision * self.within_r()).sum(axis=1) / self.matches

    def within_r(self) -> np.ndarray:
        rank = np.arange(1, self.relevant.shape[1] + 1)
        return self.relevant & (rank <= self.matches[:, None])


def _rank(embeddings, labels, depth: int) -> _Rankings:
    embeddings, labels = normalized(embeddings), np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are integers, got {labels.dtype}")
    if len(embeddings) != len(labels):
        raise ValueError(f"{len(embeddings)} embeddings and {len(labels)} labels: expected one for each")
    if np.ptp(embeddings, axis=0).max(initial=0.0) == 0:
        raise ValueError("the embeddings have collapsed to one point: a ranking of them would mean nothing")
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    matches = counts[inverse] - 1
    queries = np.flatnonzero(matches > 0)
    if not len(queries):
        raise ValueError("no class has two images: there is nothing to retrieve")
    depth = min(max(int(matches.max()), depth), len(labels) - 1)
    found, _ = neighbors(embeddings[queries], embeddings, depth, exclude=queries)
    return _Rankings(queries, matches[queries], labels[found] == labels[queries][:, None])


def ranking_scores(embeddings, labels, *, recall_at=(1,)) -> dict[str, float]:
    """Every row queries all the others, by cosine: precision@1, r_precision, map@r and recall@k (CMC@k).

    embeddings [N,D], labels int[N]. R is the number of other rows of the query's class; queries with R = 0 are
    left out and counted in "queries_without_match".
    r_precision: (1/R) sum_{i<=R} rel(i). map@r: (1/R) sum_{i<=R} P(i) rel(i).
    Musgrave, Belongie, Lim: A Metric Learning Reality Check, 2020, arXiv:2003.08505.
    Raises ValueError for embeddings that are not finite or all equal, and where no query has a match.
    """
    rankings = _rank(embeddings, labels, max(recall_at))
    relevant = rankings.relevant
    return {f"recall@{k}": float(relevant[:, :k].any(axis=1).mean()) for k in recall_at} | {
        "precision@1": float(relevant[:, 0].mean()),
        "r_precision": float((rankings.within_r().sum(axis=1) / rankings.matches).mean()),
        "map@r": float(rankings.average_precision_at_r().mean()),
        "queries": len(rankings.queries),
        "queries_without_match": len(labels) - len(rankings.queries),
    }


def average_precision_at_r(embeddings, labels) -> np.ndarray:
    """The term of map@r for each row, f64[N]; NaN where the row has no match. As `ranking_scores` otherwise."""
    rankings = _rank(embeddings, labels, 1)
    precision = np.full(len(labels), np.nan)
    precision[rankings.queries] = rankings.average_precision_at_r()
    return precision


def normalized(embeddings) -> np.ndarray:
    """f32[N,D], each row divided by its L2 norm; a zero row stays zero."""
    embeddings = np.asarray(embeddings, np.float32)
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.where(norms > 0, norms, 1)
