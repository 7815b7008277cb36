import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from geodesic.errors import UserError
from geodesic.metrics import classification, retrieval


@pytest.mark.parametrize("vote", ["uniform", "distance"])
def test_knn_equals_scikit_learn(vote):
    rng = np.random.default_rng(0)
    rows, queries = (retrieval.normalized(rng.normal(size=(count, 5))) for count in (90, 40))
    labels = rng.integers(2**24, 2**24 + 5, 90)
    peer = KNeighborsClassifier(7, weights=vote).fit(rows, labels).predict(queries)
    assert (classification.knn(rows, labels, queries, 7, vote=vote) == peer).all()
    several = classification.knn(rows, labels, queries, (1, 7, 20), vote=vote)
    assert several.shape == (3, 40) and (several[1] == peer).all()
    assert (several[2] == classification.knn(rows, labels, queries, 20, vote=vote)).all() and (several[0] != peer).any()
    with pytest.raises(UserError, match="k=0: expected one vote or more"):
        classification.knn(rows, labels, queries, (0, 7), vote=vote)


def test_top_k_accuracy_equals_scikit_learn():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(50, 6)), rng.integers(0, 6, 50)
    assert classification.top_k_accuracy(scores, labels, 2) == top_k_accuracy_score(labels, scores, k=2,
                                                                                    labels=np.arange(6))


def answered(seed=0, rows=60, classes=7):
    """(answers, labels); nothing is of class 2."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, classes, rows), rng.choice([label for label in range(classes) if label != 2], rows)


def test_mean_per_class_accuracy_equals_scikit_learn():
    answers, labels = answered()
    found = classification.accuracy_by_class(answers == labels, labels, 7)
    assert np.isnan(found).tolist() == [False, False, True, False, False, False, False]
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert np.nanmean(found) == pytest.approx(balanced_accuracy_score(labels, answers))


def test_confusions_equal_scikit_learn():
    answers, labels = answered()
    peer = confusion_matrix(labels, answers, labels=np.arange(7))
    np.testing.assert_array_equal(classification.confusion_matrix(answers, labels, 7), peer)
    np.fill_diagonal(peer, 0)
    found = classification.largest_confusions(answers, labels, 4)
    by_hand = sorted((-peer[row, column], row, column) for row in range(7) for column in range(7))[:4]
    assert found == [(row, column, -count) for count, row, column in by_hand]
    every = classification.largest_confusions(answers, labels, 100)
    assert sum(count for _, _, count in every) == (answers != labels).sum() and len(every) == np.count_nonzero(peer)


def test_no_confusion_is_none():
    assert classification.largest_confusions(np.arange(3), np.arange(3), 5) == []


def test_scores_that_are_not_finite_are_refused():
    for value in (np.nan, np.inf):
        with pytest.raises(UserError, match="NaN or infinite"):
            classification.top_k_hits(np.array([[0.0, value]]), np.array([0]), 1)
    with pytest.raises(UserError, match=r"labels 0\.\.2 of 2 classes"):
        classification.top_k_hits(np.zeros((2, 2)), np.array([0, 2]), 1)
