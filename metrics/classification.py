"""Classification: neighbours' votes, a linear probe, and the scores of a classifier's answers."""

import numpy as np

from ..errors import UserError
from . import retrieval
from .neighbors import nearest


def knn(embeddings, labels, queries, k: int, *, vote: str = "uniform", temperature: float = 0.07,
        mesh=None) -> np.ndarray:
    """Classifies each query by the votes of its k nearest rows, by cosine.

    Args:
        embeddings: f[N,D], of any length.
        labels: int[N].
        queries: f[Q,D], of any length.
        k: the number of votes, 1..N.
        vote: the weight of a vote. "uniform" is 1; "distance" is 1 / Euclidean distance of the unit vectors, and only
            rows at distance 0 vote where there are any; "softmax" is exp(cosine / temperature).
        temperature: of the softmax vote.
        mesh: splits the rows over its axis "data".

    Returns:
        The classes, in the dtype of `labels`, [Q]; of tied classes the lowest.

    Raises:
        UserError: a value is not finite, the rows have collapsed to one point, or k or vote is unknown.

    References:
        Cover, Hart: Nearest Neighbor Pattern Classification, 1967.
        Wu, Xiong, Yu, Lin: Unsupervised Feature Learning via Non-Parametric Instance Discrimination, 2018,
        arXiv:1805.01978 (softmax vote).

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import classification
        >>> rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]])
        >>> classification.knn(rows, np.array([4, 7, 7]), np.array([[2.0, 0.1], [0.0, 3.0]]), 1).tolist()
        [4, 7]
    """
    labels, rows, queries = np.asarray(labels), retrieval.normalized(embeddings), retrieval.normalized(queries)
    retrieval.check_spread(rows)
    found, cosines = nearest.Gallery(rows, mesh).top(queries, k)
    if vote == "uniform":
        weight = np.ones(cosines.shape)
    elif vote == "distance":
        # Distances are of the rows themselves: the float32 cosine of what is nearer than 3e-4 may be 1, or not quite.
        distance = np.array([np.linalg.norm(rows[near].astype(np.float64) - query, axis=1)
                             for near, query in zip(found, queries, strict=True)]).reshape(found.shape)
        exact = distance == 0
        weight = np.where(exact.any(axis=1, keepdims=True), exact, 1 / np.where(exact, 1, distance))
    elif vote == "softmax":
        weight = np.exp((cosines - cosines[:, :1]).astype(np.float64) / temperature)
    else:
        raise UserError(f"vote={vote!r}: expected uniform, distance or softmax")
    classes, column = np.unique(labels, return_inverse=True)
    answers = np.empty(len(found), labels.dtype)
    for row, (near, weights) in enumerate(zip(found, weight, strict=True)):
        answers[row] = classes[np.bincount(column[near], weights=weights).argmax()]
    return answers


def linear_probe(embeddings, labels, queries, *, inverse_regularization: float = 1.0,
                 iterations: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Classifies by multinomial logistic regression on frozen embeddings.

    scikit-learn fits it, by L-BFGS on standardised columns.

    Args:
        embeddings: f[N,D], to fit on.
        labels: int[N].
        queries: f[Q,D], to classify.
        inverse_regularization: the C of scikit-learn; smaller is more.
        iterations: the most that are done.

    Returns:
        Probabilities f64[Q,C], and the classes int[C] of their columns, ascending.

    References:
        Alain, Bengio: Understanding intermediate layers using linear classifier probes, 2016, arXiv:1610.01644.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import classification
        >>> rows, labels = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]), np.array([4, 4, 7, 7])
        >>> probabilities, classes = classification.linear_probe(rows, labels, np.array([[1.0, 0.1]]))
        >>> classes.tolist(), int(classes[probabilities.argmax()])
        ([4, 7], 4)
    """
    from sklearn import linear_model, pipeline, preprocessing

    probe = pipeline.make_pipeline(preprocessing.StandardScaler(),
                                   linear_model.LogisticRegression(C=inverse_regularization, max_iter=iterations))
    probe.fit(np.asarray(embeddings, np.float64), labels)
    return probe.predict_proba(np.asarray(queries, np.float64)), probe.classes_


def top_k_accuracy(scores, labels, k: int) -> float:
    """Gives the share of rows whose class is among the k highest scores.

    Args:
        scores: f[N,C].
        labels: int[N], columns of `scores`.
        k: 1 gives the accuracy. Of equal scores the lower class comes first.

    Returns:
        The share, 0..1.

    Raises:
        UserError: a score is not finite, or a label is no column.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import classification
        >>> scores, labels = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]), np.array([1, 2])
        >>> classification.top_k_accuracy(scores, labels, 1), classification.top_k_accuracy(scores, labels, 2)
        (0.5, 1.0)
    """
    scores, labels = np.asarray(scores), _columns(scores, labels)
    own = scores[np.arange(len(labels)), labels][:, None]
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < labels[:, None]))
    return float((before.sum(axis=1) < k).mean())


def calibration_error(probabilities, labels, *, bins: int = 15) -> float:
    """Gives the expected calibration error: the mean over rows of |accuracy - confidence| of the row's bin.

    Args:
        probabilities: f[N,C].
        labels: int[N], columns of `probabilities`.
        bins: of confidence, of equal width, open below and closed above: (0, 1/15], ...

    Returns:
        The error, 0..1; lower is better.

    Raises:
        UserError: a value is outside of 0..1, or a label is no column.

    References:
        Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import classification
        >>> classification.calibration_error(np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([0, 1]))
        0.25
    """
    probabilities, labels = np.asarray(probabilities, np.float64), _columns(probabilities, labels)
    if probabilities.min() < 0 or probabilities.max() > 1 + 1e-6:
        raise UserError("probabilities lie in 0..1: apply a softmax first")
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence, side="left")
    gaps = np.bincount(place, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def _columns(scores, labels) -> np.ndarray:
    scores, labels = np.asarray(scores), np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"labels are integers, got {labels.dtype}")
    if scores.ndim != 2 or len(scores) != len(labels):
        raise UserError(f"scores of {scores.shape} and {len(labels)} labels: expected [N,C] and N")
    if not np.isfinite(scores).all():
        raise UserError("scores hold NaN or infinite values: nothing is answered")
    if len(labels) and not 0 <= labels.min() <= labels.max() < scores.shape[1]:
        raise UserError(f"labels {labels.min()}..{labels.max()} of {scores.shape[1]} classes")
    return labels


def multilabel_average_precision(scores, targets) -> dict[str, float]:
    """Gives the average precision of multi-label scores; equal scores are accepted together, as by scikit-learn.

    Args:
        scores: f[N,L].
        targets: bool or 0/1 [N,L].

    Returns:
        "macro_ap", the mean over labels; "micro_ap", of all cells together; and "labels_without_positive", the number
        of labels that the mean leaves out.

    Raises:
        UserError: the shapes differ, or no label has a positive.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import classification
        >>> scores, targets = np.array([[0.9, 0.2], [0.1, 0.8], [0.4, 0.3]]), np.array([[1, 0], [0, 0], [0, 1]])
        >>> classification.multilabel_average_precision(scores, targets)
        {'macro_ap': 0.75, 'micro_ap': 0.75, 'labels_without_positive': 0}
    """
    from sklearn import metrics as sklearn_metrics

    scores, targets = np.asarray(scores), np.asarray(targets).astype(bool)
    if scores.shape != targets.shape:
        raise UserError(f"scores of {scores.shape} and targets of {targets.shape}")
    kept = targets.any(axis=0)
    if not kept.any():
        raise UserError("no label has a positive")
    each = [sklearn_metrics.average_precision_score(targets[:, label], scores[:, label])
            for label in np.flatnonzero(kept)]
    micro = sklearn_metrics.average_precision_score(targets.ravel(), scores.ravel())
    return {"macro_ap": float(np.mean(each)), "micro_ap": float(micro), "labels_without_positive": int((~kept).sum())}
