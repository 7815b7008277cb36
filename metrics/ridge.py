"""Least squares with an L2 penalty as a classifier, in closed form for many strengths of the penalty at once."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from . import logistic


class Fit(NamedTuple):
    """A classifier at one strength, alpha. classes: i[K], of the columns."""

    alpha: float
    weights: np.ndarray    # f64[D,K]
    intercept: np.ndarray  # f64[K]
    classes: np.ndarray

    def predict(self, rows) -> np.ndarray:
        """Gives the classes of rows f[M,D]; of equal scores the lower."""
        return self.classes[(np.asarray(rows, np.float64) @ self.weights + self.intercept).argmax(axis=1)]


def path(rows, labels, alphas: Iterable[float]) -> Iterator[Fit]:
    """Fits |X W + b - Y|^2 + alpha |W|^2 for each alpha, with Y of a column for each class, 1 in its rows, 0 elsewhere.

    Args:
        rows: f[N,D].
        labels: int[N], of two classes or more.
        alphas: each above 0; as of scikit-learn's RidgeClassifier.

    Yields:
        A `Fit` for each alpha.

    Raises:
        UserError: the rows and labels do not fit, are not finite, or are of one class; or alpha is not above 0.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import ridge
        >>> rows, labels = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]), np.array([4, 4, 7, 7])
        >>> next(ridge.path(rows, labels, [0.1])).predict([[1.0, 0.2], [0.3, 1.0]]).tolist()
        [4, 7]
    """
    rows, labels, classes, targets = logistic.checked(rows, labels)
    mean, axes, turned = logistic.basis(rows)
    shares = np.bincount(targets) / len(rows)
    along = turned.T @ (np.eye(len(classes))[targets] - shares)
    squares = (turned ** 2).sum(axis=0)[:, None]
    for alpha in alphas:
        if not alpha > 0:
            raise UserError(f"alpha is above 0; got {alpha}")
        weights = axes @ (along / (squares + alpha))
        yield Fit(float(alpha), weights, shares - mean @ weights, classes)
