import numpy as np
import pytest
from sklearn.metrics import roc_curve

from geodesic.metrics import pair_counts, verification


def test_roc_equals_scikit_learn():
    rng = np.random.default_rng(0)
    same = rng.random(500) < 0.3
    scores = np.round(rng.normal(size=500) + same, 1)  # many ties
    far, tar, thresholds = roc_curve(same, scores, drop_intermediate=False)
    ours = verification.roc(scores, same)
    np.testing.assert_allclose(ours.far, far)
    np.testing.assert_allclose(ours.tar, tar)
    np.testing.assert_allclose(ours.threshold, thresholds)


def test_tar_at_far_is_a_rate_that_a_threshold_has():
    scores, same = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [True, False, True, True, False, False]
    curve = verification.roc(scores, same)
    assert verification.tar_at_far(curve, 0.32) == (pytest.approx(1 / 3), True)   # none of 3 impostors
    assert verification.tar_at_far(curve, 0.34) == (pytest.approx(1.0), True)     # one of 3


def test_unreachable_far_is_zero_and_said_so():
    embeddings = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])  # the best score is shared by impostors
    scores = verification.verification_scores(embeddings, [0, 0, 1, 1], far=(0.1, 1.0))
    assert scores["tar@far=0.1"] == 0
    assert scores["unreachable_far"] == [0.1]
    assert scores["tar@far=1"] == 1


def test_equal_error_rate():
    assert verification.equal_error_rate(verification.roc([4, 3, 2, 1], [True, True, False, False])) == 0
    assert verification.equal_error_rate(verification.roc([1, 2, 3, 4], [True, True, False, False])) == 1
    assert verification.equal_error_rate(verification.roc([4, 3, 2, 1], [True, False, True, False])) == 0.5


def test_equal_error_rate_of_two_gaussians():
    """Two unit normals d apart have EER Phi(-d/2): .1587 at d = 2."""
    rng = np.random.default_rng(0)
    same = np.arange(40_000) % 2 == 0
    assert verification.equal_error_rate(verification.roc(rng.normal(size=40_000) + 2 * same, same)) == pytest.approx(
        0.1587, abs=0.005)


def test_all_pairs():
    scores, same = verification.all_pairs(np.array([[1, 0], [0, 1], [1, 0]]), np.array([0, 1, 0]))
    assert scores.tolist() == [0, 1, 0]
    assert same.tolist() == [False, True, False]


def test_all_pairs_of_several_blocks_are_in_the_order_of_the_upper_triangle(monkeypatch):
    monkeypatch.setattr(pair_counts.blocks, "__defaults__", (3,))
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(8, 5)), rng.integers(0, 3, 8)
    scores, same = verification.all_pairs(rows, labels)
    first, second = np.triu_indices(8, k=1)
    np.testing.assert_allclose(scores, np.sum(rows[first] * rows[second], axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(same, labels[first] == labels[second])


def test_no_rows_are_no_pairs():
    with pytest.raises(ValueError, match="genuine and impostor pairs; got 0 and 0"):
        verification.verification_scores(np.zeros((0, 2)), np.zeros(0, int))


@pytest.mark.parametrize(("scores", "same", "message"), [
    ([1, 2], [True, True], "genuine and impostor"),
    ([1, np.nan], [True, False], "NaN"),
])
def test_what_has_no_curve_raises(scores, same, message):
    with pytest.raises(ValueError, match=message):
        verification.roc(scores, same)
