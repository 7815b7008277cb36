"""Which arrays of a train state have one row for each class: the one rule for sharding, padding and sampling.

A loss keeps its class weights as "prototypes" and, where it is affine, a "bias". Whatever the optimizer remembers of
them, and the loss's own note of which it has sampled, has the same rows and the same names at the end of its path.
"""

import jax

_ARRAYS = ("prototypes", "bias")
# The parts of the parameters, and so of the optimizer's trees, and the state that is the loss's own.
_PARTS = ("embedder", "loss", "loss_state")


def is_by_class(path: tuple, leaf: jax.Array) -> bool:
    """Whether an array has one row for each class.

    Args:
      path: its keys in a train state, as `jax.tree_util.tree_leaves_with_path` gives them; or below
        {"params": ..., "opt_state": ...} or parts of it, as long as the keys "embedder" and "loss" are among them.
      leaf: the array, or its shape.

    Returns:
      True for `prototypes` and `bias` of a loss, also inside a combination of losses, and for what the optimizer and
      the loss's state hold of them. An embedder's parameters are never by class, whatever they are called.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> params = {"embedder": {"fc": {"bias": jnp.zeros(2)}}, "loss": {"prototypes": jnp.zeros((5, 2))}}
      >>> jax.tree_util.tree_map_with_path(losses.is_by_class, params)
      {'embedder': {'fc': {'bias': False}}, 'loss': {'prototypes': True}}
    """
    names = names_below_loss(path)
    return bool(names) and names[-1] in _ARRAYS and leaf.ndim > 0


def names_below_loss(path: tuple) -> tuple[str, ...]:
    """The names of a path that follow its "loss", such as ("prototypes",) or ("arcface", "prototypes").

    Args:
      path: the keys of an array, as in `is_by_class`.

    Returns:
      The names; () for an array that is not below a loss.

    Example:
      >>> import jax
      >>> from geodesic.losses import by_class
      >>> params = {"embedder": {"conv1": 0}, "loss": {"arcface": {"prototypes": 0}}}
      >>> [by_class.names_below_loss(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
      [(), ('arcface', 'prototypes')]
    """
    names = [jax.tree_util.keystr((key,), simple=True) for key in path]
    start = next((place for place, name in enumerate(names) if name in _PARTS), None)
    return () if start is None or names[start] == "embedder" else tuple(names[start + 1:])
