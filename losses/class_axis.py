"""The class axis of a loss: what a batch has to know of C prototypes, wherever those prototypes live.

A loss never sees the matrix of B x C cosines. It hands over a `summarize` that turns a piece of it, [B, c], into
sums, maxima and log-sum-exps, and gets these back over all classes. Pieces come from three things that a loss
need not know of:

* with a mesh, prototypes are split by class over its axis. Every device sees all B embeddings and its own
  C / devices classes; what crosses devices is the embeddings [B, D] and scalars per row, never logits or prototypes;
* with a chunk size, a device's classes come in chunks that the backward pass computes again: O(B * chunk) memory;
* with a sample (losses/partial_fc.py), a device's classes are the sampled ones.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec as P

# Of a squared length; a zero vector gets cosine 0 and a finite gradient.
EPSILON = 1e-12
# Full float32 products: TPUs would multiply in bfloat16, where a scale of 64 turns rounding into whole logits.
PRECISION = lax.Precision.HIGHEST

# Classes at a time where no chunk size is given. What follows a product is a few copies of it (the CPU's compiler
# materialises what it reduces), and this bounds them; products are kept for the backward pass, not computed again.
UNSTREAMED_CHUNK = 4096


class ClassAxis(NamedTuple):
    """`num_classes` classes, in equal parts over the axis `name` of `mesh` (None: all on one device).

    chunk_size: classes at a time on one device; 0 takes all at once.
    sample_rate: share of a device's classes in one step's softmax. update: "all" | "sampled", see partial_fc.
    """

    num_classes: int
    mesh: jax.sharding.Mesh | None = None
    name: str = "data"
    chunk_size: int = 0
    sample_rate: float = 1.0
    update: str = "all"

    @property
    def shards(self) -> int:
        return 1 if self.mesh is None else self.mesh.shape[self.name]

    @property
    def rows(self) -> int:
        """Prototype rows: `num_classes` rounded up to the device count. The rows past it are padding and masked."""
        return -(-self.num_classes // self.shards) * self.shards

    @property
    def sampled(self) -> int:
        """Classes in one step's softmax on one device."""
        return int(self.sample_rate * (self.rows // self.shards))

    @property
    def softmax_classes(self) -> int:
        """Classes in one step's softmax, on all devices."""
        local = self.rows // self.shards
        held = [min(max(self.num_classes - shard * local, 0), local) for shard in range(self.shards)]
        return sum(min(count, self.sampled) for count in held)


class Piece(NamedTuple):
    """Some classes, as the whole batch sees them."""

    values: jax.Array   # f32[B,c] of the `columns` function: cosines, or logits
    own: jax.Array      # bool[B,c]: the label's class; of multi-hot labels, all of the row's classes
    valid: jax.Array    # bool[1,c]: a class, not padding
    rows: object        # what the loss knows of its rows


class Totals(NamedTuple):
    """Dicts of arrays, reduced over classes: added, maximum (without gradient), log-sum-exp."""

    sums: dict
    maxima: dict
    logs: dict


def init_prototypes(rng: jax.Array, axis: ClassAxis, embedding_size: int, centres: int | None = None) -> jax.Array:
    """f32[rows, D] or f32[rows, K, D], N(0, .01^2) as in the public implementations, another draw for every row.

    The first C rows do not depend on the mesh.
    """
    shape = (axis.rows, embedding_size) if centres is None else (axis.rows, centres, embedding_size)
    return 0.01 * jax.random.normal(rng, shape, jnp.float32)


def unit(x: jax.Array) -> jax.Array:
    """x / |x| along the last axis, in float32, with gradient 0 (not NaN) at 0."""
    x = x.astype(jnp.float32)
    return x * inverse_norm(x)


def inverse_norm(x: jax.Array) -> jax.Array:
    x = x.astype(jnp.float32)
    return lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), EPSILON))


def cosines(x: jax.Array, classes: dict) -> jax.Array:
    """Of unit rows [B,D] and classes {"prototypes": [c,D] or [c,K,D]}: f32[B,c] or f32[B,c,K]."""
    w = classes["prototypes"]
    products = jnp.matmul(x, w.reshape(-1, w.shape[-1]).T, precision=PRECISION)
    # The columns are scaled after the product, so that no normalised copy of [C, D] is kept.
    products = checkpoint_name(products, "products") * inverse_norm(w).reshape(-1)
    return products.reshape(x.shape[0], *w.shape[:-1])


def affine(x: jax.Array, classes: dict) -> jax.Array:
    """Logits of a linear classifier {"prototypes": [c,D], "bias": [c]}: f32[B,c]."""
    products = jnp.matmul(x, classes["prototypes"].T, precision=PRECISION)
    return checkpoint_name(products, "products") + classes["bias"]


def scores(axis: ClassAxis, columns: Callable = cosines, normalize: bool = True) -> Callable:
    """Loss.scores of a loss that compares `columns`: of every class at once, without padding.

    normalize: whether embeddings are normalised before they are compared.
    """

    def of(params: dict, embeddings: jax.Array) -> jax.Array:
        x = unit(embeddings) if normalize else embeddings.astype(jnp.float32)
        return columns(x, params)[:, :axis.num_classes]

    return of


def totals(axis: ClassAxis, summarize: Callable[[Piece], Totals], x: jax.Array, classes: dict, labels: jax.Array,
           rows=(), sample: jax.Array | None = None, columns: Callable = cosines) -> Totals:
    """What `summarize` says of every piece of the class axis, over all classes.

    x: f32[B,D]. classes: arrays whose first axis is `axis.rows` long. labels: i32[B], or multi-hot [B,C].
    rows: arrays [B] or [] that `summarize` finds in its piece. sample: i32[shards * sampled] of partial_fc.sample.
    columns: (x, a piece of classes) -> values [B,c].
    """

    def local(x, classes, labels, rows, sample):
        x = whole_batch(axis, x)
        ids = jnp.arange(axis.rows // axis.shards) if sample is None else sample
        if sample is not None:
            classes = jax.tree.map(lambda values: values[sample], classes)
        if labels.ndim == 1:
            labels = whole_batch(axis, labels)

        def piece(part):
            classes, ids = part
            classes_here = first_class(axis) + ids
            own = labels[:, None] == classes_here if labels.ndim == 1 else labels[:, ids] > 0
            return summarize(Piece(columns(x, classes), own, (classes_here < axis.num_classes)[None, :], rows))

        return _over_shards(axis, _over_chunks(axis.chunk_size, piece, (classes, ids)))

    if labels.ndim == 2:  # multi-hot: split as the classes are, padded to their number
        labels = jnp.pad(labels, ((0, 0), (0, axis.rows - labels.shape[1])))
    split = P(axis.name)
    in_specs = (split, split, split if labels.ndim == 1 else P(None, axis.name), P(), split)
    return on_shards(axis, local, in_specs, P())(x, classes, labels, rows, sample)


def target_cosines(axis: ClassAxis, x: jax.Array, classes: dict, labels: jax.Array) -> jax.Array:
    """Cosines of unit rows to the label's prototype(s), f32[B] or f32[B,K], without gradient and without logits.

    For losses whose other logits depend on it; the differentiable one comes with the totals.
    """

    def local(x, prototypes, labels):
        x, labels = whole_batch(axis, x), whole_batch(axis, labels)
        row = labels - first_class(axis)
        mine = (row >= 0) & (row < prototypes.shape[0])
        own = prototypes[jnp.clip(row, 0, prototypes.shape[0] - 1)]
        products = jnp.einsum("bd,b...d->b...", x, unit(own), precision=PRECISION)
        return psum(axis, jnp.where(mine.reshape(-1, *[1] * (products.ndim - 1)), products, 0.0))

    x, prototypes = lax.stop_gradient((x, classes["prototypes"]))
    return on_shards(axis, local, (P(axis.name),) * 3, P())(x, prototypes, labels)


def logsumexp(x: jax.Array, axis: int) -> jax.Array:
    """log sum exp along an axis; -inf, with gradient 0, where there is nothing to add but -inf."""
    largest = lax.stop_gradient(jnp.max(x, axis=axis, keepdims=True))
    return _shifted_log(x, largest, lambda values: jnp.sum(values, axis=axis), lambda m: jnp.squeeze(m, axis))


def on_shards(axis, local: Callable, in_specs, out_specs) -> Callable:
    """`local` on every device's part; without a mesh, on everything."""
    if axis.mesh is None:
        return local
    return jax.shard_map(local, mesh=axis.mesh, in_specs=in_specs, out_specs=out_specs)


def whole_batch(axis, x: jax.Array) -> jax.Array:
    return x if axis.mesh is None else lax.all_gather(x, axis.name, tiled=True)


def psum(axis, x: jax.Array) -> jax.Array:
    return x if axis.mesh is None else lax.psum(x, axis.name)


def first_class(axis: ClassAxis) -> jax.Array | int:
    return 0 if axis.mesh is None else lax.axis_index(axis.name) * (axis.rows // axis.shards)


def _over_chunks(size: int, piece: Callable, classes) -> Totals:
    """Of [B, C], the backward pass finds the products alone, or with a chunk size nothing: it computes them again."""
    policy = None if size else jax.checkpoint_policies.save_only_these_names("products")
    piece = jax.checkpoint(piece, policy=policy)
    count = jax.tree.leaves(classes)[0].shape[0]
    size = chunk_of(count, size or UNSTREAMED_CHUNK)
    if size == count:
        return piece(classes)
    whole = count // size * size
    result = _reduce(lax.map(piece, jax.tree.map(lambda a: a[:whole].reshape(-1, size, *a.shape[1:]), classes)))
    if whole == count:
        return result
    rest = piece(jax.tree.map(lambda a: a[whole:], classes))
    return _reduce(jax.tree.map(lambda a, b: jnp.stack([a, b]), result, rest))


def chunk_of(count: int, size: int) -> int:
    """At most `size`, and if possible a divisor of `count`: a remainder would cost a copy of the prototypes."""
    if size >= count:
        return count
    divisors = (n for n in range(size, size // 2, -1) if count % n == 0)
    return next(divisors, size)


def _reduce(stacked: Totals) -> Totals:
    return Totals(jax.tree.map(lambda a: jnp.sum(a, axis=0), stacked.sums),
                  jax.tree.map(lambda a: jnp.max(a, axis=0), stacked.maxima),
                  jax.tree.map(lambda a: logsumexp(a, axis=0), stacked.logs))


def _over_shards(axis: ClassAxis, result: Totals) -> Totals:
    maxima = lax.stop_gradient(result.maxima)
    if axis.mesh is None:
        return result._replace(maxima=maxima)
    largest = lambda x: lax.pmax(lax.stop_gradient(x), axis.name)
    return Totals(jax.tree.map(lambda x: lax.psum(x, axis.name), result.sums), jax.tree.map(largest, maxima),
                  jax.tree.map(lambda x: _shifted_log(x, largest(x), lambda v: lax.psum(v, axis.name)), result.logs))


def _shifted_log(x, largest, add, squeeze=lambda largest: largest):
    # Subtracting the largest keeps exp in range; where all is -inf, subtract nothing.
    shift = jnp.where(jnp.isfinite(largest), largest, 0.0)
    total = add(jnp.exp(x - shift))
    # Double where: log's infinite slope at 0 would turn a masked row's gradient into NaN.
    return squeeze(shift) + jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1.0)), -jnp.inf)
