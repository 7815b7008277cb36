"""The class axis of a loss: what a batch has to know of C prototypes, wherever those prototypes live.

A loss never sees the matrix of B x C cosines. It hands over a `summarize` that turns a piece of it, [B,c], into sums,
maxima and log-sum-exps, and gets these back over all classes. Pieces come from three things that a loss need not know
of:

* With a mesh, prototypes are split by class over its axis. Every device sees all B embeddings and its own C / devices
  classes. What crosses devices is the embeddings [B,D] and scalars for each row, never logits or prototypes.
* With a chunk size, a device's classes come in chunks that the backward pass computes again: O(B * chunk) memory.
* With a sample (losses/partial_fc.py), a device's classes are the sampled ones.
"""

import functools
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from ..errors import UserError
from . import stored
from .reduction import Totals, over_chunks, over_shards
from .shards import on_shards, psum, whole_batch
from .similarity import PRECISION, cosines, products, unit


class ClassAxis(NamedTuple):
    """The classes of a loss, and how they are computed.

    Attributes:
      num_classes: C.
      mesh: the devices over which classes are split in equal parts; None keeps all on one device.
      name: the mesh's axis.
      chunk_size: classes at a time on one device; 0 takes all at once.
      sample_rate: the share of a device's classes in one step's softmax.
      update: what becomes of classes that are not sampled, one of `partial_fc.UPDATES`.
      logits_dtype: what the products of embeddings and prototypes, [B,C], are stored in from the forward to the
        backward pass, one of `stored.DTYPES`. The loss is computed before they are stored, and all sums are float32.

    Example:
      >>> from geodesic.losses import class_axis
      >>> axis = class_axis.ClassAxis(num_classes=1000, sample_rate=0.1)
      >>> axis.rows, axis.softmax_classes
      (1000, 100)
    """

    num_classes: int
    mesh: jax.sharding.Mesh | None = None
    name: str = "data"
    chunk_size: int = 0
    sample_rate: float = 1.0
    update: str = "all"
    logits_dtype: str = "float32"

    @property
    def shards(self) -> int:
        """The devices that hold classes."""
        return 1 if self.mesh is None else self.mesh.shape[self.name]

    @property
    def rows(self) -> int:
        """The rows of the prototypes: `num_classes` rounded up to the device count. Rows past it are masked padding."""
        return -(-self.num_classes // self.shards) * self.shards

    @property
    def sampled(self) -> int:
        """The classes in one step's softmax on one device."""
        # The share as it is written: in floats, .29 of 100 is less than 29.
        return int(Fraction(str(self.sample_rate)) * (self.rows // self.shards))

    @property
    def softmax_classes(self) -> int:
        """The classes in one step's softmax, on all devices."""
        local = self.rows // self.shards
        held = [min(max(self.num_classes - shard * local, 0), local) for shard in range(self.shards)]
        return sum(min(count, self.sampled) for count in held)


def check(axis: ClassAxis) -> None:
    """Raises UserError for an `axis.logits_dtype` that is not in `stored.DTYPES`, and for one where nothing is stored.

    Example:
      >>> from geodesic.losses import class_axis
      >>> class_axis.check(class_axis.ClassAxis(10, logits_dtype="float16"))
      Traceback (most recent call last):
      geodesic.errors.UserError: unknown logits_dtype 'float16'; known: float32, bfloat16
    """
    if axis.logits_dtype not in stored.DTYPES:
        raise UserError(f"unknown logits_dtype {axis.logits_dtype!r}; known: {', '.join(stored.DTYPES)}")
    if axis.logits_dtype != "float32" and axis.chunk_size:
        raise UserError(f"logits_dtype {axis.logits_dtype!r} is of logits that are stored, and with chunk_size "
                        f"{axis.chunk_size} none are: use chunk_size 0, or logits_dtype 'float32'")


class Piece(NamedTuple):
    """Some classes, as the whole batch sees them.

    Attributes:
      values: f32[B,c], cosines or logits, of the `columns` function.
      own: bool[B,c], whether the class is the row's label; of multi-hot labels, one of the row's classes.
      valid: bool[1,c], whether it is a class and not padding.
      rows: what the loss knows of its rows.
      classes: i32[c], which classes these are.
    """

    values: jax.Array
    own: jax.Array
    valid: jax.Array
    rows: object
    classes: jax.Array


def init_prototypes(rng: jax.Array, axis: ClassAxis, embedding_size: int, centres: int | None = None) -> jax.Array:
    """Prototypes before the first step, drawn from N(0, .01^2) as in the public implementations.

    Args:
      rng: the key. Every row is another draw, and the first C rows do not depend on the mesh.
      axis: the classes.
      embedding_size: D.
      centres: prototypes of a class, K; None for one.

    Returns:
      f32[rows,D], or f32[rows,K,D].

    Example:
      >>> import jax
      >>> from geodesic.losses import class_axis
      >>> class_axis.init_prototypes(jax.random.key(0), class_axis.ClassAxis(10), 4, centres=3).shape
      (10, 3, 4)
    """
    shape = (axis.rows, embedding_size) if centres is None else (axis.rows, centres, embedding_size)
    return 0.01 * jax.random.normal(rng, shape, jnp.float32)


def scores(axis: ClassAxis, columns: Callable = cosines, normalize: bool = True) -> Callable:
    """`Loss.scores` of a loss that compares embeddings and classes by `columns`.

    Args:
      axis: the classes.
      columns: as of `totals`; of all params it gives scores f32[B,rows].
      normalize: whether the embeddings are normalised before they are compared.

    Returns:
      The function (params, embeddings [B,D]) -> f32[B,C], without padding.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import class_axis
      >>> print(class_axis.scores(class_axis.ClassAxis(2))({"prototypes": jnp.eye(2)}, jnp.array([[3.0, 4.0]])))
      [[0.6 0.8]]
    """

    def of(params: dict, embeddings: jax.Array) -> jax.Array:
        x = unit(embeddings) if normalize else embeddings.astype(jnp.float32)
        return columns(x, params)[:, :axis.num_classes]

    return of


def totals(axis: ClassAxis, summarize: Callable[[Piece], Totals], x: jax.Array, classes: dict, labels: jax.Array,
           rows=(), sample: jax.Array | None = None, columns: Callable = cosines) -> Totals:
    """What `summarize` says of every piece of the class axis, over all classes.

    Args:
      axis: the classes.
      summarize: turns a piece into the dicts of a `Totals`, with the class axis reduced.
      x: embeddings f32[B,D], as `columns` wants them.
      classes: the loss's params, arrays of `axis.rows` rows.
      labels: i32[B], or multi-hot [B,C].
      rows: arrays [B] or [] that `summarize` finds in its piece.
      sample: of `partial_fc.sample`, the rows that take part; None for all.
      columns: (x, a piece of the params, the `similarity.products` of both where they are known) -> values [B,c].

    Returns:
      The totals over all classes of all devices, on every device.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import class_axis, reduction
      >>> def summarize(piece):
      ...     return reduction.Totals(sums={"cosines": piece.values.sum(axis=-1)}, maxima={}, logs={})
      >>> found = class_axis.totals(class_axis.ClassAxis(2), summarize, jnp.array([[0.6, 0.8]]),
      ...                           {"prototypes": jnp.eye(2)}, jnp.array([0]))
      >>> round(float(found.sums["cosines"][0]), 4)
      1.4
    """

    def local(x, classes, labels, rows, sample):
        x = whole_batch(axis, x)
        ids = jnp.arange(axis.rows // axis.shards) if sample is None else sample
        if sample is not None:
            classes = jax.tree.map(lambda values: values[sample], classes)
        if labels.ndim == 1:
            labels = whole_batch(axis, labels)

        def piece(part):
            if axis.logits_dtype == "float32":
                return _summary(axis, summarize, columns, None, (x, *part, labels, rows))
            of = functools.partial(_summary, axis, summarize, columns)
            return stored.summary(of, axis.logits_dtype, products(x, part[0]), (None, *part, labels, rows))

        return over_shards(axis.mesh, axis.name, over_chunks(axis.chunk_size, piece, (classes, ids)))

    if labels.ndim == 2:  # multi-hot labels are split as the classes are, and padded to their number
        labels = jnp.pad(labels, ((0, 0), (0, axis.rows - labels.shape[1])))
    split = P(axis.name)
    in_specs = (split, split, split if labels.ndim == 1 else P(None, axis.name), P(), split)
    return on_shards(axis, local, in_specs, P())(x, classes, labels, rows, sample)


def _summary(axis: ClassAxis, summarize, columns, known: jax.Array | None, given: tuple) -> Totals:
    """What `summarize` says of some classes. known: their products with x, which then is None."""
    x, classes, ids, labels, rows = given
    classes_here = first_class(axis) + ids
    own = labels[:, None] == classes_here if labels.ndim == 1 else labels[:, ids] > 0
    valid = (classes_here < axis.num_classes)[None, :]
    values = columns(x, classes) if known is None else columns(x, classes, known)
    return summarize(Piece(values, own, valid, rows, classes_here))


def target_cosines(axis: ClassAxis, x: jax.Array, classes: dict, labels: jax.Array) -> jax.Array:
    """The cosines of embeddings to the prototypes of their labels, without gradient, and without any logits.

    They are for losses whose logits of the other classes depend on them; the cosines with a gradient come with the
    totals.

    Args:
      axis: the classes.
      x: embeddings of length 1, f32[B,D].
      classes: {"prototypes": f32[rows,D] or f32[rows,K,D]}.
      labels: i32[B].

    Returns:
      f32[B] or f32[B,K].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import class_axis
      >>> print(class_axis.target_cosines(class_axis.ClassAxis(2), jnp.array([[0.6, 0.8]]), {"prototypes": jnp.eye(2)},
      ...                                 jnp.array([1])))
      [0.8]
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


def first_class(axis: ClassAxis) -> jax.Array | int:
    """Inside of `on_shards`: the class of this device's first row.

    Example:
      >>> from geodesic.losses import class_axis
      >>> class_axis.first_class(class_axis.ClassAxis(2))   # without a mesh
      0
    """
    return 0 if axis.mesh is None else lax.axis_index(axis.name) * (axis.rows // axis.shards)
