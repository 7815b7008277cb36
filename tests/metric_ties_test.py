"""Against scikit-learn and SciPy where equal scores, copies and small numbers of rows make definitions part.

Random cases are in tests/metrics and in metric_definitions_test.py.
"""

import numpy as np
import pytest
import scipy.interpolate
import scipy.optimize
import scipy.stats
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_curve, top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid, NearestNeighbors
from sklearn.preprocessing import StandardScaler

from geodesic.metrics import bootstrap, classification, clustering, few_shot, multilabel, retrieval, verification


def unit_rows(count, size=8, seed=0):
    return retrieval.normalized(np.random.default_rng(seed).normal(size=(count, size)))


def test_knn_by_distance_tells_a_copy_from_a_row_that_is_nearly_one():
    """The queries' copies are of class 1, rows 4e-5 from them of class 0. A cosine in float32 is 1 for both, and then
    the lower class would be answered; scikit-learn lets the copy alone vote.
    """
    rows = unit_rows(60, 16)
    near = retrieval.normalized(rows[:20] + 1e-5 * np.random.default_rng(1).normal(size=(20, 16)))
    gallery, labels = np.concatenate([near, rows]), np.repeat([0, 1], [20, 60])
    peer = KNeighborsClassifier(7, weights="distance").fit(gallery, labels).predict(rows[:20])
    assert (peer == 1).all()
    assert (classification.knn(gallery, labels, rows[:20], 7, vote="distance") == peer).all()


def test_knn_of_tied_votes_answers_the_lowest_class_as_scikit_learn():
    labels = np.random.default_rng(2).integers(0, 4, 60)
    rows, queries = unit_rows(60, seed=3), unit_rows(40, seed=4)
    peer = KNeighborsClassifier(4).fit(rows, labels)
    votes = np.stack([(labels[peer.kneighbors(queries)[1]] == label).sum(axis=1) for label in range(4)])
    assert ((votes == votes.max(axis=0)).sum(axis=0) > 1).sum() > 5
    assert (classification.knn(rows, labels, queries, 4) == peer.predict(queries)).all()


def test_knn_of_a_collapsed_gallery_is_refused():
    """scikit-learn answers with the classes of the rows that come first."""
    rows, labels = np.ones((9, 3)), np.arange(9) // 3
    assert KNeighborsClassifier(3).fit(rows, labels).predict(np.eye(3)).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="collapsed"):
        classification.knn(rows, labels, np.eye(3), 3)


def test_neighbors_by_inner_product_equal_euclidean_ones_of_unit_rows():
    rows = unit_rows(80)
    distances, peer = NearestNeighbors(n_neighbors=12, algorithm="brute").fit(rows).kneighbors()
    found, scores = retrieval.neighbors(rows, rows, 12, exclude=np.arange(80))
    np.testing.assert_array_equal(found, peer)
    np.testing.assert_allclose(verification.distance(scores), distances, atol=1e-6)


def test_top_k_accuracy_of_equal_scores_takes_the_lower_class_and_scikit_learn_the_higher():
    """All scores alike; of six rows three are of class 0, two of 1 and one of 2. k = 1: ours 1/2, the peer's 1/6;
    k = 2: ours 5/6, the peer's 1/2. Neither is more right; ours is the rule of retrieval, the lower index first.
    """
    labels, scores = np.array([0, 0, 0, 1, 1, 2]), np.ones((6, 3))
    assert top_k_accuracy_score(labels, scores, k=1, labels=np.arange(3)) == pytest.approx(1 / 6)
    assert classification.top_k_accuracy(scores, labels, 1) == 1 / 2
    assert classification.top_k_accuracy(scores, labels, 2) == pytest.approx(5 / 6)
    assert top_k_accuracy_score(labels, scores, k=2, labels=np.arange(3)) == 1 / 2


def test_map_of_ties_is_by_index_and_scikit_learn_s_accepts_them_together():
    """One relevant row among four of one score. By index it is first, or last: 1 or 1/4. scikit-learn's average
    precision takes the four at once: 1/4 for either. For a ranking, in which one row is shown before another, the
    order is right; where scores are thresholds, as in multilabel, all at once.
    """
    queries, gallery = np.array([[1.0, 0]]), np.tile([[1.0, 0]], (4, 1))
    for labels, expected in (([1, 0, 0, 0], 1), ([0, 0, 0, 1], 0.25)):
        labels = np.array(labels)
        assert retrieval.rank(queries, np.array([1]), gallery, labels).average_precision[0] == expected
        assert average_precision_score(labels, np.ones(4)) == 0.25
        assert multilabel.average_precision(np.ones((4, 1)), labels[:, None])["macro_ap"] == 0.25


@pytest.mark.parametrize("digits", [1, 8])
def test_eer_is_where_scikit_learn_s_curve_meets_the_falling_diagonal(digits):
    rng = np.random.default_rng(5)
    same = rng.random(160) < 0.3
    scores = np.round(rng.normal(size=160) + 1.3 * same, digits)
    far, tar, _ = roc_curve(same, scores)
    peer = scipy.optimize.brentq(lambda rate: 1 - rate - scipy.interpolate.interp1d(far, tar)(rate), 0, 1)
    assert verification.equal_error_rate(verification.roc(scores, same)) == pytest.approx(peer, abs=1e-9)


def test_collapsed_embeddings_verify_no_pair():
    """Every pair has the one score: scikit-learn's curve is its two ends, EER .5, and no rate below 1 is reached."""
    rows, labels = np.tile(unit_rows(1), (12, 1)), np.arange(12) // 3
    curve = verification.curve_of_pairs(rows, labels)
    far, tar, _ = roc_curve(*reversed(verification.all_pairs(rows, labels)))
    assert curve.far.tolist() == far.tolist() == curve.tar.tolist() == tar.tolist() == [0, 1]
    scores = verification.verification_scores(rows, labels)
    assert (scores["eer"], scores["tar@far=0.01"], scores["unreachable_far"]) == (0.5, 0, [1e-2, 1e-3])


def test_kmeans_ends_where_scikit_learn_s_next_step_moves_nothing():
    rows = unit_rows(120, seed=6)
    ours = clustering.kmeans(rows, 6)
    peer = KMeans(6, init=ours.centers, n_init=1, max_iter=1).fit(rows)
    assert (peer.labels_ == ours.assignment).all() and peer.inertia_ == pytest.approx(ours.inertia, rel=1e-5)
    np.testing.assert_allclose(peer.cluster_centers_, ours.centers, atol=1e-5)
    best_of_ten = KMeans(6, n_init=10, random_state=0).fit(rows).inertia_
    assert best_of_ten * (1 - 1e-5) <= min(clustering.kmeans(rows, 6, seed=seed).inertia for seed in range(10)) <= (
        best_of_ten * 1.02)


def test_prototypes_are_scikit_learn_s_nearest_centroids():
    labels = np.repeat(np.arange(8), 10)
    rows = unit_rows(80) + 0.5 * unit_rows(8, seed=7)[labels]
    episodes = few_shot.sample_episodes(labels, ways=5, shots=3, queries=4, episodes=12, seed=0)
    for normalize in (False, True):
        used = retrieval.normalized(rows) if normalize else rows
        peer = [NearestCentroid().fit(used[episode.support].reshape(15, -1), np.repeat(np.arange(5), 3)).score(
            used[episode.queries], episode.answers) for episode in episodes]
        found = few_shot.accuracy(rows, episodes, normalize=normalize)
        np.testing.assert_allclose(found.accuracies, peer)
        assert found.half_width == pytest.approx(1.96 * scipy.stats.sem(peer))


def test_linear_probe_is_logistic_regression_of_standardised_columns():
    labels = np.random.default_rng(8).integers(0, 3, 90)
    rows = unit_rows(90) * [1, 5, 0.1, 1, 1, 30, 1, 1] + labels[:, None] / 3
    scale = StandardScaler().fit(rows[:60])
    peer = LogisticRegression(C=0.1, max_iter=1000).fit(scale.transform(rows[:60]), labels[:60])
    found, _ = classification.linear_probe(rows[:60], labels[:60], rows[60:], inverse_regularization=0.1)
    np.testing.assert_allclose(found, peer.predict_proba(scale.transform(rows[60:])), atol=1e-6)


def test_an_interval_over_classes_is_scipy_s_of_their_totals_and_counts():
    """SciPy resamples pairs (total, count) of a class; other draws, so the ends agree to a tenth of the width."""
    rng = np.random.default_rng(9)
    groups = rng.integers(0, 25, 200)
    values = np.clip(rng.normal(size=25)[groups] * 0.2 + 0.5 + 0.1 * rng.normal(size=200), 0, 1)
    ours = bootstrap.mean_interval(values, groups, samples=4000, level=0.9)
    totals, counts = np.bincount(groups, weights=values), np.bincount(groups)
    peer = scipy.stats.bootstrap((totals, counts), lambda total, count, axis: total.sum(axis) / count.sum(axis),
                                 paired=True, n_resamples=4000, confidence_level=0.9, method="percentile",
                                 rng=np.random.default_rng(0)).confidence_interval
    assert ours.estimate == pytest.approx(values.mean())
    np.testing.assert_allclose(ours[1:], peer, atol=0.1 * (ours.high - ours.low))
