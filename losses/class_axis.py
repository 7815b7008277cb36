"""The class axis of a margin loss: cosines to C prototypes, wherever those prototypes live.

A margin loss needs two things of its prototypes: the cosine to the label's own, [B], and the log-sum-exp
over all the others, [B]. Both are here, so that the losses themselves are mathematics on [B].

With a mesh, prototypes [C, D] are split by class over its axis. Every device then sees all B embeddings and
its own C / devices classes; what crosses devices is the embeddings [B, D] and scalars per row, never the
logits [B, C] nor the prototypes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

# Of a squared length; a zero vector gets cosine 0 and a finite gradient.
EPSILON = 1e-12
# Full float32 products: TPUs would multiply in bfloat16, where a scale of 64 turns rounding into whole logits.
PRECISION = lax.Precision.HIGHEST


class ClassAxis(NamedTuple):
    """`num_classes` classes, in equal parts over the axis `name` of `mesh` (None: all on one device)."""

    num_classes: int
    mesh: jax.sharding.Mesh | None = None
    name: str = "data"

    @property
    def rows(self) -> int:
        """Prototype rows: `num_classes` rounded up to the device count. The rows past it are padding and masked."""
        shards = 1 if self.mesh is None else self.mesh.shape[self.name]
        return -(-self.num_classes // shards) * shards


def init_prototypes(rng: jax.Array, axis: ClassAxis, embedding_size: int) -> jax.Array:
    """f32[rows, D], N(0, .01^2) as in the public implementations. The first C rows do not depend on the mesh."""
    return 0.01 * jax.random.normal(rng, (axis.rows, embedding_size), jnp.float32)


def unit(x: jax.Array) -> jax.Array:
    """x / |x| along the last axis, in float32, with gradient 0 (not NaN) at 0."""
    x = x.astype(jnp.float32)
    return x * inverse_norm(x)


def inverse_norm(x: jax.Array) -> jax.Array:
    x = x.astype(jnp.float32)
    return lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), EPSILON))


def target_cosines(axis: ClassAxis, embeddings: jax.Array, prototypes: jax.Array, labels: jax.Array) -> jax.Array:
    """cos(x_i, w_{y_i}), f32[B]."""

    def local(x, w, y):
        x, y = _whole_batch(axis, x), _whole_batch(axis, y)
        row = y - _first_class(axis, w)
        mine = (row >= 0) & (row < w.shape[0])
        own = unit(w[jnp.clip(row, 0, w.shape[0] - 1)])
        return _sum(axis, jnp.where(mine, jnp.sum(unit(x) * own, axis=-1), 0.0))

    return _over_shards(axis, local)(embeddings, prototypes, labels)


def other_classes(axis: ClassAxis, embeddings: jax.Array, prototypes: jax.Array, labels: jax.Array, scale: float):
    """Over the classes that are not the label: log sum exp(scale cos), f32[B], and the largest cosine, f32[B].

    The largest cosine carries no gradient. With a single class there are no others: -inf and -inf.
    """

    def local(x, w, y):
        x, y = _whole_batch(axis, x), _whole_batch(axis, y)
        # The columns are scaled after the product, so that no normalised copy of [C, D] is kept.
        cosines = jnp.matmul(unit(x), w.T, precision=PRECISION) * inverse_norm(w)[:, 0]
        columns = _first_class(axis, w) + jnp.arange(w.shape[0], dtype=y.dtype)
        others = (columns != y[:, None]) & (columns < axis.num_classes)
        cosines = jnp.where(others, cosines, -jnp.inf)
        largest = _max(axis, lax.stop_gradient(jnp.max(cosines, axis=-1)))
        # Subtracting the largest keeps exp in range; where there is no other class, subtract nothing.
        shift = jnp.where(jnp.isfinite(largest), largest, 0.0)
        total = _sum(axis, jnp.sum(jnp.exp(scale * (cosines - shift[:, None])), axis=-1))
        # Double where: log's infinite slope at 0 would turn a masked row's gradient into NaN.
        log_total = jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1.0)), -jnp.inf)
        return scale * shift + log_total, largest

    return _over_shards(axis, local, outputs=2)(embeddings, prototypes, labels)


def _over_shards(axis: ClassAxis, local, outputs: int = 1):
    """`local`, on every shard of the classes. What it returns must be the same on all of them."""
    if axis.mesh is None:
        return local
    split = P(axis.name)
    out_specs = P() if outputs == 1 else (P(),) * outputs
    return jax.shard_map(local, mesh=axis.mesh, in_specs=(split, split, split), out_specs=out_specs)


def _whole_batch(axis: ClassAxis, x: jax.Array) -> jax.Array:
    return x if axis.mesh is None else lax.all_gather(x, axis.name, tiled=True)


def _first_class(axis: ClassAxis, prototypes: jax.Array) -> jax.Array | int:
    return 0 if axis.mesh is None else lax.axis_index(axis.name) * prototypes.shape[0]


def _sum(axis: ClassAxis, x: jax.Array) -> jax.Array:
    return x if axis.mesh is None else lax.psum(x, axis.name)


def _max(axis: ClassAxis, x: jax.Array) -> jax.Array:
    return x if axis.mesh is None else lax.pmax(x, axis.name)
