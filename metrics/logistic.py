"""Multinomial logistic regression with an L2 penalty, solved to its optimum for many strengths of the penalty.

The loss is that of scikit-learn: C times the sum of the cross-entropies, plus half of the squared weights; the
intercept is free. The solver is full-batch L-BFGS (Liu, Nocedal: On the limited memory BFGS method for large scale
optimization, 1989), in the basis of the centred rows' principal axes, scaled there by the diagonal of the Hessian. Each
C starts where the optima of the two before point to, and with the curvature that they have found.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from ..errors import UserError

# Steps that L-BFGS remembers, evaluations after which it gives up, and the share of the loss that may be left to gain
# as it is estimated: what is really left is up to a few hundred times that where the problem is ill-conditioned.
_MEMORY, _EVALUATIONS, TOLERANCE = 12, 5000, 1e-9
# Until so much is left, float32 is exact enough.
_ROUGH = 1e-8
_ARMIJO, _SMALLEST, _FLAT = 1e-4, 1e-6, 1e-12


class Fit(NamedTuple):
    """A regression at one C. classes: i[K], of the columns. evaluations: of loss and gradient that it took."""

    c: float
    weights: np.ndarray    # f64[D,K]
    intercept: np.ndarray  # f64[K]
    classes: np.ndarray
    loss: float
    evaluations: int

    def scores(self, rows) -> np.ndarray:
        """Gives f64[M,K] for rows f[M,D]; their softmax is the probabilities."""
        return np.asarray(rows, np.float64) @ self.weights + self.intercept

    def predict(self, rows) -> np.ndarray:
        """Gives the classes of rows f[M,D]; of equal scores the lower."""
        return self.classes[self.scores(rows).argmax(axis=1)]


def fit(rows, labels, c: float, *, start: Fit | None = None, tolerance: float = TOLERANCE) -> Fit:
    """Fits one regression.

    Args:
        rows: f[N,D].
        labels: int[N], of two classes or more.
        c: the C of scikit-learn; smaller is more penalty.
        start: where to start from, such as a fit of fewer rows; it must have the same classes.
        tolerance: the share of the loss that may be left to gain, as L-BFGS estimates it.

    Returns:
        The fit.

    Raises:
        UserError: the rows and labels do not fit, are not finite, or are of one class; or C is not above 0.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import logistic
        >>> rows, labels = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]), np.array([4, 4, 7, 7])
        >>> logistic.fit(rows, labels, 10.0).predict([[1.0, 0.2], [0.3, 1.0]]).tolist()
        [4, 7]
    """
    return next(path(rows, labels, [c], start=start, tolerance=tolerance))


def path(rows, labels, cs: Iterable[float], *, start: Fit | None = None, tolerance: float = TOLERANCE
         ) -> Iterator[Fit]:
    """Fits a regression for each C, one from another: the rows are turned into their basis once.

    Args:
        cs: in the order in which they are fitted; ascending is fastest.
        rows, labels, start, tolerance: as of `fit`.

    Yields:
        A `Fit` for each C.

    Raises:
        UserError: as of `fit`.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import logistic
        >>> rows, labels = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]), np.array([4, 4, 7, 7])
        >>> [round(one.loss, 3) for one in logistic.path(rows, labels, [0.1, 1.0])]
        [0.269, 2.196]
    """
    rows, labels, classes, targets = checked(rows, labels)
    if start is not None and not np.array_equal(start.classes, classes):
        raise UserError(f"a fit of {len(start.classes)} classes is no start for one of {len(classes)} others")
    mean, axes, turned = basis(rows)
    place = np.zeros((axes.shape[1] + 1, len(classes)))  # the weights along the axes, and the intercept
    if start is not None:
        place = np.concatenate([axes.T @ start.weights, [start.intercept + mean @ start.weights]])
    problem, memory, before = _Problem(turned, targets), [], None
    share = 2 if len(classes) == 2 else 1  # scikit-learn penalises one vector then, the difference of our two
    for c in cs:
        if not c > 0:
            raise UserError(f"C is above 0; got {c}")
        guess = place if before is None else _ahead(c, place, *before)
        found, loss, evaluations, memory = _solve(problem, c / share, guess, memory, tolerance)
        before, place = (place, c, before[1] if before else None), found
        weights = axes @ place[:-1]
        yield Fit(float(c), weights, place[-1] - mean @ weights, classes, loss * share, evaluations)


def _ahead(c: float, place: np.ndarray, earlier: np.ndarray, last: float, but_one: float | None) -> np.ndarray:
    """Where the optimum of `c` may lie, on the line through those of the last C and of the last but one."""
    if but_one is None or but_one == last:
        return place
    share = np.log(c / last) / np.log(last / but_one)
    return place + share * (place - earlier) if 0 < share <= 2 else place


def checked(rows, labels) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Checks what a classifier is fitted to.

    Returns:
        Rows f64[N,D], labels [N], their classes [K] ascending, and the place of each label among these, i[N].

    Raises:
        UserError: they do not fit, are not finite, or are of one class.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import logistic
        >>> logistic.checked(np.eye(3), [5, 3, 5])[2:]
        (array([3, 5]), array([1, 0, 1]))
    """
    rows, labels = np.asarray(rows, np.float64), np.asarray(labels)
    classes, targets = np.unique(labels, return_inverse=True)
    if rows.ndim != 2 or labels.shape != rows.shape[:1]:
        raise UserError(f"rows of {rows.shape} and labels of {labels.shape}: expected [N,D] and [N]")
    if not np.isfinite(rows).all():
        raise UserError("rows hold NaN or infinite values: nothing is fitted")
    if len(classes) < 2:
        raise UserError(f"a classifier needs two classes or more; the {len(labels)} labels are of {len(classes)}")
    return rows, labels, classes, targets


def basis(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turns rows into the basis of their principal axes; an optimum has no weight along those on which all are equal.

    Returns:
        The mean f[D], the other axes f[D,r], and the centred rows along them f[N,r].

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import logistic
        >>> mean, axes, turned = logistic.basis(np.array([[0.0, 1.0], [2.0, 1.0]]))
        >>> mean.tolist(), axes.shape, np.abs(turned).tolist()
        ([1.0, 1.0], (2, 1), [[1.0], [1.0]])
    """
    mean = rows.mean(axis=0)
    centred = rows - mean
    if len(rows) < rows.shape[1]:
        squares, left = np.linalg.eigh(centred @ centred.T)
        kept = squares > _FLAT * max(squares[-1], 0)
        axes = centred.T @ (left[:, kept] / np.sqrt(squares[kept]))
    else:
        squares, axes = np.linalg.eigh(centred.T @ centred)
        axes = axes[:, squares > _FLAT * max(squares[-1], 0)]
    return mean, axes, centred @ axes


class _Problem:
    """Cross-entropies of turned rows f[N,r], and their derivatives by a place f[r+1,K]: weights, and the intercept."""

    def __init__(self, rows: np.ndarray, targets: np.ndarray):
        self._rows, self._targets, self._each = rows, targets, np.arange(len(rows))
        self._short = rows.astype(np.float32)

    def entropy(self, place: np.ndarray, exact: bool) -> tuple[float, np.ndarray]:
        """(the sum of the cross-entropies, its gradient f[r+1,K]); where not exact, of products in float32."""
        total, probabilities = self._probabilities(place, exact)
        probabilities[self._each, self._targets] -= 1
        slopes = self._rows.T @ probabilities if exact else self._short.T @ probabilities.astype(np.float32)
        return total, _stack(slopes, probabilities.sum(axis=0))

    def curvature(self, place: np.ndarray) -> np.ndarray:
        """The diagonal of the Hessian, f[r+1,K]."""
        _, probabilities = self._probabilities(place, False)
        spread = probabilities * (1 - probabilities)
        return _stack((self._short ** 2).T @ spread.astype(np.float32), spread.sum(axis=0))

    def _probabilities(self, place: np.ndarray, exact: bool) -> tuple[float, np.ndarray]:
        scores = self._rows @ place[:-1] if exact else self._short @ place[:-1].astype(np.float32)
        scores = scores.astype(np.float64, copy=False) + place[-1]
        scores -= scores.max(axis=1, keepdims=True)
        own = scores[self._each, self._targets]
        np.exp(scores, out=scores)
        sums = scores.sum(axis=1, keepdims=True)
        scores /= sums
        return float(np.log(sums).sum() - own.sum()), scores


def _solve(problem: _Problem, c: float, place: np.ndarray, memory: list, tolerance: float):
    """(the optimum of one C, its loss, evaluations, memory), from a place near it.

    memory: steps, each with the change of the entropy's gradient, which hold for any C.
    """
    penalty = np.ones((len(place), 1))
    penalty[-1] = 0
    curvature = c * problem.curvature(place) + penalty
    curvature[-1] += 1e-3 * c  # a class that no row is unsure of has none left, and its intercept must not fly away
    scale = 1 / np.sqrt(curvature)
    evaluations = 1
    for exact, allowed in ((False, max(tolerance, _ROUGH)), (True, tolerance)):
        entropy = lambda place, exact=exact: problem.entropy(place, exact)
        # Where float32 finds nothing lower nearby, float64 goes on.
        place, loss, count, memory = _descend(entropy, c, penalty, scale, place, memory, allowed,
                                              _SMALLEST if exact else 0.1)
        evaluations += count
    return place, loss, evaluations, memory


def _descend(entropy, c: float, penalty: np.ndarray, scale: np.ndarray, place: np.ndarray, memory: list,
             tolerance: float, smallest: float):
    """L-BFGS in places that are divided by `scale`: what `_solve` gives."""
    steps = [step for step in (_scaled(c, penalty, scale, *pair) for pair in memory) if step]
    total, slopes = entropy(place)
    value, evaluations = c * total + _half_square(place), 1
    while evaluations < _EVALUATIONS:
        gradient = (c * slopes + penalty * place) * scale
        direction = _direction(gradient, steps)
        slope, size = _dot(direction, gradient), 1.0
        if -slope / 2 <= tolerance * value:  # what Newton's method would still gain, as far as L-BFGS knows
            break
        direction *= scale
        while True:
            new_place = place + size * direction
            total, new_slopes = entropy(new_place)
            new_value, evaluations = c * total + _half_square(new_place), evaluations + 1
            if new_value <= value + _ARMIJO * size * slope or evaluations >= _EVALUATIONS or size < smallest:
                break
            # The least of the parabola through both values and the slope.
            size *= float(np.clip(-slope * size / (2 * (new_value - value - slope * size)), 0.1, 0.5))
        if new_value >= value:  # as exact as numbers are
            break
        pair = new_place - place, new_slopes - slopes
        if step := _scaled(c, penalty, scale, *pair):
            steps, memory = [*steps[1 - _MEMORY:], step], [*memory[1 - _MEMORY:], pair]
        place, value, slopes = new_place, new_value, new_slopes
    return place, value, evaluations, memory


def _scaled(c: float, penalty: np.ndarray, scale: np.ndarray, moved: np.ndarray, changed: np.ndarray):
    """(step, change of the gradient, 1 / their product) of one C in scaled places; None where that is not above 0."""
    moved, changed = moved / scale, (c * changed + penalty * moved) * scale
    product = _dot(moved, changed)
    return (moved, changed, 1 / product) if product > 0 else None


def _direction(gradient: np.ndarray, steps: list) -> np.ndarray:
    """The two loops of L-BFGS."""
    direction, shares = -gradient, []
    for moved, changed, weight in reversed(steps):
        shares.append(weight * _dot(moved, direction))
        direction -= shares[-1] * changed
    if steps:
        _, changed, weight = steps[-1]
        direction *= 1 / (weight * _dot(changed, changed))
    for (moved, changed, weight), share in zip(steps, reversed(shares), strict=True):
        direction += (share - weight * _dot(changed, direction)) * moved
    return direction


def _stack(weights: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    return np.concatenate([weights, intercept[None]])


def _half_square(place: np.ndarray) -> float:
    return _dot(place[:-1], place[:-1]) / 2


def _dot(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.vdot(one, other))
