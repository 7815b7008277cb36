"""Which gallery rows are relevant to a query: those of its label, or those that share at least one of its labels."""

import numpy as np

from ..errors import UserError


def check_labels(rows: int, labels: np.ndarray) -> None:
    """Refuses labels that are not integers (or multi-hot), or not one for each of `rows` embeddings.

    Args:
        rows: the number of embeddings.
        labels: [N] or [N,L].

    Raises:
        UserError: they are of another dtype, or of another number.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import relevance
        >>> relevance.check_labels(3, np.array([0, 1]))
        Traceback (most recent call last):
        geodesic.errors.UserError: 3 embeddings and 2 labels: expected one for each
    """
    if not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
        raise UserError(f"labels are integers, got {labels.dtype}")
    if rows != len(labels):
        raise UserError(f"{rows} embeddings and {len(labels)} labels: expected one for each")


class EqualLabels:
    """Rows are relevant to a query where their labels are equal.

    Args:
        query_labels: int[Q].
        gallery_labels: int[N].

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import relevance
        >>> relevant = relevance.EqualLabels(np.array([3, 4]), np.array([3, 4, 3]))
        >>> relevant.counts().tolist(), relevant.rows(np.array([0, 1])).tolist()
        ([2, 1], [[0, 2], [1, -1]])
    """

    def __init__(self, query_labels: np.ndarray, gallery_labels: np.ndarray):
        self._order = np.argsort(gallery_labels, kind="stable").astype(np.int32)
        ordered = gallery_labels[self._order]
        self._start = np.searchsorted(ordered, query_labels, side="left")
        self._count = np.searchsorted(ordered, query_labels, side="right") - self._start

    def counts(self) -> np.ndarray:
        """Counts the relevant rows of each query, i[Q]."""
        return self._count

    def rows(self, queries) -> np.ndarray:
        """Lists the relevant rows of some queries, i32[len(queries),R], ascending; -1 pads."""
        offset = np.arange(self._count[queries].max(initial=1))
        place = np.minimum(self._start[queries][:, None] + offset, len(self._order) - 1)
        return np.where(offset < self._count[queries][:, None], self._order[place], np.int32(-1))


class SharedLabels:
    """Rows are relevant to a query where they share at least one label with it.

    Args:
        query_labels: multi-hot [Q,L], bool or integers 0 and 1.
        gallery_labels: multi-hot [N,L].

    Raises:
        UserError: the two do not fit together, or a value is above 1.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import relevance
        >>> relevance.SharedLabels(np.array([[1, 1]]), np.array([[1, 0], [0, 0], [0, 1]])).rows(np.array([0])).tolist()
        [[0, 2]]
    """

    def __init__(self, query_labels: np.ndarray, gallery_labels: np.ndarray):
        if gallery_labels.ndim != 2 or query_labels.shape[1] != gallery_labels.shape[1]:
            raise UserError(f"multi-hot labels of {query_labels.shape} and {gallery_labels.shape} do not fit together")
        if query_labels.max(initial=0) > 1 or gallery_labels.max(initial=0) > 1:
            raise UserError("labels of two dimensions are multi-hot: 0 and 1 alone")
        self._queries, self._gallery = query_labels.astype(np.float32), gallery_labels.astype(np.float32).T

    def _shared(self, queries) -> np.ndarray:
        return self._queries[queries] @ self._gallery > 0

    def counts(self) -> np.ndarray:
        """Counts the relevant rows of each query, i[Q]."""
        blocks = [self._shared(slice(start, start + 256)).sum(axis=1) for start in range(0, len(self._queries), 256)]
        return np.concatenate([np.zeros(0, np.int64), *blocks])

    def rows(self, queries) -> np.ndarray:
        """Lists the relevant rows of some queries, i32[len(queries),R], ascending; -1 pads."""
        shared = [np.flatnonzero(row) for part in range(0, len(queries), 256)
                  for row in self._shared(queries[part:part + 256])]
        rows = np.full((len(shared), max(1, *(len(row) for row in shared))), -1, np.int32)
        for row, found in zip(rows, shared, strict=True):
            row[:len(found)] = found
        return rows


def same_source(query_labels, query_sources, gallery_labels, gallery_sources) -> np.ndarray:
    """Lists what re-identification leaves out: the gallery rows of the query's own label and camera.

    Args:
        query_labels: int[Q].
        query_sources: int[Q], the camera of each query.
        gallery_labels: int[N].
        gallery_sources: int[N].

    Returns:
        i32[Q,E], the `exclude` of `retrieval.rank` and `gallery_scores`; -1 pads.

    References:
        Zheng, Shen, Tian, Wang, Wang, Tian: Scalable Person Re-identification: A Benchmark, 2015 (Market-1501).

    Example:
        >>> from geodesic.metrics import relevance
        >>> relevance.same_source([3, 4], [0, 1], gallery_labels=[3, 3, 4, 3], gallery_sources=[0, 1, 0, 0]).tolist()
        [[0, 3], [-1, -1]]
    """
    pairs = np.concatenate([np.stack([query_labels, query_sources], axis=1),
                            np.stack([gallery_labels, gallery_sources], axis=1)])
    _, inverse = np.unique(pairs, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    return EqualLabels(inverse[:len(query_labels)], inverse[len(query_labels):]).rows(np.arange(len(query_labels)))
