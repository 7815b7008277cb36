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
    """Accuracy of "same identity iff |e1 - e2|^2 < threshold", the threshold of each fold chosen on the other nine.

    first, second: f[M,D], L2-normalised embeddings of the pairs. same: bool[M]. The folds are ten contiguous parts of
    the pairs, unshuffled; of equally good thresholds the first is taken. Choosing the threshold on all pairs instead
    would add over a point.
    Huang, Ramesh, Berg, Learned-Miller: Labeled Faces in the Wild, 2007. Raises UserError for fewer than 10 pairs,
    shapes that differ, and values that are not finite.
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
