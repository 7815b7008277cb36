import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from geodesic.errors import UserError
from geodesic.metrics import multilabel


def test_each_label_equals_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    scores, targets = np.round(rng.normal(size=(40, 5)), 1), rng.random((40, 5)) < 0.3
    targets[:, 3] = False
    found = multilabel.average_precisions(scores, targets)
    assert np.isnan(found[3])
    for label in (0, 1, 2, 4):
        assert found[label] == pytest.approx(average_precision_score(targets[:, label], scores[:, label]))
    assert multilabel.average_precision(scores, targets)["macro_ap"] == pytest.approx(np.nanmean(found))


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(UserError, match="NaN or infinite"):
        multilabel.average_precision(np.array([[np.nan, 1.0]]), np.array([[1, 0]]))
    with pytest.raises(UserError, match="no label has a positive"):
        multilabel.average_precision(np.zeros((2, 2)), np.zeros((2, 2)))
    with pytest.raises(UserError, match=r"expected \[N,L\] of both"):
        multilabel.average_precisions(np.zeros((2, 2)), np.zeros((2, 3)))
