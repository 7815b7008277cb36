"""What NumPy picks from a block of similarities on a CPU: it sorts and partitions with vector instructions, unlike XLA.

A block is f32[B,W], one row for each query, -inf where a gallery row is excluded or does not exist. Of equal
similarities the lower index is first. Rows are shared out to threads: NumPy lets go of the interpreter meanwhile.
"""

import os
from concurrent import futures

import numpy as np

_GROUPS = 64, 16  # similarities of a group, where there are groups enough


def top(similarity: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Picks the k greatest of each row.

    Args:
        similarity: f32[B,W].
        k: 1..W.

    Returns:
        Indices i32[B,K], -1 where only -inf is left, and scores f32[B,K], best first.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics.neighbors import on_host
        >>> indices, scores = on_host.top(np.array([[0.0, 3.0, 1.0], [2.0, 2.0, -np.inf]], np.float32), 2)
        >>> indices.tolist(), scores.tolist()
        ([[1, 2], [0, 1]], [[3.0, 1.0], [2.0, 2.0]])
    """
    return _in_threads(lambda part: _top(similarity[part], k, np.zeros(len(similarity[part]), np.float32), None),
                       len(similarity))


def top_screened(coarse: np.ndarray, slack: np.ndarray, queries: np.ndarray, rows: np.ndarray, k: int,
                 ) -> tuple[np.ndarray, np.ndarray]:
    """Picks the k greatest products of queries and rows, which are known to within a slack. Exact, for any slack.

    At least k rows reach the k-th greatest of `coarse`, so that the k-th greatest score is at most `slack` lower, and
    every row of such a score at most twice as much. All these are scored again, in float32.

    Args:
        coarse: f32[B,W], the products, each wrong by the slack at most.
        slack: f32[B].
        queries: f32[B,D].
        rows: f32[W,D], or more than W.
        k: 1..W.

    Returns:
        As `top`.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics.neighbors import on_host
        >>> rows, slack = np.array([[1.0], [3.0], [2.0]], np.float32), np.array([0.6], np.float32)
        >>> coarse = np.array([[1.0, 2.4, 2.6]], np.float32)  # the order of the last two is wrong
        >>> indices, scores = on_host.top_screened(coarse, slack, np.ones((1, 1), np.float32), rows, 2)
        >>> indices.tolist(), scores.tolist()
        ([[1, 2]], [[3.0, 2.0]])
    """

    def scored(part):
        score = lambda query, found: np.einsum("nd,d->n", rows[found], queries[part][query])
        return _top(coarse[part], k, 2 * slack[part], score)

    return _in_threads(scored, len(coarse))


def ranks(similarity: np.ndarray, wanted: np.ndarray, size: int) -> np.ndarray:
    """Counts for each row how many similarities come before each of the wanted ones.

    Args:
        similarity: f32[B,W].
        wanted: i[B,R], columns; -1 pads.
        size: the rank of the padding.

    Returns:
        i32[B,R], ascending.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics.neighbors import on_host
        >>> on_host.ranks(np.array([[0.5, 0.9, 0.5, 0.1]], np.float32), np.array([[2, 3, -1]]), 4).tolist()
        [[2, 3, 4]]
    """
    (found,) = _in_threads(lambda part: (_ranks(similarity[part], wanted[part], size),), len(similarity))
    return found


def _in_threads(function, count: int) -> tuple[np.ndarray, ...]:
    """Calls `function` with slices of `count` rows, and puts the arrays that it returns together."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    step = max(-(-count // (2 * cores)), 1)
    with futures.ThreadPoolExecutor(cores) as pool:
        parts = list(pool.map(function, (slice(start, start + step) for start in range(0, count, step))))
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _top(similarity, k, slack, score) -> tuple[np.ndarray, np.ndarray]:
    count, width = similarity.shape
    # Group g has the columns g, g + groups, ...: their maximum is taken of whole vectors, and few are left to look at.
    # k groups of a greatest similarity of `least` or more hold k such similarities: nothing below is among the k.
    size = next(size for size in (*_GROUPS, 1) if width % size == 0 and (width // size >= 2 * k or size == 1))
    groups = width // size
    greatest = similarity.reshape(count, size, groups).max(axis=1)
    least = np.partition(greatest, groups - k, axis=1)[:, groups - k] - slack
    least = np.maximum(least, np.finfo(np.float32).min)  # -inf is not to be found
    indices, scores = np.full((count, k), -1, np.int32), np.full((count, k), -np.inf, np.float32)
    for row in range(count):
        found = np.flatnonzero(similarity[row] >= least[row])
        reached = similarity[row, found] if score is None else score(row, found)
        order = np.argsort(-reached, kind="stable")[:k]
        indices[row, :len(order)], scores[row, :len(order)] = found[order], reached[order]
    return indices, scores


def _ranks(similarity, wanted, size) -> np.ndarray:
    result = np.full(wanted.shape, size, np.int32)
    for row, columns, ranked in zip(similarity, wanted, result, strict=True):
        columns = columns[columns >= 0]
        if len(columns) == 0:
            continue
        own = row[columns]
        reached = np.sort(row[row >= own.min()])
        past = np.searchsorted(reached, own, side="right")
        before = len(reached) - past
        for tied in np.flatnonzero(past - np.searchsorted(reached, own, side="left") > 1):  # seldom
            before[tied] += np.count_nonzero(row[:columns[tied]] == own[tied])
        ranked[:len(columns)] = np.sort(before)
    return result
