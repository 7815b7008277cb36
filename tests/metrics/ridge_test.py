"""The closed form is scikit-learn's."""

import numpy as np
import pytest
import sklearn.linear_model

from geodesic.errors import UserError
from geodesic.metrics import ridge


@pytest.mark.parametrize(("rows", "size", "classes"), [(60, 12, 4), (40, 90, 5), (50, 9, 2)])
def test_the_answers_are_scikit_learns(rows, size, classes):
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % classes * 3 + 1
    x, unseen = rng.normal(size=(rows, size)) + labels[:, None] % 5 / 3, rng.normal(size=(500, size))
    for fit in ridge.path(x, labels, [1e-3, 1.0, 100.0]):
        peer = sklearn.linear_model.RidgeClassifier(alpha=fit.alpha).fit(x, labels)
        np.testing.assert_array_equal(fit.predict(unseen), peer.predict(unseen))
        if classes > 2:  # its targets are -1 and 1: twice as far apart
            np.testing.assert_allclose(2 * fit.weights.T, peer.coef_, atol=1e-7)
            np.testing.assert_allclose(2 * fit.intercept - 1, peer.intercept_, atol=1e-7)


@pytest.mark.parametrize(("labels", "alpha", "said"), [
    ([0, 0], 1.0, "two classes or more"), ([0, 1, 1], 1.0, "labels of"), ([0, 1], 0.0, "alpha is above 0; got 0"),
])
def test_what_cannot_be_fitted_is_said(labels, alpha, said):
    with pytest.raises(UserError, match=said):
        next(ridge.path(np.eye(2), labels, [alpha]))
