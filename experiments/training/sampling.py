"""Partial FC's `update="sampled"`: rows that no part of a step has sampled stay as they are, bit for bit.

A loss of that kind has {"sampled": {"prototypes": bool[C]}} in its state (losses/partial_fc.py). Its prototypes, and
whatever the optimizer remembers of them, keep their old values where it is False. Counts of updates go on for all.
"""

import jax
import jax.numpy as jnp

# The arrays of a loss that have one row per class.
BY_CLASS = ("prototypes", "bias")


def clear(loss_state: dict) -> dict:
    """Before a step: nothing is sampled."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if "sampled" in _keys(path) else leaf, loss_state)


def keep_unsampled(loss_state: dict, new, old):
    """The tree `new` (parameters or optimizer state), with the rows of `old` where they were not sampled."""
    masks = {_keys(path)[:-2]: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(loss_state)
             if "sampled" in _keys(path)}
    if not masks:
        return new

    def keep(path, new, old):
        keys = _keys(path)
        for loss, mask in masks.items():
            if any(keys[-len(loss) - 2:] == ("loss", *loss, name) for name in BY_CLASS):
                return jnp.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old)
        return new

    return jax.tree_util.tree_map_with_path(keep, new, old)


def _keys(path) -> tuple:
    """The dictionary keys of a path, without the attributes and indices of optimizer states."""
    return tuple(key.key for key in path if isinstance(key, jax.tree_util.DictKey))
