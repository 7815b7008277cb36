"""What a loss is: a pair of pure functions, as an optax transformation is."""

from collections.abc import Callable
from typing import NamedTuple


class Loss(NamedTuple):
    """init: (rng, embedding_size) -> (params, state)
    apply: (params, state, embeddings [B,D], labels i32[B], rng) -> (loss f32[], state, scalars)

    params learn (`{"prototypes": f32[C,D]}` or {}); state remembers (running statistics, memories, or {});
    scalars are f32[] to report. `apply` sees the global batch and never changes its arguments.
    """

    init: Callable
    apply: Callable
