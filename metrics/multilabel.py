"""Scores of rows that may be of several classes."""

import numpy as np

from ..errors import UserError


def average_precisions(scores, targets) -> np.ndarray:
    """Gives each label's average precision; equal scores are accepted together, as by scikit-learn.

    Args:
        scores: f[N,L].
        targets: bool or 0/1 [N,L].

    Returns:
        f64[L]; NaN of a label without a positive. The mean of the others is the macro average precision, mAP.

    Raises:
        UserError: the shapes differ, or a score is not finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import multilabel
        >>> scores, targets = np.array([[0.9, 0.2], [0.1, 0.8], [0.4, 0.3]]), np.array([[1, 0], [0, 0], [0, 1]])
        >>> multilabel.average_precisions(scores, targets).tolist()
        [1.0, 0.5]
    """
    from sklearn import metrics as sklearn_metrics

    scores, targets = _checked(scores, targets)
    return np.array([sklearn_metrics.average_precision_score(truth, values) if truth.any() else np.nan
                     for truth, values in zip(targets.T, scores.T, strict=True)])


def average_precision(scores, targets) -> dict[str, float]:
    """Gives the average precision over labels and over cells; equal scores are accepted together, as by scikit-learn.

    Args:
        scores: f[N,L].
        targets: bool or 0/1 [N,L].

    Returns:
        "macro_ap", the mean over labels; "micro_ap", of all cells together; and "labels_without_positive", the number
        of labels that the mean leaves out.

    Raises:
        UserError: the shapes differ, a score is not finite, or no label has a positive.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import multilabel
        >>> scores, targets = np.array([[0.9, 0.2], [0.1, 0.8], [0.4, 0.3]]), np.array([[1, 0], [0, 0], [0, 1]])
        >>> multilabel.average_precision(scores, targets)
        {'macro_ap': 0.75, 'micro_ap': 0.75, 'labels_without_positive': 0}
    """
    from sklearn import metrics as sklearn_metrics

    scores, targets = _checked(scores, targets)
    if not targets.any():
        raise UserError("no label has a positive")
    each = average_precisions(scores, targets)
    micro = sklearn_metrics.average_precision_score(targets.ravel(), scores.ravel())
    return {"macro_ap": float(np.nanmean(each)), "micro_ap": float(micro),
            "labels_without_positive": int(np.isnan(each).sum())}


def _checked(scores, targets) -> tuple[np.ndarray, np.ndarray]:
    scores, targets = np.asarray(scores), np.asarray(targets).astype(bool)
    if scores.shape != targets.shape or scores.ndim != 2:
        raise UserError(f"scores of {scores.shape} and targets of {targets.shape}: expected [N,L] of both")
    if not np.isfinite(scores).all():
        raise UserError("scores hold NaN or infinite values: nothing is scored")
    return scores, targets
