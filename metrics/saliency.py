"""Is a map of an image true? Where it points, how much of it lies within a box, and what its places are worth.

A map says how much each place of an image counts, f[h,w]. It may be coarser than the image.
"""

from collections.abc import Callable

import numpy as np


def points_inside(maps, boxes) -> np.ndarray:
    """The pointing game: whether the largest place of each map lies within its box.

    Args:
        maps: f[N,h,w]. Of equal places the first counts, row by row.
        boxes: f[N,4]: left, top, right, bottom, as shares of the image's width and height.

    Returns:
        bool[N]; their mean is the score of the game. The middle of the place decides.

    References:
        Zhang, Lin, Brandt, Shen, Sclaroff: Top-down Neural Attention by Excitation Backprop, 2016, arXiv:1608.00507.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import saliency
        >>> left = np.array([[[3.0, 0.0], [1.0, 2.0]]])
        >>> saliency.points_inside(left, [[0, 0, 0.5, 1]]), saliency.points_inside(left, [[0.5, 0, 1, 1]])
        (array([ True]), array([False]))
    """
    maps, boxes = np.asarray(maps, np.float64), np.asarray(boxes, np.float64)
    _, height, width = maps.shape
    y, x = np.divmod(maps.reshape(len(maps), -1).argmax(axis=1), width)
    x, y = (x + 0.5) / width, (y + 0.5) / height
    return (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])


def energy_inside(maps, boxes) -> np.ndarray:
    """The share of each map that lies within its box; what is negative counts as nothing.

    Args:
        maps, boxes: as of `points_inside`. A place that a side of the box cuts counts by its area inside.

    Returns:
        f64[N] from 0 to 1; the box's share of the image for a map that is nowhere positive, which says nothing.

    References:
        Wang et al.: Score-CAM: Score-Weighted Visual Explanations, 2019, arXiv:1910.01279.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import saliency
        >>> saliency.energy_inside(np.array([[[3.0, 0.0], [1.0, -2.0]]]), [[0, 0, 1, 0.5]]).tolist()
        [0.75]
    """
    maps, boxes = np.maximum(np.asarray(maps, np.float64), 0), np.asarray(boxes, np.float64)
    total = maps.sum(axis=(1, 2), keepdims=True)
    maps = np.where(total > 0, maps / np.where(total > 0, total, 1), 1 / (maps.shape[1] * maps.shape[2]))
    covered = [_covered(count, boxes[:, low], boxes[:, high]) for count, low, high in (
        (maps.shape[1], 1, 3), (maps.shape[2], 0, 2))]
    return np.einsum("nhw,nh,nw->n", maps, *covered)


def deletion_and_insertion(score: Callable, image, map_, filled, steps: int = 32) -> dict:
    """What the places of a map are worth: how a score falls as they are taken away, and grows as they come.

    The places are taken in the order of the map, the largest first (of equal ones the first, row by row): for deletion
    they are replaced in the image by what `filled` has there, for insertion they replace it there.

    Args:
        score: from images f or u8[K,H,W,3] to f[K], such as a cosine or a probability.
        image: u8[H,W,3] or f[H,W,3].
        map_: f[h,w], h and w at most H and W: a place is a rectangle of pixels.
        filled: of the image's shape: what is there where nothing is known, such as the image blurred, or a grey one.
        steps: into how many the places are divided; more than there are places are that many.

    Returns:
        "deletion" and "insertion", f64[steps + 1] each: the score after each step, from none to all; and
        "deletion_area" and "insertion_area", their means by the trapezoid rule. A true map has a small area of
        deletion and a large one of insertion.

    References:
        Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation, 2018, arXiv:1806.07421.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import saliency
        >>> image = np.zeros((2, 2, 3)); image[0, 0] = 1                      # all that counts is the first pixel
        >>> found = saliency.deletion_and_insertion(lambda images: images[:, 0, 0, 0], image, image[..., 0],
        ...                                         np.zeros_like(image))
        >>> found["deletion"].tolist(), found["insertion"].tolist(), found["insertion_area"]
        ([1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0, 1.0], 0.875)
    """
    image, filled, map_ = np.asarray(image), np.asarray(filled), np.asarray(map_, np.float64)
    rank = np.empty(map_.size, np.int64)
    rank[np.argsort(-map_, axis=None, kind="stable")] = np.arange(map_.size)
    rows, columns = (np.arange(pixels) * places // pixels for pixels, places in zip(image.shape, map_.shape,
                                                                                    strict=False))
    rank = rank.reshape(map_.shape)[rows[:, None], columns]
    counts = np.unique(np.round(np.linspace(0, map_.size, min(steps, map_.size) + 1)).astype(int))
    taken = (rank < counts[:, None, None])[..., None]
    found = {"deletion": np.asarray(score(np.where(taken, filled, image)), np.float64),
             "insertion": np.asarray(score(np.where(taken, image, filled)), np.float64)}
    shares = counts / map_.size
    return found | {f"{name}_area": float(np.trapezoid(curve, shares)) for name, curve in found.items()}


def _covered(count: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How much of each of `count` equal parts of 0..1 lies between low and high, f64[N,count]."""
    edges = np.arange(count + 1) / count
    inside = np.minimum(edges[1:], high[:, None]) - np.maximum(edges[:-1], low[:, None])
    return np.clip(inside, 0, None) * count
