"""What a loss is: pure functions and the facts about it that others need, as an optax transformation is."""

from collections.abc import Callable
from typing import NamedTuple


class Loss(NamedTuple):
    """A loss over the embeddings of a batch.

    Every function is pure: it sees the global batch, and never changes its arguments. `params` are the arrays that
    learn, {"prototypes": f32[C,D]} or {}. `state` is what the loss remembers from step to step: running statistics,
    memories, or {}.

    Attributes:
      init: (rng, embedding_size) -> (params, state), as they are before the first step.
      apply: (params, state, embeddings [B,D], labels i32[B], rng) -> (loss f32[], state, scalars). The scalars are a
        dict of f32[] to report.
      scores: (params, embeddings [B,D]) -> f32[B,C], how well each embedding fits each class, without margin and
        scale; the largest is the predicted class. None for a loss that learns no classes, or several sets of them.
      start_loss: (embedding_size) -> float, the loss to expect before the first step, when the directions of
        embeddings and prototypes are independent. None where there is no such estimate.
      probabilities: (scores [B,C]) -> f32[B,C], of a loss whose scores are the logits of probabilities; None where
        they are cosines.
      scale: what multiplies the scores in the loss, to make the logits of a softmax.
      multi_hot: whether labels may also be multi-hot, [B,C] of zeros and ones.
      mixed_targets: whether labels may also be `labels.Mixed`: two classes of each example, and the first one's weight.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("arcface", num_classes=10)
      >>> params, state = loss.init(jax.random.key(0), 4)
      >>> value, state, scalars = loss.apply(params, state, jnp.ones((2, 4)), jnp.array([3, 7]), jax.random.key(1))
      >>> sorted(scalars), loss.scores(params, jnp.ones((2, 4))).shape
      (['accuracy', 'target_cosine'], (2, 10))
    """

    init: Callable
    apply: Callable
    scores: Callable | None = None
    start_loss: Callable[[int], float] | None = None
    probabilities: Callable | None = None
    scale: float = 1.0
    multi_hot: bool = False
    mixed_targets: bool = False
