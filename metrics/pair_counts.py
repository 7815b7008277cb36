"""All pairs of the rows of many embeddings: block after block, and counted by their cosines in bounded memory.

A cosine is counted by the upper 16 bits of its float, in an order-preserving form: 65,536 bins for genuine and as many
for impostor pairs. A second pass counts the lower 16 bits of the few bins in which a threshold lies, so that each
threshold is one exact float (pairs.py). Memory is O(block^2 + bins).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import UserError

BLOCK, BINS = 2048, 2**16


@functools.lru_cache(maxsize=1)
def _cosines():
    return jax.jit(lambda a, b: jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST))


def blocks(embeddings, labels, block: int = BLOCK):
    """Yields all pairs of rows i < j, block after block.

    Args:
        embeddings: f[N,D], L2-normalised.
        labels: int[N].
        block: rows on each side of a block; [block, block] cosines are held.

    Yields:
        Cosines f32[M], whether the labels are equal bool[M], and the rows i[M] and j[M].

    Raises:
        UserError: a value is not finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import pair_counts
        >>> for cosines, same, first, second in pair_counts.blocks(np.eye(2)[[0, 1, 0]], np.array([5, 6, 5])):
        ...     print(cosines.tolist(), same.tolist(), first.tolist(), second.tolist())
        [0.0, 1.0, 0.0] [False, True, False] [0, 0, 1] [1, 2, 2]
    """
    embeddings, labels = np.asarray(embeddings, np.float32), np.asarray(labels)
    if not np.isfinite(embeddings).all():
        raise UserError("embeddings hold NaN or infinite values: no threshold can be set")
    block = max(min(block, len(labels)), 1)
    product = _cosines()
    parts = [jnp.asarray(np.pad(embeddings[start:start + block], ((0, -len(embeddings[start:start + block]) % block),
                                                                   (0, 0)))) for start in range(0, len(labels), block)]
    for i, first in enumerate(parts):
        for j, second in enumerate(parts[i:], start=i):
            rows, columns = np.arange(i * block, min((i + 1) * block, len(labels))), np.arange(
                j * block, min((j + 1) * block, len(labels)))
            scores = np.asarray(product(first, second))[:len(rows), :len(columns)]
            same = labels[rows][:, None] == labels[columns]
            if i == j:
                upper = np.triu_indices(len(rows), k=1)
                yield scores[upper], same[upper], rows[upper[0]], rows[upper[1]]
            else:
                shape = scores.shape
                yield (scores.ravel(), same.ravel(), np.broadcast_to(rows[:, None], shape).ravel(),
                       np.broadcast_to(columns, shape).ravel())


def keys_of(scores: np.ndarray) -> np.ndarray:
    """Turns f32 into u32 of the same order; -0 is 0.

    Example:
        >>> from geodesic.metrics import pair_counts
        >>> keys = pair_counts.keys_of([-1.0, -0.0, 0.0, 0.5])
        >>> bool(keys[0] < keys[1] == keys[2] < keys[3]), pair_counts.floats_of(keys).tolist()
        (True, [-1.0, 0.0, 0.0, 0.5])
    """
    bits = (np.asarray(scores, np.float32) + np.float32(0)).view(np.uint32)
    return bits ^ np.where(bits >> 31 == 1, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))


def floats_of(keys) -> np.ndarray:
    """Gives the floats of keys: the inverse of `keys_of`, but for -0.

    Example:
        >>> from geodesic.metrics import pair_counts
        >>> pair_counts.floats_of(pair_counts.keys_of([0.25])).tolist()
        [0.25]
    """
    keys = np.asarray(keys, np.uint32)
    return (keys ^ np.where(keys >> 31 == 1, np.uint32(0x80000000), np.uint32(0xFFFFFFFF))).view(np.float32)


def count(embeddings, labels, bins=None, block: int = BLOCK) -> np.ndarray:
    """Counts impostor and genuine pairs for each upper half of the key i64[2,65536], or for each lower half within
    each of `bins`: i64[len(bins),2,65536].

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import pair_counts
        >>> pair_counts.count(np.eye(2)[[0, 1, 0]], np.array([5, 6, 5])).sum(axis=1).tolist()
        [2, 1]
    """
    found = np.zeros((1 if bins is None else len(bins), 2 * BINS), np.int64)
    for scores, same, _, _ in blocks(embeddings, labels, block):
        keys = keys_of(scores)
        upper = keys >> 16
        if bins is None:
            found[0] += np.bincount(upper + BINS * same.astype(np.uint32), minlength=2 * BINS)
            continue
        for row, wanted in zip(found, bins, strict=True):
            kept = np.flatnonzero(upper == wanted)
            row += np.bincount((keys[kept] & 0xFFFF) + BINS * same[kept].astype(np.uint32), minlength=2 * BINS)
    found = found.reshape(-1, 2, BINS)
    return found[0] if bins is None else found


class Falling(NamedTuple):
    """Pairs accepted while the threshold falls through the bins, the highest first."""

    impostors: np.ndarray       # i[65536], accepted with this bin
    genuine: np.ndarray


def falling(counts: np.ndarray) -> Falling:
    """Sums up counts i[2,65536] from the highest bin on.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import pair_counts
        >>> pair_counts.falling(np.array([[1, 2], [0, 3]])).genuine.tolist()
        [3, 3]
    """
    return Falling(*np.cumsum(counts[:, ::-1], axis=1))
