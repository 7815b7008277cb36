"""Intervals of how well clusters agree with classes, by the bootstrap over classes; the clusters stay as they are."""

import numpy as np
import scipy.sparse
import scipy.special

from . import bootstrap, clustering


def intervals(labels, clusters, *, samples: int = bootstrap.RESAMPLES, seed: int = 0,
              level: float = bootstrap.LEVEL) -> dict[str, bootstrap.Interval]:
    """Says how well clusters agree with classes, with intervals.

    A replicate weighs all rows of a class by how often the class was drawn. It does not cluster again: the interval
    says how much the agreement rests on which classes there are, and not what another draw of pictures would group.
    Rows that come twice agree with each other, which lifts the two measures of information in every replicate: theirs
    are moved until their median is the estimate.

    Args:
        labels: int[N].
        clusters: int[N]; -1 is a row left alone, each a cluster of its own.
        samples, seed, level: as in `bootstrap.mean_interval`.

    Returns:
        "bcubed_f", "bcubed_precision", "bcubed_recall", "ami", "nmi" as of `clustering.agreement`; "alone", the share
        of rows that are left alone; "false_pairs" and "true_pairs", the shares of the pairs of two classes, and of
        one, that are in one cluster.

    References:
        Vinh, Epps, Bailey: Information Theoretic Measures for Clusterings Comparison, 2010.

    Example:
        >>> from geodesic.metrics import clustering_intervals
        >>> found = clustering_intervals.intervals([0, 0, 1, 1], [0, 0, 1, -1])
        >>> found["alone"].estimate, found["true_pairs"].estimate, found["false_pairs"].estimate
        (0.25, 0.5, 0.0)
    """
    alone = np.asarray(clusters) == -1
    _, row = np.unique(labels, return_inverse=True)
    _, column = np.unique(clustering.alone(clusters), return_inverse=True)
    table = scipy.sparse.coo_matrix((np.ones(len(row), np.int64), (row, column))).tocsr().tocoo()
    terms = _Terms(table, np.bincount(row), np.bincount(row, weights=alone))
    estimate = terms.measure(np.ones(table.shape[0], np.int64))
    draws = [terms.measure(drawn) for drawn in bootstrap.weights(table.shape[0], samples, seed)]
    return {name: bootstrap.Interval(value, *_ends(name, value, np.array([one[name] for one in draws]), level))
            for name, value in estimate.items()}


def _ends(name: str, value: float, replicates: np.ndarray, level: float) -> tuple:
    if name in ("ami", "nmi"):
        replicates = np.minimum(replicates + (value - np.median(replicates)), 1.0)
    return bootstrap.percentiles(replicates, level)


class _Terms:
    """What every replicate is made of: the table of classes and clusters, the classes' sizes and their rows alone."""

    def __init__(self, table, sizes: np.ndarray, alone: np.ndarray):
        self._table, self._sizes, self._alone = table, sizes, alone
        shared = table.data.astype(np.float64) ** 2
        clusters = np.bincount(table.col, weights=table.data)
        self._precision = np.bincount(table.row, weights=shared / clusters[table.col])
        self._recall = np.bincount(table.row, weights=shared) / sizes

    def measure(self, drawn: np.ndarray) -> dict[str, float]:
        """drawn: how often each class is there."""
        rows = drawn @ self._sizes
        precision, recall = float(drawn @ self._precision / rows), float(drawn @ self._recall / rows)
        cells = (self._table.data * drawn[self._table.row]).astype(np.int64)
        kept = cells > 0
        cells, of_class, of_cluster = cells[kept], drawn * self._sizes, np.bincount(
            self._table.col[kept], weights=cells[kept]).astype(np.int64)
        nmi, ami = _information(cells, self._table.row[kept], self._table.col[kept], of_class, of_cluster)
        return {"bcubed_f": 2 * precision * recall / (precision + recall), "bcubed_precision": precision,
                "bcubed_recall": recall, "ami": ami, "nmi": nmi, "alone": float(drawn @ self._alone / rows),
                **self._pairs(drawn)}

    def _pairs(self, drawn: np.ndarray) -> dict[str, float]:
        """Two draws of one class are two classes: pairs between them are counted nowhere."""
        data, row, column = self._table.data, self._table.row, self._table.col
        true = drawn @ (np.bincount(row, weights=data * (data - 1.0)) / 2)
        genuine = drawn @ (self._sizes * (self._sizes - 1.0) / 2)
        weighed = data * drawn[row].astype(np.float64)
        pairs = lambda whole, parts: float(whole @ whole - parts @ parts) / 2
        false = pairs(np.bincount(column, weights=weighed), weighed)
        impostors = pairs(np.atleast_1d((drawn * self._sizes).sum()).astype(np.float64),
                          (drawn * self._sizes).astype(np.float64))
        return {"false_pairs": false / impostors if impostors else np.nan,
                "true_pairs": float(true / genuine) if genuine else np.nan}


def _information(cells, row, column, of_class, of_cluster) -> tuple[float, float]:
    """(NMI, AMI) with the arithmetic mean of the entropies, as scikit-learn has them."""
    total = cells.sum()
    shared = float((cells / total * (np.log(cells) + np.log(total) - np.log(of_class[row]) - np.log(
        of_cluster[column]))).sum())
    entropies = [float(-(part / total * np.log(part / total)).sum()) for part in (
        of_class[of_class > 0], of_cluster[of_cluster > 0])]
    if max(entropies) == 0:
        return 1.0, 1.0
    mean, chance = sum(entropies) / 2, _by_chance(of_class[of_class > 0], of_cluster[of_cluster > 0], total)
    apart = mean - chance
    eps = np.finfo(np.float64).eps
    return max(shared, 0.0) / max(mean, eps), (shared - chance) / (min(apart, -eps) if apart < 0 else max(apart, eps))


def _by_chance(of_class, of_cluster, total: int) -> float:
    """The expected mutual information of clusters and classes of these sizes. Equal sizes are counted once."""
    sizes, many = np.unique(of_class, return_counts=True)
    others, times = np.unique(of_cluster, return_counts=True)
    log = scipy.special.gammaln
    result = 0.0
    for size, count in zip(sizes.tolist(), many.tolist(), strict=True):
        for other, again in zip(others.tolist(), times.tolist(), strict=True):
            both = np.arange(max(1, size + other - total), min(size, other) + 1)
            likely = (log(size + 1) + log(other + 1) + log(total - size + 1) + log(total - other + 1) - log(total + 1)
                      - log(both + 1) - log(size - both + 1) - log(other - both + 1)
                      - log(total - size - other + both + 1))
            gain = both / total * (np.log(total) + np.log(both) - np.log(size) - np.log(other))
            result += count * again * float((gain * np.exp(likely)).sum())
    return result
