import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from geodesic.metrics import classification, retrieval


@pytest.mark.parametrize("vote", ["uniform", "distance"])
def test_knn_equals_scikit_learn(vote):
    rng = np.random.default_rng(0)
    rows, queries = (retrieval.normalized(rng.normal(size=(count, 5))) for count in (90, 40))
    labels = rng.integers(2**24, 2**24 + 5, 90)
    peer = KNeighborsClassifier(7, weights=vote).fit(rows, labels).predict(queries)
    assert (classification.knn(rows, labels, queries, 7, vote=vote) == peer).all()


def test_top_k_accuracy_equals_scikit_learn():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(50, 6)), rng.integers(0, 6, 50)
    assert classification.top_k_accuracy(scores, labels, 2) == top_k_accuracy_score(labels, scores, k=2,
                                                                                    labels=np.arange(6))
