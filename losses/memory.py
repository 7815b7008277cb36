"""Cross-batch memory: the last embeddings of earlier batches, as more examples to compare with.

Wang, Zhang, Huang, Scott: Cross-Batch Memory for Embedding Learning, 2019, arXiv:1912.06798. A ring buffer in the
loss's state, so a checkpoint holds it, and the same on every device. What it remembers has no gradient.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..errors import UserError


class Contents(NamedTuple):
    embeddings: jax.Array   # f32[M,D]
    labels: jax.Array       # i32[M]
    count: jax.Array        # i32[]: the first `count` rows are filled


def init(size: int, embedding_size: int) -> dict:
    """Loss state; {} for size 0."""
    if not size:
        return {}
    return {"memory": {"embeddings": jnp.zeros((size, embedding_size), jnp.float32),
                       "labels": jnp.zeros(size, jnp.int32),
                       "remembered": jnp.zeros((), jnp.int32), "step": jnp.zeros((), jnp.int32)}}


def contents(state: dict, embedding_size: int) -> Contents:
    if "memory" not in state:
        return Contents(jnp.zeros((0, embedding_size)), jnp.zeros(0, jnp.int32), jnp.zeros((), jnp.int32))
    memory = state["memory"]
    size = memory["labels"].shape[0]
    return Contents(memory["embeddings"], memory["labels"], jnp.minimum(memory["remembered"], size))


def remember(state: dict, embeddings: jax.Array, labels: jax.Array, start_step: int) -> dict:
    """The state with the batch in the place of its oldest rows; from step `start_step` on.

    Raises UserError for a batch that is larger than the memory.
    """
    if "memory" not in state:
        return state
    memory = state["memory"]
    size, batch = memory["labels"].shape[0], labels.shape[0]
    if batch > size:
        raise UserError(f"a cross-batch memory of {size} cannot hold a batch of {batch}: use a memory_size of at "
                         f"least {batch}, or 0 for none")
    # Counting up to twice the size keeps both the place to write and whether the buffer is full.
    places = (memory["remembered"] + jnp.arange(batch)) % size
    remembered = memory["remembered"] + batch
    written = {"embeddings": memory["embeddings"].at[places].set(jax.lax.stop_gradient(embeddings)),
               "labels": memory["labels"].at[places].set(labels.astype(jnp.int32)),
               "remembered": jnp.where(remembered >= 2 * size, remembered - size, remembered)}
    started = memory["step"] >= start_step
    kept = {name: jnp.where(started, value, memory[name]) for name, value in written.items()}
    return {**state, "memory": {**kept, "step": memory["step"] + 1}}
