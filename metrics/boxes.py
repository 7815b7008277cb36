"""Areas and overlaps of boxes x1, y1, x2, y2: left, top, right and bottom edges, so that a box is x2 - x1 wide."""

import numpy as np


def areas(boxes: np.ndarray) -> np.ndarray:
    """Gives the areas of boxes.

    Args:
        boxes: f[N,4].

    Returns:
        f[N].

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import boxes
        >>> boxes.areas(np.array([[1.0, 1.0, 3.0, 4.0]])).tolist()
        [6.0]
    """
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def overlaps(boxes: np.ndarray, others: np.ndarray, crowd: np.ndarray | None = None) -> np.ndarray:
    """Gives the intersection over union of each two boxes, or, with a crowd, over the box alone.

    Args:
        boxes: f[N,4].
        others: f[G,4].
        crowd: bool[G], which of the others are crowds.

    Returns:
        f[N,G], 0..1; 0 where a box has no area.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import boxes
        >>> box, other = np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[0.0, 0.0, 2.0, 2.0]])
        >>> float(boxes.overlaps(box, other)[0, 0]), float(boxes.overlaps(box, other, np.array([True]))[0, 0])
        (0.25, 1.0)
    """
    sides = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    shared, own = np.maximum(sides, 0).prod(axis=2), areas(boxes)[:, None]
    union = own + areas(others) - shared
    if crowd is not None:
        union = np.where(crowd, own, union)
    return np.divide(shared, union, out=np.zeros(shared.shape), where=shared > 0)
