"""In which order the numbers of public weights lie, and how they come into ours and back."""

import math
import re

import numpy as np

from ...errors import UserError


def array(value: np.ndarray, name: str) -> np.ndarray:
    """A tensor in float32 and in Flax's order of axes, in which Keras's kernels are already; the inverse of
    `torch_axes`.

    Args:
      value: the public tensor.
      name: its public name.

    Returns:
      f32 array.

    Raises:
      UserError: it has numbers that are not finite.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import orders
      >>> orders.array(np.zeros((64, 3, 7, 7)), "conv1.weight").shape
      (7, 7, 3, 64)
    """
    with np.errstate(over="ignore"):  # of float64, which then is not finite
        value = np.asarray(value, np.float32)
    wrong = np.count_nonzero(~np.isfinite(value))
    if wrong:
        raise UserError(f"{name}: {wrong:,} of {value.size:,} numbers are not finite (NaN or infinite): these weights "
                        f"are damaged, or their training has diverged")
    if name.endswith("weight"):
        return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
    return value


def torch_axes(value: np.ndarray) -> np.ndarray:
    """A kernel in PyTorch's order of axes.

    Args:
      value: in Flax's.

    Returns:
      The same numbers.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import orders
      >>> orders.torch_axes(np.zeros((7, 7, 3, 64))).shape, orders.torch_axes(np.zeros((512, 10))).shape
      ((64, 3, 7, 7), (10, 512))
    """
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T


def rows_first(kernel: np.ndarray, channels: int) -> np.ndarray:
    """The rows of a projection of a flattened map in the order in which Flax flattens it: pixel by pixel. PyTorch does
    it channel by channel.

    Args:
      kernel: f32[channels * side * side, F].
      channels: of the map.

    Returns:
      The same rows.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import orders
      >>> orders.rows_first(np.arange(8)[:, None], channels=2)[:, 0].tolist()
      [0, 4, 1, 5, 2, 6, 3, 7]
    """
    side = math.isqrt(kernel.shape[0] // channels)
    return kernel.reshape(channels, side, side, -1).transpose(1, 2, 0, 3).reshape(kernel.shape)


def channels_first(kernel: np.ndarray, channels: int) -> np.ndarray:
    """The inverse of `rows_first`.

    Args:
      kernel: f32[side * side * channels, F].
      channels: of the map.

    Returns:
      The same rows, in the order in which PyTorch flattens a map.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import orders
      >>> orders.channels_first(orders.rows_first(np.arange(8)[:, None], 2), channels=2)[:, 0].tolist()
      [0, 1, 2, 3, 4, 5, 6, 7]
    """
    side = math.isqrt(kernel.shape[0] // channels)
    return kernel.reshape(side, side, channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)


def fold_biases(found: dict) -> list[str]:
    """Takes biases in front of BatchNorm into its running mean, as a bias only shifts that.

    Args:
      found: (collection, path) -> array; changed.

    Returns:
      Their paths, which have no place in our variables.

    Example:
      >>> from geodesic.embedders.public_weights import orders
      >>> found = {("params", "conv1/bias"): 2.0, ("batch_stats", "bn1/mean"): 5.0}
      >>> orders.fold_biases(found), found
      (['params/conv1/bias'], {('batch_stats', 'bn1/mean'): 3.0})
    """
    folded = []
    for place in [place for place in found if place[1].endswith("/bias")]:
        module = place[1].removesuffix("/bias")
        norm = re.sub(r"conv(?=\d?$)", "bn", module)
        if norm != module and ("batch_stats", f"{norm}/mean") in found:
            found["batch_stats", f"{norm}/mean"] = found["batch_stats", f"{norm}/mean"] - found.pop(place)
            folded.append("/".join(place))
    return folded


def red_first(found: dict) -> None:
    """Turns the first kernel's channels round, from blue-green-red to red-green-blue.

    Args:
      found: (collection, path) -> array; changed.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import orders
      >>> found = {("params", "conv1/kernel"): np.arange(3).reshape(1, 1, 3, 1)}
      >>> orders.red_first(found)
      >>> found["params", "conv1/kernel"].ravel().tolist()
      [2, 1, 0]
    """
    for place, value in found.items():
        if value.ndim == 4 and value.shape[2] == 3:
            found[place] = value[:, :, ::-1]
