"""Partial FC: every step's softmax over the batch's own classes and a random sample of the others.

An, Deng, Guo, Feng, Zhu, Yang, Liu: Killing Two Birds with One Stone, 2022, arXiv:2203.15565; the `sampled` update
is that of the first version, An et al.: Partial FC, 2020, arXiv:2010.05222.

`update` says what becomes of the prototypes that a step has not sampled:
  all      their gradient is zero, and momentum and weight decay move them on
  sampled  they, and what the optimizer remembers of them, stay exactly as they are; the loss names the others in
           its state, {"sampled": {"prototypes": bool[rows]}}, and the training step keeps the rest
"""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from ..errors import UserError
from .class_axis import ClassAxis, first_class, on_shards, whole_batch

UPDATES = ("all", "sampled")


def check(axis: ClassAxis) -> None:
    """Raises UserError for a rate or an update that cannot be."""
    if not 0 < axis.sample_rate <= 1:
        raise UserError(f"sample_rate is the share of the classes in one step's softmax, in (0, 1]; "
                         f"got {axis.sample_rate}")
    if axis.update not in UPDATES:
        raise UserError(f"unknown update {axis.update!r} of unsampled prototypes; known: {', '.join(UPDATES)}")


def init_state(axis: ClassAxis) -> dict:
    if axis.sample_rate == 1 or axis.update == "all":
        return {}
    return {"sampled": {"prototypes": jnp.zeros(axis.rows, bool)}}


def sample(axis: ClassAxis, state: dict, labels: jax.Array, rng: jax.Array) -> tuple[jax.Array | None, dict]:
    """(rows in this step's softmax, i32[shards * sampled], ascending and counted from each shard's first; the state).

    Each shard takes the classes of the global batch that it holds, and fills up with others, uniformly and with its
    own key. None at sample_rate 1: all of them.
    Raises UserError where the batch may hold more classes of one shard than its sample has room for.
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
            f"of {labels.shape[0]} can hold {needed} of them: use a sample_rate of at least {needed / local_rows:.3g}, "
            f"or a smaller batch")
    ids, mask = on_shards(axis, lambda labels, rng: _sample_shard(axis, labels, rng), (P(axis.name), P()),
                          (P(axis.name), P(axis.name)))(labels, rng)
    if "sampled" in state:
        # Accumulated: an update may be made of several parts, each with its own sample.
        state = {**state, "sampled": {"prototypes": state["sampled"]["prototypes"] | mask}}
    return ids, state


def _sample_shard(axis: ClassAxis, labels: jax.Array, rng: jax.Array) -> tuple[jax.Array, jax.Array]:
    rows = axis.rows // axis.shards
    first = first_class(axis)
    if axis.mesh is not None:
        rng = jax.random.fold_in(rng, jax.lax.axis_index(axis.name))
    priority = jax.random.uniform(rng, (rows,))
    priority = jnp.where(first + jnp.arange(rows) < axis.num_classes, priority, -1.0)  # padding comes last
    row = whole_batch(axis, labels) - first
    row = jnp.where((row >= 0) & (row < rows), row, rows)  # past the end: dropped
    priority = priority.at[row].set(2.0, mode="drop")
    ids = jnp.sort(jax.lax.top_k(priority, axis.sampled)[1])
    return ids, jnp.zeros(rows, bool).at[ids].set(True)
