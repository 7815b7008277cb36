"""The pairs of a batch: every example as an anchor, against all the others and against a memory of earlier ones.

A pair loss is a function of one anchor's similarities [N] to everything, N = B + memory. Here is the rest: with a mesh,
every device computes its own examples' rows against the whole batch; with a chunk size, so many anchors at a time,
computed again for the backward pass, so that gradients are exact in O(chunk * N) memory instead of O(B * N).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from . import memory
from .class_axis import PRECISION, chunk_of, on_shards, unit, whole_batch
from .loss import Loss


class PairAxis(NamedTuple):
    """chunk_size: anchors at a time on a device, 0 for all. memory_size: examples remembered, 0 for none."""

    mesh: jax.sharding.Mesh | None = None
    name: str = "data"
    chunk_size: int = 0
    memory_size: int = 0
    memory_start_step: int = 0


class Anchor(NamedTuple):
    """One example, as it sees the batch and the memory."""

    similarity: jax.Array   # f32[N], cosines (or products)
    positive: jax.Array     # bool[N]: of the same class, and not itself
    negative: jax.Array     # bool[N]: of another class
    index: jax.Array        # i32[], its place in the global batch
    common: object          # what the loss gave for all anchors
    embedding_size: int


class Terms(NamedTuple):
    """A loss is sum(values) / sum(weights) over all anchors; if these are dicts, the sum of that over the keys."""

    values: object  # f32[] or a dict of them
    weights: object


def pair_loss(axis: PairAxis, rule: Callable[..., Terms], *, normalize: bool = True, common: Callable | None = None,
              penalty: Callable | None = None) -> Loss:
    """The loss of a rule, (one Anchor) -> Terms.

    normalize: similarities are cosines. common: (per_anchor, labels, rng) -> what all anchors are to know, where
    `per_anchor(function)` maps a function of one Anchor over all. penalty: embeddings -> added to the loss.
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
        # An anchor takes part if anything of it has a weight.
        active = jnp.mean(sum(jax.tree.leaves(terms.weights)) > 0)
        state = memory.remember(state, x, labels, axis.memory_start_step)
        return loss, state, {"active_anchors": active}

    return Loss(init, apply)


def _mean(values, weights):
    total = jnp.sum(weights)
    return jnp.sum(values) / jnp.where(total > 0, total, 1.0)


def over_anchors(axis: PairAxis, function: Callable, x: jax.Array, labels: jax.Array, remembered, common=()):
    """`function` of every Anchor: whatever it returns, with a leading axis B."""

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
    """Euclidean distance of unit vectors, with gradient 0 (not infinite) where they meet."""
    squared = 2.0 - 2.0 * cosine
    apart = squared > 1e-8
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)


def masked_sum(values: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(mask, values, 0.0))
