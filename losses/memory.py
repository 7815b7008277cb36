"""Cross-batch memory: the last embeddings of earlier batches, as more examples for a pair loss to compare with.

The memory is a ring buffer in the loss's state, so that checkpoints hold it, and is the same on every device. What it
remembers has no gradient. A batch's own rows do have one where other anchors are compared with them, as without a
memory; the implementation of pytorch-metric-learning detaches those too.

Wang, Zhang, Huang, Scott: Cross-Batch Memory for Embedding Learning, 2019, arXiv:1912.06798.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..errors import UserError


class Contents(NamedTuple):
    """What a memory of M rows holds.

    Attributes:
      embeddings: f32[M,D].
      labels: i32[M].
      count: i32[]; the first `count` rows are filled.
    """

    embeddings: jax.Array
    labels: jax.Array
    count: jax.Array


def init(size: int, embedding_size: int) -> dict:
    """The part of a loss's state that is an empty memory.

    Args:
      size: M, the rows; 0 for no memory.
      embedding_size: D.

    Returns:
      {"memory": ...}, or {} for no memory.

    Example:
      >>> from geodesic.losses import memory
      >>> memory.init(4, 2)["memory"]["embeddings"].shape, memory.init(0, 2)
      ((4, 2), {})
    """
    if not size:
        return {}
    return {"memory": {"embeddings": jnp.zeros((size, embedding_size), jnp.float32),
                       "labels": jnp.zeros(size, jnp.int32),
                       "remembered": jnp.zeros((), jnp.int32), "step": jnp.zeros((), jnp.int32)}}


def contents(state: dict, embedding_size: int) -> Contents:
    """What the memory in a loss's state holds; without a memory, no rows.

    Example:
      >>> from geodesic.losses import memory
      >>> memory.contents(memory.init(4, 2), 2).count, memory.contents({}, 2).embeddings.shape
      (Array(0, dtype=int32), (0, 2))
    """
    if "memory" not in state:
        return Contents(jnp.zeros((0, embedding_size)), jnp.zeros(0, jnp.int32), jnp.zeros((), jnp.int32))
    memory = state["memory"]
    size = memory["labels"].shape[0]
    return Contents(memory["embeddings"], memory["labels"], jnp.minimum(memory["remembered"], size))


def remember(state: dict, embeddings: jax.Array, labels: jax.Array, start_step: int) -> dict:
    """The state after a batch, which takes the place of the memory's oldest rows.

    Args:
      state: the loss's state; one without a memory is returned as it is.
      embeddings: f32[B,D], as they are to be compared with.
      labels: i32[B].
      start_step: batches before the first one that is remembered; every call counts, so that of a step in several
        parts each part does.

    Returns:
      The new state.

    Raises:
      UserError: the batch is larger than the memory.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.losses import memory
      >>> state = memory.init(3, 2)
      >>> for labels in ([1, 2], [3, 4]):
      ...     state = memory.remember(state, jnp.ones((2, 2)), jnp.array(labels), start_step=0)
      >>> memory.contents(state, 2).labels.tolist()
      [4, 2, 3]
    """
    if "memory" not in state:
        return state
    memory = state["memory"]
    size, batch = memory["labels"].shape[0], labels.shape[0]
    if batch > size:
        raise UserError(f"a cross-batch memory of {size} cannot hold a batch of {batch}: use a memory_size of at "
                        f"least {batch}, or 0 for none")
    # A count below twice the size tells both where to write and whether the buffer is full, and never overflows.
    places = (memory["remembered"] + jnp.arange(batch)) % size
    remembered = memory["remembered"] + batch
    written = {"embeddings": memory["embeddings"].at[places].set(jax.lax.stop_gradient(embeddings)),
               "labels": memory["labels"].at[places].set(labels.astype(jnp.int32)),
               "remembered": jnp.where(remembered >= 2 * size, remembered - size, remembered)}
    started = memory["step"] >= start_step
    kept = {name: jnp.where(started, value, memory[name]) for name, value in written.items()}
    return {**state, "memory": {**kept, "step": memory["step"] + 1}}
