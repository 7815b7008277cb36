"""Clustering: k-means on the device, and how well clusters agree with classes."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from ..errors import UserError

_BLOCK = 4096


class KMeans(NamedTuple):
    assignment: np.ndarray      # i32[N]
    centers: np.ndarray         # f32[K,D]
    inertia: float              # sum of squared distances to the own centre
    iterations: int


def kmeans(embeddings, clusters: int, *, seed: int = 0, iterations: int = 100) -> KMeans:
    """Clusters rows by Lloyd's algorithm from k-means++ centres, on the default device.

    It ends when no row changes cluster. A cluster left empty takes the row that is farthest from its centre.

    Args:
        embeddings: f[N,D]. Distances come in blocks: memory is O(block x K) beyond the embeddings.
        clusters: K, 1..N.
        seed: of the first centres; the same seed gives the same clusters.
        iterations: the most that are done.

    Returns:
        The clusters, their centres, and how well they fit.

    Raises:
        UserError: there are more clusters than rows or none, or a value is not finite.

    References:
        Lloyd: Least Squares Quantization in PCM, 1982.
        Arthur, Vassilvitskii: k-means++: The Advantages of Careful Seeding, 2007.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import clustering
        >>> found = clustering.kmeans(np.array([[0.0, 0.0], [0.0, 1.0], [9.0, 9.0]]), 2).assignment
        >>> bool(found[0] == found[1]), bool(found[0] == found[2])
        (True, False)
    """
    rows = np.asarray(embeddings, np.float32)
    if not 1 <= clusters <= len(rows):
        raise UserError(f"{clusters} clusters asked of {len(rows)} embeddings")
    if not np.isfinite(rows).all():
        raise UserError("embeddings hold NaN or infinite values: nothing is clustered")
    # Distances do not change with the origin, but their rounding does.
    rows = rows - rows.mean(axis=0)
    block = min(_BLOCK, len(rows))
    padded = jnp.asarray(np.pad(rows, ((0, -len(rows) % block), (0, 0)))).reshape(-1, block, rows.shape[1])
    real = jnp.arange(padded.shape[0] * block).reshape(-1, block) < len(rows)
    centers = _plus_plus(jnp.asarray(rows), jax.random.key(seed), clusters)
    before, done = np.full(len(rows), -1), 0
    for done in range(1, iterations + 1):  # noqa: B007 (told to the caller)
        assignment, distance, sums, counts = _lloyd(padded, real, centers)
        found = np.asarray(assignment).reshape(-1)[:len(rows)]
        if (found == before).all():
            break
        before, counts, centers = found, np.asarray(counts), np.array(sums)
        centers /= np.maximum(counts, 1)[:, None]
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            farthest = np.argsort(-np.asarray(distance).reshape(-1)[:len(rows)], kind="stable")[:len(empty)]
            centers[empty] = rows[farthest]
    inertia = float(np.square(rows - np.asarray(centers)[found], dtype=np.float64).sum())
    return KMeans(found, np.asarray(centers) + np.asarray(embeddings, np.float32).mean(axis=0), inertia, done)


@functools.partial(jax.jit, static_argnames="clusters")
def _plus_plus(rows, key, clusters: int):
    """Draws rows as centres f32[K,D], each in proportion to its squared distance from the centres before."""

    def choose(index, carry):
        centers, nearest = carry
        # Where every row lies on a centre, any will do.
        logits = jnp.where(nearest.max() > 0, jnp.log(nearest), 0.0)
        row = rows[jax.random.categorical(jax.random.fold_in(key, index), logits)]
        return centers.at[index].set(row), jnp.minimum(nearest, jnp.sum((rows - row) ** 2, axis=1))

    first = rows[jax.random.randint(jax.random.fold_in(key, clusters), (), 0, len(rows))]
    centers = jnp.zeros((clusters, rows.shape[1])).at[0].set(first)
    return jax.lax.fori_loop(1, clusters, choose, (centers, jnp.sum((rows - first) ** 2, axis=1)))[0]


@jax.jit
def _lloyd(blocks, real, centers):
    """Finds the nearest centre (of equally near, the first) and its squared distance, [blocks,B]; and of each cluster
    the sum [K,D] and the number [K] of its rows.
    """
    square = jnp.sum(centers ** 2, axis=1)

    def one(carry, block):
        rows, kept = block
        distance = square - 2 * jnp.matmul(rows, centers.T, precision=jax.lax.Precision.HIGHEST)
        nearest = jnp.argmin(distance, axis=1)
        owner = jnp.where(kept, nearest, len(centers))  # out of range: dropped
        add = lambda values: jax.ops.segment_sum(values, owner, num_segments=len(centers))
        sums, counts = carry
        return (sums + add(rows), counts + add(jnp.ones(len(rows), jnp.int32))), (
            nearest, jnp.maximum(distance.min(axis=1) + jnp.sum(rows ** 2, axis=1), 0))

    start = jnp.zeros_like(centers), jnp.zeros(len(centers), jnp.int32)
    (sums, counts), (assignment, distance) = jax.lax.scan(one, start, (blocks, real))
    return assignment, distance, sums, counts


class BCubed(NamedTuple):
    precision: float
    recall: float
    f: float            # harmonic mean


def bcubed(labels, clusters) -> BCubed:
    """Averages over rows how pure the row's cluster is and how whole its class.

    Precision is the share of a row's cluster that is of its class, recall the share of its class that is in its
    cluster.

    Args:
        labels: int[N].
        clusters: int[N]; -1 is noise, as HDBSCAN marks it: each such row is a cluster of its own.

    Returns:
        Precision, recall and their harmonic mean, 0..1.

    References:
        Bagga, Baldwin: Entity-Based Cross-Document Coreferencing Using the Vector Space Model, 1998.

    Example:
        >>> from geodesic.metrics import clustering
        >>> clustering.bcubed([0, 0, 1, 1], [5, 5, 5, 5])
        BCubed(precision=0.5, recall=1.0, f=0.6666666666666666)
    """
    labels, clusters = np.asarray(labels), alone(clusters)
    _, row = np.unique(labels, return_inverse=True)
    _, column = np.unique(clusters, return_inverse=True)
    table = scipy.sparse.coo_matrix((np.ones(len(row), np.int64), (row, column))).tocsr().tocoo()
    shared = table.data.astype(np.float64) ** 2
    precision = float((shared / np.bincount(column)[table.col]).sum() / len(row))
    recall = float((shared / np.bincount(row)[table.row]).sum() / len(row))
    return BCubed(precision, recall, 2 * precision * recall / (precision + recall))


def alone(clusters) -> np.ndarray:
    """Makes each row of noise a cluster of its own.

    Args:
        clusters: int[N]; -1 is noise.

    Returns:
        i64[N], without -1.

    Example:
        >>> from geodesic.metrics import clustering
        >>> clustering.alone([0, -1, 2, -1]).tolist()
        [0, 3, 2, 4]
    """
    clusters = np.array(clusters, np.int64)
    noise = clusters == -1
    clusters[noise] = clusters.max(initial=-1) + 1 + np.arange(noise.sum())
    return clusters


def agreement(labels, clusters) -> dict[str, float]:
    """Says how well clusters agree with classes.

    Args:
        labels: int[N].
        clusters: int[N]; -1 is noise, each such row a cluster of its own.

    Returns:
        "nmi" and "ami", by scikit-learn with the arithmetic mean of the entropies; "bcubed_precision",
        "bcubed_recall" and "bcubed_f".

    References:
        Vinh, Epps, Bailey: Information Theoretic Measures for Clusterings Comparison, 2010.

    Example:
        >>> from geodesic.metrics import clustering
        >>> found = clustering.agreement([0, 0, 1, 1], [7, 7, 3, 3])
        >>> round(found["nmi"], 6), round(found["ami"], 6), found["bcubed_f"]
        (1.0, 1.0, 1.0)
    """
    from sklearn import metrics as sklearn_metrics

    clusters = alone(clusters)
    cubed = bcubed(labels, clusters)
    return {"nmi": float(sklearn_metrics.normalized_mutual_info_score(labels, clusters)),
            "ami": float(sklearn_metrics.adjusted_mutual_info_score(labels, clusters)),
            "bcubed_precision": cubed.precision, "bcubed_recall": cubed.recall, "bcubed_f": cubed.f}


def clustering_scores(embeddings, labels, *, seed: int = 0) -> dict[str, float]:
    """Says how well k-means with as many clusters as classes agrees with the classes.

    Args:
        embeddings: f[N,D], L2-normalised.
        labels: int[N].
        seed: of the first centres.

    Returns:
        The `agreement`.

    Raises:
        UserError: a value is not finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import clustering
        >>> clustering.clustering_scores(np.eye(2)[[0, 0, 1, 1]], np.array([5, 5, 6, 6]))["bcubed_f"]
        1.0
    """
    return agreement(labels, kmeans(embeddings, len(np.unique(labels)), seed=seed).assignment)


def hdbscan(embeddings, *, min_cluster_size: int = 5) -> np.ndarray:
    """Clusters rows by scikit-learn's HDBSCAN, by Euclidean distance, without being told how many clusters there are.

    Args:
        embeddings: f[N,D].
        min_cluster_size: the smallest group of rows that is a cluster.

    Returns:
        i[N]; -1 is noise.

    References:
        Campello, Moulavi, Sander: Density-Based Clustering Based on Hierarchical Density Estimates, 2013.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import clustering
        >>> rows = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2], [99.0]])
        >>> clustering.hdbscan(rows, min_cluster_size=3).tolist()
        [0, 0, 0, 1, 1, 1, -1]
    """
    from sklearn import cluster

    return cluster.HDBSCAN(min_cluster_size=min_cluster_size, copy=True).fit_predict(np.asarray(embeddings))
