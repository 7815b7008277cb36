"""Classification: neighbours' votes, a linear probe, and how right a classifier's answers are."""

from collections.abc import Sequence

import numpy as np

from ..errors import UserError
from . import retrieval
from .neighbors import nearest


def knn(embeddings, labels, queries, k: int | Sequence[int], *, vote: str = "uniform", temperature: float = 0.07,
        mesh=None) -> np.ndarray:
    """Classifies each query by the votes of its k nearest rows, by cosine.

    Args:
        embeddings: f[N,D], of any length.
        labels: int[N].
        queries: f[Q,D], of any length.
        k: the number of votes, 1..N; or several of them, for which the neighbours are looked for once.
        vote: the weight of a vote. "uniform" is 1; "distance" is 1 / Euclidean distance of the unit vectors, and only
            rows at distance 0 vote where there are any; "softmax" is exp(cosine / temperature).
        temperature: of the softmax vote.
        mesh: splits the rows over its axis "data".

    Returns:
        The classes, in the dtype of `labels`, [Q], or [len(k),Q] of several k; of tied classes the lowest.

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
        >>> classification.knn(rows, np.array([4, 7, 7]), np.array([[2.0, 0.1]]), (1, 3)).tolist()
        [[4], [7]]
    """
    labels, rows, queries = np.asarray(labels), retrieval.normalized(embeddings), retrieval.normalized(queries)
    retrieval.check_spread(rows)
    counts = np.atleast_1d(k)
    if counts.min() < 1:
        raise UserError(f"k={counts.min()}: expected one vote or more")
    found, cosines = nearest.Gallery(rows, mesh).top(queries, int(counts.max()))
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
    answers = np.empty((len(counts), len(found)), labels.dtype)
    for row, (near, weights) in enumerate(zip(found, weight, strict=True)):
        for place, count in enumerate(counts):
            answers[place, row] = classes[np.bincount(column[near[:count]], weights=weights[:count]).argmax()]
    return answers[0] if np.ndim(k) == 0 else answers


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


def top_k_hits(scores, labels, k: int) -> np.ndarray:
    """Says of each row whether its class is among the k highest scores.

    Args:
        scores: f[N,C].
        labels: int[N], columns of `scores`.
        k: 1 asks whether the answer is right. Of equal scores the lower class comes first.

    Returns:
        bool[N].

    Raises:
        UserError: a score is not finite, or a label is no column.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import classification
        >>> scores, labels = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]), np.array([1, 2])
        >>> classification.top_k_hits(scores, labels, 1).tolist(), classification.top_k_hits(scores, labels, 2).tolist()
        ([False, True], [True, True])
    """
    scores, labels = np.asarray(scores), checked(scores, labels)
    own = scores[np.arange(len(labels)), labels][:, None]
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < labels[:, None]))
    return before.sum(axis=1) < k


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
    return float(top_k_hits(scores, labels, k).mean())


def accuracy_by_class(hits, labels, num_classes: int) -> np.ndarray:
    """Gives the share of each class's rows that are right.

    Args:
        hits: bool[N], as `top_k_hits` gives.
        labels: int[N], below `num_classes`.
        num_classes: C.

    Returns:
        f64[C]; NaN of a class without a row. Their mean, without these, is the mean per-class accuracy, which counts
        rare classes as much as others.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import classification
        >>> classification.accuracy_by_class([True, False, True], np.array([0, 0, 2]), 3).tolist()
        [0.5, nan, 1.0]
    """
    counts = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels, weights=np.asarray(hits, np.float64), minlength=num_classes)
    return np.where(counts, right / np.maximum(counts, 1), np.nan)


def confusion_matrix(answers, labels, num_classes: int) -> np.ndarray:
    """Counts how often rows of each class are given each class.

    Args:
        answers: int[N], the classes that the rows are given.
        labels: int[N], the classes that they are of.
        num_classes: C, above both.

    Returns:
        i64[C,C]: a row for each class that rows are of, a column for each that they are given.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import classification
        >>> classification.confusion_matrix(np.array([1, 1, 0]), np.array([0, 1, 0]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    cells = np.asarray(labels, np.int64) * num_classes + np.asarray(answers)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def largest_confusions(answers, labels, most: int) -> list[tuple[int, int, int]]:
    """Finds the pairs of classes that are taken for each other most often; of many classes no matrix is made.

    Args:
        answers: int[N], the classes that the rows are given.
        labels: int[N], the classes that they are of.
        most: pairs to give at most.

    Returns:
        (class, the class that it is taken for, rows), most rows first; of equals the lower classes come first.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import classification
        >>> classification.largest_confusions(np.array([1, 1, 0, 7]), np.array([0, 0, 0, 1]), 5)
        [(0, 1, 2), (1, 7, 1)]
    """
    wrong = np.stack([np.asarray(labels), np.asarray(answers)], axis=1)
    wrong = wrong[wrong[:, 0] != wrong[:, 1]]
    pairs, counts = np.unique(wrong, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return [(int(pairs[place, 0]), int(pairs[place, 1]), int(counts[place])) for place in order]


def checked(scores, labels) -> np.ndarray:
    """Checks the scores of classes, and labels that are columns of them.

    Args:
        scores: f[N,C].
        labels: int[N].

    Returns:
        The labels, as an array.

    Raises:
        UserError: a score is not finite, a label is no column, or their numbers differ.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import classification
        >>> classification.checked(np.zeros((2, 3)), [0, 2]).tolist()
        [0, 2]
    """
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
