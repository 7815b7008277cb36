"""How sure a classifier is, and how sure it should be: calibration, likelihood, and a temperature that mends both."""

from typing import NamedTuple

import numpy as np

from ..errors import UserError
from . import classification

# Rows at a time of what is as large as all scores.
_BLOCK = 4096


class Reliability(NamedTuple):
    """How sure a classifier was, and how often it was right, in bins of its confidence: a reliability diagram.

    Attributes:
        place: i64[N], the bin of each row.
        count: i64[B], rows of each bin; those without rows are there too.
        confidence, accuracy: f64[B], their means in each bin; NaN of a bin without rows.
    """

    place: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: the mean over rows of |accuracy - confidence| of the row's bin."""
        gaps = np.where(self.count, np.abs(self.accuracy - self.confidence), 0)
        return float((self.count * gaps).sum() / self.count.sum())


def reliability(confidence, correct, *, bins: int = 15, adaptive: bool = False) -> Reliability:
    """Puts answers into bins of their confidence.

    Args:
        confidence: f[N], the probability of each row's answer, 0..1.
        correct: bool[N], whether it is right.
        bins: their number.
        adaptive: whether the bins have as many rows each, and not the same width. Rows of one confidence share a bin.
            Bins of equal width are open below and closed above: (0, 1/15], ...

    Returns:
        The bins.

    Raises:
        UserError: a confidence is NaN or outside of 0..1, or there is none.

    References:
        Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599 (equal width).
        Nixon, Dusenberry, Jerfel, Nguyen, Liu, Zhang, Tran: Measuring Calibration in Deep Learning, 2019,
        arXiv:1904.01685 (adaptive).

    Example:
        >>> from geodesic.metrics import confidence
        >>> found = confidence.reliability([0.9, 0.8, 0.3], [True, False, False], bins=2)
        >>> found.count.tolist(), found.accuracy.tolist(), round(found.error, 3)
        ([1, 2], [0.0, 0.5], 0.333)
    """
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, bool)
    if confidence.shape != correct.shape or not confidence.size:
        raise UserError(f"confidences of {confidence.shape} and answers of {correct.shape}: expected as many, and some")
    if not (confidence.min() >= 0 and confidence.max() <= 1 + 1e-6):
        raise UserError("probabilities lie in 0..1: apply a softmax first")
    if adaptive:
        place = np.searchsorted(np.sort(confidence), confidence, side="left") * bins // len(confidence)
    else:
        place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence, side="left")
    count = np.bincount(place, minlength=bins)
    mean = lambda values: np.where(count, np.bincount(place, weights=values, minlength=bins) / np.maximum(count, 1),
                                   np.nan)
    return Reliability(place, count, mean(confidence), mean(correct))


def calibration_error(probabilities, labels, *, bins: int = 15, adaptive: bool = False) -> float:
    """Gives the expected calibration error: the mean over rows of |accuracy - confidence| of the row's bin.

    Args:
        probabilities: f[N,C].
        labels: int[N], columns of `probabilities`.
        bins, adaptive: of confidence, as of `reliability`.

    Returns:
        The error, 0..1; lower is better.

    Raises:
        UserError: a value is outside of 0..1, or a label is no column.

    References:
        As of `reliability`.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import confidence
        >>> confidence.calibration_error(np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([0, 1]))
        0.25
    """
    probabilities, labels = np.asarray(probabilities, np.float64), classification.checked(probabilities, labels)
    if probabilities.min() < 0:
        raise UserError("probabilities lie in 0..1: apply a softmax first")
    return reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, bins=bins,
                       adaptive=adaptive).error


def brier_score(probabilities, labels) -> np.ndarray:
    """Gives the squared distance of each row's probabilities from the right ones, 1 of its class and 0 of the others.

    Args:
        probabilities: f[N,C].
        labels: int[N], columns of `probabilities`.

    Returns:
        f64[N], 0..2; lower is better. Their mean is the Brier score.

    Raises:
        UserError: a value is not finite, or a label is no column.

    References:
        Brier: Verification of Forecasts Expressed in Terms of Probability, 1950.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import confidence
        >>> confidence.brier_score(np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([0, 0])).tolist()
        [0.5, 2.0]
    """
    probabilities, labels = np.asarray(probabilities, np.float64), classification.checked(probabilities, labels)
    own = probabilities[np.arange(len(labels)), labels]
    return (probabilities**2).sum(axis=1) - own**2 + (1 - own) ** 2


def negative_log_likelihood(logits, labels) -> np.ndarray:
    """Gives -log of the probability that a softmax gives to each row's class, in float64.

    Args:
        logits: f[N,C]; logarithms of probabilities are logits too.
        labels: int[N], columns of `logits`.

    Returns:
        f64[N], at least 0; lower is better.

    Raises:
        UserError: a value is not finite, or a label is no column.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import confidence
        >>> confidence.negative_log_likelihood(np.log([[0.5, 0.25, 0.25]]), np.array([1])).round(4).tolist()
        [1.3863]
    """
    labels, found = classification.checked(logits, labels), np.empty(len(logits))
    for start in range(0, len(found), _BLOCK):
        rows = np.asarray(logits[start:start + _BLOCK], np.float64)
        rows = rows - rows.max(axis=1, keepdims=True)
        own = rows[np.arange(len(rows)), labels[start:start + _BLOCK]]
        found[start:start + _BLOCK] = np.log(np.exp(rows).sum(axis=1)) - own
    return found


def temperature(logits, labels) -> float:
    """Finds the temperature T for which softmax(logits / T) gives held-out rows the largest likelihood.

    The mean negative log likelihood is convex in 1 / T, and its derivative there, the mean over rows of the expected
    logit minus the logit of the row's class, rises: its zero is found by Newton's steps within a bracket, in float64.
    The answers stay the same; how sure they are changes.

    Args:
        logits: f[N,C], of rows that nothing was trained on.
        labels: int[N], columns of `logits`.

    Returns:
        T, above 0: above 1 the classifier was too sure.

    Raises:
        UserError: there is no such temperature: every row's class has the largest logit, or on average the logits of
            the rows' classes are no larger than others; a value is not finite, or a label is no column.

    References:
        Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import confidence
        >>> logits, labels = np.tile([[2.0, 0.0]], (4, 1)), np.array([0, 0, 0, 1])
        >>> round(confidence.temperature(logits, labels), 4)   # three of four are right: 2 / T = log 3
        1.8205
    """
    labels = classification.checked(logits, labels)
    logits = np.asarray(logits) - np.max(logits, axis=1, keepdims=True)  # 0 is the answer's, and others are below
    own = logits[np.arange(len(labels)), labels].astype(np.float64)
    if not own.any():
        raise UserError(f"each of the {len(labels):,} rows is answered rightly: no temperature is small enough")
    if own.mean() <= logits.mean(dtype=np.float64):
        raise UserError("the rows' classes have no larger logits than others: no temperature is large enough")
    low, high, inverse = 0.0, np.inf, 1.0
    while True:  # the zero lies above `low` and below `high`
        slope, curvature = _slope(logits, own, inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else np.inf
        if not low < step < high:
            step = 2 * inverse if high == np.inf else (low + high) / 2
        if slope == 0 or abs(step - inverse) <= 1e-12 * inverse:
            return float(1 / step) if slope else float(1 / inverse)
        inverse = step


def _slope(logits: np.ndarray, own: np.ndarray, inverse: float) -> tuple[float, float]:
    """The first and the second derivative, by 1 / T, of the mean negative log likelihood."""
    first = second = 0.0
    for start in range(0, len(logits), _BLOCK):
        rows = logits[start:start + _BLOCK].astype(np.float64)
        weights = np.exp(rows * inverse)
        weights /= weights.sum(axis=1, keepdims=True)
        mean = (weights * rows).sum(axis=1)
        first += (mean - own[start:start + _BLOCK]).sum()
        second += ((weights * rows**2).sum(axis=1) - mean**2).sum()
    return first / len(logits), second / len(logits)
