"""Ten-fold face verification, the protocol of LFW, CFP-FP, AgeDB-30, CALFW and CPLFW."""

from typing import NamedTuple

import numpy as np

from ..errors import UserError

FOLDS = 10
# Squared distances of unit vectors lie in 0..4.
THRESHOLDS = np.arange(0, 4, 0.01)


class TenFold(NamedTuple):
    accuracy: float             # mean over the folds
    std: float                  # over the folds, population
    accuracies: np.ndarray      # f64[10]
    thresholds: np.ndarray      # f64[10], each chosen on the other nine folds


def ten_fold(first, second, same) -> TenFold:
    """Gives the accuracy of "same identity iff |e1 - e2|^2 < threshold", over ten folds.

    The threshold of each fold is chosen on the other nine; of equally good ones the first is taken. Choosing it on all
    pairs instead would add over a point. The folds are ten contiguous parts of the pairs, unshuffled.

    Args:
        first: f[M,D], L2-normalised embeddings of one image of each pair.
        second: f[M,D], of the other.
        same: bool[M], whether the pair is genuine.

    Returns:
        Mean and deviation over the folds, and the accuracy and threshold of each.

    Raises:
        UserError: there are fewer than ten pairs, shapes differ, or a value is not finite.

    References:
        Huang, Ramesh, Berg, Learned-Miller: Labeled Faces in the Wild: A Database for Studying Face Recognition in
        Unconstrained Environments, 2007.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import ten_fold
        >>> same = np.arange(20) % 2 == 0
        >>> ten_fold.ten_fold(np.eye(2)[np.zeros(20, int)], np.eye(2)[np.where(same, 0, 1)], same).accuracy
        1.0
    """
    first, second, same = np.asarray(first, np.float64), np.asarray(second, np.float64), np.asarray(same, bool)
    if first.shape != second.shape or same.shape != first.shape[:1]:
        raise UserError(f"pairs do not fit together: {first.shape}, {second.shape} and {same.shape}")
    if len(same) < FOLDS:
        raise UserError(f"{len(same)} pairs do not make {FOLDS} folds")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise UserError("embeddings hold NaN or infinite values: no distance is meant")
    distance = np.sum((first - second) ** 2, axis=1)
    correct = (distance[:, None] < THRESHOLDS) == same[:, None]     # [M, thresholds]
    sizes = np.full(FOLDS, len(same) // FOLDS)
    sizes[:len(same) % FOLDS] += 1                                  # as scikit-learn's KFold cuts them
    fold = np.repeat(np.arange(FOLDS), sizes)
    hits = np.stack([correct[fold == index].sum(axis=0) for index in range(FOLDS)])
    best = np.argmax((hits.sum(axis=0) - hits) / (len(same) - sizes)[:, None], axis=1)
    accuracies = hits[np.arange(FOLDS), best] / sizes
    return TenFold(float(accuracies.mean()), float(accuracies.std()), accuracies, THRESHOLDS[best])
