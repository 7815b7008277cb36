"""Grey images: three channels that are one in memory, so that what is done to each channel alike is done once."""

import functools
from collections.abc import Callable

import numpy as np


def of(channel: np.ndarray) -> np.ndarray:
    """The image u8[H,W,3] of a contiguous channel u8[H,W]. It is a view of it, to be read alone.

    Example:
        >>> of(np.zeros((4, 6), np.uint8)).shape, of(np.zeros((4, 6), np.uint8)).strides
        ((4, 6, 3), (6, 1, 0))
    """
    # A tenth of what np.broadcast_to takes, which the smallest images would notice.
    return np.ndarray((*channel.shape, 3), channel.dtype, channel, strides=(*channel.strides, 0))


def once(change: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Makes `change(image, ...)`, which does the same to each channel, do it to one channel of an image of `of`.

    Example:
        >>> shapes = []
        >>> noted = once(lambda image: (shapes.append(image.shape), image)[1])
        >>> noted(of(np.zeros((4, 6), np.uint8))).shape, noted(np.zeros((4, 6, 3), np.uint8)).shape, shapes
        ((4, 6, 3), (4, 6, 3), [(4, 6), (4, 6, 3)])
    """

    @functools.wraps(change)
    def changed(image: np.ndarray, *values, **named) -> np.ndarray:
        if image.ndim == 3 and image.strides[2] == 0:
            return of(change(np.ascontiguousarray(image[:, :, 0]), *values, **named))
        return change(image, *values, **named)

    return changed
