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
    """Lloyd's algorithm from k-means++ centres, on the default device; the same seed gives the same clusters.

    embeddings f[N,D]. Ends when no row changes cluster, or after `iterations`. A cluster left empty takes the row that
    is farthest from its centre. Distances come in blocks: memory O(block x K) beyond the embeddings. Arthur,
    Vassilvitskii: k-means++: The Advantages of Careful Seeding, 2007. Raises UserError for clusters outside 1..N and
    values that are not finite.
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
    """Each centre a row, drawn in proportion to its squared distance from the centres before: f32[K,D]."""

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
    """Nearest centre (of equally near, the first) and its squared distance, [blocks,B]; sums [K,D], counts [K]."""
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
    """Means over rows: of a row's cluster, the share of its class (precision); of its class, that of its cluster.

    labels, clusters: int[N]. A cluster of -1 is noise, as HDBSCAN marks it: each such row is a cluster of its own.
    Bagga, Baldwin: Entity-Based Cross-Document Coreferencing Using the Vector Space Model, 1998.
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
    """Clusters i[N] in which each -1 has become a cluster of its own."""
    clusters = np.array(clusters, np.int64)
    noise = clusters == -1
    clusters[noise] = clusters.max(initial=-1) + 1 + np.arange(noise.sum())
    return clusters


def agreement(labels, clusters) -> dict[str, float]:
    """NMI and AMI (both with the arithmetic mean of the entropies, by scikit-learn) and B-cubed of a clustering.

    Noise (-1) as in `bcubed`. Vinh, Epps, Bailey: Information Theoretic Measures for Clusterings Comparison, 2010.
    """
    from sklearn import metrics as sklearn_metrics

    clusters = alone(clusters)
    cubed = bcubed(labels, clusters)
    return {"nmi": float(sklearn_metrics.normalized_mutual_info_score(labels, clusters)),
            "ami": float(sklearn_metrics.adjusted_mutual_info_score(labels, clusters)),
            "bcubed_precision": cubed.precision, "bcubed_recall": cubed.recall, "bcubed_f": cubed.f}


def clustering_scores(embeddings, labels, *, seed: int = 0) -> dict[str, float]:
    """`agreement` of k-means with as many clusters as classes. embeddings f[N,D], L2-normalised; labels int[N]."""
    return agreement(labels, kmeans(embeddings, len(np.unique(labels)), seed=seed).assignment)


def hdbscan(embeddings, *, min_cluster_size: int = 5) -> np.ndarray:
    """Clusters i[N] by scikit-learn's HDBSCAN, Euclidean; -1 is noise. Campello, Moulavi, Sander, 2013."""
    from sklearn import cluster

    return cluster.HDBSCAN(min_cluster_size=min_cluster_size, copy=True).fit_predict(np.asarray(embeddings))
