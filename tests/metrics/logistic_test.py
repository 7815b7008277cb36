"""The optimum is scikit-learn's, reached from wherever one starts."""

import numpy as np
import pytest
import sklearn.linear_model

from geodesic.errors import UserError
from geodesic.metrics import logistic


def problem(seed, rows, size, classes, spread=1.0):
    """Rows of overlapping classes, with axes of very different lengths, far from 0."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, rows - classes)])
    centres = rng.normal(size=(classes, size))
    x = (spread * centres[labels] + rng.normal(size=(rows, size))) / np.arange(1, size + 1) ** 0.7 + 3
    return x, labels * 2 + 5  # labels are any integers


def reference(x, labels, c):
    """(the loss of scikit-learn's fit, computed here; the fit)"""
    fitted = sklearn.linear_model.LogisticRegression(C=c, max_iter=20_000, tol=1e-9).fit(x, labels)
    weights, intercept = fitted.coef_.T, fitted.intercept_
    penalty = (weights ** 2).sum() / 2
    if weights.shape[1] == 1:  # of two classes, scikit-learn has the difference of two columns
        weights, intercept = np.hstack([np.zeros_like(weights), weights]), np.append(0, intercept)
    scores = x @ weights + intercept
    own = scores[np.arange(len(x)), np.searchsorted(fitted.classes_, labels)]
    return c * (np.logaddexp.reduce(scores, axis=1) - own).sum() + penalty, fitted


@pytest.mark.parametrize(("rows", "size", "classes"), [(60, 12, 4), (40, 60, 5), (50, 9, 2)])
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_the_optimum_is_scikit_learns(rows, size, classes, spread):
    x, labels = problem(0, rows, size, classes, spread)
    unseen = problem(1, 1000, size, classes, spread)[0]
    cs = [1e-6, 1e-3, 0.1, 1.0, 30.0] + [1e3] * (spread > 1)  # scikit-learn takes long there where classes overlap
    for fit in logistic.path(x, labels, cs):
        loss, fitted = reference(x, labels, fit.c)
        assert fit.loss <= loss * (1 + 1e-6), fit.c
        assert fit.loss >= loss * (1 - 1e-5), fit.c  # below it only by what scikit-learn has left
        if fit.c > 1e-6:  # there, classes of as many rows differ in the seventh digit: scikit-learn stops before it
            assert (fit.predict(unseen) == fitted.predict(unseen)).mean() >= 0.999
        probabilities = np.exp(fit.scores(x)) / np.exp(fit.scores(x)).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(probabilities, fitted.predict_proba(x), atol=2e-3)


def test_the_loss_of_a_fit_is_that_of_its_weights():
    x, labels = problem(2, 50, 8, 3)
    fit = logistic.fit(x, labels, 2.0)
    scores = fit.scores(x)
    entropies = np.logaddexp.reduce(scores, axis=1) - scores[np.arange(50), np.searchsorted(fit.classes, labels)]
    assert fit.loss == pytest.approx(2 * entropies.sum() + (fit.weights ** 2).sum() / 2, rel=1e-9)
    np.testing.assert_array_equal(fit.classes, [5, 7, 9])


def test_a_start_changes_the_way_and_not_the_end():
    x, labels = problem(3, 200, 30, 6)
    cold = logistic.fit(x, labels, 10.0)
    warm = logistic.fit(x, labels, 10.0, start=logistic.fit(x[:150], labels[:150], 10.0))
    again = logistic.fit(x, labels, 10.0, start=cold)
    assert again.evaluations < warm.evaluations < cold.evaluations
    assert warm.loss == pytest.approx(cold.loss, rel=1e-6) and again.loss <= cold.loss * (1 + 1e-12)
    through = [*logistic.path(x, labels, (0.5, 1.5, 5.0, 10.0))][-1]
    assert through.loss == pytest.approx(cold.loss, rel=1e-6) and through.evaluations < cold.evaluations
    assert [one.c for one in logistic.path(x, labels, (0.1, 10.0))] == [0.1, 10.0]


def test_a_golden_by_hand():
    """A row at each of three corners: by symmetry W = w (I - 1/3), and w has one equation."""
    fit = logistic.fit(np.eye(3), np.arange(3), 1.0, tolerance=1e-15)
    w = fit.weights[0, 0] - fit.weights[0, 1]
    # The slope of 3 log(1 + 2 exp(-w)) + w^2 is 0: W has squares 3 (2w/3)^2 + 6 (w/3)^2 = 2 w^2.
    assert w == pytest.approx(3 / (np.exp(w) + 2), abs=1e-7) and w > 0.5
    np.testing.assert_allclose(fit.weights, w * (np.eye(3) - 1 / 3), atol=1e-7)
    np.testing.assert_allclose(fit.intercept, 0, atol=1e-7)


def test_equal_rows_leave_the_share_of_each_class():
    fit = logistic.fit(np.ones((4, 3)), np.array([0, 0, 0, 1]), 1.0, tolerance=1e-12)
    np.testing.assert_allclose(fit.weights, 0)
    np.testing.assert_allclose(np.diff(fit.intercept), np.log(1 / 3), atol=1e-4)


@pytest.mark.parametrize(("rows", "labels", "c", "said"), [
    (np.zeros((3, 2)), [0, 0, 0], 1.0, "two classes or more; the 3 labels are of 1"),
    (np.zeros((3, 2)), [0, 1], 1.0, r"rows of \(3, 2\) and labels of \(2,\)"),
    (np.array([[np.nan], [1.0]]), [0, 1], 1.0, "NaN or infinite"),
    (np.zeros((2, 2)), [0, 1], 0.0, "C is above 0; got 0"),
])
def test_what_cannot_be_fitted_is_said(rows, labels, c, said):
    with pytest.raises(UserError, match=said):
        logistic.fit(rows, labels, c)


def test_a_start_of_other_classes_is_refused():
    x, labels = problem(4, 30, 4, 3)
    with pytest.raises(UserError, match="a fit of 3 classes is no start for one of 2 others"):
        logistic.fit(x, labels % 4, 1.0, start=logistic.fit(x, labels, 1.0))
