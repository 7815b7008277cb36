"""The smaller metrics against scikit-learn, SciPy and their definitions by hand."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import (
    adjusted_mutual_info_score,
    average_precision_score,
    normalized_mutual_info_score,
)

from geodesic import metrics
from geodesic.metrics import (
    classification,
    clustering,
    confidence,
    few_shot,
    health,
    identification,
    multilabel,
    retrieval,
    templates,
    verification,
)


def unit_rows(count=80, size=5, seed=0):
    return retrieval.normalized(np.random.default_rng(seed).normal(size=(count, size)))


def test_which_metrics_are_better_when_lower():
    """What follows the @ does not matter."""
    for name in ("eer", "fnmr@fmr=0.001", "calibration_error", "hubness", "alignment", "uniformity", "nll", "brier"):
        assert metrics.lower_is_better(name), name
    for name in ("map@r", "recall@1", "tar@far=0.001", "accuracy_10fold", "effective_rank", "eer_like"):
        assert not metrics.lower_is_better(name), name


def test_map_equals_scikit_learn():
    rows, labels = unit_rows(), np.random.default_rng(1).integers(0, 6, 80)
    found = retrieval.rank_self(rows, labels).average_precision
    for query in range(80):
        others = np.arange(80) != query
        peer = average_precision_score(labels[others] == labels[query], (rows @ rows[query])[others])
        assert found[query] == pytest.approx(peer, abs=1e-6)


def test_cmc_and_gallery_scores_by_hand():
    gallery = np.array([[1, 0], [0.9, 0.1], [0.5, 0.5], [0, 1]])
    queries, labels = np.array([[1, 0], [0, 1], [1, 0.02]]), np.array([1, 0, 7])
    rankings = retrieval.rank(retrieval.normalized(queries), labels, retrieval.normalized(gallery),
                              np.array([0, 1, 1, 0]))
    assert rankings.matches.tolist() == [2, 2, 0] and rankings.best.tolist() == [1, 0, 4]
    assert retrieval.cmc(rankings, 3).tolist() == [0.5, 1, 1]
    scores = retrieval.gallery_scores(queries, labels, gallery, np.array([0, 1, 1, 0]), recall_at=(1, 2))
    assert (scores["recall@1"], scores["recall@2"], scores["queries_without_match"]) == (0.5, 1, 1)
    assert scores["map@r"] == pytest.approx(((1 / 2) / 2 + (1 / 1) / 2) / 2)
    assert scores["map"] == pytest.approx(((1 / 2 + 2 / 3) / 2 + (1 + 2 / 4) / 2) / 2)


def test_the_same_camera_is_neither_found_nor_counted():
    exclude = retrieval.same_source([3, 4], [0, 1], [3, 3, 4, 3], [0, 1, 0, 0])
    assert [sorted({*row} - {-1}) for row in exclude.tolist()] == [[0, 3], []]
    rows = np.eye(2)[[0, 0, 1, 0]]
    rankings = retrieval.rank(np.eye(2), np.array([3, 4]), rows, np.array([3, 3, 4, 3]), exclude=exclude)
    assert rankings.matches.tolist() == [1, 1] and rankings.best.tolist() == [0, 0]


def test_multi_hot_labels_are_relevant_where_they_share_one():
    rows, labels = unit_rows(40), np.random.default_rng(2).random((40, 6)) < 0.2
    labels[7] = False
    found = retrieval.rank_self(rows, labels)
    for query in range(40):
        others = np.arange(40) != query
        relevant = (labels[others] & labels[query]).any(axis=1)
        assert found.matches[query] == relevant.sum()
        if relevant.any():
            peer = average_precision_score(relevant, (rows @ rows[query])[others])
            assert found.average_precision[query] == pytest.approx(peer, abs=1e-6)
    assert np.isnan(found.map_at_r[7])


def test_agreement_equals_scikit_learn_and_noise_stands_alone():
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(0, 5, 60), rng.integers(-1, 4, 60)
    found = clustering.agreement(labels, clusters)
    apart = np.where(clusters == -1, 100 + np.arange(60), clusters)
    assert found["nmi"] == pytest.approx(normalized_mutual_info_score(labels, apart))
    assert found["ami"] == pytest.approx(adjusted_mutual_info_score(labels, apart))


def test_hdbscan_finds_blobs_and_calls_the_rest_noise():
    rng = np.random.default_rng(0)
    rows = np.concatenate([0.05 * rng.normal(size=(20, 2)), 5 + 0.05 * rng.normal(size=(20, 2)), [[50, -50]]])
    found = clustering.hdbscan(rows)
    assert found[-1] == -1 and len({*found[:20]}) == len({*found[20:40]}) == 1 and found[0] != found[20]


def test_linear_probe_of_separable_classes():
    labels = np.arange(60) % 3 + 10
    rows = 4 * np.eye(3)[labels - 10] + 0.3 * np.random.default_rng(0).normal(size=(60, 3))
    probabilities, classes = classification.linear_probe(rows[:45], labels[:45], rows[45:])
    assert classes.tolist() == [10, 11, 12] and probabilities.sum(axis=1) == pytest.approx(1)
    assert (classes[probabilities.argmax(axis=1)] == labels[45:]).all()


def test_calibration_error_by_hand():
    """Bins (.6,.8] and (.8,1] of five: .7 and .8 share one, and of the two one is right; .95 is right."""
    probabilities = np.array([[0.7, 0.3], [0.2, 0.8], [0.05, 0.95]])
    found = confidence.calibration_error(probabilities, np.array([0, 0, 1]), bins=5)
    assert found == pytest.approx((2 * abs(0.5 - 0.75) + 1 * abs(1 - 0.95)) / 3)
    with pytest.raises(ValueError, match="softmax"):
        confidence.calibration_error(3 * probabilities, np.array([0, 0, 1]))


def test_multilabel_average_precision_equals_scikit_learn():
    rng = np.random.default_rng(0)
    scores, targets = np.round(rng.normal(size=(50, 6)), 1), rng.random((50, 6)) < 0.3
    found = multilabel.average_precision(scores, targets)
    assert found["macro_ap"] == pytest.approx(average_precision_score(targets, scores, average="macro"))
    assert found["micro_ap"] == pytest.approx(average_precision_score(targets, scores, average="micro"))
    targets[:, 2] = False
    found, kept = multilabel.average_precision(scores, targets), [0, 1, 3, 4, 5]
    assert found["labels_without_positive"] == 1
    assert found["macro_ap"] == pytest.approx(average_precision_score(targets[:, kept], scores[:, kept]))


def test_uniformity_alignment_and_mean_cosine_are_means_over_pairs():
    rows, labels = unit_rows(30), np.random.default_rng(3).integers(0, 4, 30)
    first, second = np.triu_indices(30, k=1)
    square = ((rows[first] - rows[second]) ** 2).sum(axis=1, dtype=np.float64)
    assert health.uniformity(rows) == pytest.approx(np.log(np.exp(-2 * square).mean()), abs=1e-5)
    assert health.alignment(rows, labels) == pytest.approx(square[labels[first] == labels[second]].mean(), abs=1e-5)
    assert health.mean_cosine(rows) == pytest.approx((1 - square / 2).mean(), abs=1e-5)
    assert np.isnan(health.alignment(rows, np.arange(30)))


def test_hubness_is_scipy_s_skewness():
    rows = unit_rows(60)
    similarity = rows @ rows.T
    np.fill_diagonal(similarity, -np.inf)
    counts = np.bincount(np.argsort(-similarity, axis=1)[:, :5].ravel(), minlength=60)
    found = health.hubs(rows, 5)
    assert (found.occurrences == counts).all() and (found.strangers == counts).all()
    assert found.hubness == pytest.approx(scipy.stats.skew(counts))
    assert health.health(rows, k=5)["hubness"] == pytest.approx(found.hubness)
    assert health.hubs(np.eye(4), 3).hubness == 0


def test_effective_rank_is_the_same_for_wide_and_tall():
    rows = np.random.default_rng(0).normal(size=(7, 4))
    assert health.effective_rank(rows) == pytest.approx(health.effective_rank(rows.T))
    share = np.array([3.0, 1.0]) / 4
    assert health.effective_rank(np.diag([3.0, 1.0])) == pytest.approx(np.exp(-(share * np.log(share)).sum()))


def test_the_three_switches_of_templates():
    rows, flipped, detector = np.array([[3.0, 0], [0, 1]]), np.array([[3.0, 4], [0, 1]]), np.array([0.5, 1])
    build = lambda **options: templates.templates(rows, [1, 1], [1, 2], **options).features[0]
    want = lambda x, y: pytest.approx(np.array([x, y]) / np.hypot(x, y), abs=1e-6)
    assert build(keep_norm=True) == want(3, 1)
    assert build(keep_norm=False) == want(1, 1)
    assert build(keep_norm=True, detector_scores=detector) == want(1.5, 1)
    assert build(keep_norm=True, flipped=flipped) == want(6, 6)
    length = np.hypot(6, 4)
    assert build(keep_norm=False, flipped=flipped, detector_scores=detector) == want(3 / length, 2 / length + 1)
    assert templates.protocol_name(keep_norm=True, detector_score=False, flip=True) == "N1D0F2"


def test_listed_episodes_are_answered_as_they_stand():
    """Lake's runs are such: one example of each class, and the answers written down."""
    rows = np.array([[1, 0], [0, 1], [0.9, 0.2], [0.3, 0.8], [0.8, 0.1]])
    episode = few_shot.Episode(np.array([[0], [1]]), np.array([2, 3, 4]), np.array([0, 1, 1]))
    result = few_shot.accuracy(rows, [episode])
    assert result.accuracy == pytest.approx(2 / 3) and np.isnan(result.half_width)


def test_closed_set_counts_probes_without_a_mate():
    gallery, probes = np.eye(3), np.array([[1, 0.1, 0], [0.9, 1, 0], [1, 0.9, 0], [0, 0, 1]])
    found = identification.closed_set(probes, np.array([0, 1, 1, 9]), gallery, np.arange(3), ranks=(1, 2))
    assert found == {"rank-1": 2 / 3, "rank-2": 1, "probes": 3, "probes_without_mate": 1}


def test_counted_curve_lies_on_the_held_one():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 12, 150)
    rows = retrieval.normalized(rng.normal(size=(150, 6)) + rng.normal(size=(12, 6))[labels])
    held = verification.curve_of_pairs(rows, labels)
    counted = verification.curve_of_pairs(rows, labels, held_pairs=0)
    assert counted.far[[0, -1]].tolist() == counted.tar[[0, -1]].tolist() == [0, 1]
    assert (np.diff(counted.far) >= 0).all() and (np.diff(counted.threshold) < 0).all()
    for rate in (0.3, 0.1, 0.01):
        assert verification.tar_at_far(counted, rate)[0] == pytest.approx(
            verification.tar_at_far(held, rate)[0], abs=0.02)
    accepted = [int((held.threshold >= threshold).sum()) - 1 for threshold in counted.threshold[1:]]
    np.testing.assert_allclose(counted.tar[1:], held.tar[accepted], atol=2e-3)  # one pair in a product's last bit
    np.testing.assert_allclose(counted.far[1:], held.far[accepted], atol=2e-3)
