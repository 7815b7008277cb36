"""A weighted sum of losses: each with its own parameters and state, under its name."""

import jax

from .loss import Loss


def weighted_sum(losses: dict[str, Loss], weights: dict[str, float]) -> Loss:
    """params, state: {name: of that loss}. Scalars are reported as "name/scalar", and each value as "name/loss"."""

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
