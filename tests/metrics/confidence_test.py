"""Against scikit-learn, SciPy and sums by hand; torchmetrics' calibration error is in metric_goldens_test.py."""

import numpy as np
import pytest
import scipy.optimize
from scipy.special import log_softmax, softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from geodesic.errors import UserError
from geodesic.metrics import confidence


def logits(rows=400, classes=6, sharpness=3.0, seed=0):
    """(logits that are `sharpness` times those of the distribution that the labels are drawn from, labels)."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(rows, classes))
    labels = np.array([rng.choice(classes, p=row) for row in softmax(true, axis=1)])
    return (sharpness * true).astype(np.float32), labels


def test_likelihood_and_brier_score_equal_scikit_learn():
    scores, labels = logits(rows=9000)  # more than a block
    probabilities = softmax(scores.astype(np.float64), axis=1)
    assert confidence.negative_log_likelihood(scores, labels).mean() == pytest.approx(
        log_loss(labels, probabilities), rel=1e-9)
    assert confidence.brier_score(probabilities, labels).mean() == pytest.approx(
        brier_score_loss(labels, probabilities, scale_by_half=False), rel=1e-9)


def test_likelihood_of_what_a_softmax_would_call_impossible():
    assert confidence.negative_log_likelihood(np.array([[0.0, 2000.0]]), np.array([0])).tolist() == [2000.0]


@pytest.mark.parametrize("sharpness", [0.01, 0.4, 3.0, 50.0])
def test_temperature_is_the_least_of_the_mean_in_float64(sharpness):
    scores, labels = logits(rows=5000, sharpness=sharpness)
    loss = lambda inverse: -log_softmax(inverse * scores.astype(np.float64), axis=1)[np.arange(len(labels)),
                                                                                     labels].mean()
    peer = scipy.optimize.minimize_scalar(loss, bounds=(0.3 / sharpness, 3 / sharpness), method="bounded",
                                          options={"xatol": 1e-10})
    found = confidence.temperature(scores, labels)
    assert 1 / found == pytest.approx(peer.x, rel=1e-5) and found == pytest.approx(sharpness, rel=0.1)
    assert loss(1 / found) <= peer.fun + 1e-12


def test_temperature_equals_scikit_learn():
    rng = np.random.default_rng(1)
    rows, labels = rng.normal(size=(300, 4)), rng.integers(0, 3, 300)
    rows[np.arange(300), labels] += 1
    model = LogisticRegression(C=100.0).fit(rows[:40], labels[:40])
    peer = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(rows[40:], labels[40:])
    scores = model.decision_function(rows[40:])
    ours = softmax(scores / confidence.temperature(scores, labels[40:]), axis=1)
    np.testing.assert_allclose(ours, peer.predict_proba(rows[40:]), atol=2e-4)  # its solver stops early


def test_a_temperature_that_there_is_not_is_said():
    scores, labels = logits()
    with pytest.raises(UserError, match="400 rows is answered rightly"):
        confidence.temperature(scores, scores.argmax(axis=1))
    with pytest.raises(UserError, match="no larger logits than others"):
        confidence.temperature(scores, scores.argmin(axis=1))
    with pytest.raises(UserError, match="NaN"):
        confidence.temperature(np.where(scores == scores[3, 2], np.nan, scores), labels)


def test_temperature_leaves_the_answers_and_mends_the_confidence():
    scores, labels = logits(rows=4000, sharpness=4.0)
    before, after = (confidence.calibration_error(softmax(scores / factor, axis=1), labels)
                     for factor in (1, confidence.temperature(scores, labels)))
    assert before > 0.2 and after < 0.04


def test_adaptive_bins_have_as_many_rows_each_whatever_their_order():
    sure = np.array([0.1, 0.2, 0.3, 0.4, 0.97, 0.98, 0.985, 0.99])
    right = np.array([0, 0, 1, 0, 1, 1, 1, 0], bool)
    found = confidence.reliability(sure, right, bins=4, adaptive=True)
    assert found.count.tolist() == [2, 2, 2, 2]
    gaps = [abs(0 - 0.15), abs(0.5 - 0.35), abs(1 - 0.975), abs(0.5 - 0.9875)]
    assert found.error == pytest.approx(np.mean(gaps))
    order = np.random.default_rng(0).permutation(8)
    assert confidence.reliability(sure[order], right[order], bins=4, adaptive=True).error == pytest.approx(found.error)
    tied = confidence.reliability([0.5] * 6 + [0.9], [True] * 3 + [False] * 4, bins=7, adaptive=True)
    assert tied.count.tolist() == [6, 0, 0, 0, 0, 0, 1] and tied.error == pytest.approx(0.9 / 7)


def test_confidences_that_are_none_are_refused():
    for sure in ([0.5, np.nan], [0.5, 1.2], [-0.1, 0.5]):
        with pytest.raises(UserError, match=r"lie in 0\.\.1"):
            confidence.reliability(sure, [True, False])
    with pytest.raises(UserError, match="expected as many, and some"):
        confidence.reliability([], [])
