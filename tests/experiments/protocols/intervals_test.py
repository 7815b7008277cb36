import numpy as np
import pytest

from geodesic.experiments.protocols import intervals
from geodesic.metrics import bootstrap, verification
from tests.experiments.trained.thresholds_test import clusters


def rates(embeddings, labels, **options):
    scores, same = verification.all_pairs(embeddings, labels)
    first, second = np.triu_indices(len(labels), k=1)
    return intervals.Rates(scores, same, labels[first], labels[second], 0, **options), scores, same, np.stack(
        [labels[first], labels[second]], axis=1)


def test_the_sample_itself_is_row_0_and_the_resamples_are_the_bootstraps():
    found, scores, same, identities = rates(*clusters(10, 4, 0.9))
    curve = verification.roc(scores, same)
    for far in (0.005, 0.05, 0.3):
        assert found.tar_at(far)[0] == verification.tar_at_far(curve, far)[0]
    expected = bootstrap.pair_intervals(scores, same, identities, far=(0.05,), seed=0)["tar@far=0.05"]
    assert intervals.percentiles(found.tar_at(0.05)[1:]) == pytest.approx((expected.low, expected.high))


def test_many_scores_are_binned_and_hardly_change():
    embeddings, labels = clusters(40, 5, 0.9)
    exact, scores, same, _ = rates(embeddings, labels, resamples=20)
    assert len(np.unique(scores)) > intervals._BINS >= len(exact.thresholds) - 1
    curve = verification.roc(scores, same)
    for far in (0.001, 0.01, 0.1):
        assert exact.tar_at(far)[0] == pytest.approx(verification.tar_at_far(curve, far)[0], abs=0.005)


def test_a_rate_that_nothing_reaches_has_no_tar_and_a_threshold_above_all():
    found, scores, _, _ = rates(np.eye(4, dtype=np.float32)[[0, 0, 0, 0]], np.array([0, 0, 1, 1]), resamples=5)
    assert found.tar_at(0.5)[0] == 0 and found.threshold_at(0.5)[0] > scores.max()


def test_means_over_one_class_have_no_interval():
    assert intervals.of_means({"m": np.array([0.0, 1.0])}, np.array([3, 3]), 0)["m"] == {
        "value": 0.5, "low": None, "high": None}
