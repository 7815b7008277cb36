"""Groups of rows that are mutual nearest neighbours above a threshold: nobody says how many groups there are.

Two rows are linked where each is among the k nearest of the other and their cosine reaches the threshold; a group is
what links connect. A threshold of a known false accept rate makes that the rate of a link between rows of two classes,
at most: being mutual leaves many of them out. A chain of links may still join what no link joins.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse

from ..errors import UserError
from . import retrieval
from .neighbors import in_parts

# Of more rows than these the neighbours are looked for in parts.
EXACT_ROWS = 100_000
_SAMPLE = 1000


class Links(NamedTuple):
    """pairs i64[L,2], rows i < j in order; cosines f32[L]."""

    pairs: np.ndarray
    cosines: np.ndarray


def links(embeddings, threshold: float, *, k: int = 5, probes: int = 0, seed: int = 0) -> Links:
    """Finds the pairs of rows that are among each other's nearest, and whose cosine is at least the threshold.

    Args:
        embeddings: f[N,D], L2-normalised.
        threshold: a cosine.
        k: how many neighbours of a row count, 1 or more.
        probes: 0 compares all rows; else parts that each row looks into (`in_parts.top`).
        seed: of those parts.

    Returns:
        The links.

    Raises:
        UserError: there are fewer than two rows, k is less than 1, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import mutual
        >>> rows = np.array([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0]])
        >>> mutual.links(rows, 0.5).pairs.tolist()
        [[0, 1]]
    """
    if len(embeddings) < 2 or k < 1:
        raise UserError(f"links take two rows and one neighbour of each at least; got {len(embeddings)} row(s), k={k}")
    k = min(k, len(embeddings) - 1)
    if probes:
        found, cosines = in_parts.top(embeddings, k, at_least=threshold, probes=probes, seed=seed)
    else:
        found, cosines = retrieval.neighbors(embeddings, embeddings, k, exclude=np.arange(len(embeddings)))
    return _mutual(found, cosines, threshold)


def _mutual(found: np.ndarray, cosines: np.ndarray, threshold: float) -> Links:
    count, k = found.shape
    kept = (found >= 0) & (cosines >= threshold)
    first, second = np.repeat(np.arange(count), k).reshape(count, k)[kept], found[kept].astype(np.int64)
    keys, place, times = np.unique(np.minimum(first, second) * count + np.maximum(first, second), return_index=True,
                                   return_counts=True)
    both = times == 2
    return Links(np.stack(np.divmod(keys[both], count), axis=1), cosines[kept][place[both]])


def share_found(embeddings, linked: Links, threshold: float, *, k: int = 5, seed: int = 0) -> float:
    """Says which share of the exact links of some rows are among those that were found in parts.

    Args:
        embeddings: f[N,D], L2-normalised.
        linked: of `links`, with `probes`.
        threshold, k: those of `links`.
        seed: of the rows, a thousand or all.

    Returns:
        0..1; 1 where these rows have no links.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import mutual
        >>> rows = np.eye(3)[[0, 0, 1, 1, 2]]
        >>> mutual.share_found(rows, mutual.links(rows, 0.9, probes=1), 0.9)
        1.0
    """
    count, k = len(embeddings), min(k, len(embeddings) - 1)
    chosen = np.sort(np.random.default_rng(seed).choice(count, min(_SAMPLE, count), replace=False))
    found, cosines = retrieval.neighbors(embeddings[chosen], embeddings, k, exclude=chosen)
    kept = cosines >= threshold
    first, second = np.repeat(chosen, k).reshape(-1, k)[kept], found[kept]
    if not len(first):
        return 1.0
    others = np.unique(second)
    theirs, _ = retrieval.neighbors(embeddings[others], embeddings, k, exclude=others)
    both = (theirs[np.searchsorted(others, second)] == first[:, None]).any(axis=1)
    key = lambda a, b: np.minimum(a, b).astype(np.int64) * count + np.maximum(a, b)
    wanted = np.unique(key(first[both], second[both]))
    return float(np.isin(wanted, key(*linked.pairs.T)).mean()) if len(wanted) else 1.0


def connected(linked: Links, count: int) -> np.ndarray:
    """Makes groups of what links connect.

    Args:
        linked: of `links`.
        count: N, of all rows.

    Returns:
        i64[N]: groups from 0, the largest first, of equal ones that of the first row; -1 of a row without a link.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import mutual
        >>> pairs = np.array([[1, 2], [2, 4]])
        >>> mutual.connected(mutual.Links(pairs, np.ones(2)), 5).tolist()
        [-1, 0, 0, -1, 0]
    """
    graph = scipy.sparse.coo_matrix((np.ones(len(linked.pairs), bool), linked.pairs.T), (count, count))
    return by_size(scipy.sparse.csgraph.connected_components(graph, directed=False)[1])


def by_size(groups) -> np.ndarray:
    """Numbers groups by their size.

    Args:
        groups: int[N]; -1 is a row of none.

    Returns:
        i64[N], the largest group 0, of equal ones that of the first row; -1 also of the only row of a group.

    Example:
        >>> from geodesic.metrics import mutual
        >>> mutual.by_size([7, 3, 3, -1, 9, 9]).tolist()
        [-1, 0, 0, -1, 1, 1]
    """
    groups = np.asarray(groups, np.int64)
    names, first, place, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    sizes = np.where((names == -1) | (sizes == 1), 0, sizes)
    order = np.lexsort((first, -sizes))
    number = np.full(len(names), -1, np.int64)
    number[order] = np.where(sizes[order] > 0, np.arange(len(names)), -1)
    return number[place]
