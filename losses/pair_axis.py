"""The pairs of a batch: every example as an anchor, against all the others and against a memory of earlier ones.

A pair loss is a function of one anchor's similarities [N] to everything, N = B + memory. The rest is here. With a mesh,
every device computes its own examples' rows against the whole batch. With a chunk size, so many anchors are computed at
a time, and again in the backward pass: gradients are exact in O(chunk * N) memory instead of O(B * N).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from . import memory
from .loss import Loss
from .reduction import chunk_of
from .shards import on_shards, whole_batch
from .similarity import PRECISION, unit

# Vectors whose squared distance is at most this have met. In float32, cosines of copies of a vector are off 1 by up to
# 1e-6, whatever its size.
MEET = 4e-6


class PairAxis(NamedTuple):
    """How the pairs of a loss are computed.

    Attributes:
      mesh: the devices that share the anchors; None keeps all on one device.
      name: the mesh's axis.
      chunk_size: anchors at a time on one device; 0 takes all at once.
      memory_size: examples of earlier batches to compare with; 0 for none.
      memory_start_step: batches before the first one that is remembered.
    """

    mesh: jax.sharding.Mesh | None = None
    name: str = "data"
    chunk_size: int = 0
    memory_size: int = 0
    memory_start_step: int = 0


class Anchor(NamedTuple):
    """One example, as it sees the N examples of the batch and the memory.

    Attributes:
      similarity: f32[N], cosines, or products of embeddings that are not normalised.
      positive: bool[N], whether an example is of the same class, and not the anchor itself.
      negative: bool[N], whether it is of another class.
      index: i32[], the anchor's place in the global batch.
      common: what the loss lets all anchors know.
      embedding_size: D.
    """

    similarity: jax.Array
    positive: jax.Array
    negative: jax.Array
    index: jax.Array
    common: object
    embedding_size: int


class Terms(NamedTuple):
    """One anchor's part of a loss, which is sum(values) / sum(weights) over all anchors.

    Attributes:
      values, weights: f32[], or dicts with the same keys. Of dicts, the loss is the sum of that ratio over the keys.
    """

    values: object
    weights: object


def pair_loss(axis: PairAxis, rule: Callable[..., Terms], *, normalize: bool = True, common: Callable | None = None,
              penalty: Callable | None = None) -> Loss:
    """The loss of a rule for one anchor.

    Args:
      axis: how pairs are computed.
      rule: Anchor -> Terms.
      normalize: whether embeddings are normalised, so that similarities are cosines.
      common: (per_anchor, labels, rng) -> what all anchors are to know, with a leading axis B or none;
        `per_anchor(function)` gives a function of an Anchor for all of them. None: nothing.
      penalty: embeddings -> f32[], added to the loss. None: nothing.

    Returns:
      The loss, without params. Its state is the memory, and it reports the share of anchors that have any weight.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.losses import pair_axis
      >>> def mean_positive(anchor):
      ...     return pair_axis.Terms(jnp.sum(anchor.similarity * anchor.positive), jnp.sum(anchor.positive))
      >>> loss = pair_axis.pair_loss(pair_axis.PairAxis(), mean_positive)
      >>> value, _, _ = loss.apply({}, {}, jnp.array([[1.0, 0.0], [0.6, 0.8]]), jnp.array([0, 0]), jax.random.key(0))
      >>> round(float(value), 4)
      0.6
    """

    def init(rng, embedding_size):
        del rng
        return {}, memory.init(axis.memory_size, embedding_size)

    def apply(params, state, embeddings, labels, rng):
        x = unit(embeddings) if normalize else embeddings.astype(jnp.float32)
        remembered = memory.contents(state, x.shape[-1])

        def per_anchor(function, common=()):
            return over_anchors(axis, function, x, labels, remembered, common)

        terms = per_anchor(rule, common(per_anchor, labels, rng) if common else ())
        loss = sum(jax.tree.leaves(jax.tree.map(_mean, terms.values, terms.weights)))
        if penalty is not None:
            loss += penalty(embeddings)
        # Comparisons with NaN are False, so that the masks of a rule would hide it.
        hidden = jnp.any(jnp.isnan(x)) | jnp.any(jnp.isnan(remembered.embeddings))
        loss += jnp.where(hidden, jnp.nan, 0.0)
        # An anchor takes part if any of its terms has a weight.
        active = jnp.mean(sum(jax.tree.leaves(terms.weights)) > 0)
        state = memory.remember(state, x, labels, axis.memory_start_step)
        return loss, state, {"active_anchors": active}

    return Loss(init, apply)


def _mean(values, weights):
    total = jnp.sum(weights)
    return jnp.sum(values) / jnp.where(total > 0, total, 1.0)


def over_anchors(axis: PairAxis, function: Callable, x: jax.Array, labels: jax.Array, remembered, common=()):
    """A function of every anchor of the batch.

    Args:
      axis: how pairs are computed.
      function: Anchor -> a tree of arrays.
      x: embeddings f32[B,D].
      labels: i32[B].
      remembered: `memory.Contents`.
      common: what every Anchor gets as its `common`.

    Returns:
      The tree with a leading axis B.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import memory, pair_axis
      >>> positives = pair_axis.over_anchors(pair_axis.PairAxis(), lambda anchor: anchor.positive.sum(), jnp.eye(3),
      ...                                    jnp.array([0, 0, 1]), memory.contents({}, 3))
      >>> positives.tolist()
      [1, 1, 0]
    """

    def local(x, labels, remembered, common):
        references = jnp.concatenate([whole_batch(axis, x), remembered.embeddings.astype(x.dtype)])
        reference_labels = jnp.concatenate([whole_batch(axis, labels), remembered.labels.astype(labels.dtype)])
        places = jnp.arange(references.shape[0])
        known = (places < references.shape[0] - remembered.labels.shape[0]) | (
            places - (references.shape[0] - remembered.labels.shape[0]) < remembered.count)
        first = 0 if axis.mesh is None else lax.axis_index(axis.name) * x.shape[0]

        def chunk(anchors):
            x, labels, index = anchors
            similarity = jnp.matmul(x, references.T, precision=PRECISION)
            same = reference_labels == labels[:, None]
            positive = same & known & (places != index[:, None])
            negative = ~same & known
            one = lambda s, p, n, i: function(Anchor(s, p, n, i, common, x.shape[-1]))
            return jax.vmap(one)(similarity, positive, negative, index)

        return _in_chunks(axis.chunk_size, chunk, (x, labels, first + jnp.arange(x.shape[0])))

    split = P(axis.name)
    return on_shards(axis, local, (split, split, P(), P()), split)(x, labels, remembered, common)


def _in_chunks(size: int, chunk: Callable, anchors):
    """`chunk` of all anchors, `size` at a time; the last ones may be fewer."""
    count = anchors[1].shape[0]
    if not size or size >= count:
        return chunk(anchors)
    size = chunk_of(count, size)
    whole = count // size * size
    chunk = jax.checkpoint(chunk)
    parts = lax.map(chunk, jax.tree.map(lambda a: a[:whole].reshape(-1, size, *a.shape[1:]), anchors))
    result = jax.tree.map(lambda a: a.reshape(whole, *a.shape[2:]), parts)
    if whole == count:
        return result
    rest = chunk(jax.tree.map(lambda a: a[whole:], anchors))
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), result, rest)


def distance(cosine: jax.Array) -> jax.Array:
    """The Euclidean distance of vectors of length 1, from their cosine, with gradient 0 (not infinite) where they meet.

    Below .002 it is 0, so that copies of a vector are at distance 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import pair_axis
      >>> print(pair_axis.distance(jnp.array([1.0, 0.5, -1.0])))
      [0. 1. 2.]
    """
    squared = 2.0 - 2.0 * cosine
    apart = squared > MEET
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)


def masked_sum(values: jax.Array, mask: jax.Array) -> jax.Array:
    """The sum of the values whose mask is True; the others may be infinite.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import pair_axis
      >>> pair_axis.masked_sum(jnp.array([1.0, jnp.inf]), jnp.array([True, False])).item()
      1.0
    """
    return jnp.sum(jnp.where(mask, values, 0.0))
