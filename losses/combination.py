"""A weighted sum of losses, each with its own parameters and state."""

import jax

from .loss import Loss


def weighted_sum(losses: dict[str, Loss], weights: dict[str, float]) -> Loss:
    """The sum over the names of weight times loss.

    Args:
      losses: name -> loss.
      weights: name -> factor.

    Returns:
      The loss, whose params and state have those of each part under its name. It reports the scalars of each part as
      "name/scalar", and its value before the weight as "name/loss". It has no class scores, as each part may have its
      own.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.combine({"normface": 1.0, "contrastive": 0.5}, num_classes=3)
      >>> params, state = loss.init(jax.random.key(0), 2)
      >>> _, _, scalars = jax.jit(loss.apply)(params, state, jnp.eye(2), jnp.array([0, 1]), jax.random.key(1))
      >>> list(params), sorted(scalars)[:2]
      (['contrastive', 'normface'], ['contrastive/active_anchors', 'contrastive/loss'])
    """

    def init(rng, embedding_size):
        params, state = {}, {}
        for index, (name, loss) in enumerate(losses.items()):
            params[name], state[name] = loss.init(jax.random.fold_in(rng, index), embedding_size)
        return params, state

    def apply(params, state, embeddings, labels, rng):
        total, new_state, scalars = 0.0, {}, {}
        for index, (name, loss) in enumerate(losses.items()):
            value, new_state[name], reported = loss.apply(
                params[name], state[name], embeddings, labels, jax.random.fold_in(rng, index))
            total += weights[name] * value
            scalars |= {f"{name}/loss": value} | {f"{name}/{key}": scalar for key, scalar in reported.items()}
        return total, new_state, scalars

    return Loss(init, apply)
