"""Classification: neighbours' votes, a linear probe, and the scores of a classifier's answers."""

import numpy as np

from ..errors import UserError
from . import retrieval
from .neighbors import nearest


def knn(embeddings, labels, queries, k: int, *, vote: str = "uniform", temperature: float = 0.07,
        mesh=None) -> np.ndarray:
    """The class of each query by its k nearest rows, by cosine: labels' dtype [Q]; of tied classes the lowest.

    embeddings f[N,D], labels int[N], queries f[Q,D]. vote: "uniform"; "distance", 1 / Euclidean distance of the unit
    vectors, only rows at distance 0 voting where there are any; "softmax", exp(cosine / temperature) (Wu et al.:
    Unsupervised Feature Learning via Non-Parametric Instance Discrimination, 2018, arXiv:1805.01978).
    Raises UserError for values that are not finite and rows that have collapsed to one point.
    """
    labels, rows, queries = np.asarray(labels), retrieval.normalized(embeddings), retrieval.normalized(queries)
    retrieval.check_spread(rows)
    found, cosines = nearest.Gallery(rows, mesh).top(queries, k)
    if vote == "uniform":
        weight = np.ones(cosines.shape)
    elif vote == "distance":
        # Of the rows themselves: the float32 cosine of all that is nearer than about 3e-4 may be 1, or not quite.
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


def linear_probe(embeddings, labels, queries, *, inverse_regularization: float = 1.0, iterations: int = 1000):
    """Classes by multinomial logistic regression on frozen embeddings, by scikit-learn (L-BFGS, standardised columns).

    embeddings f[N,D], labels int[N], queries f[Q,D]. Returns probabilities f64[Q,C] and the classes int[C] of their
    columns, ascending.
    """
    from sklearn import linear_model, pipeline, preprocessing

    probe = pipeline.make_pipeline(preprocessing.StandardScaler(),
                                   linear_model.LogisticRegression(C=inverse_regularization, max_iter=iterations))
    probe.fit(np.asarray(embeddings, np.float64), labels)
    return probe.predict_proba(np.asarray(queries, np.float64)), probe.classes_


def top_k_accuracy(scores, labels, k: int) -> float:
    """Share of rows whose class is among the k highest scores; of equal scores the lower class comes first.

    scores f[N,C], finite; labels int[N], columns of scores.
    """
    scores, labels = np.asarray(scores), _columns(scores, labels)
    own = scores[np.arange(len(labels)), labels][:, None]
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < labels[:, None]))
    return float((before.sum(axis=1) < k).mean())


def calibration_error(probabilities, labels, *, bins: int = 15) -> float:
    """Expected calibration error: mean over rows of |accuracy - confidence| of the row's bin of confidence.

    probabilities f[N,C], labels int[N]. Bins of equal width, open below and closed above: (0, 1/15], ...
    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599.
    Raises UserError for values outside 0..1.
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
    """Average precision of each label, ties accepted together (scikit-learn's): mean over labels, and over all cells.

    scores f[N,L], targets bool or 0/1 [N,L]. Labels without a positive are left out of "macro_ap" and counted in
    "labels_without_positive". Raises UserError where no label has one.
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
