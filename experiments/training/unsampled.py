"""Class weights that a step has not sampled stay as they are, bit for bit: Partial FC's `update="sampled"`.

A loss of that kind has {"sampled": {"prototypes": bool[C]}} in its state (losses/partial_fc.py). Its arrays with a row
for each class, and whatever the optimizer remembers of them, keep the rows where it is False, and rules that look at a
whole array see the others alone, as those of Partial FC's first code, which is given the sampled weights. Counts of
updates are shared by all rows, so they go on. A running average of the weights is of all rows, moved or not.
"""

import jax
import jax.numpy as jnp
import optax

from geodesic import losses
from geodesic.losses import by_class


def clear_sampled(loss_state: dict) -> dict:
    """The loss's state before an update, in which nothing is sampled yet; other losses' states are as given."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if "sampled" in _names(path) else leaf, loss_state)


def update(rule: optax.GradientTransformation, gradients: dict, opt_state, params: dict,
           loss_state: dict) -> tuple[dict, optax.OptState]:
    """(parameters, optimizer state) after an update that knows nothing of rows which the loss has not sampled.

    Args:
      rule: the optimizer.
      gradients, opt_state, params: of the update.
      loss_state: as of `keep_unsampled`.
    """
    rule = optax.with_extra_args_support(rule)
    updates, new_state = rule.update(gradients, opt_state, params, loss_state=loss_state)
    return keep_unsampled(loss_state, (optax.apply_updates(params, updates), new_state), (params, opt_state))


def hide_unsampled(loss_state: dict, tree):
    """The tree, as of `keep_unsampled`, with zeros for the rows that the loss has not sampled: no norm sees them."""
    return keep_unsampled(loss_state, tree, jax.tree.map(jnp.zeros_like, tree))


def keep_unsampled(loss_state: dict, new, old):
    """The tree after an update, with the rows from before it where the loss has not sampled them.

    Args:
      loss_state: the loss's state after the update; of a combination, of each loss under its name.
      new, old: trees of the same structure, with "embedder" and "loss" in their paths: parameters, optimizer state, or
        a tuple of both.

    Returns:
      A tree like `new`. Losses that do not say what they have sampled, and the embedder, are as in `new`.
    """
    masks = {_names(path)[:-2]: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(loss_state)
             if "sampled" in _names(path)}

    def keep(path, new, old):
        mask = masks.get(by_class.names_below_loss(path)[:-1])
        if mask is None or not losses.is_by_class(path, new):
            return new
        return jnp.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree_util.tree_map_with_path(keep, new, old)


def _names(path) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
