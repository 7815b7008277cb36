"""Partial FC: every step's softmax is over the batch's own classes and a random sample of the others.

`update` says what becomes of the prototypes that a step has not sampled:

    all      their gradient is 0, and momentum and weight decay move them on;
    sampled  they stay exactly as they are, and so does what the optimizer remembers of them. The loss notes in its
             state, {"sampled": {"prototypes": bool[rows]}}, which were sampled, and the training step keeps the others.

An, Deng, Guo, Feng, Zhu, Yang, Liu: Killing Two Birds with One Stone, 2022, arXiv:2203.15565. The `sampled` update is
that of the first version, An et al.: Partial FC, 2020, arXiv:2010.05222.
"""

import math

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from ..errors import UserError
from .class_axis import ClassAxis, first_class
from .shards import on_shards, whole_batch

UPDATES = ("all", "sampled")


def check(axis: ClassAxis) -> None:
    """Raises UserError for an `axis.sample_rate` that is no share, and for an `axis.update` that is not in UPDATES.

    Example:
      >>> from geodesic.losses import class_axis, partial_fc
      >>> partial_fc.check(class_axis.ClassAxis(10, sample_rate=1.5))
      Traceback (most recent call last):
      geodesic.errors.UserError: sample_rate is the share of the classes in one step's softmax, in (0, 1]; got 1.5
    """
    if not 0 < axis.sample_rate <= 1:
        raise UserError(f"sample_rate is the share of the classes in one step's softmax, in (0, 1]; "
                        f"got {axis.sample_rate}")
    if axis.update not in UPDATES:
        raise UserError(f"unknown update {axis.update!r} of unsampled prototypes; known: {', '.join(UPDATES)}")


def init_state(axis: ClassAxis) -> dict:
    """The part of a loss's state that notes what is sampled; {} where nobody asks for it.

    Example:
      >>> from geodesic.losses import class_axis, partial_fc
      >>> partial_fc.init_state(class_axis.ClassAxis(3, sample_rate=0.5, update="sampled"))
      {'sampled': {'prototypes': Array([False, False, False], dtype=bool)}}
    """
    if axis.sample_rate == 1 or axis.update == "all":
        return {}
    return {"sampled": {"prototypes": jnp.zeros(axis.rows, bool)}}


def sample(axis: ClassAxis, state: dict, labels: jax.Array, rng: jax.Array) -> tuple[jax.Array | None, dict]:
    """The classes of one step's softmax.

    Each device takes the classes of the global batch that it holds, and fills up with others, drawn evenly with a key
    of its own.

    Args:
      axis: the classes.
      state: the loss's state.
      labels: i32[B].
      rng: the step's key.

    Returns:
      (rows, state). The rows are i32[shards * sampled], ascending, and counted from the first row of their device; None
      where the sample rate is 1, for all rows. The state notes them where it has a place for it.

    Raises:
      UserError: the batch may hold more classes of one device than its sample has room for.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.losses import class_axis, partial_fc
      >>> axis = class_axis.ClassAxis(10, sample_rate=0.4)
      >>> rows, _ = partial_fc.sample(axis, {}, jnp.array([7, 2]), jax.random.key(0))
      >>> len(rows), {2, 7} <= set(rows.tolist())
      (4, True)
    """
    if axis.sample_rate == 1:
        return None, state
    if labels.ndim != 1:
        raise UserError(f"sample_rate {axis.sample_rate} needs one class per example, labels [B]; got multi-hot "
                        f"labels {labels.shape}: use sample_rate 1")
    local_rows = axis.rows // axis.shards
    needed = min(labels.shape[0], local_rows)
    if axis.sampled < needed:
        raise UserError(
            f"sample_rate {axis.sample_rate} keeps {axis.sampled} of the {local_rows} classes of a device, but a batch "
            f"of {labels.shape[0]} can hold {needed} of them: use a sample_rate of at least "
            f"{_rate_for(needed, local_rows):.3g}, or a smaller batch")
    ids, mask = on_shards(axis, lambda labels, rng: _sample_shard(axis, labels, rng), (P(axis.name), P()),
                          (P(axis.name), P(axis.name)))(labels, rng)
    if "sampled" in state:
        # The parts of an accumulated update have samples of their own: the note is of all of them.
        state = {**state, "sampled": {"prototypes": state["sampled"]["prototypes"] | mask}}
    return ids, state


def _rate_for(needed: int, rows: int) -> float:
    """The smallest rate of three digits that keeps so many of the rows."""
    scale = 10 ** (2 - math.floor(math.log10(needed / rows)))
    return -(-needed * scale // rows) / scale


def _sample_shard(axis: ClassAxis, labels: jax.Array, rng: jax.Array) -> tuple[jax.Array, jax.Array]:
    rows = axis.rows // axis.shards
    first = first_class(axis)
    if axis.mesh is not None:
        rng = jax.random.fold_in(rng, jax.lax.axis_index(axis.name))
    priority = jax.random.uniform(rng, (rows,))
    priority = jnp.where(first + jnp.arange(rows) < axis.num_classes, priority, -1.0)  # padding is taken last
    row = whole_batch(axis, labels) - first
    row = jnp.where((row >= 0) & (row < rows), row, rows)  # labels of other devices: past the end, so dropped
    priority = priority.at[row].set(2.0, mode="drop")
    ids = jnp.sort(jax.lax.top_k(priority, axis.sampled)[1])
    return ids, jnp.zeros(rows, bool).at[ids].set(True)
