"""Neighbours of every row among all rows, looked for in the nearest parts alone: for rows too many to compare them all.

The rows are divided into parts by their nearest centre, and a row is compared with those of the parts whose centres are
nearest to it: an inverted file. What it finds is scored exactly; what it does not look at it does not find. Jégou,
Douze, Schmid: Product Quantization for Nearest Neighbor Search, 2011.
"""

import os
from concurrent import futures

import numpy as np

from ...errors import UserError

_BLOCK = 4096       # rows whose centres are looked for at once
_SAMPLE = 64        # rows of a part, on average, that its centre is made of
_ROUNDS = 5
_NOTHING = np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32)


def top(rows, k: int, *, at_least: float = -np.inf, probes: int = 16, parts: int = 0, seed: int = 0
        ) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k rows of the largest inner product with each row, but itself, within the parts nearest to it.

    Args:
        rows: f[N,D], L2-normalised.
        k: how many, 1..N-1.
        at_least: rows of a lesser product are left out; the more there are of them, the sooner it is done.
        probes: how many parts each row looks into.
        parts: how many there are; the default is twice the square root of N.
        seed: of the rows that the centres are made of.

    Returns:
        Indices i32[N,K] and scores f32[N,K], best first, of equals the lower index first; where fewer than k rows were
        found, the last indices are -1 and their scores -inf.

    Raises:
        UserError: k is out of its range, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics.neighbors import in_parts
        >>> rows = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> in_parts.top(rows, 1, probes=2, parts=2)[0].tolist()
        [[1], [0], [1]]
    """
    rows = np.ascontiguousarray(rows, np.float32)
    if not 1 <= k < len(rows):
        raise UserError(f"k={k} neighbours asked of {len(rows) - 1} candidates")
    if not all(np.isfinite(rows[start:start + _BLOCK]).all() for start in range(0, len(rows), _BLOCK)):
        raise UserError("embeddings hold NaN or infinite values: nothing is ranked")
    parts = min(parts or int(2 * len(rows) ** 0.5), len(rows))
    asked = _nearest(rows, _centers(rows, parts, seed), min(probes, parts))
    own, askers = _members(asked[:, :1], parts), _members(asked, parts)
    best, waiting = _NOTHING, []
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with futures.ThreadPoolExecutor(threads) as pool:
        for start in range(0, parts, 16 * threads):  # the answers of so many parts wait at most
            some = range(start, min(start + 16 * threads, parts))
            waiting += pool.map(lambda part: _within(rows, askers[part], own[part], k, at_least), some)
            if sum(len(one[0]) for one in waiting) > 2 * k * len(rows):
                best, waiting = _ranked([best, *waiting], k)[:3], []
    row, column, score, rank = _ranked([best, *waiting], k)
    indices, scores = np.full((len(rows), k), -1, np.int32), np.full((len(rows), k), -np.inf, np.float32)
    indices[row, rank], scores[row, rank] = column, score
    return indices, scores


def _centers(rows: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """Makes unit centres f32[parts,D] by a few rounds of spherical k-means on a sample. One left empty stays."""
    rng = np.random.default_rng(seed)
    sample = rows[np.sort(rng.choice(len(rows), min(_SAMPLE * parts, len(rows)), replace=False))]
    centers = sample[rng.choice(len(sample), parts, replace=False)].copy()
    for _ in range(_ROUNDS):
        owner = _nearest(sample, centers, 1)[:, 0]
        order = np.argsort(owner, kind="stable")
        present, first = np.unique(owner[order], return_index=True)
        sums = np.add.reduceat(sample[order], first)
        centers[present] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return centers


def _nearest(rows: np.ndarray, centers: np.ndarray, count: int) -> np.ndarray:
    """The places i32[N,count] of the nearest centres, the nearest first."""
    found = np.empty((len(rows), count), np.int32)
    for start in range(0, len(rows), _BLOCK):
        scores = rows[start:start + _BLOCK] @ centers.T
        if count < scores.shape[1]:
            best = np.argpartition(scores, -count, axis=1)[:, -count:] if count > 1 else scores.argmax(axis=1)[:, None]
        else:
            best = np.broadcast_to(np.arange(count), scores.shape)
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        found[start:start + _BLOCK] = np.take_along_axis(best, order, axis=1)
    return found


def _members(asked: np.ndarray, parts: int) -> list[np.ndarray]:
    """For each part the rows that have it among theirs, ascending."""
    rows = np.repeat(np.arange(len(asked), dtype=np.int32), asked.shape[1])
    order = np.argsort(asked.ravel(), kind="stable")
    return np.split(rows[order], np.cumsum(np.bincount(asked.ravel(), minlength=parts))[:-1])


def _within(rows: np.ndarray, askers: np.ndarray, own: np.ndarray, k: int, at_least: float) -> tuple[np.ndarray, ...]:
    """The k best rows of one part, and those as good, for each row that asks it: (rows i32[M], found i32[M], scores
    f32[M])."""
    if not len(own):
        return _NOTHING
    scores = rows[askers] @ rows[own].T
    scores[np.searchsorted(askers, own), np.arange(len(own))] = -np.inf  # whoever is of a part asks it
    floor = np.full(len(askers), max(at_least, np.finfo(np.float32).min), np.float32)
    many = np.flatnonzero(np.count_nonzero(scores >= floor[:, None], axis=1) > k)
    if len(many):
        floor[many] = np.partition(scores[many], -k, axis=1)[:, -k]
    row, column = np.nonzero(scores >= floor[:, None])
    return askers[row], own[column], scores[row, column]


def _ranked(found: list[tuple[np.ndarray, ...]], k: int) -> tuple[np.ndarray, ...]:
    """The k best of each row and their ranks, of what several parts have found: (rows, found, scores, ranks)."""
    row, column, score = (np.concatenate(values) for values in zip(*found, strict=True))
    order = np.lexsort((column, -score, row))
    row, column, score = row[order], column[order], score[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    kept = rank < k
    return row[kept], column[kept], score[kept], rank[kept]
